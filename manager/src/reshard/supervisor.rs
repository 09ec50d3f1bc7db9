//! Runs the jobs of a term while this manager leads, and answers what the fronts ask of jobs.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use platform::Shutdown;
use platform::telemetry::error_chain;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use topology::records::{decode, encode};
use topology::store::{Op, Revision, Store};
use topology::{Term, keys};

use super::api::{Error, JobView, Jobs, Request, Start, free_for};
use super::driver::Context;
use super::ids::{JobId, LegId};
use super::job::{Ask, Over, Owned, Runner, Stored};
use super::leg::{JobProgress, Leg};
use super::machine::Goal;
use super::record::Job;
use super::sweep::sweep;
use crate::audit::Author;
use crate::commit::ReshardWrite;
use crate::leader::{self, Standing};

/// Most questions that wait for an answer, of one job and of all.
const QUEUE: usize = 32;
/// How long runs that were ended may take to be gone.
const LETTING_GO: Duration = Duration::from_millis(50);
/// How long is waited after something that should not go wrong did.
const AGAIN: Duration = Duration::from_secs(1);

/// What fronts send to the jobs.
#[derive(Debug)]
enum Message {
    Start(Box<Start>, oneshot::Sender<Result<JobView, Error>>),
    Ask(Term, JobId, Ask),
    Renew(Term, oneshot::Sender<()>),
}

/// The jobs of this system, as one manager knows them.
#[derive(Debug)]
pub struct Supervisor {
    store: Arc<dyn Store>,
    messages: mpsc::Sender<Message>,
}

/// The other end: runs them.
#[derive(Debug)]
pub struct Worker {
    context: Arc<Context>,
    leader: leader::View,
    messages: mpsc::Receiver<Message>,
}

/// Both ends.
#[must_use]
pub fn supervise(context: Arc<Context>, leader: leader::View) -> (Supervisor, Worker) {
    let (sender, messages) = mpsc::channel(QUEUE);
    let store = Arc::clone(&context.store);
    let supervisor = Supervisor {
        store,
        messages: sender,
    };
    let worker = Worker {
        context,
        leader,
        messages,
    };
    (supervisor, worker)
}

/// The jobs of a term.
struct Tenure {
    context: Arc<Context>,
    term: Term,
    asks: HashMap<JobId, mpsc::Sender<Ask>>,
    runners: FuturesUnordered<BoxFuture<'static, (JobId, Over)>>,
}

impl Worker {
    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            let standing = self.leader.standing();
            let ended = async {
                match standing {
                    Standing::Leading(leader) => self.lead(leader.term).await,
                    Standing::Following(_) | Standing::Unled => self.idle().await,
                }
            };
            tokio::select! {
                biased; // A process that ends begins nothing.
                () = shutdown.requested() => return,
                () = ended => {}
            }
        }
    }

    /// Until the standing changes.
    async fn idle(&mut self) {
        loop {
            tokio::select! {
                () = self.leader.changed() => return,
                message = self.messages.recv() => refuse(message),
            }
        }
    }

    /// Runs all jobs that are not over, until the standing changes.
    async fn lead(&mut self, term: Term) {
        let mut tenure = Tenure {
            context: Arc::clone(&self.context),
            term,
            asks: HashMap::new(),
            runners: FuturesUnordered::new(),
        };
        loop {
            match load_all(self.context.store.as_ref()).await {
                Ok(all) => {
                    let sweep = sweep(Arc::clone(&self.context), term);
                    drop(self.context.tasks.spawn("reshard sweep", sweep));
                    for stored in all.into_iter().filter(|stored| !stored.is_over()) {
                        tenure.take_up(stored);
                    }
                    break;
                }
                Err(error) => {
                    tracing::error!(error = error_chain(&error), "jobs not readable");
                    sleep(AGAIN).await;
                }
            }
            if !self.leads(term) {
                return;
            }
        }
        loop {
            tokio::select! {
                () = self.leader.changed() => return,
                message = self.messages.recv() => match message {
                    Some(Message::Renew(wanted, done)) => {
                        if wanted == term {
                            tenure.let_go().await;
                        }
                        // Nobody may wait for it any more.
                        let _heard = done.send(());
                        if wanted == term {
                            return;
                        }
                    }
                    message => tenure.receive(message).await,
                },
                Some((id, over)) = tenure.runners.next(), if !tenure.runners.is_empty() => {
                    match over {
                        // A deposed leader hears of it by the election, too.
                        Over::Done | Over::Deposed => drop(tenure.asks.remove(&id)),
                        Over::Unknown => tenure.read_again(&id).await,
                    }
                }
            }
        }
    }

    fn leads(&self, term: Term) -> bool {
        match self.leader.standing() {
            Standing::Leading(leader) => leader.term == term,
            Standing::Following(_) | Standing::Unled => false,
        }
    }
}

