//! gRPC of resharding.

use futures_util::stream::{BoxStream, StreamExt as _};
use proto::manager::v1;
use proto::manager::v1::plan_request::Operation;
use proto::manager::v1::reshard_service_server::ReshardService;
use tonic::{Request, Response, Status};

use super::{Api, caller_of, respond};
use crate::error::Error;
use crate::forward::Answer;
use crate::reshard::api::Request as Ask;
use crate::service::reshard::Started;

fn parts(started: Started) -> (Option<v1::Plan>, Option<v1::Job>) {
    match started {
        Started::Plan(plan) => (Some(*plan), None),
        Started::Job(job) => (None, Some(*job)),
    }
}

#[tonic::async_trait]
impl ReshardService for Api {
    type WatchJobStream = BoxStream<'static, Result<v1::WatchJobResponse, Status>>;

    async fn plan(
        &self,
        request: Request<v1::PlanRequest>,
    ) -> Result<Response<v1::PlanResponse>, Status> {
        let operation = request.into_inner().operation;
        let missing = || Error::invalid("operation", "must be one of those there are");
        let plan = self.0.plan(&operation.ok_or_else(missing)?).await?;
        Ok(Response::new(v1::PlanResponse { plan: Some(plan) }))
    }

    async fn run_plan(
        &self,
        request: Request<v1::RunPlanRequest>,
    ) -> Result<Response<v1::RunPlanResponse>, Status> {
        let (caller, message) = caller_of(request);
        let started = self.0.run_plan(&caller, message).await;
        respond(started.map(|started| {
            let (_, job) = parts(started.message);
            let message = v1::RunPlanResponse { job };
            let epoch = started.epoch;
            Answer { message, epoch }
        }))
    }

    async fn list_jobs(
        &self,
        _request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let jobs = self.0.list_jobs().await?;
        Ok(Response::new(v1::ListJobsResponse { jobs }))
    }

    async fn get_job(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Result<Response<v1::GetJobResponse>, Status> {
        let job = Some(self.0.find_job(&request.get_ref().id).await?);
        Ok(Response::new(v1::GetJobResponse { job }))
    }

    async fn watch_job(
        &self,
        request: Request<v1::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let (caller, message) = caller_of(request);
        let jobs = self.0.watch_job(&caller, &message.id).await?;
        let answer = |job: Result<v1::Job, Error>| {
            let job = Some(job?);
            Ok(v1::WatchJobResponse { job })
        };
        Ok(Response::new(jobs.map(answer).boxed()))
    }

    async fn split(
        &self,
        request: Request<v1::SplitRequest>,
    ) -> Result<Response<v1::SplitResponse>, Status> {
        let (caller, message) = caller_of(request);
        let started = self.0.reshard(&caller, Operation::Split(message)).await;
        respond(started.map(|started| {
            let (plan, job) = parts(started.message);
            let message = v1::SplitResponse { plan, job };
            let epoch = started.epoch;
            Answer { message, epoch }
        }))
    }

    async fn merge(
        &self,
        request: Request<v1::MergeRequest>,
    ) -> Result<Response<v1::MergeResponse>, Status> {
        let (caller, message) = caller_of(request);
        let started = self.0.reshard(&caller, Operation::Merge(message)).await;
        respond(started.map(|started| {
            let (plan, job) = parts(started.message);
            let message = v1::MergeResponse { plan, job };
            let epoch = started.epoch;
            Answer { message, epoch }
        }))
    }

    async fn r#move(
        &self,
        request: Request<v1::MoveRequest>,
    ) -> Result<Response<v1::MoveResponse>, Status> {
        let (caller, message) = caller_of(request);
        let started = self.0.reshard(&caller, Operation::Move(message)).await;
        respond(started.map(|started| {
            let (plan, job) = parts(started.message);
            let message = v1::MoveResponse { plan, job };
            let epoch = started.epoch;
            Answer { message, epoch }
        }))
    }

    async fn add_shard(
        &self,
        request: Request<v1::AddShardRequest>,
    ) -> Result<Response<v1::AddShardResponse>, Status> {
        let (caller, message) = caller_of(request);
        let started = self.0.reshard(&caller, Operation::AddShard(message)).await;
        respond(started.map(|started| {
            let (plan, job) = parts(started.message);
            let message = v1::AddShardResponse { plan, job };
            let epoch = started.epoch;
            Answer { message, epoch }
        }))
    }

    async fn drain(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        let (caller, message) = caller_of(request);
        let started = self.0.reshard(&caller, Operation::Drain(message)).await;
        respond(started.map(|started| {
            let (plan, job) = parts(started.message);
            let message = v1::DrainResponse { plan, job };
            let epoch = started.epoch;
            Answer { message, epoch }
        }))
    }

    async fn rebalance(
        &self,
        request: Request<v1::RebalanceRequest>,
    ) -> Result<Response<v1::RebalanceResponse>, Status> {
        let (caller, message) = caller_of(request);
        let started = self.0.reshard(&caller, Operation::Rebalance(message)).await;
        respond(started.map(|started| {
            let (plan, job) = parts(started.message);
            let message = v1::RebalanceResponse { plan, job };
            let epoch = started.epoch;
            Answer { message, epoch }
        }))
    }

    async fn pause_job(
        &self,
        request: Request<v1::PauseJobRequest>,
    ) -> Result<Response<v1::PauseJobResponse>, Status> {
        let (caller, message) = caller_of(request);
        let asked = self.0.ask_job(&caller, &message.id, Ask::Pause).await;
        respond(asked.map(|asked| {
            let (job, epoch) = (Some(asked.message), asked.epoch);
            let message = v1::PauseJobResponse { job };
            Answer { message, epoch }
        }))
    }

    async fn resume_job(
        &self,
        request: Request<v1::ResumeJobRequest>,
    ) -> Result<Response<v1::ResumeJobResponse>, Status> {
        let (caller, message) = caller_of(request);
        let asked = self.0.ask_job(&caller, &message.id, Ask::Resume).await;
        respond(asked.map(|asked| {
            let (job, epoch) = (Some(asked.message), asked.epoch);
            let message = v1::ResumeJobResponse { job };
            Answer { message, epoch }
        }))
    }

    async fn cancel_job(
        &self,
        request: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::CancelJobResponse>, Status> {
        let (caller, message) = caller_of(request);
        let asked = self.0.ask_job(&caller, &message.id, Ask::Cancel).await;
        respond(asked.map(|asked| {
            let (job, epoch) = (Some(asked.message), asked.epoch);
            let message = v1::CancelJobResponse { job };
            Answer { message, epoch }
        }))
    }

    async fn rollback_job(
        &self,
        request: Request<v1::RollbackJobRequest>,
    ) -> Result<Response<v1::RollbackJobResponse>, Status> {
        let (caller, message) = caller_of(request);
        let asked = self.0.ask_job(&caller, &message.id, Ask::Rollback).await;
        respond(asked.map(|asked| {
            let (job, epoch) = (Some(asked.message), asked.epoch);
            let message = v1::RollbackJobResponse { job };
            Answer { message, epoch }
        }))
    }

    async fn finish_job(
        &self,
        request: Request<v1::FinishJobRequest>,
    ) -> Result<Response<v1::FinishJobResponse>, Status> {
        let (caller, message) = caller_of(request);
        let asked = self.0.ask_job(&caller, &message.id, Ask::Finish).await;
        respond(asked.map(|asked| {
            let (job, epoch) = (Some(asked.message), asked.epoch);
            let message = v1::FinishJobResponse { job };
            Answer { message, epoch }
        }))
    }
}
