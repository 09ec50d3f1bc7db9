//! Looks at each server of each shard again and again: for the health report, for metrics, and for
//! whoever has to know which replica could become the primary. Decides nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream;
use platform::Shutdown;
use tokio::time::Instant;
use topology::{Endpoint, Shard, ShardId, ShardState};

use super::Shards;
use super::metrics::Metrics;
use super::server::Seen;

/// Servers that are probed at a time.
const MAX_PARALLEL: usize = 32;

/// What a probe found: nothing wrong, or what.
pub type Finding = Result<(), String>;

/// A server at its last probe.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Whether the topology has it for the primary, or for one of those that may be.
    pub is_primary_address: bool,
    /// What it said, or why it said nothing.
    pub seen: Result<Seen, String>,
    /// When it was asked.
    pub at: SystemTime,
}

/// A shard as its last probes found it.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Its servers: those of the primary's address first.
    pub servers: Vec<Server>,
    /// Nothing wrong with the primary, or what.
    pub finding: Finding,
    /// The primary when it last answered; kept while it does not.
    pub primary: Option<(Seen, SystemTime)>,
    /// Probes in a row that found no primary.
    pub failures: u32,
    /// When the first of them was.
    pub failing_since: Option<Instant>,
}

impl Observation {
    /// What the topology's primary is at present: of several, the one on the highest timeline.
    fn present(servers: &[Server]) -> Option<&Seen> {
        let own = servers.iter().filter(|server| server.is_primary_address);
        let seen = own.filter_map(|server| server.seen.as_ref().ok());
        let primaries = seen.filter(|seen| seen.is_primary);
        primaries.max_by_key(|seen| seen.lineage.timeline)
    }

    fn new(shard: &Shard, servers: Vec<Server>, before: Option<&Self>) -> Self {
        let same = before.filter(|before| before.is_of(&servers));
        let present = Self::present(&servers).cloned();
        let finding = finding(shard, &servers, present.as_ref());
        let (failures, failing_since) = match &finding {
            Ok(()) => (0, None),
            Err(_) => (
                same.map_or(0, |it| it.failures).saturating_add(1),
                same.and_then(|it| it.failing_since)
                    .or_else(|| Some(Instant::now())),
            ),
        };
        let kept = same.and_then(|it| it.primary.clone());
        let seen = present.map(|seen| (seen, SystemTime::now()));
        Self {
            primary: seen.filter(|_| finding.is_ok()).or(kept),
            servers,
            finding,
            failures,
            failing_since,
        }
    }

    /// Whether it is about the same primary.
    fn is_of(&self, servers: &[Server]) -> bool {
        let addresses = |servers: &[Server]| -> Vec<Endpoint> {
            let own = servers.iter().filter(|server| server.is_primary_address);
            own.map(|server| server.endpoint.clone()).collect()
        };
        addresses(&self.servers) == addresses(servers)
    }
}

/// Whether a shard has its primary.
fn finding(shard: &Shard, servers: &[Server], present: Option<&Seen>) -> Finding {
    match (present, &shard.lineage) {
        (Some(seen), Some(known)) if !known.is_succeeded_by(&seen.lineage) => Err(format!(
            "the primary is {}, and was {known} already",
            seen.lineage
        )),
        (Some(_), _) => Ok(()),
        (None, _) => {
            let own = servers.iter().filter(|server| server.is_primary_address);
            let told: Vec<String> = own
                .map(|server| match &server.seen {
                    Ok(_) => format!("{} is a replica", server.endpoint),
                    Err(error) => error.clone(),
                })
                .collect();
            Err(told.join("; "))
        }
    }
}

/// The newest findings. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<ShardId, Observation>>>);

impl Health {
    /// The newest finding of each shard that was probed.
    #[must_use]
    pub fn findings(&self) -> BTreeMap<ShardId, Finding> {
        let observed = self.observed();
        let finding = |(id, it): (ShardId, Observation)| (id, it.finding);
        observed.into_iter().map(finding).collect()
    }

