//! Resharding: plans are made and jobs are shown by every manager; the leader starts and changes
//! jobs, any other one forwards that.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use platform::access::Identity;
use proto::manager::v1;
use proto::manager::v1::plan_request::Operation;
use proto::manager::v1::reshard_service_client::ReshardServiceClient;
use topology::{Snapshot, Term};

use self::draft::Draft;
use super::{Duty, Service};
use crate::caller::Caller;
use crate::control::Command;
use crate::error::Error;
use crate::forward::Answer;
use crate::reshard::api::{self, JobView, Request, Start, free_for};
use crate::reshard::ids::JobId;
use crate::reshard::plan::PlanId;
use crate::reshard::record::Options;

mod describe;
mod draft;
mod forward;
mod request;

/// How often a job that is watched is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// What came of an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Started {
    /// A dry run: the plan.
    Plan(Box<v1::Plan>),
    /// The job.
    Job(Box<v1::Job>),
}

impl Service {
    /// Makes a plan and keeps it, so that it can be run by its id.
    ///
    /// # Errors
    /// When a field is wrong, or the topology has no plan for what is wanted.
    pub async fn plan(&self, operation: &Operation) -> Result<v1::Plan, Error> {
        let options = request::options(request::options_of(operation))?;
        let loaded = self.loaded().await?;
        let draft = self.draft(&loaded, operation).await?;
        self.keep(&draft).await?;
        Ok(self.proposal(&loaded, &draft, &options).await)
    }

    /// Plans an operation and starts it as a job; a dry run only plans.
    ///
    /// # Errors
    /// As [`Self::plan`], and when the plan is not the one that was named, a shard is in use by
    /// another job, or nobody can do it.
    pub async fn reshard(
        &self,
        caller: &Caller,
        operation: Operation,
    ) -> Result<Answer<Started>, Error> {
        let given = request::options_of(&operation);
        if given.is_some_and(|options| options.dry_run) {
            let plan = self.plan(&operation).await?;
            let epoch = topology::Epoch(plan.epoch);
            let message = Started::Plan(Box::new(plan));
            return Ok(Answer { message, epoch });
        }
        let (options, wanted) = (request::options(given)?, request::plan_id(given)?);
        let term = match self.duty(caller)? {
            Duty::Ours(term) => term,
            Duty::Theirs(leader) => {
                let sent = self.forward_start(&leader, caller, operation).await;
                return self.forwarded(sent).await;
            }
        };
        let loaded = self.loaded().await?;
        let draft = self.draft(&loaded, &operation).await?;
        self.start(term, caller, draft, wanted, options).await
    }

    /// Runs a plan that was made before.
    ///
    /// # Errors
    /// When it is not kept any longer, the ring has changed, a shard is in use by another job, or
    /// nobody can do it.
    pub async fn run_plan(
        &self,
        caller: &Caller,
        request: v1::RunPlanRequest,
    ) -> Result<Answer<Started>, Error> {
        let options = request::options(request.options.as_ref())?;
        let id = request::required_plan_id(&request.plan_id)?;
        let term = match self.duty(caller)? {
            Duty::Ours(term) => term,
            Duty::Theirs(leader) => {
                let call = async |channel, request| {
                    ReshardServiceClient::new(channel).run_plan(request).await
                };
                let sent = self.0.forwarder.send(&leader, caller, request, call);
                let sent = sent
                    .await
                    .and_then(|answer| forward::started(answer, |m| (None, m.job)));
                return self.forwarded(sent).await;
            }
        };
        let stored = self.stored_plan(&id).await?;
        let kind = stored.intent.kind();
        if !request.r#type.is_empty() && request.r#type != kind.as_str() {
            let rule = format!("is that of type {kind}, not {}", request.r#type);
            return Err(Error::invalid("plan_id", rule));
        }
        let loaded = self.loaded().await?;
        let draft = Draft::try_new(&loaded, stored)?;
        self.start(term, caller, draft, Some(id), options).await
    }

    async fn start(
        &self,
        term: Term,
        caller: &Caller,
        draft: Draft,
        wanted: Option<PlanId>,
        options: Options,
    ) -> Result<Answer<Started>, Error> {
        draft.must_be(wanted.as_ref())?;
        free_for(&draft.plan, &self.0.jobs.list().await?)?;
        let mut plan = draft.plan.clone();
        for new in &draft.missing {
            // Given no vnodes, a shard changes nothing for anybody until the job flips some to it.
            let command = Command::JoinShard(new.clone());
            let written = self.write(term, caller, command, None).await?;
            plan.epoch = written.snapshot.epoch();
        }
        if !draft.missing.is_empty() {
            let found = Draft::try_new(&self.loaded().await?, draft.stored)?;
            found.must_be(Some(&plan.id))?;
            plan = found.plan;
        }
        let epoch = plan.epoch;
        let start = Start {
            term,
            author: caller.author.clone(),
            plan,
            options,
        };
        let jobs = Arc::clone(&self.0.jobs);
        // As a control write, so that a caller that goes away does not cut it short.
        let task = async move { jobs.start(start).await };
        let job = self.0.tasks.spawn("start reshard job", task).await;
        let job = job.map_err(|_| Error::Internal("the start of a job panicked"))??;
        let message = Started::Job(Box::new(describe::job(&job)));
        Ok(Answer { message, epoch })
    }

