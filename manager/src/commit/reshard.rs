//! A write of a resharding job: its records, and what they mean for the topology, in one
//! transaction under the leader's term. Only a write that changes the topology makes an epoch.

use std::time::SystemTime;

use serde_json::Value;
use topology::records::{Head, encode};
use topology::store::{Compare, Op, Revision, Txn};
use topology::{Epoch, Term, keys};

use super::{Attempt, Draft, Error, Writer, after, blank_entry};
use crate::audit::{self, Author};
use crate::control::moves::Effect;

/// Records of a job to be written.
pub struct ReshardWrite {
    /// The term in which the writer leads.
    pub term: Term,
    /// On whose behalf.
    pub author: Author,
    /// Records that must still be as they were seen; a record that is to be new has revision 0.
    pub unchanged: Vec<(String, Revision)>,
    /// The records, given the epoch that is made with them, or else the present one.
    pub records: Box<dyn Fn(Epoch) -> Vec<Op> + Send + Sync>,
    /// What they mean for the topology.
    pub effect: Effect,
    /// For the audit log: what is done.
    pub action: &'static str,
    /// To which job or leg.
    pub target: String,
    /// With which particulars.
    pub detail: Value,
}

impl std::fmt::Debug for ReshardWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReshardWrite")
            .field("term", &self.term)
            .field("action", &self.action)
            .field("target", &self.target)
            .field("effect", &self.effect)
            .finish_non_exhaustive()
    }
}

/// A write that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// The epoch with it: a new one if the topology changed.
    pub epoch: Epoch,
    /// The revision of all records that it wrote.
    pub revision: Revision,
}

impl Writer {
    /// Writes records of a job. Not cancel-safe, as [`Self::write`].
    ///
    /// # Errors
    /// Nothing was written, but for [`Error::OutcomeUnknown`]. [`Error::Contended`] when a record
    /// is not as it was seen.
    pub async fn write_reshard(&self, write: &ReshardWrite) -> Result<Applied, Error> {
        let attempt = || self.attempt_reshard(write);
        let (epoch, revision) = self.until_settled(write.term, attempt).await?;
        Ok(Applied { epoch, revision })
    }

    async fn attempt_reshard(&self, write: &ReshardWrite) -> Result<Attempt<Epoch>, Error> {
        let may_be_outdated = self.is_known();
        match self.decide_reshard(write).await {
            // It is decided again on what the store really holds.
            Err(Error::Rejected(_) | Error::Invalid(_)) if may_be_outdated => {
                self.decide_reshard(write).await
            }
            attempted => attempted,
        }
    }

    async fn decide_reshard(&self, write: &ReshardWrite) -> Result<Attempt<Epoch>, Error> {
        let (now, term) = (SystemTime::now(), write.term);
        let mut compares = vec![Compare::CreateRevision(
            keys::LEADER.to_owned(),
            Revision(term.0),
        )];
        let unchanged = write.unchanged.iter().cloned();
        compares.extend(unchanged.map(|(key, seen)| Compare::ModRevision(key, seen)));
        let mut ops = Vec::new();
        let mut known = self.know().await?;
        let position = known.position;
        let epoch = match &write.effect {
            Effect::None => known.loaded.epoch(),
            Effect::Hold(_)
            | Effect::Release { .. }
            | Effect::Flip { .. }
            | Effect::State { .. } => {
                let loaded = &mut known.loaded;
                let present = loaded.snapshot()?;
                let epoch = present.epoch().next();
                let changes = write.effect.ops(&present, now)?;
                after(&mut loaded.parts, epoch, &changes)?;
                compares.push(Compare::ModRevision(
                    keys::HEAD.to_owned(),
                    loaded.head_mod_revision,
                ));
                let head = Head { epoch, term };
                loaded.head = Some(head);
                known.writes_head = true;
                ops.extend(changes);
                ops.push(Op::put(keys::HEAD, encode(&head)));
                epoch
            }
        };
        ops.extend((write.records)(epoch));
        let entry = audit::Entry {
            action: write.action.to_owned(),
            target: write.target.clone(),
            detail: write.detail.clone(),
            ..blank_entry((term, &write.author), (epoch, position), now)
        };
        compares.push(position.unchanged());
        ops.extend(position.added(&entry));
        let txn = Txn { compares, ops };
        let known = Some(known);
        let draft = Draft {
            known,
            ..Draft::new(txn, entry)
        };
        Ok(Attempt::Send(Box::new(draft), epoch))
    }
}