    /// All that is known of each shard that was probed.
    #[must_use]
    pub fn observed(&self) -> BTreeMap<ShardId, Observation> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// All that is known of one shard.
    #[must_use]
    pub fn of(&self, shard: &ShardId) -> Option<Observation> {
        let observed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        observed.get(shard).cloned()
    }

    fn replace(&self, observed: BTreeMap<ShardId, Observation>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = observed;
    }
}

/// Probes and publishes; its other end is a [`Health`].
#[derive(Debug)]
pub struct Prober {
    shards: Shards,
    topology: topology::watch::View,
    interval: Duration,
    metrics: Metrics,
    health: Health,
}

impl Prober {
    /// A prober of the shards in `topology`.
    #[must_use]
    pub fn new(
        shards: Shards,
        topology: topology::watch::View,
        interval: Duration,
        metrics: Metrics,
    ) -> (Self, Health) {
        let health = Health::default();
        let prober = Self {
            shards,
            topology,
            interval,
            metrics,
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
        let shards = snapshot.shards().iter().filter(|shard| takes_part(shard));
        let shards: Vec<Shard> = shards.cloned().collect();
        let probes = shards.iter().flat_map(|shard| {
            let servers = servers_of(shard).into_iter();
            servers.map(|(endpoint, own)| self.probe(shard.id.clone(), endpoint, own))
        });
        let probes: Vec<_> = probes.collect();
        let found: Vec<(ShardId, Server)> =
            stream::iter(probes).buffered(MAX_PARALLEL).collect().await;
        let mut by_shard: BTreeMap<ShardId, Vec<Server>> = BTreeMap::new();
        for (shard, server) in found {
            by_shard.entry(shard).or_default().push(server);
        }
        let before = self.health.observed();
        let observed = shards.iter().map(|shard| {
            let servers = by_shard.remove(&shard.id).unwrap_or_default();
            let known = before.get(&shard.id);
            (shard.id.clone(), Observation::new(shard, servers, known))
        });
        self.publish(&before, observed.collect());
    }

    async fn probe(&self, shard: ShardId, endpoint: Endpoint, own: bool) -> (ShardId, Server) {
        let seen = self.shards.look(&shard, &endpoint).await;
        let server = Server {
            endpoint,
            is_primary_address: own,
            seen: seen.map_err(|error| error.full_text()),
            at: SystemTime::now(),
        };
        (shard, server)
    }

    fn publish(
        &self,
        before: &BTreeMap<ShardId, Observation>,
        observed: BTreeMap<ShardId, Observation>,
    ) {
        for (shard, observation) in &observed {
            let known = before.get(shard).map(|it| &it.finding);
            match (known, &observation.finding) {
                (Some(Err(_)), Ok(())) => tracing::info!(%shard, "shard answers again"),
                (None | Some(Ok(())), Err(error)) => {
                    tracing::warn!(%shard, error, "shard does not answer");
                }
                (None | Some(Ok(())), Ok(())) | (Some(Err(_)), Err(_)) => {}
            }
        }
        self.metrics.observed(before, &observed);
        self.health.replace(observed);
    }
}

/// The servers of a shard, and whether each is one of the primary's address.
fn servers_of(shard: &Shard) -> Vec<(Endpoint, bool)> {
    let own = shard.primary_endpoint.servers();
    let replicas: Vec<Endpoint> = shard.replicas.clone();
    let others = replicas.into_iter().filter(|it| !own.contains(it));
    let others: Vec<(Endpoint, bool)> = others.map(|it| (it, false)).collect();
    let own = own.into_iter().map(|it| (it, true));
    own.chain(others).collect()
}

fn takes_part(shard: &Shard) -> bool {
    match shard.state {
        ShardState::Active | ShardState::Draining => true,
        ShardState::Inactive => false,
    }
}
