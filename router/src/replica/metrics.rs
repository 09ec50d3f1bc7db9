//! What is counted of replicas: how far each is behind, and who answers reads.

use std::time::Duration;

use prometheus::{GaugeVec, IntCounterVec, Opts, Registry};
use topology::ShardId;

use crate::pool::Pool;

/// The counters of all replicas.
#[derive(Debug, Clone)]
pub struct Metrics {
    lag: GaugeVec,
    reads: IntCounterVec,
}

impl Metrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let lag = GaugeVec::new(
            Opts::new(
                "shard_replica_lag_seconds",
                "how far a replica is behind its primary; absent when it is not known",
            ),
            &["shard_id", "replica"],
        )?;
        let reads = IntCounterVec::new(
            Opts::new(
                "shard_eventual_reads_total",
                "reads that a replica may answer, by who did",
            ),
            &["shard_id", "role"],
        )?;
        registry.register(Box::new(lag.clone()))?;
        registry.register(Box::new(reads.clone()))?;
        Ok(Self { lag, reads })
    }

    /// A read that a replica might have answered went to this server.
    pub fn read(&self, shard: &ShardId, on_replica: bool) {
        let role = if on_replica { "replica" } else { "primary" };
        let labels = [shard.as_str(), role];
        self.reads.with_label_values(&labels).inc();
    }

    /// What the last look at a replica said.
    pub(super) fn lag(&self, replica: &Pool, lag: Option<Duration>) {
        let endpoint = replica.endpoint().to_string();
        let labels = [replica.shard().as_str(), endpoint.as_str()];
        match lag {
            Some(lag) => self.lag.with_label_values(&labels).set(lag.as_secs_f64()),
            None => {
                // It may not have been there.
                let _removed = self.lag.remove_label_values(&labels);
            }
        }
    }

    /// Forgets the replicas of topologies that are gone.
    pub(super) fn forget_lags(&self) {
        self.lag.reset();
    }
}
