//! The commit of a transaction that has written on several shards, as far as all sessions share it:
//! names for such transactions, what shards can do, and what is counted. The protocol itself is in
//! `machine`, pure; the session's backends are driven by `session/several`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use topology::ShardId;
use topology::decision::Global;
use topology::records::Incarnation;

pub mod ability;
pub mod machine;
pub mod metrics;

pub use ability::Ability;
use metrics::Metrics;

/// How long what a shard can do is believed. A shard that was started anew with less says so
/// itself when it is asked to prepare.
const BELIEVED: Duration = Duration::from_secs(30);

/// What all sessions share.
#[derive(Debug)]
pub struct TwoPhase {
    router: Incarnation,
    number: AtomicU64,
    abilities: Mutex<HashMap<ShardId, (Instant, Ability)>>,
    /// What is counted.
    pub metrics: Metrics,
}

impl TwoPhase {
    /// Of one run of a router.
    ///
    /// # Errors
    /// When a metric's name is taken.
    pub fn register(
        router: Incarnation,
        registry: &prometheus::Registry,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            router,
            number: AtomicU64::new(0),
            abilities: Mutex::default(),
            metrics: Metrics::register(registry)?,
        })
    }

    /// A transaction that is decided on `anchor`; no other one ever has its name.
    #[must_use]
    pub fn global(&self, anchor: ShardId) -> Global {
        Global {
            router: self.router,
            number: self.number.fetch_add(1, Ordering::Relaxed),
            anchor,
        }
    }

    /// What is known of a shard, unless that was too long ago.
    #[must_use]
    pub fn ability(&self, shard: &ShardId) -> Option<Ability> {
        let abilities = self.abilities.lock();
        let abilities = abilities.unwrap_or_else(PoisonError::into_inner);
        let (at, ability) = abilities.get(shard)?;
        (at.elapsed() < BELIEVED).then(|| ability.clone())
    }

    /// Notes what a shard can do.
    pub fn learn(&self, shard: ShardId, ability: Ability) {
        let abilities = self.abilities.lock();
        let mut abilities = abilities.unwrap_or_else(PoisonError::into_inner);
        abilities.insert(shard, (Instant::now(), ability));
    }
}
