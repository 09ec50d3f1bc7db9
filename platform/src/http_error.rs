//! What an HTTP client is told when its request is not answered:
//! `{"error":{"code","message"}}`, and the same in gRPC's form where a request speaks gRPC.
//!
//! The message is written for the client; what only we should know is logged instead.

use std::future::{Ready, ready};

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Kind;
use crate::telemetry::error_chain;

/// An error as an HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Gives the status and the `code`.
    pub kind: Kind,
    /// What the client reads.
    pub message: String,
}

impl ApiError {
    /// An error that the client may read.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// An error whose text stays in the log: the client only learns that we have a defect.
    #[must_use]
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = error_chain(error), "request met a defect");
        Self::new(Kind::Internal, "internal error, see the server's log")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        respond(status_of(self.kind), self.kind.as_str(), &self.message)
    }
}

fn status_of(kind: Kind) -> StatusCode {
    StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// An answer in the error form, for a status that no [`Kind`] has.
#[must_use]
pub fn respond(status: StatusCode, code: &str, message: &str) -> Response {
    #[derive(Serialize)]
    struct Body<'a> {
        error: Inner<'a>,
    }
    #[derive(Serialize)]
    struct Inner<'a> {
        code: &'a str,
        message: &'a str,
    }
    (
        status,
        axum::Json(Body {
            error: Inner { code, message },
        }),
    )
        .into_response()
}

/// Whether a request speaks gRPC.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// A refusal in the form that the request speaks: gRPC's trailers-only answer, or JSON.
#[must_use]
pub fn refuse(grpc: bool, kind: Kind, message: &str) -> Response {
    if !grpc {
        return ApiError::new(kind, message).into_response();
    }
    let mut response = Response::default();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(kind.grpc_code()));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(message)) {
        headers.insert("grpc-message", message);
    }
    response
}

/// The encoding of `grpc-message`: visible ASCII but `%` stays, every other byte becomes `%XX`.
fn percent_encoded(message: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes all that is written");
        }
    }
    out
}

/// The answer to a path that does not exist; for `Router::fallback`.
pub fn not_found(uri: Uri) -> Ready<Response> {
    let message = format!("no such path: {}", uri.path());
    drop(uri); // axum hands its parts over by value.
    ready(ApiError::new(Kind::NotFound, message).into_response())
}

/// The answer to a method that a path does not know; for `Router::method_not_allowed_fallback`.
pub fn method_not_allowed(method: Method, uri: Uri) -> Ready<Response> {
    let message = format!("{method} is not possible on {}", uri.path());
    drop((method, uri)); // As above.
    let status = StatusCode::METHOD_NOT_ALLOWED;
    ready(respond(status, "method_not_allowed", &message))
}

/// As `axum::Json`, but a refused body is answered in the error form.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(json_rejected(&rejection)),
        }
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Too long and not JSON keep statuses of their own; all else that is wrong with a body is 400.
fn json_rejected(rejection: &JsonRejection) -> Response {
    let (status, message) = (rejection.status(), rejection.body_text());
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => respond(
            status,
            Kind::Exhausted.as_str(),
            "the body is longer than is accepted",
        ),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => respond(
            status,
            Kind::Invalid.as_str(),
            "the body must be JSON, with the header content-type: application/json",
        ),
        _ => ApiError::new(Kind::Invalid, without_values(&message)).into_response(),
    }
}

/// What is wrong with a body, but not what stood there instead: it may be a password in the wrong
/// place, and refusals are logged and go on record.
fn without_values(message: &str) -> String {
    const FOUND: [&str; 3] = ["invalid type", "invalid value", "unknown variant"];
    // What is expected is in our own words, and last.
    let Some((before, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let found = FOUND.iter().filter_map(|what| {
        let (before, _) = before.split_once(what)?;
        Some(format!("{before}{what}, expected {expected}"))
    });
    let shortest = found.min_by_key(String::len);
    shortest.unwrap_or_else(|| message.to_owned())
}

/// As `axum::extract::Query`, but a refused query is answered in the error form.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(ApiError::from)
    }
}

/// As `axum::extract::Path`, but a refused path is answered in the error form.
#[derive(Debug, Clone, Copy, Default)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0)).map_err(ApiError::from)
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(Kind::Invalid, rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        let kind = if rejection.status().is_server_error() {
            Kind::Internal
        } else {
            Kind::Invalid
        };
        Self::new(kind, rejection.body_text())
    }
}

#[cfg(test)]
mod tests;
