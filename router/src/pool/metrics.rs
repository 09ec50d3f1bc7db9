//! What is counted by shard: backends in use, statements answered and how long that took.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use topology::ShardId;

use super::backend::Traffic;

mod sizes;

pub(super) use sizes::Pools;

/// How a statement ended, as `shard_queries_total` counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The shard completed it.
    Success,
    /// The shard answered with an error, or not at all.
    Error,
}

/// What brought a request to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Route {
    /// The keys that it shows.
    Key,
    /// A table's home, or a hint that names the shard.
    Home,
    /// Any shard would have done.
    #[default]
    Any,
    /// It goes to every shard.
    Everywhere,
    /// It is a part of a query over several shards.
    Scatter,
}

impl Route {
    const ALL: [Self; 5] = [
        Self::Key,
        Self::Home,
        Self::Any,
        Self::Everywhere,
        Self::Scatter,
    ];

    /// The word of the labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Home => "home",
            Self::Any => "any",
            Self::Everywhere => "everywhere",
            Self::Scatter => "scatter",
        }
    }
}

/// Histograms by [`Route`].
#[derive(Debug, Clone)]
struct Durations {
    key: Histogram,
    home: Histogram,
    any: Histogram,
    everywhere: Histogram,
    scatter: Histogram,
}

impl Durations {
    fn of(&self, route: Route) -> &Histogram {
        match route {
            Route::Key => &self.key,
            Route::Home => &self.home,
            Route::Any => &self.any,
            Route::Everywhere => &self.everywhere,
            Route::Scatter => &self.scatter,
        }
    }

    fn sum(&self) -> f64 {
        let sums = Route::ALL.map(|route| self.of(route).get_sample_sum());
        sums.iter().sum()
    }
}

/// What became of those who stood in line on a backend in use.
const ANSWERED: &str = "answered";
const SENT_AWAY: &str = "sent_away";

/// The counters of all shards.
#[derive(Debug, Clone)]
pub struct Metrics {
    active: IntGaugeVec,
    queries: IntCounterVec,
    durations: HistogramVec,
    waiting: IntGaugeVec,
    waits: HistogramVec,
    bytes: IntCounterVec,
    shared: IntCounterVec,
    pools: Pools,
}

/// The counters of one shard, looked up once for each pool.
#[derive(Debug, Clone)]
pub struct OfShard {
    active: IntGauge,
    success: IntCounter,
    error: IntCounter,
    durations: Durations,
    pub(super) waiting: IntGauge,
    wait: Histogram,
    sent: IntCounter,
    received: IntCounter,
    in_lanes: IntCounter,
    sent_away: IntCounter,
}

