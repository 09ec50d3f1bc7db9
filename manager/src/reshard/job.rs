//! Runs one job: its legs one after another, in the other order when they go back, and what the
//! operator asks in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use platform::telemetry::error_chain;
use platform::trace::Named;
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};
use topology::records::encode;
use topology::store::{Compare, Op, Revision, Txn};
use topology::{Epoch, Term, keys};

use super::api::{Error, JobView, Request, Status};
use super::driver::{Assignment, Context, Ended, Orders, Report, drive, trace_of};
use super::leg::{JobProgress, Leg, LegProgress};
use super::machine::{Goal, Phase, Side, Step};
use super::metrics::Pulse;
use super::progress::{Progress, Reading};
use super::record::Job;
use super::view::{self, step_name};
use crate::audit::Author;
use crate::commit::{self, ReshardWrite};
use crate::control::moves::Effect;

/// How often it is written how far a job is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// What an operator asks, and where the answer goes.
#[derive(Debug)]
pub struct Ask {
    /// Who asks.
    pub author: Author,
    /// For what.
    pub request: Request,
    /// Where the job is shown as it is then.
    pub answer: oneshot::Sender<Result<JobView, Error>>,
}

/// A job as it is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The job, and its revision.
    pub job: (Job, Revision),
    /// Its legs, and theirs.
    pub legs: Vec<(Leg, Revision)>,
    /// How far it was.
    pub progress: JobProgress,
}

impl Stored {
    /// Whether nothing of it is left to be done, and what it came to is recorded.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let Some(outcome) = self.job.0.outcome else {
            return false;
        };
        let is_failed = outcome == Status::Failed;
        self.legs
            .iter()
            .all(|(leg, _)| leg.phase.is_done() || (is_failed && leg.phase == Phase::Planned))
    }

    /// As operators see it.
    #[must_use]
    pub fn view(&self) -> JobView {
        let legs: Vec<Leg> = self.legs.iter().map(|(leg, _)| leg.clone()).collect();
        view::view(&self.job.0, &legs, &self.progress)
    }
}

/// Why a runner ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// Nothing is left to be done.
    Done,
    /// Another manager leads.
    Deposed,
    /// What is stored has to be read again.
    Unknown,
}

/// A task that ends with whoever waits for it.
#[derive(Debug)]
pub(super) struct Owned<T>(pub(super) tokio::task::JoinHandle<T>);

impl<T> Owned<T> {
    /// What it came to; `lost` when it panicked.
    pub(super) async fn ended(mut self, lost: T) -> T {
        (&mut self.0).await.unwrap_or(lost)
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A leg whose driver runs.
struct Running {
    orders: watch::Sender<Orders>,
    report: watch::Receiver<Report>,
    progress: Arc<Progress>,
}

type Drivers = FuturesUnordered<BoxFuture<'static, (u16, Ended)>>;

/// A job in the hands of a leader.
pub struct Runner {
    context: Arc<Context>,
    term: Term,
    stored: Stored,
    asks: mpsc::Receiver<Ask>,
    running: BTreeMap<u16, Running>,
    drivers: Drivers,
    /// The rows at the last look, for the rate.
    last_rows: u64,
    pulse: Pulse,
    /// The epoch of the last record.
    written: Epoch,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner")
            .field("job", &self.stored.job.0.id)
            .field("term", &self.term)
            .finish_non_exhaustive()
    }
}

impl Runner {
    /// A runner of a stored job; it does nothing until it runs.
    #[must_use]
    pub fn new(
        context: Arc<Context>,
        term: Term,
        stored: Stored,
        asks: mpsc::Receiver<Ask>,
    ) -> Self {
        Self {
            context,
            term,
            stored,
            asks,
            running: BTreeMap::new(),
            drivers: FuturesUnordered::new(),
            last_rows: 0,
            pulse: Pulse::default(),
            written: Epoch::default(),
        }
    }

