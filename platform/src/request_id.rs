//! Request ids: one for each HTTP or gRPC request, from the client or made here, in every log
//! line of the request and in its answer.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};
use tracing::Instrument as _;

use crate::trace;

/// The header that carries the id both ways.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// Longer ids are replaced: they would fill the log.
pub const MAX_BYTES: usize = 128;

/// The id of a request, found among its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// A new random id: 128 bits in hexadecimal digits.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()).into())
    }

    /// A client's id, if it is 1 to [`MAX_BYTES`] visible ASCII characters.
    #[must_use]
    pub fn try_new(text: &str) -> Option<Self> {
        let valid =
            (1..=MAX_BYTES).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        valid.then(|| Self(text.into()))
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Middleware (`axum::middleware::from_fn(request_id::assign)`): takes or makes the id, hands it
/// on as an extension, runs the request in a span that carries it, and puts it into the answer.
/// [`crate::serve`] does this for whatever it serves; a second time changes nothing.
pub async fn assign(mut request: Request, next: Next) -> Response {
    if request.extensions().get::<RequestId>().is_some() {
        return next.run(request).await;
    }
    let given = request
        .headers()
        .get(&HEADER)
        .and_then(|value| value.to_str().ok());
    let id = given
        .and_then(RequestId::try_new)
        .unwrap_or_else(RequestId::random);
    // The span has the level of errors so that the id is there whatever level is logged. The
    // query is left out: it may hold a key.
    let span = tracing::error_span!(
        "request",
        request_id = id.as_str(),
        method = %request.method(),
        path = request.uri().path(),
        trace_id = tracing::field::Empty,
        actor = tracing::field::Empty,
    );
    let traced = trace::of_request(request.method(), request.uri().path(), request.headers());
    let here = traced.as_ref().map(trace::Span::here);
    if let Some(here) = &here {
        span.record("trace_id", here.trace_id());
    }
    let header = HeaderValue::from_str(id.as_str());
    if let Ok(value) = &header {
        // What a handler sends on is the id that is logged here.
        request.headers_mut().insert(HEADER, value.clone());
    }
    request.extensions_mut().insert(id);
    async move {
        let started = tokio::time::Instant::now();
        let mut response = match here {
            Some(here) => here.scope(next.run(request)).await,
            None => next.run(request).await,
        };
        if let Some(mut traced) = traced {
            trace::answered(&mut traced, response.status(), response.headers());
        }
        let status = response.status();
        let latency_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::warn!(status = status.as_u16(), latency_us, "request answered");
        } else {
            tracing::debug!(status = status.as_u16(), latency_us, "request answered");
        }
        if let Ok(value) = header {
            response.headers_mut().insert(HEADER, value);
        }
        response
    }
    .instrument(span)
    .await
}

#[cfg(test)]
mod tests;
