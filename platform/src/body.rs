//! Bodies of requests that come too slowly or are too long: read whole, within a time, before
//! a handler runs.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;
use http::header::CONTENT_LENGTH;

use crate::Kind;
use crate::http_error::respond;

/// What a body may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest body.
    pub max_bytes: usize,
    /// From the head of a request to the end of its body.
    pub timeout: Duration,
}

/// Middleware (`from_fn_with_state(limits, body::read)`): hands bodies on that have been read to
/// their end.
pub async fn read(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let said = parts.headers.get(CONTENT_LENGTH);
    let said = said.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if said.is_some_and(|length| length > limits.max_bytes) {
        return too_long();
    }
    let reading = to_bytes(body, limits.max_bytes);
    match tokio::time::timeout(limits.timeout, reading).await {
        Ok(Ok(bytes)) => {
            next.run(Request::from_parts(parts, Body::from(bytes)))
                .await
        }
        // It broke off, or is longer; a client that has gone reads neither answer.
        Ok(Err(_)) => too_long(),
        Err(_) => respond(
            StatusCode::REQUEST_TIMEOUT,
            Kind::Timeout.as_str(),
            "the body did not come in time",
        ),
    }
}

fn too_long() -> Response {
    respond(
        StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Exhausted.as_str(),
        "the body is longer than is accepted",
    )
}
