//! REST under `/api/v1`: each handler is one operation of [`Service`]. The JSON shapes are in the
//! modules of the resources.

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use platform::metrics::requests::count_http;
use platform::{body, headers, http_error, rates};

use crate::audit::refusals;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::service::Service;

mod audit;
mod auth;
mod failover;
mod reshard;
mod routers;
pub mod routes;
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

/// How long it may take to come; what is configured for the whole request may be shorter.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Serves the operations: the table of [`routes`], behind what counts and notes requests.
pub fn router(service: Service, metrics: &Metrics) -> Router {
    let bodies = body::Limits {
        max_bytes: MAX_BODY_BYTES,
        timeout: BODY_TIMEOUT,
    };
    let (gate, limiter) = (service.gate(), service.limiter());
    platform::routes::router(routes::routes(), &gate, &limiter, bodies)
        .method_not_allowed_fallback(http_error::method_not_allowed)
        .route_layer(from_fn_with_state(limiter, rates::limit))
        .route_layer(from_fn_with_state(metrics.requests.of("rest"), count_http))
        .route_layer(from_fn_with_state(service.refusals(), refusals::watch))
        .layer(from_fn(headers::secure))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(service)
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
