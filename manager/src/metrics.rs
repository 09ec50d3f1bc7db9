//! The manager's metrics: the only place where they are named.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderMap;
use platform::metrics::{LATENCY_BUCKETS, new_registry};
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};
use tokio::time::Instant;

use crate::reshard;

/// All metrics. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Where they are registered.
    pub registry: Registry,
    /// The epoch that this manager has seen.
    pub catalog_version: IntGauge,
    /// 1 while this manager leads.
    pub is_leader: IntGauge,
    /// The term of whoever leads, as this manager knows it; 0 when nobody does.
    pub leader_term: IntGauge,
    /// 1 for a shard whose primary answered the last probe, else 0.
    pub shard_health: IntGaugeVec,
    /// Jobs that move data.
    pub reshard: reshard::metrics::Metrics,
    requests: IntCounterVec,
    durations: HistogramVec,
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// When a name is invalid or taken, which a test excludes.
    pub fn try_new() -> Result<Self, prometheus::Error> {
        let registry = new_registry("manager");
        let metrics = Self {
            reshard: reshard::metrics::Metrics::try_new(&registry)?,
            registry,
            catalog_version: IntGauge::new(
                "catalog_version",
                "Epoch of the topology that this process has seen",
            )?,
            is_leader: IntGauge::new("manager_is_leader", "1 while this manager leads, else 0")?,
            leader_term: IntGauge::new(
                "manager_leader_term",
                "Term of the manager that leads, as this one knows it; 0 when none does",
            )?,
            shard_health: IntGaugeVec::new(
                Opts::new(
                    "shard_health_status",
                    "1 if the shard's primary answered the last probe, else 0",
                ),
                &["shard_id"],
            )?,
            requests: IntCounterVec::new(
                Opts::new("manager_requests_total", "Requests answered"),
                &["front", "operation", "status"],
            )?,
            durations: HistogramVec::new(
                HistogramOpts::new(
                    "manager_request_duration_seconds",
                    "Time from a request to the beginning of its answer",
                )
                .buckets(LATENCY_BUCKETS.to_vec()),
                &["front", "operation"],
            )?,
        };
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.catalog_version.clone()))?;
        registry.register(Box::new(metrics.is_leader.clone()))?;
        registry.register(Box::new(metrics.leader_term.clone()))?;
        registry.register(Box::new(metrics.shard_health.clone()))?;
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.durations.clone()))?;
        Ok(metrics)
    }

    fn answered(&self, front: &str, operation: &str, status: &str, started: Instant) {
        self.requests
            .with_label_values(&[front, operation, status])
            .inc();
        self.durations
            .with_label_values(&[front, operation])
            .observe(started.elapsed().as_secs_f64());
    }
}

/// Middleware that counts REST requests by route, so that no client can add a label.
pub async fn count_rest(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str);
    let operation = format!("{} {route}", request.method());
    let response = next.run(request).await;
    metrics.answered("rest", &operation, response.status().as_str(), started);
    response
}

/// Middleware that counts gRPC requests by method; only those that exist come here.
pub async fn count_grpc(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let operation = request.uri().path().to_owned();
    let response = next.run(request).await;
    metrics.answered("grpc", &operation, grpc_status(response.headers()), started);
    response
}

/// The number of the status. An error comes in the headers, since there is no message before it.
fn grpc_status(headers: &HeaderMap) -> &str {
    let status = headers
        .get("grpc-status")
        .and_then(|value| value.to_str().ok());
    status.unwrap_or("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_valid_name_of_its_own() {
        let metrics = Metrics::try_new().unwrap();
        metrics.shard_health.with_label_values(&["a"]).set(1);
        metrics.answered("rest", "GET /x", "200", Instant::now());
        let text = platform::metrics::encode(&metrics.registry);
        for line in [
            "catalog_version 0",
            "manager_is_leader 0",
            "shard_health_status{shard_id=\"a\"} 1",
            "manager_requests_total{front=\"rest\",operation=\"GET /x\",status=\"200\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }
}
