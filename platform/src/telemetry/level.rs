//! The level of a running process over HTTP, as two rows of a front's table.

use axum::Extension;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Handle;
use crate::Kind;
use crate::access::{Need, Role};
use crate::http_error::{self, Json};
use crate::routes::Route;

/// A level, as [`super::Config::level`] has it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = LogLevel)]
#[serde(deny_unknown_fields)]
pub struct Level {
    level: String,
}

/// GET and PUT of the level at `path`. The program that serves them adds its [`Handle`] to every
/// request, as an extension.
pub fn routes<S: Clone + Send + Sync + 'static>(path: &'static str) -> Vec<Route<S>> {
    let operator = Need::Role(Role::Operator);
    vec![
        Route::get(path, operator, show)
            .does("show the level that is logged at")
            .gives::<Level>(200),
        Route::put(path, operator, change)
            .does("log at another level until the next start")
            .takes::<Level>()
            .gives::<Level>(200),
    ]
}

async fn show(handle: Option<Extension<Handle>>) -> Response {
    let Some(Extension(handle)) = handle else {
        return nothing_is_logged();
    };
    let level = handle.level();
    axum::Json(Level { level }).into_response()
}

async fn change(handle: Option<Extension<Handle>>, Json(wanted): Json<Level>) -> Response {
    let Some(Extension(handle)) = handle else {
        return nothing_is_logged();
    };
    let before = handle.level();
    match handle.set_level(&wanted.level) {
        Ok(()) => {
            tracing::warn!(before, level = wanted.level, "log level changed");
            axum::Json(wanted).into_response()
        }
        Err(error) => http_error::refuse(false, Kind::Invalid, &error.to_string()),
    }
}

fn nothing_is_logged() -> Response {
    http_error::refuse(false, Kind::Unavailable, "this process does not log")
}
