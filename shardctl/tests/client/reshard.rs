//! Jobs of the fake manager: each question about a job brings it one step on in its script.

use proto::manager::v1 as pb;
use proto::manager::v1::reshard_service_server::ReshardService;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

use crate::fake::{Service, locked};

type Answer<T> = Result<Response<T>, Status>;

/// The id of the only job.
pub(crate) const JOB: &str = "019a9b7c1d2e";

impl Service {
    async fn started(&self, kind: &str, said: String) -> Result<Option<pb::Job>, Status> {
        self.change().await?;
        locked(&self.0.said).push(said);
        Ok(Some(job(kind, "pending")))
    }

    /// The job in the next status of its script, the last of which stays.
    fn next(&self) -> pb::Job {
        let mut script = locked(&self.0.statuses);
        let status = if script.len() > 1 {
            script.remove(0)
        } else {
            script.first().cloned().unwrap_or_default()
        };
        job("drain", &status)
    }

    async fn asked(&self, id: &str, request: &str) -> Result<Option<pb::Job>, Status> {
        self.change().await?;
        if id != JOB {
            return Err(Status::not_found(format!("job {id} does not exist")));
        }
        locked(&self.0.said).push(request.to_owned());
        Ok(Some(self.next()))
    }
}

fn job(kind: &str, status: &str) -> pb::Job {
    pb::Job {
        id: JOB.to_owned(),
        r#type: kind.to_owned(),
        status: status.to_owned(),
        settled: true,
        error_message: if status == "failed" { "disk full" } else { "" }.to_owned(),
        ..pb::Job::default()
    }
}

fn plan(kind: &str) -> Option<pb::Plan> {
    Some(pb::Plan {
        id: "0123456789abcdef".to_owned(),
        r#type: kind.to_owned(),
        ..pb::Plan::default()
    })
}

fn is_dry(options: Option<&pb::ReshardOptions>) -> bool {
    options.is_some_and(|options| options.dry_run)
}

macro_rules! starts {
    ($request:ident, $kind:literal, $service:ident, $Response:ident) => {{
        let message = $request.into_inner();
        if is_dry(message.options.as_ref()) {
            let (plan, job) = (plan($kind), None);
            return Ok(Response::new(pb::$Response { plan, job }));
        }
        let job = $service.started($kind, format!("{message:?}")).await?;
        Ok(Response::new(pb::$Response { plan: None, job }))
    }};
}

macro_rules! asks {
    ($request:ident, $word:literal, $service:ident, $Response:ident) => {{
        let job = $service.asked(&$request.get_ref().id, $word).await?;
        Ok(Response::new(pb::$Response { job }))
    }};
}

#[tonic::async_trait]
impl ReshardService for Service {
    type WatchJobStream = Empty<Result<pb::WatchJobResponse, Status>>;

    async fn plan(&self, request: Request<pb::PlanRequest>) -> Answer<pb::PlanResponse> {
        locked(&self.0.said).push(format!("{:?}", request.into_inner().operation));
        let plan = plan("add_shard");
        Ok(Response::new(pb::PlanResponse { plan }))
    }

    async fn run_plan(&self, request: Request<pb::RunPlanRequest>) -> Answer<pb::RunPlanResponse> {
        let said = request.into_inner().plan_id;
        let job = self.started("drain", said).await?;
        Ok(Response::new(pb::RunPlanResponse { job }))
    }

    async fn split(&self, request: Request<pb::SplitRequest>) -> Answer<pb::SplitResponse> {
        starts!(request, "split", self, SplitResponse)
    }

    async fn merge(&self, request: Request<pb::MergeRequest>) -> Answer<pb::MergeResponse> {
        starts!(request, "merge", self, MergeResponse)
    }

    async fn r#move(&self, request: Request<pb::MoveRequest>) -> Answer<pb::MoveResponse> {
        starts!(request, "move", self, MoveResponse)
    }

    async fn add_shard(
        &self,
        request: Request<pb::AddShardRequest>,
    ) -> Answer<pb::AddShardResponse> {
        starts!(request, "add_shard", self, AddShardResponse)
    }

    async fn drain(&self, request: Request<pb::DrainRequest>) -> Answer<pb::DrainResponse> {
        starts!(request, "drain", self, DrainResponse)
    }

    async fn rebalance(
        &self,
        request: Request<pb::RebalanceRequest>,
    ) -> Answer<pb::RebalanceResponse> {
        starts!(request, "rebalance", self, RebalanceResponse)
    }

    async fn list_jobs(
        &self,
        _request: Request<pb::ListJobsRequest>,
    ) -> Answer<pb::ListJobsResponse> {
        let jobs = vec![self.next()];
        Ok(Response::new(pb::ListJobsResponse { jobs }))
    }

    async fn get_job(&self, request: Request<pb::GetJobRequest>) -> Answer<pb::GetJobResponse> {
        let id = request.into_inner().id;
        if id != JOB {
            return Err(Status::not_found(format!("job {id} does not exist")));
        }
        let job = Some(self.next());
        Ok(Response::new(pb::GetJobResponse { job }))
    }

    async fn pause_job(
        &self,
        request: Request<pb::PauseJobRequest>,
    ) -> Answer<pb::PauseJobResponse> {
        asks!(request, "pause", self, PauseJobResponse)
    }

    async fn resume_job(
        &self,
        request: Request<pb::ResumeJobRequest>,
    ) -> Answer<pb::ResumeJobResponse> {
        asks!(request, "resume", self, ResumeJobResponse)
    }

    async fn cancel_job(
        &self,
        request: Request<pb::CancelJobRequest>,
    ) -> Answer<pb::CancelJobResponse> {
        asks!(request, "cancel", self, CancelJobResponse)
    }

    async fn rollback_job(
        &self,
        request: Request<pb::RollbackJobRequest>,
    ) -> Answer<pb::RollbackJobResponse> {
        asks!(request, "rollback", self, RollbackJobResponse)
    }

    async fn finish_job(
        &self,
        request: Request<pb::FinishJobRequest>,
    ) -> Answer<pb::FinishJobResponse> {
        asks!(request, "finish", self, FinishJobResponse)
    }

    async fn watch_job(
        &self,
        _request: Request<pb::WatchJobRequest>,
    ) -> Answer<Self::WatchJobStream> {
        Err(Status::unimplemented("shardctl asks for the job instead"))
    }
}
