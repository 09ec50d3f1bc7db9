//! What probes found, in numbers.

use std::collections::BTreeMap;

use prometheus::{GaugeVec, IntGaugeVec, Opts, Registry};
use topology::ShardId;

use super::health::{Observation, Server};

/// The gauges. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// 1 for a shard whose primary answered the last probe, else 0.
    pub health: IntGaugeVec,
    up: IntGaugeVec,
    is_primary: IntGaugeVec,
    timeline: IntGaugeVec,
    lag_bytes: IntGaugeVec,
    lag_seconds: GaugeVec,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is invalid or taken, which a test excludes.
    pub fn register(registry: &Registry, health: IntGaugeVec) -> Result<Self, prometheus::Error> {
        let labels = &["shard_id", "server"];
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            health,
            up: gauge(
                "shard_server_up",
                "1 if the server answered the last probe, else 0",
            )?,
            is_primary: gauge(
                "shard_server_is_primary",
                "1 if the server takes writes, 0 if it is in recovery or did not answer",
            )?,
            timeline: gauge("shard_server_timeline", "PostgreSQL timeline of the server")?,
            lag_bytes: gauge(
                "shard_server_lag_bytes",
                "Bytes of log of the primary that a replica has not received",
            )?,
            lag_seconds: GaugeVec::new(
                Opts::new(
                    "shard_server_lag_seconds",
                    "Age of the last transaction that a replica has replayed, while it has more to replay",
                ),
                labels,
            )?,
        };
        for one in [
            &metrics.up,
            &metrics.is_primary,
            &metrics.timeline,
            &metrics.lag_bytes,
        ] {
            registry.register(Box::new(one.clone()))?;
        }
        registry.register(Box::new(metrics.lag_seconds.clone()))?;
        Ok(metrics)
    }

    /// Shows what was observed, and no longer what is gone.
    pub(super) fn observed(
        &self,
        before: &BTreeMap<ShardId, Observation>,
        now: &BTreeMap<ShardId, Observation>,
    ) {
        for (shard, observation) in now {
            let healthy = i64::from(observation.finding.is_ok());
            self.health
                .with_label_values(&[shard.as_str()])
                .set(healthy);
            for server in &observation.servers {
                self.show(shard, observation, server);
            }
        }
        for (shard, observation) in before {
            let kept = now.get(shard);
            if kept.is_none() {
                // It may never have had a gauge; then there is nothing to remove.
                let _absent = self.health.remove_label_values(&[shard.as_str()]);
            }
            let is_kept = |server: &Server| {
                kept.is_some_and(|it| it.servers.iter().any(|s| s.endpoint == server.endpoint))
            };
            for server in observation.servers.iter().filter(|it| !is_kept(it)) {
                self.forget(shard, server);
            }
        }
    }

    fn show(&self, shard: &ShardId, observation: &Observation, server: &Server) {
        let endpoint = server.endpoint.to_string();
        let labels = [shard.as_str(), endpoint.as_str()];
        let seen = server.seen.as_ref().ok();
        let primary = seen.is_some_and(|seen| seen.is_primary);
        self.up
            .with_label_values(&labels)
            .set(i64::from(seen.is_some()));
        self.is_primary
            .with_label_values(&labels)
            .set(i64::from(primary));
        let Some(seen) = seen else { return };
        self.timeline
            .with_label_values(&labels)
            .set(i64::from(seen.lineage.timeline));
        let lag = lag_bytes(observation, server).unwrap_or(0);
        self.lag_bytes
            .with_label_values(&labels)
            .set(i64::try_from(lag).unwrap_or(i64::MAX));
        let seconds = seen.lag.unwrap_or_default().as_secs_f64();
        self.lag_seconds.with_label_values(&labels).set(seconds);
    }

    fn forget(&self, shard: &ShardId, server: &Server) {
        let endpoint = server.endpoint.to_string();
        let labels = [shard.as_str(), endpoint.as_str()];
        for one in [&self.up, &self.is_primary, &self.timeline, &self.lag_bytes] {
            let _absent = one.remove_label_values(&labels);
        }
        let _absent = self.lag_seconds.remove_label_values(&labels);
    }
}

/// How many bytes a replica is behind what the primary last said.
#[must_use]
pub fn lag_bytes(observation: &Observation, server: &Server) -> Option<u64> {
    let seen = server.seen.as_ref().ok()?;
    let (primary, _) = observation.primary.as_ref()?;
    let is_replica = !seen.is_primary && primary.lineage.system == seen.lineage.system;
    is_replica.then(|| primary.position.bytes_since(seen.position))
}
