//! What statements are routed by: the newest topology together with a pool for each of its
//! servers, swapped as one, so that a shard index always meets the pools of its own snapshot.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use platform::Shutdown;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use topology::{Endpoint, Epoch, ShardId, ShardIndex, ShardState, Snapshot};

use crate::barrier::{Barrier, Leave};
use crate::hold::Holding;
use crate::metrics::Metrics;
use crate::moving::Moving;
use crate::pool::{self, Lease, Pool};
use crate::replica::{self, Permit, Replicas};
use crate::route::{self, Target};

/// Between two looks at the backends that are idle.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);

/// How long after its start a router has clients wait for its first topology.
const FIRST_LIMIT: Duration = Duration::from_secs(5);

/// A topology and the pools of its shards.
#[derive(Debug, Default)]
pub struct Serving {
    /// The topology.
    pub snapshot: Arc<Snapshot>,
    primaries: Vec<Pool>,
    replicas: Vec<Replicas>,
    members: Vec<ShardIndex>,
}

impl Serving {
    /// The pool of a shard's primary.
    #[must_use]
    pub fn primary(&self, index: ShardIndex) -> Option<&Pool> {
        self.primaries.get(usize::try_from(index.0).ok()?)
    }

    /// The replicas of a shard.
    #[must_use]
    pub fn replicas_of(&self, index: ShardIndex) -> Option<&Replicas> {
        self.replicas.get(usize::try_from(index.0).ok()?)
    }

    /// Borrows a backend of a replica that may answer for `target`: where any shard may, the first
    /// that has one, beginning with shard number `first`. Counts who answers.
    pub async fn borrow_replica(
        &self,
        target: Target,
        permit: Permit,
        first: usize,
        metrics: &replica::metrics::Metrics,
    ) -> Option<(Lease, ShardId)> {
        let shards = match target {
            Target::Shard { index, .. } => vec![index],
            Target::Any | Target::Catalog => {
                let mut members = self.members.clone();
                let first = self.beginning(target, members.iter().copied(), first);
                let count = members.len().max(1);
                members.rotate_left(first % count);
                members
            }
            Target::Everywhere => return None,
        };
        for index in &shards {
            let (replicas, pool) = (self.replicas_of(*index)?, self.primary(*index)?);
            if pool.is_paused() {
                // An operator means the shard, not one of its servers.
                continue;
            }
            if let Some(lease) = replicas.checkout(permit).await {
                metrics.read(pool.shard(), true);
                return Some((lease, pool.shard().clone()));
            }
        }
        let pool = self.primary(*shards.first()?)?;
        metrics.read(pool.shard(), false);
        None
    }

    /// The replicas of all shards.
    #[must_use]
    pub fn replicas(&self) -> &[Replicas] {
        &self.replicas
    }

    /// As [`Self::active`], without those that an operator has paused unless all are.
    #[must_use]
    pub fn ready(&self) -> Vec<(ShardIndex, &Pool)> {
        let running: Vec<(ShardIndex, &Pool)> = self
            .active()
            .filter(|(_, pool)| !pool.is_paused())
            .collect();
        if running.is_empty() {
            return self.active().collect();
        }
        running
    }

    /// Every shard that takes part, with its primary's pool: those that own a part of the ring. A
    /// shard that has joined and owns nothing yet has none of the tables, so that neither schema
    /// changes nor statements that any shard could answer may go there. While the ring is empty,
    /// all shards take part.
    pub fn active(&self) -> impl Iterator<Item = (ShardIndex, &Pool)> {
        let members = self.members.iter().copied();
        members.filter_map(|index| Some((index, self.primary(index)?)))
    }

    /// Where to begin among `shards`: at `usual`, or for the catalogs at the common shard.
    pub fn beginning(
        &self,
        target: Target,
        shards: impl IntoIterator<Item = ShardIndex>,
        usual: usize,
    ) -> usize {
        let common = match target {
            Target::Catalog => route::common_shard(&self.snapshot).ok(),
            Target::Shard { .. } | Target::Any | Target::Everywhere => None,
        };
        let place = common.and_then(|common| shards.into_iter().position(|it| it == common));
        place.unwrap_or(usual)
    }

    /// Has every pool look at its idle backends.
    fn tidy(&self) {
        self.primaries.iter().for_each(Pool::tidy);
        self.replicas.iter().for_each(Replicas::tidy);
    }

    /// The pools of all servers: each shard's primary, then its replicas.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        let shards = self.primaries.iter().zip(&self.replicas);
        shards.flat_map(|(primary, replicas)| std::iter::once(primary).chain(replicas.pools()))
    }

    /// The pools of all primaries, whether their shards take part or not.
    #[must_use]
    pub fn all(&self) -> &[Pool] {
        &self.primaries
    }
}

/// Which server each shard's writes go to, and whether they may.
fn primaries_of(snapshot: &Snapshot) -> Vec<(&ShardId, &Endpoint, pool::Succession)> {
    let of = |shard| pool::Succession::of(shard);
    let shards = snapshot.shards().iter();
    shards
        .map(|shard| (&shard.id, &shard.primary_endpoint, of(shard)))
        .collect()
}

/// The shards that take part in a topology.
fn members(snapshot: &Snapshot) -> Vec<ShardIndex> {
    let owners: HashSet<ShardIndex> = snapshot
        .ring()
        .vnodes()
        .iter()
        .map(|vnode| vnode.owner)
        .collect();
    let takes_part = |index, state| match state {
        ShardState::Active | ShardState::Draining => owners.is_empty() || owners.contains(&index),
        ShardState::Inactive => false,
    };
    let shards = (0_u32..).map(ShardIndex).zip(snapshot.shards());
    let members = shards.filter(|(index, shard)| takes_part(*index, shard.state));
    members.map(|(index, _)| index).collect()
}

