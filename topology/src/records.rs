//! What is stored in etcd: one struct a record, and the versioned envelope around each.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{Epoch, GroupName, KeyType, ShardId, TableName, Term, Token};

mod backup;
mod codec;
mod digest;
mod endpoint;
mod inbox;
mod lineage;
mod router;
mod user;

#[cfg(test)]
mod tests;

pub use backup::LastBackup;
pub(crate) use codec::rfc3339;
pub use codec::{DecodeError, decode, encode};
pub use digest::{Digest, InvalidDigest};
pub use endpoint::{Endpoint, InvalidEndpoint, MAX_SERVERS};
pub use inbox::{AuditInbox, Occasion, RouterEvent, Surface};
pub use lineage::{Lineage, Promotion};
pub use router::{Incarnation, RouterRecord};
pub use user::{AuditAnchor, AuditHead, LoginSeed, User};

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Read from the primary.
    #[default]
    Strong,
    /// A replica within the configured lag may answer.
    Eventual,
}

/// Whether a shard takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardState {
    /// Serves its vnodes and may be given more.
    Active,
    /// Serves its vnodes while they are moved away.
    Draining,
    /// Owns nothing and is given nothing.
    Inactive,
}

/// A shard: a primary and its replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The id, derived from the name.
    pub id: ShardId,
    /// The operator's name for it.
    pub name: String,
    /// Where writes go. Holds no password.
    pub primary_endpoint: Endpoint,
    /// Where eventual reads may go. No passwords.
    pub replicas: Vec<Endpoint>,
    /// Whether it takes part.
    pub state: ShardState,
    /// Its share when a ring is balanced by weight; 1 unless told.
    pub weight: u32,
    /// How many vnodes a plan gives it.
    pub vnode_count: u32,
    /// Grows by one with each change of this record.
    pub version: u64,
    /// When the record was created.
    #[serde(with = "codec::rfc3339")]
    pub created_at: SystemTime,
    /// When the record was last changed.
    #[serde(with = "codec::rfc3339")]
    pub updated_at: SystemTime,
    /// What is known of its primary, from the first promotion on: one of before it is not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Lineage>,
    /// Set while a replica is made the primary: nothing is sent to the shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
}

/// The vnodes of one shard: the ring is stored as one record a shard, so that moving vnodes
/// between two shards writes two records of a few kilobytes, whatever the size of the ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardVnodes {
    /// The owner.
    pub shard: ShardId,
    /// Its vnodes' tokens, sorted.
    pub tokens: Vec<Token>,
}

/// A set of tables that share a key type and are co-located: same key, same shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name; `default` exists from the first table on.
    pub name: GroupName,
    /// The type of every key column in it.
    pub key_type: KeyType,
}

/// Where a table's rows are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Placement {
    /// Each row on the shard that its key hashes to.
    Sharded {
        /// The group whose key type applies.
        group: GroupName,
        /// The key column, as PostgreSQL stores its name.
        shard_key: String,
    },
    /// Every row on every shard.
    Reference,
    /// Every row on one shard.
    Unsharded {
        /// That shard.
        shard_id: ShardId,
    },
    /// No rows of its own: a view.
    View {
        /// Its query, in which every table is written with its schema.
        definition: String,
    },
}

/// A registered table or view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Schema and name.
    pub name: TableName,
    /// Where its rows are.
    #[serde(flatten)]
    pub placement: Placement,
}

impl Table {
    /// Whether it has rows of its own: a view has none.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        match self.placement {
            Placement::Sharded { .. } | Placement::Reference | Placement::Unsharded { .. } => true,
            Placement::View { .. } => false,
        }
    }
}

/// A range of tokens: after `after`, up to and including `last`, wrapping when `last <= after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRange {
    /// The token before the range.
    pub after: Token,
    /// The last token of the range.
    pub last: Token,
}

impl TokenRange {
    /// Whether the range holds a token. A range whose ends are equal is the whole ring.
    #[must_use]
    pub fn contains(self, token: Token) -> bool {
        if self.after < self.last {
            self.after < token && token <= self.last
        } else {
            token > self.after || token <= self.last
        }
    }
}

/// Vnodes that routers hold new work for while a cutover runs (RESHARDING 3.2, step 6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The hold's id: the job that set it.
    pub id: String,
    /// The ranges that are held.
    pub ranges: Vec<TokenRange>,
    /// How long a router may hold a statement before it resumes on the present owner.
    pub deadline_ms: u32,
}

/// The head of the topology: every change of any record above raises it by one (I2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The epoch.
    pub epoch: Epoch,
    /// The leader's term that wrote it.
    pub term: Term,
}
