//! What jobs say in the metrics.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};
use topology::ShardId;

use super::api::{JobView, Status};
use super::ids::JobId;

/// Upper bounds of the pauses' buckets, in seconds.
const PAUSES: [f64; 13] = [
    0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 5.0,
];

/// The metrics of jobs. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    progress: GaugeVec,
    rate: GaugeVec,
    lag: GaugeVec,
    status: IntGaugeVec,
    ended: IntCounterVec,
    pauses: HistogramVec,
    comparisons: IntCounterVec,
    restarts: IntCounter,
    moved_at: GaugeVec,
    wal: IntGaugeVec,
    wal_limit: IntGauge,
}

/// How a job was when it was looked at last.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Pulse {
    state: String,
    progress: f64,
    rows: u64,
}

impl Pulse {
    /// Whether something has been done since the last look, or nothing is to be done for now.
    fn beats(&mut self, view: &JobView) -> bool {
        let now = Self {
            state: view.state.clone(),
            progress: view.progress,
            rows: view.keys_migrated,
        };
        let rests = view.is_settled || view.status == Status::Paused;
        let moves = rests || view.rate > 0.0 || now != *self;
        *self = now;
        moves
    }
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is invalid or taken.
    pub fn try_new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name, help| GaugeVec::new(Opts::new(name, help), &["job_id"]);
        let counter = |name, help, label| IntCounterVec::new(Opts::new(name, help), &[label]);
        let pauses = HistogramOpts::new(
            "reshard_pause_seconds",
            "Time for which clients of moving keys were held, by how the cutover ended",
        );
        let metrics = Self {
            progress: gauge("reshard_job_progress", "Part of a running job that is done")?,
            rate: gauge(
                "reshard_job_rows_per_second",
                "Rows a second that a running job copies, applies or removes",
            )?,
            lag: gauge(
                "reshard_job_lag_seconds",
                "How far the mirrors of a running job are behind",
            )?,
            status: IntGaugeVec::new(
                Opts::new("reshard_job_status", "1 for the status of a running job"),
                &["job_id", "status"],
            )?,
            ended: counter("reshard_jobs_ended_total", "Jobs that ended", "status")?,
            pauses: HistogramVec::new(pauses.buckets(PAUSES.to_vec()), &["result"])?,
            comparisons: counter(
                "reshard_comparisons_total",
                "Comparisons of both sides of a job",
                "result",
            )?,
            moved_at: gauge(
                "reshard_job_last_progress_timestamp_seconds",
                "When a running job last got on, or had nothing to do until somebody asks",
            )?,
            wal: IntGaugeVec::new(
                Opts::new(
                    "reshard_job_wal_retained_bytes",
                    "Log that a shard keeps for a running job",
                ),
                &["job_id", "shard_id"],
            )?,
            wal_limit: IntGauge::new(
                "reshard_wal_retained_limit_bytes",
                "Log that a shard may keep for a job before the job is given up",
            )?,
            restarts: IntCounter::new(
                "reshard_step_failures_total",
                "Steps of jobs that were not done and are tried again",
            )?,
        };
        registry.register(Box::new(metrics.progress.clone()))?;
        registry.register(Box::new(metrics.rate.clone()))?;
        registry.register(Box::new(metrics.lag.clone()))?;
        registry.register(Box::new(metrics.status.clone()))?;
        registry.register(Box::new(metrics.ended.clone()))?;
        registry.register(Box::new(metrics.pauses.clone()))?;
        registry.register(Box::new(metrics.comparisons.clone()))?;
        registry.register(Box::new(metrics.restarts.clone()))?;
        registry.register(Box::new(metrics.moved_at.clone()))?;
        registry.register(Box::new(metrics.wal.clone()))?;
        registry.register(Box::new(metrics.wal_limit.clone()))?;
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// Counts begin at 0, not with the first of their kind: else a rate misses it.
    fn begin_at_zero(&self) {
        for status in Status::ALL.into_iter().filter(|status| status.is_final()) {
            let _zero = self.ended.with_label_values(&[status.as_str()]);
        }
        for result in ["done", "aborted"] {
            let _zero = self.pauses.with_label_values(&[result]);
        }
        for result in ["equal", "different"] {
            let _zero = self.comparisons.with_label_values(&[result]);
        }
    }

    /// How a job is.
    pub(super) fn job(&self, view: &JobView, pulse: &mut Pulse) {
        let id = view.id.as_str();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        if let (true, Ok(now)) = (pulse.beats(view), now) {
            self.moved_at
                .with_label_values(&[id])
                .set(now.as_secs_f64());
        }
        self.progress.with_label_values(&[id]).set(view.progress);
        self.rate.with_label_values(&[id]).set(view.rate);
        let lag = view.lag.as_secs_f64();
        self.lag.with_label_values(&[id]).set(lag);
        for status in Status::ALL {
            let gauge = self.status.with_label_values(&[id, status.as_str()]);
            gauge.set(i64::from(status == view.status));
        }
    }

    /// A job runs no more here; it ended with this status if it did.
    pub(super) fn forget(&self, view: &JobView, has_ended: bool) {
        let id = view.id.as_str();
        // One that never told anything has nothing to be removed.
        drop(self.progress.remove_label_values(&[id]));
        drop(self.rate.remove_label_values(&[id]));
        drop(self.lag.remove_label_values(&[id]));
        drop(self.moved_at.remove_label_values(&[id]));
        for shard in view.source_shards.iter().chain(&view.target_shards) {
            drop(self.wal.remove_label_values(&[id, shard.as_str()]));
        }
        for status in Status::ALL {
            drop(self.status.remove_label_values(&[id, status.as_str()]));
        }
        if has_ended {
            self.ended.with_label_values(&[view.status.as_str()]).inc();
        }
    }

    /// What a shard keeps of its log for a job.
    pub(super) fn wal_retained(&self, job: &JobId, shard: &ShardId, bytes: u64) {
        let gauge = self.wal.with_label_values(&[job.as_str(), shard.as_str()]);
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The most that it may keep.
    pub fn wal_limit(&self, bytes: u64) {
        self.wal_limit.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// A cutover ended.
    pub(super) fn cutover(&self, pause: Duration, is_aborted: bool) {
        let result = if is_aborted { "aborted" } else { "done" };
        let seconds = pause.as_secs_f64();
        self.pauses.with_label_values(&[result]).observe(seconds);
    }

    /// Both sides were compared.
    pub(super) fn compared(&self, is_equal: bool) {
        let result = if is_equal { "equal" } else { "different" };
        self.comparisons.with_label_values(&[result]).inc();
    }

    /// A step was not done.
    pub(super) fn failed(&self) {
        self.restarts.inc();
    }
}
