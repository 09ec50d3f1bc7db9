//! What the process says of itself as its state changes: gauges, readiness, gRPC health.

use std::time::Duration;

use platform::Shutdown;
use platform::probe::Readiness;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::grpc::SERVICES;
use crate::leader;
use crate::metrics::Metrics;

/// Readiness has no event of its own; this is how late its change may show in gRPC health.
const INTERVAL: Duration = Duration::from_millis(250);

/// Copies the state to where it is asked for.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) topology: topology::watch::View,
    pub(super) leader: leader::View,
    pub(super) metrics: Metrics,
    pub(super) readiness: Readiness,
    pub(super) grpc: HealthReporter,
}

impl Report {
    /// Reports until `shutdown`.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        loop {
            self.update().await;
            tokio::select! {
                biased; // A process that ends reports no more.
                () = shutdown.requested() => return,
                _ = self.topology.changed() => {}
                () = self.leader.changed() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    async fn update(&self) {
        let epoch = self.topology.snapshot().epoch().0;
        self.metrics
            .catalog_version
            .set(i64::try_from(epoch).unwrap_or(i64::MAX));
        let standing = self.leader.standing();
        self.metrics.is_leader.set(standing.is_leading().into());
        let term = standing.leader().map_or(0, |leader| leader.term.0);
        self.metrics
            .leader_term
            .set(i64::try_from(term).unwrap_or(i64::MAX));
        let read = if self.topology.is_loaded() {
            Ok(())
        } else {
            Err("the topology has not been read from etcd yet".to_owned())
        };
        self.readiness.set("topology", read);
        let status = if self.readiness.is_ready() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for name in SERVICES.into_iter().chain([""]) {
            self.grpc.set_service_status(name, status).await;
        }
    }
}
