//! The audit log: one entry for each control write, in the same transaction as the write, so that
//! there is no change without an entry and no entry without a change.
//!
//! Entries are numbered without a gap, by a head of their own: not every write that is audited
//! makes an epoch.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use topology::records::{AuditHead, DecodeError, decode, encode};
use topology::store::{self, Compare, Op, Revision, Store};
use topology::{Epoch, Term, keys};

mod file;

pub use file::File;

/// Most entries of one listing.
pub const MAX_LISTED: usize = 1_000;

/// Who asked for a change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Author {
    /// The subject of the caller's token, or `anonymous`.
    pub actor: String,
    /// The id of the request, as in the logs.
    pub request_id: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Made anew for each attempt to write, so that a writer knows its own entry again.
    pub id: String,
    /// Its number.
    pub sequence: u64,
    /// The epoch that the change made; the present one when it made none.
    pub epoch: Epoch,
    /// The leader's term.
    pub term: Term,
    /// When, in RFC 3339.
    pub at: String,
    /// Who asked for it.
    pub actor: String,
    /// The id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What was done, e.g. `create_shard`.
    pub action: String,
    /// What it was done to.
    pub target: String,
    /// With which particulars.
    pub detail: Value,
}

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store gave no answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// An entry is damaged or of a later release.
    #[error(transparent)]
    Entry(#[from] DecodeError),
}

/// How far the log had come when it was looked at, for the write that adds the next entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    head: AuditHead,
    mod_revision: Revision,
}

impl Position {
    /// Where the log stands.
    ///
    /// # Errors
    /// [`ReadError`] when the store or the log's head cannot be read.
    pub async fn of(store: &dyn Store) -> Result<Self, ReadError> {
        let Some(entry) = store.read(keys::AUDIT_HEAD).await? else {
            let head = AuditHead { sequence: 0 };
            let mod_revision = Revision(0);
            return Ok(Self { head, mod_revision });
        };
        Ok(Self {
            head: decode(keys::AUDIT_HEAD, &entry.value)?,
            mod_revision: entry.mod_revision,
        })
    }

    /// Where it stands once an entry was added at a revision.
    #[must_use]
    pub fn written_at(self, mod_revision: Revision) -> Self {
        let sequence = self.next();
        Self {
            head: AuditHead { sequence },
            mod_revision,
        }
    }

    /// The number of the next entry.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.head.sequence + 1
    }

    /// The condition that no entry was added since.
    #[must_use]
    pub fn unchanged(&self) -> Compare {
        Compare::ModRevision(keys::AUDIT_HEAD.to_owned(), self.mod_revision)
    }

    /// The writes that add an entry, which has the number [`Self::next`].
    #[must_use]
    pub fn added(&self, entry: &Entry) -> [Op; 2] {
        let sequence = self.next();
        [
            Op::put(keys::AUDIT_HEAD, encode(&AuditHead { sequence })),
            Op::put(keys::audit(sequence), encode(entry)),
        ]
    }
}

/// The newest entries, newest first.
///
/// # Errors
/// [`ReadError`] when the store or an entry cannot be read.
pub async fn newest(store: &dyn Store, limit: usize) -> Result<Vec<Entry>, ReadError> {
    let limit = limit.min(MAX_LISTED);
    let newest = Position::of(store).await?.head.sequence;
    let mut entries = Vec::new();
    let mut block = Some(newest / BLOCK);
    while let Some(number) = block.filter(|_| entries.len() < limit) {
        let listing = store.list(&block_prefix(number)).await?;
        for entry in listing.entries.iter().rev().take(limit - entries.len()) {
            entries.push(decode(&entry.key, &entry.value)?);
        }
        block = number.checked_sub(1);
    }
    Ok(entries)
}

/// Entries that one listing of the store reads: keys that differ in their last two digits only.
const BLOCK: u64 = 100;

fn block_prefix(number: u64) -> String {
    let mut key = keys::audit(number * BLOCK);
    key.truncate(key.len() - 2);
    key
}

#[cfg(test)]
mod tests {
    use topology::store::{MemoryStore, Txn};

    use super::*;

    async fn store_with(entries: u64) -> MemoryStore {
        let store = MemoryStore::new();
        for number in 1..=entries {
            let position = Position::of(&store).await.unwrap();
            let entry = Entry {
                id: format!("id-{number}"),
                sequence: position.next(),
                epoch: Epoch(1),
                term: Term(1),
                at: "2026-01-01T00:00:00Z".to_owned(),
                actor: "anonymous".to_owned(),
                request_id: None,
                action: "create_group".to_owned(),
                target: "default".to_owned(),
                detail: Value::Null,
            };
            let txn = Txn {
                compares: vec![position.unchanged()],
                ops: position.added(&entry).to_vec(),
            };
            store.commit(txn).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn entries_come_newest_first_across_blocks() {
        let store = store_with(215).await;
        for (limit, oldest) in [(1, 215), (16, 200), (17, 199), (130, 86), (1_000, 1)] {
            let entries = newest(&store, limit).await.unwrap();
            let numbers: Vec<_> = entries.iter().map(|entry| entry.sequence).collect();
            let expected: Vec<_> = (oldest..=215).rev().collect();
            assert_eq!(numbers, expected, "limit {limit}");
        }
    }

    #[tokio::test]
    async fn an_empty_store_has_no_entries() {
        assert_eq!(newest(&MemoryStore::new(), 10).await.unwrap(), []);
    }
}
