//! Resharding requests sent on to the leader, each by its own method.

use proto::manager::v1;
use proto::manager::v1::plan_request::Operation;
use proto::manager::v1::reshard_service_client::ReshardServiceClient;
use tonic::transport::Channel;

use super::super::Service;
use super::Started;
use crate::caller::Caller;
use crate::error::Error;
use crate::forward::Answer;
use crate::leader::Leader;
use crate::reshard::api::Request;

impl Service {
    pub(super) async fn forward_start(
        &self,
        leader: &Leader,
        caller: &Caller,
        operation: Operation,
    ) -> Result<Answer<Started>, Error> {
        let forwarder = &self.0.forwarder;
        match operation {
            Operation::Split(request) => {
                let call = async |channel, request| client(channel).split(request).await;
                let sent = forwarder.send(leader, caller, request, call).await?;
                started(sent, |message| (message.plan, message.job))
            }
            Operation::Merge(request) => {
                let call = async |channel, request| client(channel).merge(request).await;
                let sent = forwarder.send(leader, caller, request, call).await?;
                started(sent, |message| (message.plan, message.job))
            }
            Operation::Move(request) => {
                let call = async |channel, request| client(channel).r#move(request).await;
                let sent = forwarder.send(leader, caller, request, call).await?;
                started(sent, |message| (message.plan, message.job))
            }
            Operation::AddShard(request) => {
                let call = async |channel, request| client(channel).add_shard(request).await;
                let sent = forwarder.send(leader, caller, request, call).await?;
                started(sent, |message| (message.plan, message.job))
            }
            Operation::Drain(request) => {
                let call = async |channel, request| client(channel).drain(request).await;
                let sent = forwarder.send(leader, caller, request, call).await?;
                started(sent, |message| (message.plan, message.job))
            }
            Operation::Rebalance(request) => {
                let call = async |channel, request| client(channel).rebalance(request).await;
                let sent = forwarder.send(leader, caller, request, call).await?;
                started(sent, |message| (message.plan, message.job))
            }
        }
    }

    pub(super) async fn forward_ask(
        &self,
        leader: &Leader,
        caller: &Caller,
        id: &str,
        request: Request,
    ) -> Result<Answer<v1::Job>, Error> {
        let (forwarder, id) = (&self.0.forwarder, id.to_owned());
        match request {
            Request::Pause => {
                let call = async |channel, request| client(channel).pause_job(request).await;
                let message = v1::PauseJobRequest { id };
                let sent = forwarder.send(leader, caller, message, call).await?;
                one(sent, |message| message.job)
            }
            Request::Resume => {
                let call = async |channel, request| client(channel).resume_job(request).await;
                let message = v1::ResumeJobRequest { id };
                let sent = forwarder.send(leader, caller, message, call).await?;
                one(sent, |message| message.job)
            }
            Request::Cancel => {
                let call = async |channel, request| client(channel).cancel_job(request).await;
                let message = v1::CancelJobRequest { id };
                let sent = forwarder.send(leader, caller, message, call).await?;
                one(sent, |message| message.job)
            }
            Request::Rollback => {
                let call = async |channel, request| client(channel).rollback_job(request).await;
                let message = v1::RollbackJobRequest { id };
                let sent = forwarder.send(leader, caller, message, call).await?;
                one(sent, |message| message.job)
            }
            Request::Finish => {
                let call = async |channel, request| client(channel).finish_job(request).await;
                let message = v1::FinishJobRequest { id };
                let sent = forwarder.send(leader, caller, message, call).await?;
                one(sent, |message| message.job)
            }
        }
    }
}

fn client(channel: Channel) -> ReshardServiceClient<Channel> {
    ReshardServiceClient::new(channel)
}

/// The answer to an operation, which has a plan or a job.
pub(super) fn started<T>(
    answer: Answer<T>,
    parts: impl FnOnce(T) -> (Option<v1::Plan>, Option<v1::Job>),
) -> Result<Answer<Started>, Error> {
    let Answer { message, epoch } = answer;
    let message = match parts(message) {
        (_, Some(job)) => Started::Job(Box::new(job)),
        (Some(plan), None) => Started::Plan(Box::new(plan)),
        (None, None) => return Err(Error::Internal("the leader's answer holds no job")),
    };
    Ok(Answer { message, epoch })
}

fn one<T>(
    answer: Answer<T>,
    job: impl FnOnce(T) -> Option<v1::Job>,
) -> Result<Answer<v1::Job>, Error> {
    let Answer { message, epoch } = answer;
    let job = job(message).ok_or(Error::Internal("the leader's answer holds no job"))?;
    let message = job;
    Ok(Answer { message, epoch })
}
