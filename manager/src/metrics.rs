//! The manager's metrics: the only place where they are named.

use platform::metrics::new_registry;
use platform::metrics::requests::Requests;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

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
    /// Requests that were answered.
    pub requests: Requests,
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
            requests: Requests::register(&registry, "manager")?,
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
        };
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.catalog_version.clone()))?;
        registry.register(Box::new(metrics.is_leader.clone()))?;
        registry.register(Box::new(metrics.leader_term.clone()))?;
        registry.register(Box::new(metrics.shard_health.clone()))?;
        Ok(metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_valid_name_of_its_own() {
        let metrics = Metrics::try_new().unwrap();
        metrics.shard_health.with_label_values(&["a"]).set(1);
        let text = platform::metrics::encode(&metrics.registry);
        for line in [
            "catalog_version 0",
            "manager_is_leader 0",
            "shard_health_status{shard_id=\"a\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }
}
