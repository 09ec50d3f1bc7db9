//! Counters of the pools.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use topology::ShardId;

/// Backends by shard.
#[derive(Debug, Clone)]
pub struct Metrics {
    active: IntGaugeVec,
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
            Opts::new("shard_connections_active", "backends of a shard that a session is using"),
            &["shard_id"],
        )?;
        registry.register(Box::new(active.clone()))?;
        Ok(Self { active })
    }

    pub(super) fn active(&self, shard: &ShardId) -> IntGauge {
        self.active.with_label_values(&[shard.as_str()])
    }
}

impl InUse {
    pub(super) fn enter(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.dec();
    }
}