    /// Runs the job until nothing is left to be done. May be dropped at any time.
    pub async fn run(mut self) -> Over {
        let over = self.run_to_end().await;
        let has_ended = over == Over::Done;
        let view = self.stored.view();
        self.context.metrics.forget(&view, has_ended);
        if has_ended {
            let root = Named::of(&trace_of(&view.id))
                .and_then(|trace| trace.root("reshard job", view.created_at));
            if let Some(mut root) = root {
                root.set("sharding.job_id", view.id.to_string());
                root.set("sharding.job_kind", view.kind.to_string());
                root.set("sharding.job_status", view.status.as_str());
            }
        }
        over
    }

    async fn run_to_end(&mut self) -> Over {
        let mut tick = interval(PROGRESS_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Err(error) = self.settle().await {
                return self.ended_by(&error);
            }
            // What a driver tells may be older than what it has recorded since.
            if self.running.is_empty() && self.stored.is_over() {
                self.write_progress().await;
                return Over::Done;
            }
            self.direct();
            let waits = wait_for_change(&self.running);
            tokio::select! {
                ask = self.asks.recv() => match ask {
                    None => return Over::Deposed,
                    Some(ask) => if let Err(over) = self.answer(ask).await {
                        return over;
                    },
                },
                Some((number, ended)) = self.drivers.next(), if !self.drivers.is_empty() => {
                    match ended {
                        Ended::Done => self.forget(number),
                        Ended::Deposed => return Over::Deposed,
                        Ended::Unknown => return Over::Unknown,
                    }
                }
                () = waits => {}
                _ = tick.tick() => self.write_progress().await,
            }
            self.look();
        }
    }

    fn ended_by(&self, error: &commit::Error) -> Over {
        let text = error_chain(error);
        tracing::warn!(job = %self.stored.job.0.id, error = text, "job's record not written");
        match error {
            commit::Error::Deposed { .. } => Over::Deposed,
            _ => Over::Unknown,
        }
    }

    /// Takes over what the drivers say of their legs.
    fn look(&mut self) {
        for (number, running) in &mut self.running {
            let report = running.report.borrow_and_update();
            if let Some((leg, _)) = self.stored.legs.get_mut(usize::from(*number)) {
                leg.clone_from(&report.leg);
            }
        }
    }

    fn forget(&mut self, number: u16) {
        self.look();
        self.running.remove(&number);
        if let Some((leg, _)) = self.stored.legs.get_mut(usize::from(number)) {
            let owner = leg.phase.owner();
            leg.phase = Phase::Done(owner);
        }
    }

    /// Gives each leg its orders, and a driver to those whose turn it is.
    fn direct(&mut self) {
        let (goal, is_paused) = (self.stored.job.0.goal, self.stored.job.0.is_paused);
        let has_failed = self.stored.job.0.outcome == Some(Status::Failed);
        let phases: Vec<Phase> = self.stored.legs.iter().map(|(leg, _)| leg.phase).collect();
        let unequal: Vec<bool> = self
            .stored
            .legs
            .iter()
            .map(|(l, _)| l.is_unequal())
            .collect();
        for ((number, phase), is_unequal) in (0_u16..).zip(&phases).zip(unequal) {
            if phase.is_done() {
                continue;
            }
            let at = usize::from(number);
            let before = phases.iter().take(at);
            let after = phases.iter().skip(at + 1);
            let has_begun = *phase != Phase::Planned;
            let (is_its_turn, goal) = match goal {
                // There is no way back: what is left behind is removed, unless somebody should
                // look at it first.
                Goal::Move if *phase == Phase::Severed && !is_unequal => (true, Goal::Finish),
                Goal::Move => {
                    let earlier_moved = before.clone().all(|phase| phase.owner() == Side::To);
                    (has_begun || (earlier_moved && !has_failed), Goal::Move)
                }
                // The last one goes back first.
                Goal::Back if after.clone().all(|phase| phase.is_done()) => (true, Goal::Back),
                Goal::Back => (has_begun, Goal::Move),
                Goal::Finish => (has_begun, Goal::Finish),
            };
            let orders = Orders { goal, is_paused };
            match self.running.get(&number) {
                Some(running) => {
                    running
                        .orders
                        .send_if_modified(|present| std::mem::replace(present, orders) != orders);
                }
                None if is_its_turn => self.start(number, orders),
                None => {}
            }
        }
    }

