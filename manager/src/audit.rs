//! The audit log: one entry for each control write, in the same transaction as the write, so that
//! there is no change without an entry and no entry without a change; and one for each refusal,
//! by itself. What routers let in and refuse comes by their [`inbox`].
//!
//! Entries are numbered without a gap, by a head of their own: not every write that is audited
//! makes an epoch. Each holds the digest of the one before it ([`chain`]).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use topology::records::{AuditAnchor, AuditHead, DecodeError, Digest, decode, encode};
use topology::store::{self, Compare, Op, Revision, Store};
use topology::{Epoch, Term, keys};

pub mod chain;
mod change;
mod file;
pub mod inbox;
mod list;
pub mod refusals;
pub mod retention;
mod verify;

pub use change::Change;
pub use file::{File, Rotation};
pub use list::{Filter, Listed, MAX_LISTED, Page, page};
pub use retention::Retention;
pub use verify::verify;

/// Who asked for a change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Author {
    /// The subject of the caller's token, or `anonymous`.
    pub actor: String,
    /// The id of the request, as in the logs.
    pub request_id: Option<String>,
    /// The address that it came from, and through which manager.
    pub from: Option<String>,
}

/// Whether what an entry tells of was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It was.
    #[default]
    Done,
    /// It was not.
    Refused,
}

impl Verdict {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
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
    /// Where the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What was done, e.g. `create_shard`.
    pub action: String,
    /// What it was done to.
    pub target: String,
    /// Whether it was.
    #[serde(default)]
    pub result: Verdict,
    /// With which particulars.
    pub detail: Value,
    /// The records that it changed, before and after; those of jobs are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// The digest of the entry before; releases before the chain left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Digest>,
}

impl Entry {
    /// As it is stored; its digest is that of these bytes.
    #[must_use]
    pub fn stored(&self) -> Vec<u8> {
        encode(self)
    }
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
    /// The chain is broken where entries were to be removed, which would remove the evidence.
    #[error("the audit log is broken: {0}")]
    Broken(#[from] chain::Fault),
    /// It was cut off each time that it was walked through.
    #[error("the audit log was cut off while it was read: try again")]
    Restless,
}

/// How far the log had come when it was looked at, for the write that adds the next entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    sequence: u64,
    /// The digest of the newest entry.
    hash: Digest,
    mod_revision: Revision,
}

impl Position {
    /// Where the log stands.
    ///
    /// # Errors
    /// [`ReadError`] when the store or the log's head cannot be read.
    pub async fn of(store: &dyn Store) -> Result<Self, ReadError> {
        let (head, mod_revision) = head(store).await?;
        let sequence = head.sequence;
        let hash = match head.hash {
            Some(hash) => hash,
            // The chain begins with the next entry, and holds on to the last one before it.
            None => {
                let newest = store.read(&keys::audit(sequence)).await?;
                newest.map_or(Digest::NONE, |entry| Digest::of(&entry.value))
            }
        };
        Ok(Self {
            sequence,
            hash,
            mod_revision,
        })
    }

    /// Where it stands once an entry was added at a revision.
    #[must_use]
    pub fn written_at(self, entry: &Entry, mod_revision: Revision) -> Self {
        Self {
            sequence: self.next(),
            hash: Digest::of(&entry.stored()),
            mod_revision,
        }
    }

    /// Where the next entry but one would be added, in the same transaction as an entry.
    #[must_use]
    pub fn behind(self, entry: &Entry) -> Self {
        self.written_at(entry, self.mod_revision)
    }

    /// The number of the next entry.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.sequence + 1
    }

    /// What the next entry holds of the present one.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// The condition that no entry was added since.
    #[must_use]
    pub fn unchanged(&self) -> Compare {
        Compare::ModRevision(keys::AUDIT_HEAD.to_owned(), self.mod_revision)
    }

    /// The writes that add an entry, which has the number [`Self::next`].
    #[must_use]
    pub fn added(&self, entry: &Entry) -> [Op; 2] {
        let (sequence, stored) = (self.next(), entry.stored());
        let hash = Some(Digest::of(&stored));
        [
            Op::put(keys::AUDIT_HEAD, encode(&AuditHead { sequence, hash })),
            Op::put(keys::audit(sequence), stored),
        ]
    }

    /// The writes that add several entries, made each [`Self::behind`] the one before it.
    #[must_use]
    pub fn added_all(&self, entries: &[Entry]) -> Vec<Op> {
        let mut ops = Vec::with_capacity(entries.len() + 1);
        let (mut sequence, mut hash) = (self.sequence, None);
        for entry in entries {
            let stored = entry.stored();
            sequence += 1;
            hash = Some(Digest::of(&stored));
            ops.push(Op::put(keys::audit(sequence), stored));
        }
        ops.push(Op::put(
            keys::AUDIT_HEAD,
            encode(&AuditHead { sequence, hash }),
        ));
        ops
    }
}

/// The log's head, with its revision.
async fn head(store: &dyn Store) -> Result<(AuditHead, Revision), ReadError> {
    let Some(entry) = store.read(keys::AUDIT_HEAD).await? else {
        let (sequence, hash) = (0, None);
        return Ok((AuditHead { sequence, hash }, Revision(0)));
    };
    let head = decode(keys::AUDIT_HEAD, &entry.value)?;
    Ok((head, entry.mod_revision))
}

/// Up to where the log was cut off, with the revision of the record that says so.
async fn anchor(store: &dyn Store) -> Result<(Option<AuditAnchor>, Revision), ReadError> {
    let Some(entry) = store.read(keys::AUDIT_ANCHOR).await? else {
        return Ok((None, Revision(0)));
    };
    let anchor = decode(keys::AUDIT_ANCHOR, &entry.value)?;
    Ok((Some(anchor), entry.mod_revision))
}

/// Entries that one listing of the store reads: keys that differ in their last two digits only.
const BLOCK: u64 = 100;

fn block_prefix(number: u64) -> String {
    let mut key = keys::audit(number * BLOCK);
    key.truncate(key.len() - 2);
    key
}

/// The number that an entry is stored under.
fn number_of(key: &str) -> Option<u64> {
    key.strip_prefix(keys::AUDIT)?.parse().ok()
}

#[cfg(test)]
mod tests;
