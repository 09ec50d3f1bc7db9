//! An error as an HTTP answer: `{"error":{"code","message","sqlstate","detail","hint"}}`.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use platform::http_error::ApiError;
use serde::Serialize;

use crate::error::Error;

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// What is wrong with the request itself.
    Request(ApiError),
    /// What came of its statement.
    Statement(Error),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Request(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Statement(error)
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'a str,
    message: String,
    sqlstate: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = match self {
            Self::Request(error) => return error.into_response(),
            Self::Statement(error) => error,
        };
        let kind = error.kind();
        tracing::debug!(%kind, sqlstate = error.sqlstate(), "statement refused");
        let status = StatusCode::from_u16(kind.http_status());
        let body = Body {
            error: Inner {
                code: kind.as_str(),
                message: error.to_string(),
                sqlstate: error.sqlstate(),
                detail: error.detail(),
                hint: error.hint(),
            },
        };
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, axum::Json(body)).into_response()
    }
}
