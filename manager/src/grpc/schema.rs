//! The service of the shards' schema.

use proto::manager::v1;
use proto::manager::v1::schema_service_server::SchemaService;
use tonic::{Request, Response, Status};

use super::{Api, caller_of, respond};

#[tonic::async_trait]
impl SchemaService for Api {
    async fn diff(
        &self,
        _request: Request<v1::DiffRequest>,
    ) -> Result<Response<v1::DiffResponse>, Status> {
        Ok(Response::new(self.0.diff_schema().await?))
    }

    async fn repair(
        &self,
        request: Request<v1::RepairRequest>,
    ) -> Result<Response<v1::RepairResponse>, Status> {
        let (caller, message) = caller_of(request);
        respond(self.0.repair_schema(&caller, message).await)
    }
}
