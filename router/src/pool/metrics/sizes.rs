//! How large the pools are, asked of them when somebody wants to know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use platform::metrics::register_on_scrape;
use prometheus::{IntGaugeVec, Opts, Registry};
use topology::ShardId;

use super::Metrics;
use crate::pool::Shared;

/// The pools that there are.
#[derive(Debug, Clone, Default)]
pub(in crate::pool) struct Pools(Arc<Mutex<Vec<Weak<Shared>>>>);

impl Pools {
    pub(in crate::pool) fn add(&self, pool: &Arc<Shared>) {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.push(Arc::downgrade(pool));
    }

    fn living(&self) -> Vec<Arc<Shared>> {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.iter().filter_map(Weak::upgrade).collect()
    }
}

/// The backends of one shard.
#[derive(Debug, Default)]
struct Sizes {
    open: u32,
    idle: u32,
    most: u32,
}

/// Registers the gauges of sizes. A shard without a pool has left: nothing is shown of it any more,
/// so that shards which come and go leave no labels behind.
pub(super) fn register(registry: &Registry, metrics: Metrics) -> Result<(), prometheus::Error> {
    let gauge = |name, help| IntGaugeVec::new(Opts::new(name, help), &["shard_id"]);
    let open = gauge(
        "shard_connections_open",
        "backends of a shard, in use or idle",
    )?;
    let idle = gauge(
        "shard_connections_idle",
        "backends of a shard that are not in use",
    )?;
    let most = gauge(
        "shard_connections_max",
        "backends that a shard's pools may have",
    )?;
    let collectors: [Box<dyn prometheus::core::Collector>; 3] =
        [&open, &idle, &most].map(|it| Box::new(it.clone()) as Box<_>);
    let mut known = BTreeSet::new();
    register_on_scrape(registry, collectors.into(), move || {
        let mut shards: BTreeMap<ShardId, Sizes> = BTreeMap::new();
        for pool in metrics.pools.living() {
            let sizes = shards.entry(pool.shard.clone()).or_default();
            let state = pool.backends.state();
            sizes.open += state.connections;
            sizes.idle += state.idle_connections + pool.shelf.len();
            sizes.most += pool.config.max_connections;
        }
        for (shard, sizes) in &shards {
            let labels = [shard.as_str()];
            open.with_label_values(&labels).set(sizes.open.into());
            idle.with_label_values(&labels).set(sizes.idle.into());
            most.with_label_values(&labels).set(sizes.most.into());
        }
        let present: BTreeSet<ShardId> = shards.into_keys().collect();
        for gone in known.difference(&present) {
            for gauge in [&open, &idle, &most] {
                // It was there a scrape ago.
                drop(gauge.remove_label_values(&[gone.as_str()]));
            }
            metrics.forget(gone);
        }
        known = present;
    })
}
