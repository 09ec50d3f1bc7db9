//! Keeps the snapshot of a running copy when the manager dies that exported it. Every manager holds
//! a session on the owner that has imported it, and the locks that keep the tables from being
//! rewritten; the next leader exports it again and goes on with the copy. What runs is told by
//! records in the store, which managers look for once a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use platform::Shutdown;
use platform::telemetry::error_chain;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use topology::records::decode;
use topology::store::Store;
use topology::watch;
use topology::{Shard, ShardId, keys};

use super::{Error, part, view};
use crate::reshard::flow::MovedTable;
use crate::reshard::ids::LegId;
use crate::reshard::link::Link;
use crate::reshard::lsn::Lsn;
use crate::reshard::session::keeper_name;
use crate::shards::Config;

/// Between two looks at what runs.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a session may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// What is stored of a copy that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The leg.
    pub leg: LegId,
    /// The shard that owns the rows.
    pub owner: ShardId,
    /// Its entries in the mirrors' books.
    pub attempt: String,
    /// The name under which the snapshot can be imported at the moment.
    pub snapshot: String,
    /// Where the stream goes on that belongs to the snapshot.
    pub position: Lsn,
    /// The tables.
    pub tables: Vec<MovedTable>,
    /// Which files they are in.
    pub layout: String,
}

/// A session that has the snapshot.
#[derive(Debug)]
pub struct Keeper {
    attempt: String,
    link: Link,
}

impl Keeper {
    /// Imports a snapshot, and keeps everybody from rewriting the tables.
    ///
    /// # Errors
    /// [`Error::SnapshotGone`] when nobody has it any more.
    pub async fn open(
        config: &Config,
        (leg, owner): (&LegId, &Shard),
        attempt: &str,
        snapshot: &str,
        tables: &[MovedTable],
    ) -> Result<Self, Error> {
        let name = keeper_name(leg);
        let mut link = view::connect_as(config, owner, &name).await?;
        view::import(&mut link, snapshot).await?;
        part::lock(&mut link, tables).await?;
        Ok(Self {
            attempt: attempt.to_owned(),
            link,
        })
    }

    /// Which files the tables are in, now.
    ///
    /// # Errors
    /// What PostgreSQL or the network says.
    pub async fn layout(&mut self, tables: &[MovedTable]) -> Result<String, Error> {
        let parts = part::all(&mut self.link, tables).await?;
        part::layout(&mut self.link, &parts).await
    }

    /// Exports the snapshot again: under a name that lives as long as this session.
    ///
    /// # Errors
    /// What PostgreSQL or the network says.
    pub async fn export(&mut self) -> Result<String, Error> {
        let sql = "SELECT pg_export_snapshot()";
        let rows = self.link.query("export a snapshot again", sql).await?;
        let name = rows.into_iter().flatten().flatten().next();
        name.ok_or_else(|| part::unreadable(&self.link))
    }

    async fn is_there(&mut self) -> bool {
        let asked = self.link.query("keep a snapshot", "SELECT 1");
        matches!(timeout(ANSWER_LIMIT, asked).await, Ok(Ok(_)))
    }
}

/// The snapshots that this manager keeps.
#[derive(Debug, Clone, Default)]
pub struct Keepers(Arc<Mutex<HashMap<LegId, Keeper>>>);

impl Keepers {
    /// Keeps one more.
    pub async fn put(&self, leg: LegId, keeper: Keeper) {
        self.0.lock().await.insert(leg, keeper);
    }

    /// Lets a snapshot go.
    pub async fn drop(&self, leg: &LegId) {
        self.0.lock().await.remove(leg);
    }

    /// Exports the snapshot of a copy again, if it is kept here and rows are where they were.
    pub async fn export(&self, running: &Running) -> Option<String> {
        let mut kept = self.0.lock().await;
        let keeper = kept.get_mut(&running.leg)?;
        if keeper.attempt != running.attempt {
            return None;
        }
        let exported = async {
            let layout = keeper.layout(&running.tables).await?;
            Ok::<_, Error>((keeper.export().await?, layout))
        };
        match timeout(ANSWER_LIMIT, exported).await {
            Ok(Ok((snapshot, layout))) if layout == running.layout => return Some(snapshot),
            Ok(Ok(_)) => return None,
            Ok(Err(error)) => {
                let error = error_chain(&error);
                tracing::warn!(leg = %running.leg, error, "a kept snapshot is gone");
            }
            Err(_) => tracing::warn!(leg = %running.leg, "a kept snapshot is not had in time"),
        }
        // It may be in the middle of an answer that nobody reads any more.
        kept.remove(&running.leg);
        None
    }

    /// Keeps what runs, and nothing else.
    async fn follow(&self, config: &Config, running: &[Running], topology: &watch::View) {
        let missing: Vec<&Running> = {
            let mut kept = self.0.lock().await;
            kept.retain(|leg, keeper| {
                let mut all = running.iter();
                all.any(|one| one.leg == *leg && one.attempt == keeper.attempt)
            });
            let mut gone = Vec::new();
            for (leg, keeper) in kept.iter_mut() {
                if !keeper.is_there().await {
                    gone.push(leg.clone());
                }
            }
            for leg in gone {
                kept.remove(&leg);
            }
            let is_missing = |one: &&Running| !kept.contains_key(&one.leg);
            running.iter().filter(is_missing).collect()
        };
        for one in missing {
            let snapshot = topology.snapshot();
            let owner = snapshot.shards().iter().find(|shard| shard.id == one.owner);
            let Some(owner) = owner else {
                continue;
            };
            let Running {
                leg,
                attempt,
                snapshot,
                tables,
                ..
            } = one;
            let opened = Keeper::open(config, (leg, owner), attempt, snapshot, tables);
            match timeout(ANSWER_LIMIT, opened).await {
                Ok(Ok(keeper)) => {
                    tracing::info!(%leg, "the snapshot of a copy is kept here, too");
                    self.put(leg.clone(), keeper).await;
                }
                // The copy may have ended meanwhile.
                Ok(Err(error)) => {
                    let error = error_chain(&error);
                    tracing::debug!(%leg, error, "the snapshot of a copy is not kept here");
                }
                Err(_) => tracing::debug!(%leg, "the snapshot of a copy is not kept in time"),
            }
        }
    }
}

/// Keeps the snapshots of all copies that run, whoever leads, until shutdown.
pub async fn tend(
    keepers: Keepers,
    config: Config,
    (store, topology): (Arc<dyn Store>, watch::View),
    shutdown: Shutdown,
) {
    let work = async {
        loop {
            sleep(INTERVAL).await;
            match store.list(keys::COPIES).await {
                Ok(listing) => {
                    let found = listing.entries.iter();
                    let found = found.filter_map(|entry| decode(&entry.key, &entry.value).ok());
                    let running: Vec<Running> = found.collect();
                    keepers.follow(&config, &running, &topology).await;
                }
                // What is kept stays.
                Err(error) => {
                    tracing::debug!(error = error_chain(&error), "copies that run are not known");
                }
            }
        }
    };
    tokio::select! {
        () = shutdown.requested() => {}
        never = work => never,
    }
}
