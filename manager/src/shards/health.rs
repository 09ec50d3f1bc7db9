//! Probes each shard's primary again and again, for the health report and its metric. Nothing is
//! decided by it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use platform::Shutdown;
use prometheus::IntGaugeVec;
use topology::{Shard, ShardId, ShardState};

use super::Shards;

/// Shards that are probed at a time.
const MAX_PARALLEL: usize = 16;

/// What a probe found: nothing wrong, or what.
pub type Finding = Result<(), String>;

/// The newest findings. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<ShardId, Finding>>>);

impl Health {
    /// The newest finding of each shard that was probed.
    #[must_use]
    pub fn findings(&self) -> BTreeMap<ShardId, Finding> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn replace(&self, findings: BTreeMap<ShardId, Finding>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = findings;
    }
}

/// Probes and publishes; its other end is a [`Health`].
#[derive(Debug)]
pub struct Prober {
    shards: Shards,
    topology: topology::watch::View,
    interval: Duration,
    gauge: IntGaugeVec,
    health: Health,
}

impl Prober {
    /// A prober of the shards in `topology`; `gauge` has the label `shard_id`.
    #[must_use]
    pub fn new(
        shards: Shards,
        topology: topology::watch::View,
        interval: Duration,
        gauge: IntGaugeVec,
    ) -> (Self, Health) {
        let health = Health::default();
        let prober = Self {
            shards,
            topology,
            interval,
            gauge,
            health: health.clone(),
        };
        (prober, health)
    }

    /// Probes until `shutdown`.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                biased; // A process that ends waits for no shard.
                () = shutdown.requested() => return,
                () = self.round() => {}
            }
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                // A shard that was just registered is not unknown for a whole interval.
                _ = self.topology.changed() => {}
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }

    async fn round(&self) {
        let snapshot = self.topology.snapshot();
        let probe = |shard: Shard| {
            let shards = self.shards.clone();
            async move {
                let finding = probe(&shards, &shard).await;
                (shard.id, finding)
            }
        };
        let probes = snapshot.shards().iter().filter(|shard| takes_part(shard));
        let probes: Vec<_> = probes.cloned().map(probe).collect();
        let findings: BTreeMap<_, _> = stream::iter(probes)
            .buffer_unordered(MAX_PARALLEL)
            .collect()
            .await;
        self.publish(findings);
    }

    fn publish(&self, findings: BTreeMap<ShardId, Finding>) {
        let before = self.health.findings();
        for (shard, finding) in &findings {
            let gauge = self.gauge.with_label_values(&[shard.as_str()]);
            gauge.set(i64::from(finding.is_ok()));
            match (before.get(shard), finding) {
                (Some(Err(_)), Ok(())) => tracing::info!(%shard, "shard answers again"),
                (None | Some(Ok(())), Err(error)) => {
                    tracing::warn!(%shard, error, "shard does not answer");
                }
                (None | Some(Ok(())), Ok(())) | (Some(Err(_)), Err(_)) => {}
            }
        }
        for gone in before.keys().filter(|shard| !findings.contains_key(shard)) {
            // It may never have had a gauge; then there is nothing to remove.
            let _absent = self.gauge.remove_label_values(&[gone.as_str()]);
        }
        self.health.replace(findings);
    }
}

fn takes_part(shard: &Shard) -> bool {
    match shard.state {
        ShardState::Active | ShardState::Draining => true,
        ShardState::Inactive => false,
    }
}

async fn probe(shards: &Shards, shard: &Shard) -> Finding {
    let session = shards.connect(shard).await.map_err(|e| e.full_text())?;
    session.ping().await.map_err(|e| e.full_text())
}