fn refuse(message: Option<Message>) {
    let error = || Error::Unavailable {
        reason: "this manager does not lead".to_owned(),
    };
    match message {
        None => {}
        Some(Message::Start(_, answer)) => drop(answer.send(Err(error()))),
        Some(Message::Ask(_, _, ask)) => drop(ask.answer.send(Err(error()))),
        Some(Message::Renew(_, done)) => {
            let _heard = done.send(());
        }
    }
}

impl Tenure {
    fn take_up(&mut self, stored: Stored) {
        let id = stored.job.0.id.clone();
        tracing::info!(job = %id, kind = %stored.job.0.plan.kind, "job taken up");
        let (asks, received) = mpsc::channel(QUEUE);
        self.asks.insert(id.clone(), asks);
        let runner = Runner::new(Arc::clone(&self.context), self.term, stored, received);
        let task = Owned(self.context.tasks.spawn("reshard job", runner.run()));
        self.runners.push(Box::pin(
            async move { (id, task.ended(Over::Unknown).await) },
        ));
    }

    async fn read_again(&mut self, id: &JobId) {
        self.asks.remove(id);
        loop {
            match load_one(self.context.store.as_ref(), id).await {
                Ok(stored) if stored.is_over() => return,
                Ok(stored) => return self.take_up(stored),
                Err(error) => {
                    tracing::error!(job = %id, error = error_chain(&error), "job not readable");
                    sleep(AGAIN).await;
                }
            }
        }
    }

    async fn receive(&mut self, message: Option<Message>) {
        match message {
            None => std::future::pending().await,
            Some(Message::Start(start, answer)) => {
                let started = self.start(*start).await;
                drop(answer.send(started));
            }
            Some(Message::Ask(term, id, ask)) if term == self.term => self.pass_on(&id, ask).await,
            Some(other @ (Message::Ask(..) | Message::Renew(..))) => refuse(Some(other)),
        }
    }

    /// Ends all runs and waits until they have ended.
    async fn let_go(&mut self) {
        self.asks.clear();
        self.runners.clear();
        sleep(LETTING_GO).await;
    }

    async fn pass_on(&mut self, id: &JobId, ask: Ask) {
        let Some(asks) = self.asks.get(id) else {
            // It is over: say so in the words of its state.
            let stored = load_one(self.context.store.as_ref(), id).await;
            let refusal = stored.and_then(|stored| {
                let view = stored.view();
                view.may_be_asked(ask.request)?;
                Err(Error::Unavailable {
                    reason: format!("job {id} is not run by this manager"),
                })
            });
            drop(ask.answer.send(refusal));
            return;
        };
        if let Err(error) = asks.try_send(ask) {
            let (mpsc::error::TrySendError::Full(ask) | mpsc::error::TrySendError::Closed(ask)) =
                error;
            let reason = format!("job {id} has too much to answer");
            drop(ask.answer.send(Err(Error::Unavailable { reason })));
        }
    }

    async fn start(&mut self, start: Start) -> Result<JobView, Error> {
        if start.term != self.term {
            let reason = "another term has begun".to_owned();
            return Err(Error::Unavailable { reason });
        }
        let all = load_all(self.context.store.as_ref()).await?;
        let views: Vec<JobView> = all.iter().map(Stored::view).collect();
        free_for(&start.plan, &views)?;
        let job = Job {
            id: JobId::new(),
            plan: start.plan,
            goal: Goal::Move,
            outcome: None,
            undo: None,
            is_paused: false,
            options: start.options,
            created_at: SystemTime::now(),
            started_at: None,
            completed_at: None,
            error: None,
            requested_by: start.author.actor.clone(),
            request_id: start.author.request_id.clone(),
        };
        let numbered = (0_u16..).zip(&job.plan.legs);
        let legs = numbered.map(|(number, flows)| {
            let job = job.id.clone();
            Leg::new(LegId { job, number }, flows.clone())
        });
        let legs: Vec<Leg> = legs.collect();
        let revision = self.write(&job, &legs, start.author).await?;
        let stored = Stored {
            legs: legs.into_iter().map(|leg| (leg, revision)).collect(),
            job: (job, revision),
            progress: JobProgress::default(),
        };
        let view = stored.view();
        self.take_up(stored);
        Ok(view)
    }

