//! The level of a running process over HTTP. Who may change it is for the program to say.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Handle;
use crate::http_error::{self, Json};

/// A level, as [`super::Config::level`] has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    level: String,
}

/// Serves GET and PUT of the level at `path`.
pub fn router(path: &str, handle: Handle) -> axum::Router {
    axum::Router::new()
        .route(path, get(show).put(change))
        .with_state(handle)
}

async fn show(State(handle): State<Handle>) -> Response {
    let level = handle.level();
    axum::Json(Level { level }).into_response()
}

async fn change(State(handle): State<Handle>, Json(wanted): Json<Level>) -> Response {
    let before = handle.level();
    match handle.set_level(&wanted.level) {
        Ok(()) => {
            tracing::warn!(before, level = wanted.level, "log level changed");
            axum::Json(wanted).into_response()
        }
        Err(error) => {
            let code = crate::Kind::Invalid.as_str();
            http_error::respond(StatusCode::BAD_REQUEST, code, &error.to_string())
        }
    }
}
