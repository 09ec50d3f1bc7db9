//! The gRPC front: `sharding.router.v1.RouterService`, health and reflection (docs/grpc-api.md).

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use platform::access::gate::{self, Guard};
use platform::access::{Need, Role};
use platform::metrics::requests::count_grpc;
use platform::probe::Readiness;
use platform::routes::methods::{self, Method};
use platform::{Kind, rates};
use proto::router::v1::router_service_server::RouterServiceServer;
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;
use topology::records::Surface;

use crate::exec::Executor;
use crate::ingress::Doors;

mod deadline;
mod failure;
mod health;
mod service;
mod value;

/// The methods with who may call them. A writer may read; what a reader may not is seen in the
/// statement.
pub const METHODS: &[Method] = &[
    Method::new("/sharding.router.v1.RouterService/Execute", READER),
    Method::new("/sharding.router.v1.RouterService/ExecuteStream", READER),
    Method::new("/sharding.router.v1.RouterService/ShardForKey", READER),
];

const READER: Need = Need::Role(Role::Reader);

/// The gRPC front as an axum router; for [`platform::serve`]. What is open to callers without a
/// credential is health.
///
/// # Panics
/// Never: the descriptors are those that this program was built with.
pub fn router(executor: Arc<Executor>, readiness: Readiness, doors: &Doors) -> Router {
    let (limits, limiter) = (doors.limits, doors.limiter_of(Surface::Grpc));
    let service = service::Service::new(executor, limits.max_result_bytes);
    let service = RouterServiceServer::new(service)
        .max_decoding_message_size(limits.max_body_bytes)
        .max_encoding_message_size(usize::MAX);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // Another program's service is among the descriptors too.
        .with_service_name(proto::router::v1::router_service_server::SERVICE_NAME)
        .build_v1()
        .expect("the build has made the descriptors from the services' own files");
    let health = HealthServer::new(health::Service::new(readiness));
    let guard = Guard {
        gate: doors.gate.clone(),
        need: Need::Identity,
    };
    let reflection = Router::new()
        .route_service(&paths_of(&reflection), reflection)
        .route_layer(from_fn_with_state(guard, gate::check));
    let named = (
        proto::router::v1::router_service_server::SERVICE_NAME,
        service,
    );
    methods::router(named, METHODS, &doors.gate, &limiter)
        .merge(reflection)
        .route_layer(from_fn_with_state(limiter, rates::limit))
        .route_layer(from_fn_with_state(doors.requests.of("grpc"), count_grpc))
        .route_service(&paths_of(&health), health)
        .fallback(unknown)
}

fn paths_of<S: NamedService>(_service: &S) -> String {
    format!("/{}/{{*method}}", S::NAME)
}

async fn unknown() -> Response {
    platform::http_error::refuse(true, Kind::Unsupported, "no such method")
}
