//! The HTTP front: statements as JSON (docs/http-api.md).

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use platform::bearer::{self, Verifier};
use platform::http_error::{Json, Query, method_not_allowed, not_found};
use platform::probe::{Readiness, health_router};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use topology::KeyType;

use crate::exec::{Executor, locate};
use crate::ingress::Limits;

mod answer;
mod failure;
mod json;
mod request;

use answer::Answer;
use failure::Failure;

/// What is told of the program.
const NAME: &str = "sharding-router";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The HTTP front as an axum router, probes included; for [`platform::serve`]. With a verifier,
/// everything but the probes needs a bearer token.
pub fn router(
    executor: Arc<Executor>,
    readiness: Readiness,
    verifier: Option<Verifier>,
    limits: Limits,
) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/v1/execute", post(execute))
        .route("/v1/shard-for-key", get(shard_for_key))
        .route_layer(from_fn_with_state(verifier, bearer::require))
        .layer(DefaultBodyLimit::max(limits.max_body_bytes))
        .with_state(executor)
        .merge(health_router(VERSION, readiness))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
}

async fn index() -> Response {
    let endpoints = [
        "POST /v1/execute",
        "GET /v1/shard-for-key?key=&group=",
        "GET /v1/health",
        "GET /health",
        "GET /healthz",
        "GET /readyz",
    ];
    Json(json!({ "name": NAME, "version": VERSION, "endpoints": endpoints })).into_response()
}

async fn execute(
    State(executor): State<Arc<Executor>>,
    Json(body): Json<request::Body>,
) -> Result<Response, Failure> {
    let started = Instant::now();
    let (request, style) = body.into_request()?;
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
    Query(query): Query<KeyQuery>,
) -> Result<Response, Failure> {
    let serving = executor.core().view.load();
    let group = query.group.as_deref();
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
