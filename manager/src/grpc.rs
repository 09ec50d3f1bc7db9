//! gRPC: each method is one operation of [`Service`].

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::Response as HttpResponse;
use axum::routing::any;
use platform::access::gate::{self, Guard};
use platform::metrics::requests::count_grpc;
use platform::routes::methods as routes;
use platform::{Kind, http_error, rates};
use proto::manager::v1;
use proto::manager::v1::audit_service_server::AuditServiceServer;
use proto::manager::v1::auth_service_server::AuthServiceServer;
use proto::manager::v1::reshard_service_server::ReshardServiceServer;
use proto::manager::v1::schema_service_server::SchemaServiceServer;
use proto::manager::v1::shard_service_server::{ShardService, ShardServiceServer};
use proto::manager::v1::table_service_server::{TableService, TableServiceServer};
use proto::manager::v1::topology_service_server::{TopologyService, TopologyServiceServer};
use proto::manager::v1::user_service_server::UserServiceServer;
use tonic::metadata::MetadataValue;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::{Health, HealthServer};

use crate::audit::refusals;
use crate::caller::Caller;
use crate::error::Error;
use crate::forward::{Answer, EPOCH};
use crate::grpc::methods::METHODS;
use crate::metrics::Metrics;
use crate::service::Service;

mod audit;
mod auth;
pub mod methods;
mod reshard;
mod schema;
mod users;

/// Longest request.
const MAX_REQUEST_BYTES: usize = 256 << 10;

/// The services of the manager, for the health report.
pub const SERVICES: [&str; 8] = [
    <AuditServiceServer<Api> as NamedService>::NAME,
    <AuthServiceServer<Api> as NamedService>::NAME,
    <ReshardServiceServer<Api> as NamedService>::NAME,
    <SchemaServiceServer<Api> as NamedService>::NAME,
    <ShardServiceServer<Api> as NamedService>::NAME,
    <TableServiceServer<Api> as NamedService>::NAME,
    <TopologyServiceServer<Api> as NamedService>::NAME,
    <UserServiceServer<Api> as NamedService>::NAME,
];

/// The gRPC front.
#[derive(Debug, Clone)]
pub struct Api(Service);

/// Why the front cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("the descriptors of the services are not readable")]
pub struct InvalidDescriptors(#[from] tonic_reflection::server::Error);

/// Serves the operations, reflection and health; what is open to callers without a credential is in
/// [`methods::METHODS`], and health.
///
/// # Errors
/// When the built-in descriptors are damaged.
pub fn router(
    service: Service,
    metrics: &Metrics,
    health: HealthServer<impl Health>,
) -> Result<Router, InvalidDescriptors> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (recorder, limiter) = (service.refusals(), service.limiter());
    let gate = service.gate();
    let api = Api(service);
    let limit = MAX_REQUEST_BYTES;
    let shards = ShardServiceServer::new(api.clone()).max_decoding_message_size(limit);
    let tables = TableServiceServer::new(api.clone()).max_decoding_message_size(limit);
    let users = UserServiceServer::new(api.clone()).max_decoding_message_size(limit);
    let reshard = ReshardServiceServer::new(api.clone()).max_decoding_message_size(limit);
    let schema = SchemaServiceServer::new(api.clone()).max_decoding_message_size(limit);
    let audit = AuditServiceServer::new(api.clone()).max_decoding_message_size(limit);
    let auth = AuthServiceServer::new(api.clone()).max_decoding_message_size(limit);
    let topology = TopologyServiceServer::new(api).max_decoding_message_size(limit);
    let guarded = Router::new()
        .merge(routes::router(named(shards), METHODS, &gate, &limiter))
        .merge(routes::router(named(tables), METHODS, &gate, &limiter))
        .merge(routes::router(named(topology), METHODS, &gate, &limiter))
        .merge(routes::router(named(users), METHODS, &gate, &limiter))
        .merge(routes::router(named(schema), METHODS, &gate, &limiter))
        .merge(routes::router(named(reshard), METHODS, &gate, &limiter))
        .merge(routes::router(named(audit), METHODS, &gate, &limiter))
        .merge(routes::router(named(auth), METHODS, &gate, &limiter));
    let v1 = reflection().build_v1()?;
    // Older clients ask for the alpha version only.
    let v1alpha = reflection().build_v1alpha()?;
    let need = methods::REFLECTION;
    let guard = Guard { gate, need };
    let reflection = Router::new()
        .route_service(&path_of(&v1), v1)
        .route_service(&path_of(&v1alpha), v1alpha)
        .route_layer(from_fn_with_state(guard, gate::check));
    let guarded = guarded
        .merge(reflection)
        .route_layer(from_fn_with_state(limiter, rates::limit))
        .route_layer(from_fn_with_state(metrics.requests.of("grpc"), count_grpc))
        .route_layer(from_fn_with_state(recorder, refusals::watch));
    let open = Router::new().route_service(&path_of(&health), health);
    Ok(guarded.merge(open).fallback(any(unknown)))
}

