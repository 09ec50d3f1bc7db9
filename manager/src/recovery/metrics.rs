//! What is counted of transactions that routers have left.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use super::plan::Resolution;

/// The metrics. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Transactions that are prepared and have been for longer than a round.
    pub in_doubt: IntGauge,
    recovered: IntCounterVec,
}

impl Metrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            in_doubt: IntGauge::new(
                "shard_twopc_in_doubt",
                "Transactions on several shards that are prepared and not finished yet",
            )?,
            recovered: IntCounterVec::new(
                Opts::new(
                    "shard_twopc_recovered_total",
                    "Prepared transactions that this manager has ended in place of their router",
                ),
                &["outcome"],
            )?,
        };
        registry.register(Box::new(metrics.in_doubt.clone()))?;
        registry.register(Box::new(metrics.recovered.clone()))?;
        for resolution in [Resolution::Commit, Resolution::RollBack] {
            let _zero = metrics.recovered.with_label_values(&[resolution.as_str()]);
        }
        Ok(metrics)
    }

    pub(super) fn recovered(&self, resolution: Resolution) {
        self.recovered
            .with_label_values(&[resolution.as_str()])
            .inc();
    }
}
