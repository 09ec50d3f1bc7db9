//! The audit log: one entry for each control write, in the same transaction as the write, so that
//! there is no change without an entry and no entry without a change.
//!
//! An entry's number is the epoch that its write made.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use topology::records::{DecodeError, Head, decode};
use topology::store::{self, Store};
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
    /// The epoch that the change made.
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

/// The newest entries, newest first.
///
/// # Errors
/// [`ReadError`] when the store or an entry cannot be read.
pub async fn newest(store: &dyn Store, limit: usize) -> Result<Vec<Entry>, ReadError> {
    let limit = limit.min(MAX_LISTED);
    let Some(head) = store.read(keys::HEAD).await? else {
        return Ok(Vec::new());
    };
    let head: Head = decode(keys::HEAD, &head.value)?;
    let mut entries = Vec::new();
    let mut block = Some(head.epoch.0 / BLOCK);
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
    use topology::records::encode;
    use topology::store::{MemoryStore, Op, Txn};

    use super::*;

    async fn store_with(epochs: u64) -> MemoryStore {
        let store = MemoryStore::new();
        for epoch in (1..=epochs).map(Epoch) {
            let term = Term(1);
            let entry = Entry {
                id: format!("id-{epoch}"),
                epoch,
                term,
                at: "2026-01-01T00:00:00Z".to_owned(),
                actor: "anonymous".to_owned(),
                request_id: None,
                action: "create_group".to_owned(),
                target: "default".to_owned(),
                detail: Value::Null,
            };
            let ops = vec![
                Op::put(keys::HEAD, encode(&Head { epoch, term })),
                Op::put(keys::audit(epoch.0), encode(&entry)),
            ];
            let compares = Vec::new();
            store.commit(Txn { compares, ops }).await.unwrap();
        }
        store
    }

    #[tokio::test]
    async fn entries_come_newest_first_across_blocks() {
        let store = store_with(215).await;
        for (limit, oldest) in [(1, 215), (16, 200), (17, 199), (130, 86), (1_000, 1)] {
            let entries = newest(&store, limit).await.unwrap();
            let epochs: Vec<_> = entries.iter().map(|entry| entry.epoch.0).collect();
            let expected: Vec<_> = (oldest..=215).rev().collect();
            assert_eq!(epochs, expected, "limit {limit}");
        }
    }

    #[tokio::test]
    async fn an_empty_store_has_no_entries() {
        assert_eq!(newest(&MemoryStore::new(), 10).await.unwrap(), []);
    }
}
