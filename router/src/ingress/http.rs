//! The HTTP front: statements as JSON (docs/http-api.md).

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use platform::access::{Identity, Need, Role};
use platform::http_error::{Json, Query, method_not_allowed, not_found};
use platform::metrics::requests::count_http;
use platform::probe::{Readiness, health_router};
use platform::routes::Route;
use platform::routes::document::{Form, document};
use platform::telemetry::level;
use platform::{body, headers, rates};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use topology::KeyType;
use topology::records::Surface;

use crate::exec::{Executor, locate};
use crate::ingress::{Doors, rights_of};

mod answer;
mod failure;
mod json;
mod request;

use answer::Answer;
use failure::Failure;

/// What is told of the program.
const NAME: &str = "sharding-router";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The HTTP front as an axum router, probes included; for [`platform::serve`].
pub fn router(executor: Arc<Executor>, readiness: Readiness, doors: &Doors) -> Router {
    let limits = doors.limits;
    let body = body::Limits {
        max_bytes: limits.max_body_bytes,
        timeout: limits.body_timeout,
    };
    let limiter = doors.limiter_of(Surface::Http);
    let app = platform::routes::router(routes(), &doors.gate, &limiter, body)
        .layer(DefaultBodyLimit::max(limits.max_body_bytes))
        .layer(from_fn_with_state(limiter, rates::limit))
        .route_layer(from_fn_with_state(doors.requests.of("http"), count_http))
        .with_state(executor)
        .merge(health_router(VERSION, readiness))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(headers::secure));
    doors.cors.apply(app)
}

/// All routes but the probes', with who may call them.
#[must_use]
pub fn routes() -> Vec<Route<Arc<Executor>>> {
    // A writer may read; what a reader may not is seen in the statement.
    let reader = Need::Role(Role::Reader);
    let mut routes = vec![
        Route::get("/", Need::Identity, index)
            .does("say what this is")
            .answers(200),
        Route::post("/v1/execute", reader, execute)
            .does("run a statement")
            .takes::<request::Body>()
            .answers(200),
        Route::get("/v1/shard-for-key", reader, shard_for_key)
            .does("say which shard a key hashes to")
            .asks("key", Form::NeededText)
            .asks("group", Form::Text)
            .answers(200),
        Route::get("/v1/openapi.json", Need::Nothing, openapi)
            .does("show this document")
            .answers(200),
    ];
    routes.extend(level::routes("/v1/log-level"));
    routes
}

/// The document of these routes.
#[must_use]
pub fn openapi_document() -> Value {
    document("Sharding router", VERSION, &routes())
}

async fn openapi(State(_executor): State<Arc<Executor>>) -> Json<Value> {
    Json(openapi_document())
}

async fn index() -> Response {
    let endpoints = [
        "POST /v1/execute",
        "GET /v1/shard-for-key?key=&group=",
        "GET /v1/openapi.json",
        "GET, PUT /v1/log-level",
        "GET /v1/health",
        "GET /health",
        "GET /healthz",
        "GET /readyz",
    ];
    Json(json!({ "name": NAME, "version": VERSION, "endpoints": endpoints })).into_response()
}

async fn execute(
    State(executor): State<Arc<Executor>>,
    identity: Option<Extension<Identity>>,
    Json(body): Json<request::Body>,
) -> Result<Response, Failure> {
    let started = Instant::now();
    let (mut request, style) = body.into_request()?;
    request.rights = rights_of(identity.as_ref().map(|identity| &identity.0));
    let rows = executor.execute(request).await?;
    Ok(Answer::new(rows, style, started).into_response().await?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyQuery {
    key: String,
    group: Option<String>,
}

async fn shard_for_key(
    State(executor): State<Arc<Executor>>,
    identity: Option<Extension<Identity>>,
    Query(query): Query<KeyQuery>,
) -> Result<Response, Failure> {
    let serving = executor.core().view.load();
    let group = query.group.as_deref();
    let rights = rights_of(identity.as_ref().map(|identity| &identity.0));
    let checked = rights.check_group(group.unwrap_or(locate::DEFAULT_GROUP));
    checked.map_err(crate::error::Error::from)?;
    let located = locate::locate(&serving.snapshot, group, &query.key)?;
    let key = match located.key_type {
        // A key that was read as a number is one, whatever its spelling.
        KeyType::Bigint => json!(query.key.trim().parse::<i64>().ok()),
        KeyType::Text | KeyType::Uuid => json!(query.key),
    };
    let answer = json!({
        "key": key,
        "group": group.unwrap_or(locate::DEFAULT_GROUP),
        "shard_id": located.shard.as_str(),
        "token": located.token.0,
        "vnode": located.vnode.0,
        "epoch": located.epoch.0,
    });
    Ok(Json(answer).into_response())
}
