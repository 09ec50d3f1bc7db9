//! The store of the control plane: a small part of etcd's key-value model, as a trait.
//!
//! Two implementations, etcd and memory, pass one conformance suite; only etcd is for production.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub mod etcd;
pub mod memory;
mod metered;

pub use etcd::EtcdStore;
pub use memory::MemoryStore;
pub use metered::MeteredStore;

/// A store-wide version; every committed transaction gets a greater one. 0 means "never".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// A lease: keys bound to it vanish when it expires or is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub i64);

/// A key with its value and the revisions that fence it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// When the key came into being this time.
    pub create_revision: Revision,
    /// When the value was last written.
    pub mod_revision: Revision,
}

/// All entries under a prefix, sorted by key, as of one revision.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The revision at which they were read.
    pub revision: Revision,
}

/// A condition of a transaction. A missing key has revision 0 in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key's create revision equals this.
    CreateRevision(String, Revision),
    /// The key's mod revision equals this.
    ModRevision(String, Revision),
}

/// A write of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a value, bound to a lease if one is named.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
        /// The lease that the key lives and dies with.
        lease: Option<LeaseId>,
    },
    /// Removes a key, if it is there.
    Delete {
        /// The key.
        key: String,
    },
}

impl Op {
    /// A write without a lease.
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
            lease: None,
        }
    }

    /// A write that vanishes with a lease.
    pub fn put_leased(key: impl Into<String>, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
            lease: Some(lease),
        }
    }

    /// A removal.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// The key that is written or removed.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Writes that happen together if all conditions hold, and not at all otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold. At most [`MAX_TXN_OPS`].
    pub compares: Vec<Compare>,
    /// Done in this order, at one revision. At most [`MAX_TXN_OPS`], and at most one write a key.
    pub ops: Vec<Op>,
}

impl Txn {
    /// Refuses what etcd would refuse with its default limits, before it is sent.
    fn check_limits(&self) -> Result<(), Error> {
        let count = self.ops.len().max(self.compares.len());
        if count > MAX_TXN_OPS {
            let text = format!("{count} operations in a transaction, the limit is {MAX_TXN_OPS}");
            return Err(Error::Denied(text));
        }
        let ops = self.ops.iter().map(|op| match op {
            Op::Put { key, value, .. } => (key, value.len()),
            Op::Delete { key } => (key, 0),
        });
        let compares = self.compares.iter().map(|compare| match compare {
            Compare::CreateRevision(key, _) | Compare::ModRevision(key, _) => (key, 0),
        });
        let mut bytes = REQUEST_OVERHEAD_BYTES;
        for (key, value_bytes) in ops.chain(compares) {
            if key.is_empty() {
                return Err(Error::Denied("a transaction names an empty key".to_owned()));
            }
            bytes += key.len() + value_bytes + ITEM_OVERHEAD_BYTES;
        }
        if bytes > MAX_REQUEST_BYTES {
            let text = format!("a transaction of {bytes} bytes, the limit is {MAX_REQUEST_BYTES}");
            return Err(Error::Denied(text));
        }
        Ok(())
    }
}

/// etcd's default `--max-txn-ops`.
pub const MAX_TXN_OPS: usize = 128;

/// etcd's default `--max-request-bytes`: the keys and values of one transaction, with 64 bytes for
/// each operation and each condition and 1 KiB for the rest.
pub const MAX_REQUEST_BYTES: usize = 3 << 19;

/// More than etcd's encoding adds to the key and the value of an operation or a condition.
const ITEM_OVERHEAD_BYTES: usize = 64;

/// More than etcd's encoding adds to a request: an id and the user's name.
const REQUEST_OVERHEAD_BYTES: usize = 1024;

/// What became of a transaction that the store answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// All conditions held; the writes have this revision, which is the store's newest one if
    /// there was nothing to write.
    Applied(Revision),
    /// A condition did not hold; nothing was written.
    Refused,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key was written.
    Put(Entry),
    /// The key was removed or its lease ended.
    Delete {
        /// The key.
        key: String,
    },
}

impl Event {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key } => key,
        }
    }
}

/// All changes under the watched prefix that one transaction made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The transaction's revision.
    pub revision: Revision,
    /// Its changes; empty for a progress report, which says that nothing happened up to `revision`.
    pub events: Vec<Event>,
}

/// Why a store call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not be reached. A write was not sent; a read has no answer.
    #[error("store is not reachable")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request was sent and no answer came: it may have been applied.
    #[error("store gave no answer to a request that was sent")]
    OutcomeUnknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The watched or read revision is gone; load anew.
    #[error("revision is compacted, the oldest is {oldest:?}")]
    Compacted {
        /// The oldest revision that is kept.
        oldest: Revision,
    },
    /// The lease does not exist (any longer).
    #[error("lease has expired")]
    LeaseExpired,
    /// The store refused the request: its size, its permissions, its quota.
    #[error("store refused the request: {0}")]
    Denied(String),
}

/// Whether a failed write may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Certainly not: the caller may go on.
    NotApplied,
    /// Perhaps: the caller reloads before it decides anything.
    MaybeApplied,
}

impl Error {
    /// Whether the request may have been applied.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::OutcomeUnknown(_) => Outcome::MaybeApplied,
            Self::Unreachable(_)
            | Self::Compacted { .. }
            | Self::LeaseExpired
            | Self::Denied(_) => Outcome::NotApplied,
        }
    }
}

/// The store. Reads are linearizable; every call has a time-out of its own and is cancel-safe.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// One key; none when it is absent.
    async fn read(&self, key: &str) -> Result<Option<Entry>, Error>;

    /// All keys under a prefix at one revision, however many pages that takes.
    async fn list(&self, prefix: &str) -> Result<Listing, Error>;

    /// Commits a transaction.
    async fn commit(&self, txn: Txn) -> Result<Committed, Error>;

    /// Follows a prefix: the first batch is the first change at or after `from`. If that is
    /// compacted, the first batch is [`Error::Compacted`].
    async fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, Error>;

    /// A new lease that lives for `ttl` (whole seconds) unless kept alive.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error>;

    /// Renews a lease for its full time.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), Error>;

    /// Ends a lease and removes its keys; a lease that has ended already is no error.
    async fn revoke(&self, lease: LeaseId) -> Result<(), Error>;
}

/// An open watch.
#[async_trait]
pub trait Watch: Debug + Send {
    /// The next batch, in revision order, none left out; a progress report at least every few
    /// seconds. After an error the watch is over. Cancel-safe.
    async fn next(&mut self) -> Result<Batch, Error>;
}
