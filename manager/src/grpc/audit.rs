//! The service of the audit log.

use proto::manager::v1;
use proto::manager::v1::audit_service_server::AuditService;
use tonic::{Request, Response, Status};

use super::Api;

#[tonic::async_trait]
impl AuditService for Api {
    async fn list_entries(
        &self,
        request: Request<v1::ListEntriesRequest>,
    ) -> Result<Response<v1::ListEntriesResponse>, Status> {
        Ok(Response::new(
            self.0.list_entries(request.into_inner()).await?,
        ))
    }

    async fn verify(
        &self,
        _request: Request<v1::VerifyRequest>,
    ) -> Result<Response<v1::VerifyResponse>, Status> {
        Ok(Response::new(self.0.verify_entries().await?))
    }
}
