//! Plans and jobs.

use proto::manager::v1 as pb;
use proto::manager::v1::plan_request::Operation;
use proto::manager::v1::reshard_target::Shard;

use super::{Outcome, Session, lacks};
use crate::args::reshard::{Ask as AskJob, How, Merge, Move, Pace, Plan, Reshard, Split};
use crate::client::{Ask, Services};
use crate::error::Error;
use crate::report;

mod wait;

/// The command that shows what there is.
const SEE_JOBS: &str = "reshard list";

/// What is asked of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Pause,
    Resume,
    Cancel,
    Rollback,
    Finish,
}

impl Request {
    fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Rollback => "roll back",
            Self::Finish => "finish",
        }
    }

    /// The status that the job has when that was done.
    fn end(self) -> &'static str {
        match self {
            Self::Pause | Self::Resume | Self::Finish => "completed",
            Self::Cancel => "cancelled",
            Self::Rollback => "rolled_back",
        }
    }
}

impl Session {
    pub(super) async fn plan(&self, plan: Plan) -> Result<Outcome, Error> {
        let operation = match plan {
            Plan::Split(what) => split(what, None),
            Plan::Merge(what) => merge(what, None),
            Plan::Move(what) => some(what, None),
            Plan::AddShard(what) => add_shard(&what.shard, None),
            Plan::Drain(what) => drain(what.shard, None),
            Plan::Rebalance(what) => rebalance(what.by.as_str(), None),
        };
        // Keeping a plan changes nothing that is served: it may be asked of the next manager.
        let ask = Ask::read("make the plan", "status");
        let operation = Some(operation);
        let request = pb::PlanRequest { operation };
        let answer = self.managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.reshard.plan(request).await }
        });
        let plan = answer.await?.plan.ok_or_else(|| lacks(&ask, "plan"))?;
        Ok(self.done(&report::plan::Plan::from(plan)))
    }

    pub(super) async fn reshard(&self, command: Reshard) -> Result<Outcome, Error> {
        match command {
            Reshard::Split { what, how } => {
                let options = Some(options_of(&how));
                self.start(split(what, options), &how).await
            }
            Reshard::Merge { what, how } => {
                let options = Some(options_of(&how));
                self.start(merge(what, options), &how).await
            }
            Reshard::Move { what, how } => {
                let options = Some(options_of(&how));
                self.start(some(what, options), &how).await
            }
            Reshard::AddShard { what, how } => {
                let options = Some(options_of(&how));
                self.start(add_shard(&what.shard, options), &how).await
            }
            Reshard::Drain { what, how } => {
                let options = Some(options_of(&how));
                self.start(drain(what.shard, options), &how).await
            }
            Reshard::Rebalance { what, how } => {
                let options = Some(options_of(&how));
                self.start(rebalance(what.by.as_str(), options), &how).await
            }
            Reshard::Run { plan, pace, wait } => self.run_plan(plan, &pace, wait).await,
            Reshard::List => self.jobs().await,
            Reshard::Status { id } => Ok(self.shown(self.job(&id).await?)),
            Reshard::Wait { id } => self.wait(&id, "completed").await,
            Reshard::Pause { id } => {
                let wait = false;
                self.ask_job(AskJob { id, wait }, Request::Pause).await
            }
            Reshard::Resume(ask) => self.ask_job(ask, Request::Resume).await,
            Reshard::Cancel(ask) => self.ask_job(ask, Request::Cancel).await,
            Reshard::Rollback(ask) => self.ask_job(ask, Request::Rollback).await,
            Reshard::Finish(ask) => self.ask_job(ask, Request::Finish).await,
        }
    }

    fn shown(&self, job: pb::Job) -> Outcome {
        self.done(&report::job::Job::from(job))
    }

    async fn start(&self, operation: Operation, how: &How) -> Result<Outcome, Error> {
        let ask = if how.dry_run {
            Ask::read("make the plan", "status")
        } else {
            Ask::change("start the job", SEE_JOBS)
        };
        let send = |services: Services| start(services, operation.clone());
        let (plan, job) = self.managers.ask(&ask, send).await?;
        if how.dry_run {
            let plan = plan.ok_or_else(|| lacks(&ask, "plan"))?;
            return Ok(self.done(&report::plan::Plan::from(plan)));
        }
        let job = job.ok_or_else(|| lacks(&ask, "job"))?;
        self.started(job, how.wait, "completed").await
    }

    async fn run_plan(&self, plan: String, pace: &Pace, wait: bool) -> Result<Outcome, Error> {
        let ask = Ask::change(format!("run plan {plan:?}"), SEE_JOBS);
        let request = pb::RunPlanRequest {
            plan_id: plan,
            options: Some(options(pace)),
            r#type: String::new(),
        };
        let answer = self.managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.reshard.run_plan(request).await }
        });
        let job = answer.await?.job.ok_or_else(|| lacks(&ask, "job"))?;
        self.started(job, wait, "completed").await
    }

    /// Shows a job as it is now, or when it is over.
    async fn started(&self, job: pb::Job, wait: bool, end: &str) -> Result<Outcome, Error> {
        if wait {
            self.wait(&job.id, end).await
        } else {
            Ok(self.shown(job))
        }
    }

    async fn jobs(&self) -> Result<Outcome, Error> {
        let ask = Ask::read("list the jobs", "status");
        let answer = self.managers.ask(&ask, |mut services| async move {
            services.reshard.list_jobs(pb::ListJobsRequest {}).await
        });
        Ok(self.done(&report::job::Jobs::from(answer.await?.jobs)))
    }

    async fn job(&self, id: &str) -> Result<pb::Job, Error> {
        let ask = Ask::read(format!("show job {id:?}"), SEE_JOBS);
        let request = pb::GetJobRequest { id: id.to_owned() };
        let answer = self.managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.reshard.get_job(request).await }
        });
        answer.await?.job.ok_or_else(|| lacks(&ask, "job"))
    }

    async fn ask_job(&self, job: AskJob, request: Request) -> Result<Outcome, Error> {
        let AskJob { id, wait } = job;
        let ask = Ask::change(format!("{} job {id:?}", request.word()), SEE_JOBS);
        let send = |services: Services| ask_job(services, id.clone(), request);
        let job = self.managers.ask(&ask, send).await?;
        let job = job.ok_or_else(|| lacks(&ask, "job"))?;
        self.started(job, wait, request.end()).await
    }
}

