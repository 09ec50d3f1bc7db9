//! Reads that may be a little old go to a replica, where there is one.

use topology::Consistency;

use super::Session;
use super::attach::Stopped;
use super::state::Transaction;
use crate::metrics::{Decision, route_of};
use crate::pool::Lease;
use crate::query::Statement;
use crate::replica::{self, Permit};
use crate::route::{Plan, Target};
use crate::view::Serving;

impl Session {
    /// How fresh the answer to a statement must be.
    fn consistency(&self, statement: &Statement) -> Consistency {
        let by_comment = replica::asked_for(&statement.hints);
        let asked = by_comment.or_else(|| replica::asked_for(self.settings.hints.current()));
        asked.unwrap_or_default()
    }

    /// A permit for a statement that may run on a replica.
    pub(super) fn permit(&self, statement: &Statement, plan: Option<&Plan>) -> Option<Permit> {
        match self.transaction {
            Transaction::Idle => {}
            // A transaction reads what it wrote, and is not read-only for saying nothing.
            Transaction::Pending(_)
            | Transaction::FailedPending(_)
            | Transaction::Open
            | Transaction::Failed => return None,
        }
        // It may read what only its own connection has.
        if self.is_bound() || self.settings.in_force().may_write_by_default() {
            return None;
        }
        Permit::of(statement, plan?, self.consistency(statement))
    }

    /// As [`Self::attach`], of a replica where there is a permit and a replica that is fit. What a
    /// replica answers is not held: it may be a little old.
    pub(super) async fn attach_reader(
        &mut self,
        serving: &Serving,
        target: Target,
        permit: Option<Permit>,
    ) -> Result<(), Stopped> {
        if permit.is_some() && Box::pin(self.attach_replica(serving, target, permit)).await? {
            return Ok(());
        }
        self.attach(serving, target).await
    }

    /// Borrows a backend of a replica; false when there is no permit, or none is to be had.
    async fn attach_replica(
        &mut self,
        serving: &Serving,
        target: Target,
        permit: Option<Permit>,
    ) -> Result<bool, Stopped> {
        let Some(permit) = permit else {
            return Ok(false);
        };
        if let Some(attachment) = &self.attachment {
            let known = serving.snapshot.index_of(&attachment.shard);
            let fits = match target {
                Target::Shard { index, .. } => known == Some(index),
                Target::Any | Target::Catalog => true,
                Target::Everywhere => false,
            };
            if attachment.on_replica && fits {
                self.note_replica(target);
                return Ok(true);
            }
            if attachment.movable.is_none() {
                // The batch goes on where it has begun.
                return Ok(false);
            }
        }
        let Some((lease, shard)) = self.borrow(serving, target, permit).await else {
            return Ok(false);
        };
        self.move_away().await?;
        // It can be left at any time: nothing that is done here is not done again elsewhere.
        self.begin_on(lease, shard, Some(None)).await?;
        if let Some(attachment) = &mut self.attachment {
            attachment.on_replica = true;
        }
        self.note_replica(target);
        Ok(true)
    }

    fn note_replica(&mut self, target: Target) {
        self.flight.route = route_of(target);
        self.front.core.metrics.decided(Decision::Replica);
    }

    async fn borrow(
        &self,
        serving: &Serving,
        target: Target,
        permit: Permit,
    ) -> Option<(Lease, topology::ShardId)> {
        let metrics = &self.front.core.replicas;
        let first = usize::try_from(self.cancel.key().process_id.unsigned_abs()).unwrap_or(0);
        serving.borrow_replica(target, permit, first, metrics).await
    }

    /// Leaves a replica's backend: what comes has no permit.
    pub(super) async fn leave_replica(&mut self) -> Result<(), Stopped> {
        let attachment = self.attachment.as_ref();
        if attachment.is_some_and(|attachment| attachment.on_replica) {
            Box::pin(self.move_away()).await?;
        }
        Ok(())
    }
}
