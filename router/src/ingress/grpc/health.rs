//! `grpc.health.v1.Health`: says what the process's readiness says at that moment.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use platform::probe::Readiness;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

/// How late a watcher may learn of a change.
const INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, Clone)]
pub(super) struct Service {
    readiness: Readiness,
}

impl Service {
    pub(super) fn new(readiness: Readiness) -> Self {
        Self { readiness }
    }

    /// The status of a service; the empty name is the whole process.
    fn status_of(&self, service: &str) -> ServingStatus {
        match service {
            "" | proto::router::v1::router_service_server::SERVICE_NAME => {
                if self.readiness.is_ready() {
                    ServingStatus::Serving
                } else {
                    ServingStatus::NotServing
                }
            }
            _ => ServingStatus::ServiceUnknown,
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl health_server::Health for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match self.status_of(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("no such service")),
            status @ (ServingStatus::Unknown
            | ServingStatus::Serving
            | ServingStatus::NotServing) => Ok(Response::new(response(status))),
        }
    }

    /// Sends the status at once and after each change; ends when the process drains, since its
    /// end must not wait for watchers.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (this, service) = (self.clone(), request.into_inner().service);
        let changes = stream::unfold(None, move |last: Option<ServingStatus>| {
            let (this, service) = (this.clone(), service.clone());
            async move {
                loop {
                    let status = this.status_of(&service);
                    if last != Some(status) {
                        return Some((Ok(response(status)), Some(status)));
                    }
                    if this.readiness.is_draining() {
                        return None;
                    }
                    tokio::time::sleep(INTERVAL).await;
                }
            }
        });
        Ok(Response::new(Box::pin(changes)))
    }
}