type Answer<T> = Result<tonic::Response<T>, tonic::Status>;

/// Each operation has a method of its own, and all have an answer of one form.
async fn start(
    mut services: Services,
    operation: Operation,
) -> Answer<(Option<pb::Plan>, Option<pb::Job>)> {
    let reshard = &mut services.reshard;
    match operation {
        Operation::Split(request) => {
            let answer = reshard.split(request).await?;
            Ok(answer.map(|answer| (answer.plan, answer.job)))
        }
        Operation::Merge(request) => {
            let answer = reshard.merge(request).await?;
            Ok(answer.map(|answer| (answer.plan, answer.job)))
        }
        Operation::Move(request) => {
            let answer = reshard.r#move(request).await?;
            Ok(answer.map(|answer| (answer.plan, answer.job)))
        }
        Operation::AddShard(request) => {
            let answer = reshard.add_shard(request).await?;
            Ok(answer.map(|answer| (answer.plan, answer.job)))
        }
        Operation::Drain(request) => {
            let answer = reshard.drain(request).await?;
            Ok(answer.map(|answer| (answer.plan, answer.job)))
        }
        Operation::Rebalance(request) => {
            let answer = reshard.rebalance(request).await?;
            Ok(answer.map(|answer| (answer.plan, answer.job)))
        }
    }
}

async fn ask_job(mut services: Services, id: String, request: Request) -> Answer<Option<pb::Job>> {
    let reshard = &mut services.reshard;
    match request {
        Request::Pause => {
            let answer = reshard.pause_job(pb::PauseJobRequest { id }).await?;
            Ok(answer.map(|answer| answer.job))
        }
        Request::Resume => {
            let answer = reshard.resume_job(pb::ResumeJobRequest { id }).await?;
            Ok(answer.map(|answer| answer.job))
        }
        Request::Cancel => {
            let answer = reshard.cancel_job(pb::CancelJobRequest { id }).await?;
            Ok(answer.map(|answer| answer.job))
        }
        Request::Rollback => {
            let answer = reshard.rollback_job(pb::RollbackJobRequest { id }).await?;
            Ok(answer.map(|answer| answer.job))
        }
        Request::Finish => {
            let answer = reshard.finish_job(pb::FinishJobRequest { id }).await?;
            Ok(answer.map(|answer| answer.job))
        }
    }
}

fn split(what: Split, options: Option<pb::ReshardOptions>) -> Operation {
    Operation::Split(pb::SplitRequest {
        source_shard_id: what.source,
        target_shards: what.targets.iter().map(|text| target(text)).collect(),
        options,
    })
}

fn merge(what: Merge, options: Option<pb::ReshardOptions>) -> Operation {
    Operation::Merge(pb::MergeRequest {
        source_shard_ids: what.sources,
        target_shard: Some(target(&what.target)),
        options,
    })
}

fn some(what: Move, options: Option<pb::ReshardOptions>) -> Operation {
    Operation::Move(pb::MoveRequest {
        from: what.from,
        to: Some(target(&what.to)),
        vnodes: what.vnodes,
        count: what.count.unwrap_or(0),
        options,
    })
}

fn add_shard(shard: &str, options: Option<pb::ReshardOptions>) -> Operation {
    Operation::AddShard(pb::AddShardRequest {
        shard: Some(target(shard)),
        options,
    })
}

fn drain(shard_id: String, options: Option<pb::ReshardOptions>) -> Operation {
    Operation::Drain(pb::DrainRequest { shard_id, options })
}

fn rebalance(by: &str, options: Option<pb::ReshardOptions>) -> Operation {
    let by = by.to_owned();
    Operation::Rebalance(pb::RebalanceRequest { by, options })
}

/// A registered shard's id, or `NAME=ENDPOINT`; no id has an equals sign.
fn target(text: &str) -> pb::ReshardTarget {
    let shard = match text.split_once('=') {
        None => Shard::Id(text.to_owned()),
        Some((name, endpoint)) => Shard::NewShard(pb::CreateShardRequest {
            name: name.to_owned(),
            primary_endpoint: endpoint.to_owned(),
            ..pb::CreateShardRequest::default()
        }),
    };
    pb::ReshardTarget { shard: Some(shard) }
}

fn options_of(how: &How) -> pb::ReshardOptions {
    pb::ReshardOptions {
        dry_run: how.dry_run,
        plan_id: how.plan.clone().unwrap_or_default(),
        ..options(&how.pace)
    }
}

fn options(pace: &Pace) -> pb::ReshardOptions {
    // The manager says what it does not take; a pause of 0 would be its default.
    let max_pause_ms = u32::try_from(pace.max_pause.as_millis()).unwrap_or(u32::MAX);
    pb::ReshardOptions {
        max_pause_ms: max_pause_ms.max(1),
        keep_reverse_seconds: Some(pace.keep_reverse.as_secs()),
        max_rows_per_second: pace.max_rows_per_second.unwrap_or(0),
        max_bytes_per_second: pace.max_bytes_per_second.unwrap_or(0),
        ..pb::ReshardOptions::default()
    }
}
