//! Drives one leg: does what the machine says, one step at a time, records what it says, and tells
//! it how that went. Decides nothing itself.

use std::sync::Arc;
use std::time::Duration;

use platform::TaskGroup;
use platform::failpoint;
use platform::telemetry::error_chain;
use platform::trace::{Named, Role, Span};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use topology::Term;
use topology::store::{Revision, Store};

use self::hands::Hands;
use super::copy::governor::Limits;
use super::copy::keeper::Keepers;
use super::ids::{JobId, LegId};
use super::leg::Leg;
use super::machine::{Event, Goal, Machine, Phase, Step};
use super::metrics::Metrics;
use super::progress::Progress;
use super::record::Options;
use super::schema::Tools;
use super::session::{Class, Sessions};
use super::view::step_name;
use crate::commit::Writer;

mod cutover;
mod ending;
mod hands;
mod prepare;
mod record;
mod resume;
mod streams;
mod verify;
mod wal;

/// What drivers need of the manager.
#[derive(Debug)]
pub struct Context {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Writes to it as the leader.
    pub writer: Arc<Writer>,
    /// The topology that this manager follows.
    pub topology: topology::watch::View,
    /// The shards.
    pub sessions: Sessions,
    /// PostgreSQL's own tools.
    pub tools: Tools,
    /// Where what is begun runs.
    pub tasks: TaskGroup,
    /// What is not for each job to say.
    pub settings: Settings,
    /// What is told of it in numbers.
    pub metrics: Metrics,
    /// The snapshots of copies that this manager keeps.
    pub keepers: Keepers,
}

/// What is not for each job to say.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Ranges of a leg that are copied at a time.
    pub copy_workers: std::num::NonZeroUsize,
    /// How long a mirror has to be close behind before a cutover is tried.
    pub settle: Duration,
    /// The most of its own log that a shard keeps for a stream, over which the leg is given up.
    pub max_wal_retained: u64,
    /// What replicas and clients have to bear of a copy.
    pub copy_limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            copy_workers: std::num::NonZeroUsize::MIN.saturating_add(1),
            settle: Duration::from_millis(500),
            max_wal_retained: 16 << 30,
            copy_limits: Limits {
                replica_lag: Duration::from_secs(5),
                latency: Duration::from_millis(250),
            },
        }
    }
}

/// What the operator wants of a leg at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orders {
    /// Where it is to end.
    pub goal: Goal,
    /// Whether nothing new is to be begun.
    pub is_paused: bool,
}

/// What a driver says of its leg.
#[derive(Debug, Clone)]
pub struct Report {
    /// The record, as it was last written.
    pub leg: Leg,
    /// What is being done.
    pub step: Step,
    /// What went wrong last, and is tried again.
    pub trouble: Option<String>,
}

/// What keeps a step from being done.
#[derive(Debug)]
pub(super) struct Trouble {
    kind: TroubleKind,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TroubleKind {
    /// It may go better another time.
    Passing,
    /// It will not.
    Lasting,
    /// Another manager leads.
    Deposed,
    /// What is recorded is no longer known.
    Unknown,
}

impl Trouble {
    fn new(kind: TroubleKind, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { kind, text }
    }

    fn passing(text: impl Into<String>) -> Self {
        Self::new(TroubleKind::Passing, text)
    }

    fn lasting(text: impl Into<String>) -> Self {
        Self::new(TroubleKind::Lasting, text)
    }

    fn of_class(class: Class, error: &(dyn std::error::Error + 'static)) -> Self {
        let kind = match class {
            Class::Retryable => TroubleKind::Passing,
            Class::Fatal => TroubleKind::Lasting,
            Class::StaleTerm => TroubleKind::Deposed,
        };
        Self::new(kind, error_chain(error))
    }
}

/// Errors that say whether they may be tried again.
macro_rules! troubles {
    ($($error:ty),+ $(,)?) => {
        $(impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                Self::of_class(error.class(), &error)
            }
        })+
    };
}

troubles!(
    super::session::Error,
    super::guard::Error,
    super::schema::Error,
    super::link::Error,
    super::copy::Error,
    super::apply::Error,
);

impl From<Arc<super::apply::Error>> for Trouble {
    fn from(error: Arc<super::apply::Error>) -> Self {
        Self::of_class(error.class(), error.as_ref())
    }
}

/// Why a driver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nothing is left of the leg on any shard.
    Done,
    /// Another manager leads.
    Deposed,
    /// The record has to be read again.
    Unknown,
}

/// A leg to be driven.
#[derive(Debug)]
pub struct Assignment {
    /// The leader's term.
    pub term: Term,
    /// The record, with its revision.
    pub leg: (Leg, Revision),
    /// How the job runs.
    pub options: Options,
    /// What the operator wants; it may change.
    pub orders: watch::Receiver<Orders>,
    /// Where the driver says how it goes.
    pub report: watch::Sender<Report>,
    /// Counters.
    pub progress: Arc<Progress>,
}

