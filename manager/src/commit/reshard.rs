//! A write of a resharding job: its records, and what they mean for the topology, in one
//! transaction under the leader's term. Only a write that changes the topology makes an epoch.

use std::time::SystemTime;

use serde_json::Value;
use topology::records::{Head, decode, encode};
use topology::store::{Compare, Op, Revision, Txn};
use topology::watch::load;
use topology::{Epoch, Term, keys};

use super::{Attempt, Draft, Error, Writer, after, blank_entry};
use crate::audit::{self, Author, Position};
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
        let (now, term) = (SystemTime::now(), write.term);
        let mut compares = vec![Compare::CreateRevision(
            keys::LEADER.to_owned(),
            Revision(term.0),
        )];
        let unchanged = write.unchanged.iter().cloned();
        compares.extend(unchanged.map(|(key, seen)| Compare::ModRevision(key, seen)));
        let mut ops = Vec::new();
        let store = self.store.as_ref();
        let (epoch, position) = match &write.effect {
            Effect::None => (self.epoch().await?, Position::of(store).await?),
            Effect::Hold(_) | Effect::Release { .. } | Effect::Flip { .. } => {
                let (mut loaded, position) =
                    tokio::try_join!(async { Ok::<_, Error>(load(store).await?) }, async {
                        Ok(Position::of(store).await?)
                    },)?;
                let present = loaded.snapshot()?;
                let epoch = present.epoch().next();
                let changes = write.effect.ops(&present)?;
                after(&mut loaded.parts, epoch, &changes)?;
                compares.push(Compare::ModRevision(
                    keys::HEAD.to_owned(),
                    loaded.head_mod_revision,
                ));
                ops.extend(changes);
                ops.push(Op::put(keys::HEAD, encode(&Head { epoch, term })));
                (epoch, position)
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
        Ok(Attempt::Send(Box::new(Draft { txn, entry }), epoch))
    }

    pub(super) async fn epoch(&self) -> Result<Epoch, Error> {
        let found = self.store.read(keys::HEAD).await.map_err(Error::Store)?;
        let Some(entry) = found else {
            return Ok(Epoch(0));
        };
        Ok(decode::<Head>(keys::HEAD, &entry.value)?.epoch)
    }
}
