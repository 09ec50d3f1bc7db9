//! What is counted by shard: backends in use, statements answered and how long that took.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use topology::ShardId;

/// How a statement ended, as `shard_queries_total` counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The shard completed it.
    Success,
    /// The shard answered with an error, or not at all.
    Error,
}

/// The counters of all shards.
#[derive(Debug, Clone)]
pub struct Metrics {
    active: IntGaugeVec,
    queries: IntCounterVec,
    durations: HistogramVec,
}

/// The counters of one shard, looked up once for each pool.
#[derive(Debug, Clone)]
pub struct OfShard {
    active: IntGauge,
    success: IntCounter,
    error: IntCounter,
    duration: Histogram,
}

/// Counts one backend as in use while it lives.
#[derive(Debug)]
pub struct InUse(IntGauge);

impl Metrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let active = IntGaugeVec::new(
            Opts::new(
                "shard_connections_active",
                "backends of a shard that a session is using",
            ),
            &["shard_id"],
        )?;
        let queries = IntCounterVec::new(
            Opts::new("shard_queries_total", "requests that a shard has answered"),
            &["shard_id", "status"],
        )?;
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "shard_query_duration_seconds",
                "from sending a request to a shard to the end of its answer",
            )
            .buckets(platform::metrics::LATENCY_BUCKETS.to_vec()),
            &["shard_id"],
        )?;
        registry.register(Box::new(active.clone()))?;
        registry.register(Box::new(queries.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        Ok(Self {
            active,
            queries,
            durations,
        })
    }

    pub(super) fn of_shard(&self, shard: &ShardId) -> OfShard {
        let status = |status| self.queries.with_label_values(&[shard.as_str(), status]);
        OfShard {
            active: self.active.with_label_values(&[shard.as_str()]),
            success: status("success"),
            error: status("error"),
            duration: self.durations.with_label_values(&[shard.as_str()]),
        }
    }
}

impl OfShard {
    /// A request was answered.
    pub fn answered(&self, outcome: Outcome, took: Duration) {
        match outcome {
            Outcome::Success => self.success.inc(),
            Outcome::Error => self.error.inc(),
        }
        self.duration.observe(took.as_secs_f64());
    }

    pub(super) fn enter(&self) -> InUse {
        self.active.inc();
        InUse(self.active.clone())
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.dec();
    }
}
