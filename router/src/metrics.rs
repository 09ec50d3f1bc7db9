//! What the router counts besides its pools. Names and labels are those of the dashboards.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use topology::{Epoch, ShardId};

/// The counters of the data plane.
#[derive(Debug, Clone)]
pub struct Metrics {
    refused: IntCounterVec,
    health: IntGaugeVec,
    catalog_version: IntGauge,
    clients: IntGaugeVec,
}

/// Counts one client of a front while it lives.
#[derive(Debug)]
pub struct Connected(IntGauge);

impl Metrics {
    /// Registers the counters.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let refused = IntCounterVec::new(
            Opts::new(
                "router_errors_total",
                "errors that the router itself answered with",
            ),
            &["sqlstate"],
        )?;
        let health = IntGaugeVec::new(
            Opts::new(
                "shard_health_status",
                "1 when the shard's primary answers, else 0",
            ),
            &["shard_id"],
        )?;
        let catalog_version =
            IntGauge::new("catalog_version", "epoch of the topology that is served")?;
        let clients = IntGaugeVec::new(
            Opts::new("router_client_connections", "clients that are connected"),
            &["front"],
        )?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(health.clone()))?;
        registry.register(Box::new(catalog_version.clone()))?;
        registry.register(Box::new(clients.clone()))?;
        Ok(Self {
            refused,
            health,
            catalog_version,
            clients,
        })
    }

    /// The router itself answered with an error.
    pub fn refused(&self, sqlstate: &str) {
        self.refused.with_label_values(&[sqlstate]).inc();
    }

    /// What the last probe of a shard said.
    pub fn health(&self, shard: &ShardId, healthy: bool) {
        self.health
            .with_label_values(&[shard.as_str()])
            .set(i64::from(healthy));
    }

    /// The topology that is served from now on.
    pub fn epoch(&self, epoch: Epoch) {
        self.catalog_version
            .set(i64::try_from(epoch.0).unwrap_or(i64::MAX));
    }

    /// A client of this front.
    #[must_use]
    pub fn connected(&self, front: &str) -> Connected {
        let gauge = self.clients.with_label_values(&[front]);
        gauge.inc();
        Connected(gauge)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}