/// The newest [`Serving`]; cheap to clone and to read.
#[derive(Debug, Clone, Default)]
pub struct View {
    serving: Arc<ArcSwap<Serving>>,
    barrier: Barrier,
    /// Whether a topology has been read, and until when that is waited for.
    first: Option<(watch::Receiver<bool>, Instant)>,
}

impl View {
    /// Waits for the first topology: a router that has just started is reached before whoever
    /// balances its load knows that it is not ready, and must not answer by none at all. Without
    /// etcd it is waited for a few seconds.
    pub async fn begun(&self) {
        let Some((begins, patience)) = &self.first else {
            return;
        };
        if !*begins.borrow() {
            let mut begins = begins.clone();
            let _late = timeout_at(*patience, begins.wait_for(|begun| *begun)).await;
        }
    }

    /// The newest topology and its pools.
    #[must_use]
    pub fn load(&self) -> Arc<Serving> {
        self.serving.load_full()
    }

    /// The right to write the bytes of a statement that was routed by the topology of this epoch;
    /// none when it must be routed anew, by what [`Self::load`] gives then.
    #[must_use]
    pub fn leave(&self, routed: Epoch) -> Option<Leave> {
        self.barrier.leave(routed)
    }
}

/// Keeps a [`View`] in step with the topology.
#[derive(Debug)]
pub struct Keeper {
    topology: topology::watch::View,
    /// Whether a topology has been read.
    begun: watch::Sender<bool>,
    view: View,
    config: pool::Config,
    replicas: replica::Config,
    pools: pool::metrics::Metrics,
    metrics: Metrics,
    holding: Holding,
    moving: Moving,
    barrier: Barrier,
}

impl Keeper {
    /// A keeper and the view that it keeps.
    #[must_use]
    pub fn new(
        topology: topology::watch::View,
        (config, replicas): (pool::Config, replica::Config),
        pools: pool::metrics::Metrics,
        metrics: Metrics,
        (holding, moving, barrier): (Holding, Moving, Barrier),
    ) -> (Self, View) {
        let (begun, begins) = watch::channel(false);
        let view = View {
            serving: Arc::default(),
            first: Some((begins, Instant::now() + FIRST_LIMIT)),
            barrier: barrier.clone(),
        };
        (
            Self {
                topology,
                begun,
                view: view.clone(),
                config,
                replicas,
                pools,
                metrics,
                holding,
                moving,
                barrier,
            },
            view,
        )
    }

    /// Follows the topology until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut tidying = tokio::time::interval(TIDY_INTERVAL);
        loop {
            // Before the snapshot, which may be read at this moment.
            let is_loaded = self.topology.is_loaded();
            self.apply(&self.topology.snapshot());
            if is_loaded {
                self.begun.send_replace(true);
            }
            loop {
                tokio::select! {
                    // Shutdown first, so that a busy topology cannot delay it.
                    biased;
                    () = shutdown.requested() => return,
                    _epoch = self.topology.changed() => break,
                    _ = tidying.tick() => self.view.load().tidy(),
                }
            }
        }
    }

    /// Makes the pools of a snapshot, keeping those of servers that are still in it.
    fn apply(&self, snapshot: &Arc<Snapshot>) {
        let before = self.view.load();
        let known: HashMap<&Endpoint, &Pool> = before
            .primaries
            .iter()
            .map(|pool| (pool.endpoint(), pool))
            .collect();
        let pool_of = |shard: &topology::Shard| match known.get(&shard.primary_endpoint) {
            Some(pool) if pool.serves(shard) => Pool::clone(pool),
            _ => Pool::new(shard, self.config.clone(), &self.pools),
        };
        let primaries = snapshot.shards().iter().map(pool_of).collect();
        let replicas_of = |shard: &topology::Shard| {
            let pools = (&self.config, &self.pools);
            Replicas::of(shard, &self.replicas, pools, &before.replicas)
        };
        let replicas = snapshot.shards().iter().map(replicas_of).collect();
        let (epoch, members) = (snapshot.epoch(), members(snapshot));
        let moves = snapshot.ring() != before.snapshot.ring()
            || snapshot.holds() != before.snapshot.holds()
            || primaries_of(snapshot) != primaries_of(&before.snapshot);
        // Of views that were others for an epoch between the two nothing is to be seen.
        let skips = epoch.0 > before.snapshot.epoch().0.saturating_add(1);
        let views = skips || snapshot.has_views() || before.snapshot.has_views();
        self.view.serving.store(Arc::new(Serving {
            snapshot: Arc::clone(snapshot),
            primaries,
            replicas,
            members,
        }));
        // Before the barrier is raised: what it tells the managers is that these are silent.
        for pool in &before.primaries {
            let shard = snapshot.index_of(pool.shard());
            let shard = shard.and_then(|index| snapshot.shard(index));
            match shard {
                Some(shard) if pool.serves(shard) => {}
                Some(shard) if pool.is_succeeded(shard) => pool.cut(),
                Some(_) | None => pool.retire(),
            }
        }
        // Whoever is released, or refused a leave, finds the topology in place.
        self.holding.publish(snapshot);
        self.moving.publish(snapshot);
        if moves || views {
            self.barrier.raise(epoch);
        }
        self.metrics.epoch(epoch);
    }
}