/// What the counters of one shard have come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were completed.
    pub success: u64,
    /// Requests that met an error.
    pub error: u64,
    /// What both took together.
    pub query_time: Duration,
    /// How often somebody had to wait for a backend.
    pub waits: u64,
    /// How long they waited together.
    pub wait_time: Duration,
    /// Bytes that were sent to the shard, of loans that are over.
    pub sent: u64,
    /// Bytes that it sent, of loans that are over.
    pub received: u64,
}

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
            &["shard_id", "route"],
        )?;
        let waiting = IntGaugeVec::new(
            Opts::new(
                "shard_connections_waiting",
                "clients that wait for a backend of a shard",
            ),
            &["shard_id"],
        )?;
        let waits = HistogramVec::new(
            HistogramOpts::new(
                "shard_connection_wait_seconds",
                "how long clients waited for a backend, of those that had to",
            )
            .buckets(platform::metrics::LATENCY_BUCKETS.to_vec()),
            &["shard_id"],
        )?;
        let bytes = IntCounterVec::new(
            Opts::new(
                "shard_bytes_total",
                "bytes that were exchanged with a shard, counted when a backend is given back",
            ),
            &["shard_id", "direction"],
        )?;
        let shared = IntCounterVec::new(
            Opts::new(
                "shard_shared_queries_total",
                "reads that stood in line on a backend in use, by whether they were answered there",
            ),
            &["shard_id", "outcome"],
        )?;
        registry.register(Box::new(shared.clone()))?;
        registry.register(Box::new(bytes.clone()))?;
        registry.register(Box::new(waiting.clone()))?;
        registry.register(Box::new(waits.clone()))?;
        registry.register(Box::new(active.clone()))?;
        registry.register(Box::new(queries.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        let metrics = Self {
            active,
            queries,
            durations,
            waiting,
            waits,
            bytes,
            shared,
            pools: Pools::default(),
        };
        sizes::register(registry, metrics.clone())?;
        Ok(metrics)
    }

    /// Counts a pool's backends while it lives.
    pub(super) fn track(&self, pool: &std::sync::Arc<super::Shared>) {
        self.pools.add(pool);
    }

    /// Shows nothing more of a shard that has left.
    fn forget(&self, shard: &ShardId) {
        let shard = shard.as_str();
        // What was never counted has nothing to be removed.
        drop(self.active.remove_label_values(&[shard]));
        drop(self.waiting.remove_label_values(&[shard]));
        drop(self.waits.remove_label_values(&[shard]));
        for status in ["success", "error"] {
            drop(self.queries.remove_label_values(&[shard, status]));
        }
        for direction in ["sent", "received"] {
            drop(self.bytes.remove_label_values(&[shard, direction]));
        }
        for outcome in [ANSWERED, SENT_AWAY] {
            drop(self.shared.remove_label_values(&[shard, outcome]));
        }
        for route in Route::ALL {
            drop(self.durations.remove_label_values(&[shard, route.as_str()]));
        }
    }

    pub(super) fn of_shard(&self, shard: &ShardId) -> OfShard {
        let status = |status| self.queries.with_label_values(&[shard.as_str(), status]);
        let duration = |route: Route| {
            self.durations
                .with_label_values(&[shard.as_str(), route.as_str()])
        };
        let shared = |outcome| self.shared.with_label_values(&[shard.as_str(), outcome]);
        let moved = |direction| self.bytes.with_label_values(&[shard.as_str(), direction]);
        OfShard {
            sent: moved("sent"),
            received: moved("received"),
            in_lanes: shared(ANSWERED),
            sent_away: shared(SENT_AWAY),
            active: self.active.with_label_values(&[shard.as_str()]),
            success: status("success"),
            error: status("error"),
            durations: Durations {
                key: duration(Route::Key),
                home: duration(Route::Home),
                any: duration(Route::Any),
                everywhere: duration(Route::Everywhere),
                scatter: duration(Route::Scatter),
            },
            waiting: self.waiting.with_label_values(&[shard.as_str()]),
            wait: self.waits.with_label_values(&[shard.as_str()]),
        }
    }
}

/// Somebody who waits for another primary.
#[derive(Debug)]
pub(super) struct Outlasting(IntGauge);

impl Drop for Outlasting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl OfShard {
    /// Counts somebody who waits for another primary, with those who wait for a backend.
    pub(super) fn outlasts(&self) -> Outlasting {
        self.waiting.inc();
        Outlasting(self.waiting.clone())
    }

    /// A request was answered.
    pub fn answered(&self, route: Route, outcome: Outcome, took: Duration) {
        match outcome {
            Outcome::Success => self.success.inc(),
            Outcome::Error => self.error.inc(),
        }
        self.durations.of(route).observe(took.as_secs_f64());
    }

    /// A read left the line on a backend that others had: its turn had come, or it was sent away.
    pub fn left_line(&self, its_turn: bool) {
        match its_turn {
            true => self.in_lanes.inc(),
            false => self.sent_away.inc(),
        }
    }

    /// A loan is over, in which so much was exchanged.
    pub(super) fn moved(&self, traffic: Traffic) {
        self.sent.inc_by(traffic.sent);
        self.received.inc_by(traffic.received);
    }

    /// Somebody was in the line for so long.
    pub(super) fn waited(&self, time: Duration) {
        self.wait.observe(time.as_secs_f64());
    }

    /// What was counted so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            success: self.success.get(),
            error: self.error.get(),
            query_time: Duration::try_from_secs_f64(self.durations.sum()).unwrap_or_default(),
            waits: self.wait.get_sample_count(),
            wait_time: Duration::try_from_secs_f64(self.wait.get_sample_sum()).unwrap_or_default(),
            sent: self.sent.get(),
            received: self.received.get(),
        }
    }

    /// A backend is in use.
    pub(super) fn loan_began(&self) {
        self.active.inc();
    }

    /// It is not any more.
    pub(super) fn loan_ended(&self) {
        self.active.dec();
    }
}
