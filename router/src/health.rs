//! Asks each shard now and then whether it is there, for `shard_health_status`. Routing does not
//! depend on it: a statement finds out for itself.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use platform::Shutdown;

use crate::core::Core;
use crate::pool::{self, Pool};

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(5);

/// Probes until shutdown.
pub async fn run(core: Arc<Core>, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // A process that ends waits for nothing.
            biased;
            () = shutdown.requested() => return,
            _ = ticks.tick() => round(&core).await,
        }
    }
}

async fn round(core: &Core) {
    let serving = core.view.load();
    let pools = serving.all().iter();
    let probes = pools.map(|pool| async move { (pool.shard(), probe(pool).await) });
    core.metrics.health(join_all(probes).await.into_iter());
}

/// Whether a backend can be had, or all are busy, which only a living shard keeps them. It does
/// not stand in the line, and asks nothing of a shard that an operator has paused.
async fn probe(pool: &Pool) -> bool {
    if pool.is_barred() {
        return false;
    }
    if pool.is_busy() {
        return true;
    }
    match pool.checkout_once().await {
        Ok(lease) => {
            lease.give_back();
            true
        }
        Err(
            pool::Error::Exhausted { .. }
            | pool::Error::Crowded { .. }
            | pool::Error::Paused { .. }
            | pool::Error::Retired { .. },
        ) => true,
        Err(pool::Error::Unreachable { .. }) => false,
    }
}