    fn start(&mut self, number: u16, orders: Orders) {
        let Some((leg, revision)) = self.stored.legs.get(usize::from(number)).cloned() else {
            return;
        };
        let progress = Arc::new(Progress::default());
        if let Some(earlier) = self.stored.progress.of(number) {
            progress.restore(&earlier.reading);
        }
        let (orders, received) = watch::channel(orders);
        let (report, reported) = watch::channel(Report {
            leg: leg.clone(),
            step: Step::RaiseTerm,
            trouble: None,
        });
        let assignment = Assignment {
            term: self.term,
            leg: (leg, revision),
            options: self.stored.job.0.options.clone(),
            orders: received,
            report,
            progress: Arc::clone(&progress),
        };
        // In a task of its own: it may hold the writer while this one waits for it.
        let driver = drive(Arc::clone(&self.context), assignment);
        let task = Owned(self.context.tasks.spawn("reshard leg", driver));
        self.drivers.push(Box::pin(async move {
            (number, task.ended(Ended::Unknown).await)
        }));
        let running = Running {
            orders,
            report: reported,
            progress,
        };
        self.running.insert(number, running);
    }

    /// Records what the job has come to, if that has changed.
    async fn settle(&mut self) -> Result<(), commit::Error> {
        let now = SystemTime::now();
        let mut job = self.stored.job.0.clone();
        let legs = || self.stored.legs.iter().map(|(leg, _)| leg);
        let has_begun = legs().any(|leg| leg.phase != Phase::Planned);
        if has_begun {
            job.started_at = job.started_at.or(Some(now));
        }
        let came_to = match job.goal {
            Goal::Move => {
                let failed =
                    legs().find(|leg| leg.failure.is_some() && leg.phase.owner() == Side::From);
                if let Some(leg) = failed {
                    job.error.clone_from(&leg.failure);
                    Some(Status::Failed)
                } else if legs().all(|leg| leg.phase.owner() == Side::To && !leg.phase.is_held()) {
                    Some(Status::Completed)
                } else {
                    None
                }
            }
            Goal::Back => legs()
                .all(|leg| leg.phase.is_done())
                .then_some(())
                .and(job.undo),
            Goal::Finish => job.outcome,
        };
        if let Some(outcome) = came_to.filter(|_| job.outcome.is_none()) {
            job.outcome = Some(outcome);
            job.completed_at = Some(now);
        }
        let is_kept_long_enough = || {
            let completed = job.completed_at?;
            Some(now.duration_since(completed).ok()? >= job.options.keep_reverse())
        };
        let is_completed = job.outcome == Some(Status::Completed) && job.goal == Goal::Move;
        let is_equal = !legs().any(Leg::is_unequal);
        if is_completed && is_equal && is_kept_long_enough() == Some(true) {
            job.goal = Goal::Finish;
        }
        if job == self.stored.job.0 && !self.lacks_effect() {
            return Ok(());
        }
        let author = Author {
            actor: job.requested_by.clone(),
            request_id: job.request_id.clone(),
            from: None,
        };
        self.write(job, author, "settle_reshard").await
    }

    /// Whether the topology is not as the job's record means it to be, as far as is known.
    fn lacks_effect(&self) -> bool {
        let snapshot = self.context.topology.snapshot();
        let is_newer = snapshot.epoch() >= self.written;
        is_newer && self.stored.job.0.effect(&snapshot) != Effect::None
    }

    /// Does what an operator asks, as far as a record goes.
    async fn answer(&mut self, ask: Ask) -> Result<(), Over> {
        let Ask {
            author,
            request,
            answer,
        } = ask;
        let done = self.ask(author, request).await;
        let over = match &done {
            Err(Error::Commit(
                error @ (commit::Error::Deposed { .. } | commit::Error::OutcomeUnknown(_)),
            )) => Some(self.ended_by(error)),
            Ok(_) | Err(_) => None,
        };
        drop(answer.send(done));
        over.map_or(Ok(()), Err)
    }