fn named<S: NamedService>(service: S) -> (&'static str, S) {
    (S::NAME, service)
}

fn path_of<S: NamedService>(_service: &S) -> String {
    format!("/{}/{{*method}}", S::NAME)
}

async fn unknown() -> HttpResponse {
    http_error::refuse(true, Kind::Unsupported, "no such method")
}

fn caller_of<T>(request: Request<T>) -> (Caller, T) {
    let (metadata, extensions, message) = request.into_parts();
    let headers = metadata.into_headers();
    (Caller::of(&headers, &extensions), message)
}

/// The answer to a mutation, with its epoch for the manager that may have forwarded it.
fn respond<T>(answer: Result<Answer<T>, Error>) -> Result<Response<T>, Status> {
    let Answer { message, epoch } = answer?;
    let mut response = Response::new(message);
    let epoch = MetadataValue::from(epoch.0);
    response.metadata_mut().insert(EPOCH, epoch);
    Ok(response)
}

#[tonic::async_trait]
impl ShardService for Api {
    async fn create_shard(
        &self,
        request: Request<v1::CreateShardRequest>,
    ) -> Result<Response<v1::CreateShardResponse>, Status> {
        let (caller, message) = caller_of(request);
        respond(self.0.create_shard(&caller, message).await)
    }

    async fn list_shards(
        &self,
        _request: Request<v1::ListShardsRequest>,
    ) -> Result<Response<v1::ListShardsResponse>, Status> {
        Ok(Response::new(self.0.list_shards()?))
    }

    async fn get_shard(
        &self,
        request: Request<v1::GetShardRequest>,
    ) -> Result<Response<v1::GetShardResponse>, Status> {
        Ok(Response::new(self.0.find_shard(request.get_ref())?))
    }

    async fn delete_shard(
        &self,
        request: Request<v1::DeleteShardRequest>,
    ) -> Result<Response<v1::DeleteShardResponse>, Status> {
        let (caller, message) = caller_of(request);
        respond(self.0.delete_shard(&caller, message).await)
    }

    async fn promote_shard(
        &self,
        request: Request<v1::PromoteShardRequest>,
    ) -> Result<Response<v1::PromoteShardResponse>, Status> {
        let (caller, message) = caller_of(request);
        respond(self.0.promote_shard(&caller, message).await)
    }
}

#[tonic::async_trait]
impl TableService for Api {
    async fn create_group(
        &self,
        request: Request<v1::CreateGroupRequest>,
    ) -> Result<Response<v1::CreateGroupResponse>, Status> {
        let (caller, message) = caller_of(request);
        respond(self.0.create_group(&caller, message).await)
    }

    async fn list_groups(
        &self,
        _request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        Ok(Response::new(self.0.list_groups()?))
    }

    async fn create_table(
        &self,
        request: Request<v1::CreateTableRequest>,
    ) -> Result<Response<v1::CreateTableResponse>, Status> {
        let (caller, message) = caller_of(request);
        respond(self.0.create_table(&caller, message).await)
    }

    async fn list_tables(
        &self,
        _request: Request<v1::ListTablesRequest>,
    ) -> Result<Response<v1::ListTablesResponse>, Status> {
        Ok(Response::new(self.0.list_tables()?))
    }

    async fn delete_table(
        &self,
        request: Request<v1::DeleteTableRequest>,
    ) -> Result<Response<v1::DeleteTableResponse>, Status> {
        let (caller, message) = caller_of(request);
        respond(self.0.delete_table(&caller, message).await)
    }

    async fn count_rows(
        &self,
        request: Request<v1::CountRowsRequest>,
    ) -> Result<Response<v1::CountRowsResponse>, Status> {
        let counts = self.0.count_rows(request.into_inner()).await?;
        Ok(Response::new(counts))
    }
}

#[tonic::async_trait]
impl TopologyService for Api {
    async fn get_ring(
        &self,
        _request: Request<v1::GetRingRequest>,
    ) -> Result<Response<v1::GetRingResponse>, Status> {
        Ok(Response::new(self.0.ring()?))
    }

    async fn get_topology(
        &self,
        _request: Request<v1::GetTopologyRequest>,
    ) -> Result<Response<v1::GetTopologyResponse>, Status> {
        Ok(Response::new(self.0.topology()?))
    }

    async fn shard_for_key(
        &self,
        request: Request<v1::ShardForKeyRequest>,
    ) -> Result<Response<v1::ShardForKeyResponse>, Status> {
        Ok(Response::new(self.0.shard_for_key(request.get_ref())?))
    }

    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        Ok(Response::new(self.0.status()))
    }

    async fn list_routers(
        &self,
        _request: Request<v1::ListRoutersRequest>,
    ) -> Result<Response<v1::ListRoutersResponse>, Status> {
        Ok(Response::new(self.0.list_routers().await?))
    }

    async fn inspect(
        &self,
        _request: Request<v1::InspectRequest>,
    ) -> Result<Response<v1::InspectResponse>, Status> {
        Ok(Response::new(self.0.inspect().await?))
    }
}
