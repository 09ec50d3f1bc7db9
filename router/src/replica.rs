//! Reads that may be a little old, on servers that follow a shard's primary.
//!
//! A replica's pool is behind [`Replicas`], which lends a backend only against a [`Permit`], and a
//! permit is only given for a statement that reads: no write finds its way here. Should one be
//! hidden in what the router does not see, such as a view, PostgreSQL refuses it: it is in
//! recovery, and the connection is read-only even when it is not any more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use topology::{Consistency, Endpoint, Shard};

use crate::config::ReplicaPolicy;
use crate::pool::{self, Lease, Pool};
use crate::query::{Class, Hints, Statement};
use crate::route::Plan;

mod lag;
pub mod metrics;
pub mod prober;

use lag::Measured;

/// A statement that may run on a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit(());

impl Permit {
    /// A permit for a statement that stands alone, outside of a transaction block.
    #[must_use]
    pub fn of(statement: &Statement, plan: &Plan, consistency: Consistency) -> Option<Self> {
        let eventual = match consistency {
            Consistency::Eventual => true,
            Consistency::Strong => false,
        };
        // A call that is listed may write, or be about one connection.
        let reads = only_reads(&statement.class) && statement.functions.is_empty();
        (eventual && reads && !writes(plan)).then_some(Self(()))
    }
}

/// How fresh hints want a read to be, if they say.
#[must_use]
pub fn asked_for(hints: &Hints) -> Option<Consistency> {
    match hints.consistency.as_deref()? {
        "eventual" => Some(Consistency::Eventual),
        _ => Some(Consistency::Strong),
    }
}

fn only_reads(class: &Class) -> bool {
    match class {
        Class::Select(data) => data.writes.is_empty() && !data.locks_rows && data.opaque.is_none(),
        _ => false,
    }
}

fn writes(plan: &Plan) -> bool {
    match plan {
        Plan::Key { writes, .. } | Plan::Any { writes } | Plan::NeedsHint { writes, .. } => *writes,
        Plan::Catalog | Plan::Home(_) => false,
        Plan::Bound(_)
        | Plan::Everywhere
        | Plan::NeedsColumns { .. }
        | Plan::NeedsViews { .. }
        | Plan::Refused(_) => true,
    }
}

/// Whether replicas are read from, and which.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Whether at all.
    pub policy: ReplicaPolicy,
    /// How old a read may be.
    pub max_lag: Duration,
}

/// The replicas of one shard.
#[derive(Debug, Clone)]
pub struct Replicas {
    all: Arc<[Replica]>,
    /// Which one is asked first.
    turn: Arc<AtomicUsize>,
    /// How old a read may be.
    max_lag: Duration,
}

/// A server that follows a primary. Clones share what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pool: Pool,
    /// One connection beside those of reads, so that a busy replica can still be asked.
    probe: Pool,
    measured: Arc<Mutex<Option<Measured>>>,
}

impl Replicas {
    /// The replicas of a shard, those that were there `before` with all that is known of them.
    #[must_use]
    pub fn of(
        shard: &Shard,
        config: &Config,
        pools: (&pool::Config, &pool::metrics::Metrics),
        before: &[Self],
    ) -> Self {
        let known: Vec<&Replica> = before.iter().flat_map(|it| &*it.all).collect();
        let endpoints = match config.policy {
            ReplicaPolicy::ReplicaOk => shard.replicas.as_slice(),
            ReplicaPolicy::PrimaryOnly => &[],
        };
        let replica = |endpoint: &Endpoint| {
            let mut known = known.iter().copied();
            let known = known.find(|it| it.pool.is_of(&shard.id, endpoint));
            known.map_or_else(|| Replica::new(shard, endpoint, pools), Replica::clone)
        };
        Self {
            all: endpoints.iter().map(replica).collect(),
            turn: Arc::default(),
            max_lag: config.max_lag,
        }
    }

    /// Has their pools look at their idle backends.
    pub(crate) fn tidy(&self) {
        for replica in &*self.all {
            replica.pool.tidy();
            replica.probe.tidy();
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Replica] {
        &self.all
    }

    /// Their pools.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.all.iter().map(|replica| &replica.pool)
    }

    /// A backend of a replica that is near enough to its primary, of another one each time; none
    /// when there is no such replica or none can give a backend at once.
    pub async fn checkout(&self, _permit: Permit) -> Option<Lease> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len().max(1);
        let (before, after) = self.all.split_at(first);
        for replica in after.iter().chain(before) {
            if !replica.is_fit(self.max_lag) {
                continue;
            }
            match replica.pool.checkout_at_once().await {
                Ok(Some(lease)) => return Some(lease),
                Ok(None) => {}
                // Until it is heard of again.
                Err(_) => replica.note(None),
            }
        }
        None
    }
}

impl Replica {
    fn new(
        shard: &Shard,
        endpoint: &Endpoint,
        (config, metrics): (&pool::Config, &pool::metrics::Metrics),
    ) -> Self {
        let pool = |config| Pool::read_only(shard.id.clone(), endpoint.clone(), config, metrics);
        let single = pool::Config {
            max_connections: 1,
            ..config.clone()
        };
        Self {
            pool: pool(config.clone()),
            probe: pool(single),
            measured: Arc::default(),
        }
    }

    fn is_fit(&self, max_lag: Duration) -> bool {
        let measured = self.measured();
        measured.is_some_and(|measured| measured.at_most(Instant::now()) <= max_lag)
    }

    fn measured(&self) -> Option<Measured> {
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last look at it said; none is that it is not to be read from.
    fn note(&self, measured: Option<Measured>) {
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner) = measured;
    }
}

#[cfg(test)]
mod tests;