/// Drives a leg until it is done, or another manager leads. May be dropped at any time: whoever
/// drives the leg next goes on from what is recorded.
pub async fn drive(context: Arc<Context>, assignment: Assignment) -> Ended {
    let Assignment {
        term,
        leg,
        options,
        mut orders,
        report,
        progress,
    } = assignment;
    let goal = orders.borrow_and_update().goal;
    let mut machine = Machine::recovered(leg.0.phase, goal);
    let id = leg.0.id.clone();
    let mut hands = Hands::new(context, term, leg, options, progress, report);
    let mut failures = 0;
    let traces = Named::of(&trace_of(&id.job));
    loop {
        let step = machine.step();
        if step == Step::End {
            return Ended::Done;
        }
        hands.tell(|report| report.step = step);
        failpoint::pass("before", &step_name(step));
        let begun = Instant::now();
        let span = traced(&traces, step);
        let Some(outcome) = attend(&mut hands, &mut machine, &mut orders, failures).await else {
            continue; // Something else is wanted.
        };
        if machine.phase().is_held() {
            let millis = begun.elapsed().as_secs_f64() * 1e3;
            tracing::info!(leg = %id, step = step_name(step), millis, "step of a cutover");
        }
        end(span, outcome.as_ref());
        let event = match outcome {
            Ok(()) => {
                failpoint::pass("after", &step_name(step));
                Event::Done
            }
            Err(trouble) => match note(&id, step, &trouble) {
                Ok(event) => {
                    hands.tell(|report| report.trouble = Some(trouble.text.clone()));
                    hands.context.metrics.failed();
                    hands.remember(step, event, trouble.text);
                    event
                }
                Err(ended) => return ended,
            },
        };
        failures = match (event, step) {
            (Event::Failed | Event::Refused, _) => failures + 1,
            (Event::Done, Step::Copy | Step::Remove) => 0,
            (Event::Done, Step::Record(phase)) if is_flip(machine.phase(), phase) => 0,
            (Event::Done | Event::Asked(_), _) => failures,
        };
        let was_held = machine.phase().is_held();
        machine = machine.on(event);
        if event == Event::Failed && !was_held && machine.step() != Step::Rest {
            rest(failures).await;
        }
        if machine.step() == Step::Stay {
            hands.tell(|report| report.trouble = None);
        }
    }
}

/// The name of a job's trace: whoever leads adds to the same one.
pub(super) fn trace_of(job: &JobId) -> String {
    format!("reshard job {job}")
}

/// The span of a step; staying where it is, is none.
fn traced(traces: &Option<Named>, step: Step) -> Option<Span> {
    let here = traces.as_ref().filter(|_| step != Step::Stay)?.here();
    here.begin(format!("reshard {}", step_name(step)), Role::Internal)
}

/// A step has ended. What went wrong may name keys, so that only how it did is told.
fn end(span: Option<Span>, outcome: Result<&(), &Trouble>) {
    if let (Some(mut span), Err(trouble)) = (span, outcome) {
        span.fail(match trouble.kind {
            TroubleKind::Passing => "passing",
            TroubleKind::Lasting => "lasting",
            TroubleKind::Deposed => "deposed",
            TroubleKind::Unknown => "unknown",
        });
    }
}

/// Does the present step, unless something else is wanted before it is done: then the machine is
/// told, and there is no outcome.
async fn attend(
    hands: &mut Hands,
    machine: &mut Machine,
    orders: &mut watch::Receiver<Orders>,
    failures: u32,
) -> Option<Result<(), Trouble>> {
    let step = machine.step();
    if begins_something(step) {
        while orders.borrow().is_paused && orders.borrow().goal == machine.goal() {
            if orders.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
    let present = *machine;
    let work = hands.perform(present, failures);
    tokio::pin!(work);
    loop {
        let goal = orders.borrow_and_update().goal;
        if goal != machine.goal() && goal != Goal::Move {
            let next = machine.on(Event::Asked(goal));
            *machine = next;
            if next.step() != step {
                return None;
            }
        }
        tokio::select! {
            outcome = &mut work => return Some(outcome),
            changed = orders.changed() => if changed.is_err() {
                return Some((&mut work).await);
            },
        }
    }
}

/// Steps that a pause keeps from being begun.
fn begins_something(step: Step) -> bool {
    matches!(
        step,
        Step::Preflight | Step::Prepare | Step::Discard | Step::Copy | Step::Verify | Step::Remove
    )
}

fn note(id: &LegId, step: Step, trouble: &Trouble) -> Result<Event, Ended> {
    let Trouble { kind, text } = trouble;
    match kind {
        TroubleKind::Passing => {
            tracing::warn!(leg = %id, ?step, error = text, "step of a leg not done");
            Ok(Event::Failed)
        }
        TroubleKind::Lasting => {
            tracing::error!(leg = %id, ?step, error = text, "step of a leg cannot be done");
            Ok(Event::Refused)
        }
        TroubleKind::Deposed => {
            tracing::warn!(leg = %id, ?step, error = text, "a later leader has taken the leg over");
            Err(Ended::Deposed)
        }
        TroubleKind::Unknown => {
            tracing::warn!(leg = %id, ?step, error = text, "a leg's record has to be read again");
            Err(Ended::Unknown)
        }
    }
}

/// How long is waited after so many failures in a row.
async fn rest(failures: u32) {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(10);
    let times = 1_u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX);
    sleep(FIRST.saturating_mul(times).min(LONGEST)).await;
}

/// Whether a phase is recorded at the end of a cutover, and is not its being taken back.
fn is_flip(from: Phase, to: Phase) -> bool {
    from.owner() != to.owner()
}
