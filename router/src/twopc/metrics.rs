//! What is counted of commits on several shards.

use std::time::Duration;

use platform::metrics::LATENCY_BUCKETS;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

use super::machine::Verdict;

/// The counters.
#[derive(Debug)]
pub struct Metrics {
    commits: IntCounterVec,
    unfinished: IntCounter,
    durations: Histogram,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let commits = IntCounterVec::new(
            Opts::new(
                "shard_twopc_commits_total",
                "commits of transactions that wrote on several shards, by what became of them",
            ),
            &["outcome"],
        )?;
        let unfinished = IntCounter::new(
            "shard_twopc_unfinished_total",
            "prepared transactions that this router left to the manager's recovery",
        )?;
        let durations = Histogram::with_opts(
            HistogramOpts::new(
                "shard_twopc_commit_duration_seconds",
                "Time from COMMIT until all shards had committed",
            )
            .buckets(LATENCY_BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(commits.clone()))?;
        registry.register(Box::new(unfinished.clone()))?;
        registry.register(Box::new(durations.clone()))?;
        for outcome in ["committed", "aborted", "unknown"] {
            let _zero = commits.with_label_values(&[outcome]);
        }
        Ok(Self {
            commits,
            unfinished,
            durations,
        })
    }

    /// A commit is over.
    pub fn ended(&self, verdict: &Verdict, took: Duration) {
        let (outcome, left) = match verdict {
            Verdict::Committed { left } => ("committed", left.len()),
            Verdict::Aborted { left, .. } => ("aborted", left.len()),
            Verdict::Unknown { left, .. } => ("unknown", left.len()),
        };
        self.commits.with_label_values(&[outcome]).inc();
        self.unfinished
            .inc_by(u64::try_from(left).unwrap_or(u64::MAX));
        self.durations.observe(took.as_secs_f64());
    }
}
