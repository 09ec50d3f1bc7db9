//! How much of the log is kept. What is older is cut off from its beginning, by the leader, and the
//! digest of the last entry that is gone is kept in the anchor and in an entry, so that what is left
//! can still be checked.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use platform::Shutdown;
use platform::telemetry::error_chain;
use tokio::time::sleep;
use topology::records::{AuditAnchor, Digest, decode};
use topology::store::{Revision, Store};

use super::chain::{self, Checker};
use super::{BLOCK, Entry, ReadError, anchor, block_prefix, head, number_of};
use crate::commit::Writer;
use crate::leader;

/// Most entries that one transaction removes: of 128 operations, some are for the cut itself.
const MAX_CUT: u64 = 100;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Entries at most.
    pub entries: u64,
    /// Entries that are not older.
    pub age: Duration,
    /// How often it is looked whether there are more.
    pub interval: Duration,
}

/// Entries to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Their keys.
    pub keys: Vec<String>,
    /// The anchor afterwards.
    pub anchor: AuditAnchor,
    /// The revision of the present one.
    pub seen: Revision,
}

impl Retention {
    /// What is to be removed now, at most [`MAX_CUT`] entries.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Broken`] when the entries are not those that were written.
    pub async fn cut(&self, store: &dyn Store, now: SystemTime) -> Result<Option<Cut>, ReadError> {
        let (present, seen) = anchor(store).await?;
        let through = present.map_or(0, |anchor| anchor.sequence);
        let newest = head(store).await?.0.sequence;
        let count = newest.saturating_sub(through);
        // The entry about the cut counts as well.
        let surplus = if count > self.entries {
            count - self.entries + 1
        } else {
            0
        };
        let oldest = self.oldest(now);
        let mut checker = Checker::new(present);
        let (mut keys, mut last, mut is_worth_it) = (Vec::new(), None, surplus > 0);
        let first = (through + 1) / BLOCK;
        for block in first..=first + 1 {
            for stored in store.list(&block_prefix(block)).await?.entries {
                let number = number_of(&stored.key).unwrap_or_default();
                let index = number.saturating_sub(through + 1);
                let entry: Entry = decode(&stored.key, &stored.value)?;
                checker.entry(number, &stored.value);
                if let Some(fault) = checker.first_fault() {
                    return Err(fault.clone().into());
                }
                let is_old = oldest.as_ref().is_some_and(|oldest| entry.at < *oldest);
                // The newest one stays, whatever its age, and so does what follows one that stays.
                if index >= MAX_CUT || number >= newest || !(is_old || index < surplus) {
                    return Ok(last.filter(|_| is_worth_it).map(|anchor| Cut {
                        keys,
                        anchor,
                        seen,
                    }));
                }
                // Entries about cuts alone are not worth one more.
                is_worth_it |= entry.action != chain::CUT;
                last = Some(AuditAnchor {
                    sequence: number,
                    hash: Digest::of(&stored.value),
                    chained: checker.is_chained(),
                });
                keys.push(stored.key);
            }
        }
        Ok(None)
    }

    /// The time before which entries are too old.
    fn oldest(&self, now: SystemTime) -> Option<String> {
        let oldest = now.checked_sub(self.age)?;
        let is_sayable = oldest >= SystemTime::UNIX_EPOCH;
        is_sayable.then(|| humantime::format_rfc3339_millis(oldest).to_string())
    }
}

/// Cuts the log off while this manager leads, until the shutdown.
pub async fn keep(
    retention: Retention,
    writer: Arc<Writer>,
    leader: leader::View,
    shutdown: Shutdown,
) {
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = sleep(retention.interval) => {}
        }
        while let leader::Standing::Leading(leader) = leader.standing() {
            match writer.cut_audit(leader.term, &retention).await {
                Ok(0) => break,
                Ok(removed) => tracing::info!(removed, "audit log cut off"),
                Err(error) => {
                    tracing::error!(error = error_chain(&error), "audit log not cut off");
                    break;
                }
            }
            if shutdown.is_requested() {
                return;
            }
        }
    }
}