    async fn ask(&mut self, author: Author, request: Request) -> Result<JobView, Error> {
        let view = self.stored.view();
        view.may_be_asked(request)?;
        let mut job = self.stored.job.0.clone();
        match request {
            Request::Pause => job.is_paused = true,
            Request::Resume => job.is_paused = false,
            Request::Cancel => {
                job.goal = Goal::Back;
                job.undo = Some(Status::Cancelled);
                job.outcome = None;
                job.is_paused = false;
            }
            Request::Rollback => {
                job.goal = Goal::Back;
                job.undo = Some(Status::RolledBack);
                job.outcome = None;
                job.completed_at = None;
            }
            Request::Finish => {
                // Where there is no way back any more, the operator may settle for what there is.
                let has_way_back = |leg: &Leg| leg.phase != Phase::Severed;
                let mut legs = self.stored.legs.iter().map(|(leg, _)| leg);
                if legs.any(|leg| leg.is_unequal() && has_way_back(leg)) {
                    return Err(Error::NotNow {
                        id: job.id,
                        status: view.status,
                        request,
                        reason: "a comparison found differences: roll it back",
                    });
                }
                job.goal = Goal::Finish;
            }
        }
        self.write(job, author, request.action()).await?;
        Ok(self.stored.view())
    }

    async fn write(
        &mut self,
        job: Job,
        author: Author,
        action: &'static str,
    ) -> Result<(), commit::Error> {
        let key = keys::job(job.id.as_str());
        let record = encode(&job);
        let write = ReshardWrite {
            term: self.term,
            author,
            unchanged: vec![(key.clone(), self.stored.job.1)],
            records: Box::new(move |_| vec![Op::put(key.clone(), record.clone())]),
            effect: job.effect(&self.context.topology.snapshot()),
            action,
            target: job.id.to_string(),
            detail: json!({ "goal": job.goal, "outcome": job.outcome, "paused": job.is_paused }),
        };
        let applied = self.context.writer.write_reshard(&write).await?;
        self.stored.job = (job, applied.revision);
        self.written = applied.epoch;
        Ok(())
    }

    /// Writes how far the job is; when that does not work, the next time will do.
    async fn write_progress(&mut self) {
        let legs = self.running.iter().map(|(number, running)| {
            let report = running.report.borrow();
            LegProgress {
                number: *number,
                step: step_name(report.step),
                trouble: report.trouble.clone(),
                reading: running.progress.read(),
            }
        });
        let mut legs: Vec<LegProgress> = legs.collect();
        let rows = legs.iter().map(|leg| rows_of(&leg.reading)).sum::<u64>();
        let gone = self
            .stored
            .progress
            .legs
            .iter()
            .filter(|old| legs.iter().all(|leg| leg.number != old.number));
        let gone: Vec<LegProgress> = gone.cloned().collect();
        legs.extend(gone);
        legs.sort_by_key(|leg| leg.number);
        let moved = u32::try_from(rows.saturating_sub(self.last_rows)).unwrap_or(u32::MAX);
        self.last_rows = rows;
        let rate = f64::from(moved) / PROGRESS_INTERVAL.as_secs_f64();
        let progress = JobProgress { legs, rate };
        let view = self.stored.view();
        self.context.metrics.job(&view, &mut self.pulse);
        if progress == self.stored.progress {
            return;
        }
        let id = self.stored.job.0.id.as_str();
        let txn = Txn {
            compares: vec![Compare::CreateRevision(
                keys::LEADER.to_owned(),
                Revision(self.term.0),
            )],
            ops: vec![Op::put(keys::progress(id), encode(&progress))],
        };
        if let Err(error) = self.context.store.commit(txn).await {
            tracing::debug!(error = error_chain(&error), "progress of a job not written");
        }
        self.stored.progress = progress;
    }
}

fn rows_of(reading: &Reading) -> u64 {
    reading.rows_copied + reading.rows_applied + reading.rows_removed
}

/// Returns when a leg's report changes.
fn wait_for_change(running: &BTreeMap<u16, Running>) -> impl Future<Output = ()> + use<> {
    let mut reports: FuturesUnordered<_> = running
        .values()
        .map(|running| {
            let mut report = running.report.clone();
            async move { report.changed().await.is_ok() }
        })
        .collect();
    async move {
        while let Some(has_changed) = reports.next().await {
            if has_changed {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}
