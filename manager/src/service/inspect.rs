//! A check-up: what this manager finds when it looks at etcd and at every shard now.

use std::time::SystemTime;

use futures_util::stream::{self, StreamExt as _};
use platform::telemetry::error_chain;
use proto::manager::v1;
use tokio::time::Instant;
use topology::keys;
use topology::records::{LastBackup, decode};

use super::Service;
use crate::error::Error;
use crate::reshard::cleanup::Kind;
use crate::reshard::inspect::{self, Found};

/// Shards that are looked at at a time.
const MAX_PARALLEL: usize = 16;

impl Service {
    /// Looks. Any manager can.
    ///
    /// # Errors
    /// While the store was never read.
    pub async fn inspect(&self) -> Result<v1::InspectResponse, Error> {
        let snapshot = self.snapshot()?;
        let asked = Instant::now();
        let read = self.0.store.read(keys::LAST_BACKUP).await;
        let took = asked.elapsed();
        let mut etcd_error = read.as_ref().err().map(|error| error_chain(error));
        let backup = read.ok().flatten();
        let backup = backup.and_then(|it| decode::<LastBackup>(&it.key, &it.value).ok());
        let looks = snapshot.shards().iter().map(|shard| async {
            let found = inspect::shard(&self.0.sessions, shard).await;
            (shard.id.to_string(), found)
        });
        let looks: Vec<_> = looks.collect();
        let found: Vec<(String, Result<Found, inspect::Error>)> =
            stream::iter(looks).buffered(MAX_PARALLEL).collect().await;
        // Without etcd nobody can say what is left; the rest is worth knowing then.
        let live = inspect::live(self.0.store.as_ref()).await;
        if let (None, Err(error)) = (&etcd_error, &live) {
            etcd_error = Some(error_chain(error));
        }
        let live = live.ok();
        let shards = found.into_iter().map(|(shard_id, found)| match found {
            Err(error) => v1::ShardInspection {
                shard_id,
                error: error_chain(&error),
                ..v1::ShardInspection::default()
            },
            Ok(mut found) => {
                let of_legs = std::mem::take(&mut found.of_legs);
                let left = live.as_ref().map(|live| inspect::left(of_legs, live));
                let remains = left
                    .unwrap_or_default()
                    .into_iter()
                    .map(|orphan| v1::Remain {
                        job_id: orphan.leg.job.to_string(),
                        kind: word(orphan.kind).to_owned(),
                        name: orphan.name,
                    });
                told(shard_id, found, remains.collect())
            }
        });
        Ok(v1::InspectResponse {
            clock_ms: since_epoch(SystemTime::now(), 1000),
            etcd_latency_ms: took.as_secs_f64() * 1000.0,
            etcd_error: etcd_error.unwrap_or_default(),
            last_backup_at: backup.map_or(0, |backup| since_epoch(backup.finished_at, 1)),
            max_wal_retained: self.0.max_wal_retained,
            shards: shards.collect(),
        })
    }
}

fn since_epoch(at: SystemTime, per_second: u64) -> u64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let part = u64::from(since.subsec_micros()) * per_second / 1_000_000;
    since.as_secs() * per_second + part
}

fn told(shard_id: String, found: Found, remains: Vec<v1::Remain>) -> v1::ShardInspection {
    let slots = found.slots.into_iter().map(|slot| v1::ReplicationSlot {
        name: slot.name,
        active: slot.is_active,
        retained_bytes: slot.retained,
        lost: slot.is_lost,
    });
    let prepared = found
        .prepared
        .into_iter()
        .map(|it| v1::PreparedTransaction {
            name: it.name,
            age_seconds: it.age,
            ours: it.is_ours,
        });
    v1::ShardInspection {
        shard_id,
        error: String::new(),
        version: found.version,
        version_number: found.version_number,
        clock_offset_ms: found.clock_offset_ms,
        round_trip_ms: found.round_trip.as_secs_f64() * 1000.0,
        in_recovery: found.is_in_recovery,
        wal_level: found.wal_level,
        max_prepared_transactions: found.max_prepared_transactions,
        max_replication_slots: found.max_replication_slots,
        max_wal_senders: found.max_wal_senders,
        max_connections: found.max_connections,
        connections: found.connections,
        slots: slots.collect(),
        remains,
        prepared: prepared.collect(),
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Slot => "slot",
        Kind::Origin => "origin",
        Kind::Publication => "publication",
        Kind::Trigger => "trigger",
        Kind::EventTrigger => "event trigger",
        Kind::Function => "function",
        Kind::Fence => "fence",
        Kind::Leg => "leg",
    }
}