    /// All jobs that are kept, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn list_jobs(&self) -> Result<Vec<v1::Job>, Error> {
        let jobs = self.0.jobs.list().await?;
        Ok(jobs.iter().map(describe::job).collect())
    }

    /// One job.
    ///
    /// # Errors
    /// When there is none of this id, or it cannot be read.
    pub async fn find_job(&self, id: &str) -> Result<v1::Job, Error> {
        let id = job_id(id)?;
        Ok(describe::job(&self.0.jobs.find(&id).await?))
    }

    /// Asks something of a job, and gives it as it is then.
    ///
    /// # Errors
    /// When there is none of this id, its state does not allow that, or nobody can do it.
    pub async fn ask_job(
        &self,
        caller: &Caller,
        id: &str,
        request: Request,
    ) -> Result<Answer<v1::Job>, Error> {
        let term = match self.duty(caller)? {
            Duty::Ours(term) => term,
            Duty::Theirs(leader) => {
                let sent = self.forward_ask(&leader, caller, id, request).await;
                return self.forwarded(sent).await;
            }
        };
        let id = job_id(id)?;
        let (jobs, author) = (Arc::clone(&self.0.jobs), caller.author.clone());
        let task = async move { jobs.ask(term, &author, &id, request).await };
        let job = self.0.tasks.spawn("ask reshard job", task).await;
        let job = job.map_err(|_| Error::Internal("asking a job panicked"))??;
        Ok(Answer {
            message: describe::job(&job),
            epoch: self.snapshot()?.epoch(),
        })
    }

    /// The job as it is, and again whenever it changed, until it is over, the caller's credential
    /// has ended or this manager stops. An error is the last that is shown.
    ///
    /// # Errors
    /// When there is none of this id, or it cannot be read.
    pub async fn watch_job(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<impl Stream<Item = Result<v1::Job, Error>> + Send + use<>, Error> {
        let id = job_id(id)?;
        let first = self.0.jobs.find(&id).await?;
        let shown = Ok(describe::job(&first));
        let watched = Watched {
            service: self.clone(),
            reader: caller.identity.clone(),
            last: first,
        };
        let next = |watched: Option<Watched>| async { watched?.next().await };
        let rest = stream::unfold(Some(watched), next);
        Ok(stream::once(async { shown }).chain(rest))
    }
}

/// A job that is watched, as it was shown last.
struct Watched {
    service: Service,
    /// Who reads; none where everybody may.
    reader: Option<Identity>,
    last: JobView,
}

impl Watched {
    /// The next change. What cannot be read at the moment is asked for again: whoever watches a
    /// job means to see its end.
    async fn next(mut self) -> Option<(Result<v1::Job, Error>, Option<Self>)> {
        while !self.last.is_over() {
            tokio::select! {
                biased; // A process that ends keeps nobody waiting.
                () = self.service.0.stopping.requested() => return None,
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
            }
            if let Some(reader) = &self.reader
                && let Err(rejected) = self.service.0.auth.gate.recheck(reader)
            {
                return Some((Err(rejected.into()), None));
            }
            match self.service.0.jobs.find(&self.last.id).await {
                Ok(job) if job != self.last => {
                    let shown = describe::job(&job);
                    self.last = job;
                    return Some((Ok(shown), Some(self)));
                }
                Ok(_) | Err(api::Error::Store(_) | api::Error::Unavailable { .. }) => {}
                Err(error) => return Some((Err(error.into()), None)),
            }
        }
        None
    }
}

fn job_id(text: &str) -> Result<JobId, Error> {
    let unknown = |_| Error::NotFound {
        what: format!("job {}", text.chars().take(64).collect::<String>()),
    };
    text.parse().map_err(unknown)
}

/// The vnodes that a shard has left, for what is said of it.
fn is_emptied(snapshot: &Snapshot, draft: &Draft, shard: &topology::ShardId) -> bool {
    let index = snapshot.index_of(shard);
    let vnodes = snapshot.ring().vnodes().iter();
    let owned = vnodes.filter(|vnode| Some(vnode.owner) == index).count();
    let given: usize = draft
        .plan
        .flows()
        .filter(|flow| flow.from == *shard)
        .map(|flow| flow.vnodes.len())
        .sum();
    owned == given
}