    async fn write(&mut self, job: &Job, legs: &[Leg], author: Author) -> Result<Revision, Error> {
        let mut records = vec![(keys::job(job.id.as_str()), encode(job))];
        for leg in legs {
            records.push((keys::leg(job.id.as_str(), leg.id.number), encode(leg)));
        }
        let unchanged = records.iter().map(|(key, _)| (key.clone(), Revision(0)));
        let write = ReshardWrite {
            term: self.term,
            author,
            unchanged: unchanged.collect(),
            effect: job.effect(&self.context.topology.snapshot()),
            action: job.plan.kind.action(),
            target: job.id.to_string(),
            detail: job.plan.detail(),
            records: Box::new(move |_| {
                let put = |(key, value): &(String, _)| Op::put(key.clone(), Clone::clone(value));
                records.iter().map(put).collect()
            }),
        };
        let applied = self.context.writer.write_reshard(&write).await?;
        Ok(applied.revision)
    }
}

/// All jobs that are stored, newest first.
async fn load_all(store: &dyn Store) -> Result<Vec<Stored>, Error> {
    let listing = store.list(keys::JOBS).await?;
    let mut all = Vec::new();
    for entry in listing.entries.iter().rev() {
        let job: Job = decode(&entry.key, &entry.value)?;
        all.push(load_legs(store, (job, entry.mod_revision)).await?);
    }
    Ok(all)
}

/// The legs of all jobs that are not over.
pub(super) async fn live_legs(store: &dyn Store) -> Result<BTreeSet<LegId>, Error> {
    let all = load_all(store).await?;
    let live = all.into_iter().filter(|stored| !stored.is_over());
    let legs = live.flat_map(|stored| stored.legs);
    Ok(legs.map(|(leg, _)| leg.id).collect())
}

async fn load_one(store: &dyn Store, id: &JobId) -> Result<Stored, Error> {
    let found = store.read(&keys::job(id.as_str())).await?;
    let unknown = || Error::UnknownJob { id: id.clone() };
    let entry = found.ok_or_else(unknown)?;
    let job: Job = decode(&entry.key, &entry.value)?;
    load_legs(store, (job, entry.mod_revision)).await
}

async fn load_legs(store: &dyn Store, job: (Job, Revision)) -> Result<Stored, Error> {
    let id = job.0.id.as_str();
    let listing = store.list(&keys::legs(id)).await?;
    let mut legs = Vec::with_capacity(listing.entries.len());
    for entry in &listing.entries {
        legs.push((decode::<Leg>(&entry.key, &entry.value)?, entry.mod_revision));
    }
    let progress = match store.read(&keys::progress(id)).await? {
        None => JobProgress::default(),
        Some(entry) => decode(&entry.key, &entry.value)?,
    };
    Ok(Stored {
        job,
        legs,
        progress,
    })
}

impl Supervisor {
    async fn send(
        &self,
        message: Message,
        answer: oneshot::Receiver<Result<JobView, Error>>,
    ) -> Result<JobView, Error> {
        let gone = || Error::Unavailable {
            reason: "this manager is stopping, or no longer leads".to_owned(),
        };
        self.messages.send(message).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

#[async_trait]
impl Jobs for Supervisor {
    async fn start(&self, start: Start) -> Result<JobView, Error> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Start(Box::new(start), answer), answered)
            .await
    }

    async fn list(&self) -> Result<Vec<JobView>, Error> {
        let all = load_all(self.store.as_ref()).await?;
        Ok(all.iter().map(Stored::view).collect())
    }

    async fn find(&self, id: &JobId) -> Result<JobView, Error> {
        Ok(load_one(self.store.as_ref(), id).await?.view())
    }

    async fn ask(
        &self,
        term: Term,
        author: &Author,
        id: &JobId,
        request: Request,
    ) -> Result<JobView, Error> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            author: author.clone(),
            request,
            answer,
        };
        self.send(Message::Ask(term, id.clone(), ask), answered)
            .await
    }

    async fn renew(&self, term: Term) {
        let (done, renewed) = oneshot::channel();
        let message = Message::Renew(term, done);
        if self.messages.send(message).await.is_ok() {
            // An error is that nobody runs jobs here.
            drop(renewed.await);
        }
    }
}
