//! A copy that an earlier leader, or an earlier try, has begun: whether it can go on, and what other
//! managers need in order to go on with this one (docs/decisions/0017).

use topology::records::{decode, encode};
use topology::store::{Committed, Entry, Op, Txn};
use topology::{Shard, keys};

use super::Trouble;
use super::hands::Hands;
use crate::commit::leads;
use crate::reshard::copy::Attempt;
use crate::reshard::copy::keeper::{Keeper, Running};
use crate::reshard::snapshot::SnapshotHolder;

/// The slot has given away nothing of what follows the snapshot, and nobody reads it.
const SLOT_IS_AS_IT_WAS: &str = "SELECT 1 FROM pg_catalog.pg_replication_slots \
    WHERE slot_name = $1::text AND database = pg_catalog.current_database() AND NOT active \
      AND confirmed_flush_lsn = $2::text::pg_catalog.pg_lsn \
      AND wal_status IS DISTINCT FROM 'lost'";

impl Hands {
    /// The copy that was begun, if its snapshot is kept by this manager and all else is as it was.
    pub(super) async fn resumable(&self) -> Result<Option<Running>, Trouble> {
        let Some(running) = self.running_copy().await? else {
            return Ok(None);
        };
        if running.tables != self.leg.tables || !self.owners().contains(&running.owner) {
            return Ok(None);
        }
        let Some(snapshot) = self.context.keepers.export(&running).await else {
            return Ok(None);
        };
        let session = self.session(&running.owner, "resume").await?;
        let (slot, position) = (self.leg.id.slot(), running.position.to_string());
        let found = session
            .query_opt(SLOT_IS_AS_IT_WAS, &[&slot, &position])
            .await;
        let found = found.map_err(|error| session.error("look at the slot of a copy", error))?;
        Ok(found.map(|_| Running {
            snapshot,
            ..running
        }))
    }

    async fn running_copy(&self) -> Result<Option<Running>, Trouble> {
        let found = self.stored_copy().await?;
        // One that another release has written is not understood: it begins anew.
        Ok(found.and_then(|entry| decode(&entry.key, &entry.value).ok()))
    }

    /// Tells the other managers of a copy that begins, so that they keep its snapshot.
    pub(super) async fn announce(
        &self,
        owner: &Shard,
        holder: &SnapshotHolder,
        attempt: &Attempt,
    ) -> Result<(), Trouble> {
        let config = self.context.sessions.config();
        let (leg, tables) = (&self.leg.id, &self.leg.tables);
        let at = (leg, owner);
        let mut keeper = Keeper::open(config, at, &attempt.id, holder.snapshot(), tables).await?;
        let running = Running {
            leg: leg.clone(),
            owner: owner.id.clone(),
            attempt: attempt.id.clone(),
            snapshot: holder.snapshot().to_owned(),
            position: holder.consistent_point(),
            tables: tables.clone(),
            layout: keeper.layout(tables).await?,
        };
        self.tell_managers(&running).await?;
        self.context.keepers.put(leg.clone(), keeper).await;
        Ok(())
    }

    /// Writes where the snapshot is to be had.
    pub(super) async fn tell_managers(&self, running: &Running) -> Result<(), Trouble> {
        let key = keys::copy(&self.leg.id.tag());
        self.change_copies(Op::put(key, encode(running))).await
    }

    /// Nothing is copied any more, or what was copied is of no worth: the snapshot is let go,
    /// whoever keeps it.
    pub(super) async fn release_copy(&self) -> Result<(), Trouble> {
        let Some(stored) = self.stored_copy().await? else {
            return Ok(());
        };
        self.context.keepers.drop(&self.leg.id).await;
        for flow in self.leg.flows.iter().take(1) {
            let owner = self.shard(&flow.from)?;
            let sessions = &self.context.sessions;
            sessions.end_keepers(&owner, &self.leg.id).await?;
        }
        self.change_copies(Op::delete(stored.key)).await
    }

    async fn change_copies(&self, op: Op) -> Result<(), Trouble> {
        let txn = Txn {
            compares: vec![leads(self.term)],
            ops: vec![op],
        };
        let committed = self.context.store.commit(txn).await;
        match committed.map_err(|error| unread(&error))? {
            Committed::Applied(_) => Ok(()),
            Committed::Refused => Err(Trouble::passing("another manager leads")),
        }
    }

    async fn stored_copy(&self) -> Result<Option<Entry>, Trouble> {
        let key = keys::copy(&self.leg.id.tag());
        let found = self.context.store.read(&key).await;
        found.map_err(|error| unread(&error))
    }
}

fn unread(error: &topology::store::Error) -> Trouble {
    Trouble::passing(platform::telemetry::error_chain(error))
}
