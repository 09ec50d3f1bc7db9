//! Requests over HTTP and gRPC as spans.

use http::{HeaderMap, Method, StatusCode, header};

use super::{Parent, Role, Span, begin, is_on};

/// What load balancers and collectors ask all the time.
const PROBES: [&str; 5] = ["/healthz", "/readyz", "/health", "/v1/health", "/metrics"];
const GRPC_PROBES: &str = "/grpc.health.v1.Health/";

/// Longest path that a span tells.
const MAX_PATH_BYTES: usize = 256;

/// The span of a request; none for probes, and where [`begin`] gives none.
#[must_use]
pub fn of_request(method: &Method, path: &str, headers: &HeaderMap) -> Option<Span> {
    if !is_on() || PROBES.contains(&path) || path.starts_with(GRPC_PROBES) {
        return None;
    }
    let content = headers
        .get(header::CONTENT_TYPE)
        .map(http::HeaderValue::as_bytes);
    let is_grpc = content.is_some_and(|content| content.starts_with(b"application/grpc"));
    let path = path.get(..MAX_PATH_BYTES).unwrap_or(path);
    let name = match is_grpc {
        true => path.trim_start_matches('/').to_owned(),
        false => method.as_str().to_owned(),
    };
    let mut span = begin(name, Role::Server, Parent::of_headers(headers))?;
    if is_grpc {
        span.set("rpc.system.name", "grpc");
    } else {
        span.set("http.request.method", method.as_str().to_owned());
        span.set("url.path", path.to_owned());
    }
    Some(span)
}

/// What the answer's head says. The rest of an answer that streams is not part of the span.
pub fn answered(span: &mut Span, status: StatusCode, headers: &HeaderMap) {
    if let Some(code) = headers.get("grpc-status").and_then(|it| it.to_str().ok()) {
        span.set("rpc.response.status_code", code.to_owned());
        if code != "0" {
            span.fail(code.to_owned());
        }
        return;
    }
    span.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.fail(status.as_str().to_owned());
    }
}
