//! REST under `/api/v1`: each handler is one operation of [`Service`]. The JSON shapes are in the
//! modules of the resources.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use platform::bearer::{self, Verifier};
use platform::{headers, http_error, rates};

use crate::audit::refusals;
use crate::error::Error;
use crate::metrics::{Metrics, count_rest};
use crate::service::Service;

mod audit;
mod failover;
mod reshard;
mod routers;
mod schema;
mod shards;
mod system;
mod tables;
mod topology;
mod users;

#[cfg(test)]
mod tests;

/// Longest body.
const MAX_BODY_BYTES: usize = 256 << 10;

/// Serves the operations; all of them need a token where there is a verifier.
pub fn router(service: Service, verifier: Option<Verifier>, metrics: Metrics) -> Router {
    Router::new()
        .route("/api/v1/shards", get(shards::list).post(shards::create))
        .route(
            "/api/v1/shards/{id}",
            get(shards::find).delete(shards::delete),
        )
        .route("/api/v1/shards/{id}/promote", post(failover::promote))
        .route(
            "/api/v1/groups",
            get(tables::list_groups).post(tables::create_group),
        )
        .route("/api/v1/tables", get(tables::list).post(tables::create))
        .route(
            "/api/v1/tables/{name}",
            get(tables::find).delete(tables::delete),
        )
        .route("/api/v1/users", get(users::list).post(users::create))
        .route(
            "/api/v1/users/{name}",
            get(users::find)
                .patch(users::update)
                .put(users::update)
                .delete(users::delete),
        )
        .merge(reshard_routes())
        .route("/api/v1/schema/diff", get(schema::diff))
        .route("/api/v1/schema/repair", post(schema::repair))
        .route("/api/v1/ring", get(topology::ring))
        .route("/api/v1/topology", get(topology::topology))
        .route("/api/v1/shard-for-key", get(topology::shard_for_key))
        .route("/api/v1/routers", get(routers::list))
        .route("/api/v1/audit", get(audit::list))
        .route("/api/v1/audit/verify", get(audit::verify))
        .route("/api/v1/health", get(system::health))
        .route("/api/v1/version", get(system::version))
        .method_not_allowed_fallback(http_error::method_not_allowed)
        .route_layer(from_fn_with_state(metrics, count_rest))
        .route_layer(from_fn(refusals::name))
        .route_layer(from_fn_with_state(verifier, bearer::require))
        .route_layer(from_fn_with_state(service.limiter(), rates::limit))
        .route_layer(from_fn_with_state(service.refusals(), refusals::watch))
        .layer(from_fn(headers::secure))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(service)
}

fn reshard_routes() -> Router<Service> {
    use reshard::body::{AddShard, Drain, Merge, Move, Rebalance, Split};
    Router::new()
        .route("/api/v1/reshard/plan", post(reshard::plan))
        .route("/api/v1/reshard/run", post(reshard::run_plan))
        .route("/api/v1/reshard/split", post(reshard::start::<Split>))
        .route("/api/v1/reshard/merge", post(reshard::start::<Merge>))
        .route("/api/v1/reshard/move", post(reshard::start::<Move>))
        .route("/api/v1/reshard/drain", post(reshard::start::<Drain>))
        .route(
            "/api/v1/reshard/add-shard",
            post(reshard::start::<AddShard>),
        )
        .route(
            "/api/v1/reshard/rebalance",
            post(reshard::start::<Rebalance>),
        )
        .route("/api/v1/reshard/jobs", get(reshard::list))
        .route("/api/v1/reshard/jobs/{id}", get(reshard::find))
        .route("/api/v1/reshard/jobs/{id}/events", get(reshard::events))
        .route("/api/v1/reshard/jobs/{id}/{request}", post(reshard::ask))
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let code = self.code();
        let status = StatusCode::from_u16(code.http_status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = http_error::respond(status, code.as_str(), &self.public_text());
        if let Self::FromLeader { .. } = self {
            response.extensions_mut().insert(refusals::FromLeader);
        }
        response
    }
}
