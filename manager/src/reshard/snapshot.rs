//! A replication slot together with the snapshot that sees exactly what its stream does not bring.
//! The snapshot's name lives until the next command of the connection that created it: nothing can
//! be asked of a holder but to be there.

use topology::Shard;

use super::link::{Error, Fault};
use super::lsn::Lsn;
use super::replication::{ReplicationConnection, Slot, SnapshotExport};
use crate::shards::Config;

/// Keeps an exported snapshot importable. Sessions that have imported it keep it on their own; the
/// holder has to outlive the last import.
#[derive(Debug)]
pub struct SnapshotHolder {
    consistent_point: Lsn,
    snapshot: String,
    _idle: ReplicationConnection,
}

impl SnapshotHolder {
    /// Creates a slot that stays, and holds its snapshot. A slot of that name must not exist.
    /// Waits until every transaction that writes at this time has ended.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn create(
        config: &Config,
        shard: &Shard,
        application_name: &str,
        slot: &str,
    ) -> Result<Self, Error> {
        let mut connection =
            ReplicationConnection::connect(config, shard, application_name).await?;
        let created = connection.create_slot(slot, SnapshotExport::Export).await?;
        Self::hold(shard, connection, created)
    }

    /// The same with a slot that is gone with the holder: a snapshot at a known place of the log.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn temporary(
        config: &Config,
        shard: &Shard,
        application_name: &str,
        slot: &str,
    ) -> Result<Self, Error> {
        let mut connection =
            ReplicationConnection::connect(config, shard, application_name).await?;
        let created = connection.create_temporary_slot(slot).await?;
        Self::hold(shard, connection, created)
    }

    fn hold(shard: &Shard, idle: ReplicationConnection, slot: Slot) -> Result<Self, Error> {
        let snapshot = slot.snapshot.ok_or_else(|| {
            let fault = Fault::Protocol("a slot without the snapshot it was to export".to_owned());
            Error::new(&shard.id, "create a replication slot", fault)
        })?;
        Ok(Self {
            consistent_point: slot.consistent_point,
            snapshot,
            _idle: idle,
        })
    }

    /// The snapshot's name, for `SET TRANSACTION SNAPSHOT`.
    #[must_use]
    pub fn snapshot(&self) -> &str {
        &self.snapshot
    }

    /// What committed before is seen by the snapshot; the slot's stream brings what commits after.
    #[must_use]
    pub fn consistent_point(&self) -> Lsn {
        self.consistent_point
    }
}
