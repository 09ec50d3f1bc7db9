//! What an orchestrator asks: is the process alive, and should it get traffic?
//!
//! Alive is whoever answers. Ready is a set of named conditions, kept by the modules that know
//! them, and false for good once the process drains.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use prometheus::Registry;
use serde_json::json;

use crate::metrics;

pub use ask::{Unhealthy, ask};

mod ask;

/// Whether the process should get traffic. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<Conditions>>);

#[derive(Debug, Default)]
struct Conditions {
    by_name: BTreeMap<&'static str, Result<(), String>>,
    draining: bool,
}

impl Readiness {
    /// Ready, as long as nobody sets a condition that is not met.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether a condition is met, and if not, why; the reason is public.
    pub fn set(&self, name: &'static str, state: Result<(), String>) {
        let mut conditions = self.lock();
        let was_met = conditions.by_name.get(name).map(Result::is_ok);
        match &state {
            Ok(()) if was_met == Some(false) => tracing::info!(condition = name, "condition met"),
            Err(reason) if was_met != Some(false) => {
                tracing::info!(condition = name, reason, "condition not met");
            }
            Ok(()) | Err(_) => {}
        }
        conditions.by_name.insert(name, state);
    }

    /// Ends readiness for good: the process is going to stop.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// Whether [`Self::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.lock().draining
    }

    /// Whether all conditions are met and the process is not draining.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let conditions = self.lock();
        !conditions.draining && conditions.by_name.values().all(Result::is_ok)
    }

    /// What keeps the process from being ready, with the reasons.
    #[must_use]
    pub fn unmet(&self) -> BTreeMap<&'static str, String> {
        let conditions = self.lock();
        let by_name = conditions.by_name.iter();
        let mut unmet: BTreeMap<_, _> = by_name
            .filter_map(|(name, state)| Some((*name, state.as_ref().err()?.clone())))
            .collect();
        if conditions.draining {
            unmet.insert("draining", "the process is stopping".to_owned());
        }
        unmet
    }

    fn lock(&self) -> MutexGuard<'_, Conditions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone)]
struct Health {
    version: &'static str,
    readiness: Readiness,
}

/// Serves `/healthz`, `/readyz`, `/v1/health` and `/health`.
///
/// `/v1/health` is both the liveness and the readiness probe of the first deployments: it answers
/// 200 while the process serves, whatever its conditions (a restart would not mend them), and 503
/// while it drains. `/readyz` is the precise one.
pub fn health_router(version: &'static str, readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(async || uncached("ok")))
        .route("/health", get(async || uncached("OK")))
        .route("/readyz", get(ready))
        .route("/v1/health", get(health))
        .with_state(Health { version, readiness })
}

async fn ready(State(health): State<Health>) -> Response {
    let unmet = health.readiness.unmet();
    let status = if unmet.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    uncached((
        status,
        axum::Json(json!({ "ready": unmet.is_empty(), "not_ready": unmet })),
    ))
}

async fn health(State(Health { version, readiness }): State<Health>) -> Response {
    let (status, word) = if readiness.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else {
        (StatusCode::OK, "healthy")
    };
    uncached((
        status,
        axum::Json(json!({ "status": word, "version": version })),
    ))
}

fn uncached(response: impl IntoResponse) -> Response {
    ([(CACHE_CONTROL, "no-store")], response).into_response()
}

/// Serves `/metrics` in Prometheus's text form.
pub fn metrics_router(registry: Registry) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .with_state(registry)
}

async fn scrape(State(registry): State<Registry>) -> Response {
    (
        [(CONTENT_TYPE, prometheus::TEXT_FORMAT)],
        metrics::encode(&registry),
    )
        .into_response()
}

#[cfg(test)]
mod tests;
