//! Why a command is not possible on the present topology, and what a client may do about it.

use platform::Kind;
use topology::{Endpoint, Epoch, GroupName, KeyType, ShardId, TableName, UserName};

use crate::error::Code;

/// The rule that a command breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Nothing is left of the name for an id.
    #[error("name {name:?} gives no shard id: use letters and digits, at most 63 characters")]
    UnusableName {
        /// The name.
        name: String,
    },
    /// The id, and so the name, is in use.
    #[error("shard {id} exists already")]
    ShardExists {
        /// The id.
        id: ShardId,
    },
    /// Two shards would write to one database.
    #[error("endpoint {endpoint} belongs to shard {shard} already")]
    EndpointTaken {
        /// The endpoint.
        endpoint: Endpoint,
        /// Its shard.
        shard: ShardId,
    },
    /// One endpoint is named twice in a request.
    #[error("endpoint {endpoint} is named twice")]
    EndpointTwice {
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// No such shard.
    #[error("shard {id} does not exist")]
    UnknownShard {
        /// The id.
        id: ShardId,
    },
    /// The shard still owns a part of the ring.
    #[error("shard {id} owns {count} vnodes: a shard is removed only once it owns none")]
    ShardOwnsVnodes {
        /// The shard.
        id: ShardId,
        /// How many.
        count: usize,
    },
    /// The shard is a table's home.
    #[error("shard {id} is the home of the unsharded table {table}")]
    ShardIsHome {
        /// The shard.
        id: ShardId,
        /// The table.
        table: TableName,
    },
    /// No such group.
    #[error("group {name} does not exist: name a key_type to create it")]
    UnknownGroup {
        /// The group.
        name: GroupName,
    },
    /// The group is there.
    #[error("group {name} exists already")]
    GroupExists {
        /// The group.
        name: GroupName,
    },
    /// A group has one key type.
    #[error("group {group} has keys of type {present}, not {wanted}")]
    KeyTypeDiffers {
        /// The group.
        group: GroupName,
        /// Its key type.
        present: KeyType,
        /// The one that was asked for.
        wanted: KeyType,
    },
    /// The table is registered.
    #[error("table {name} is registered already")]
    TableExists {
        /// The table.
        name: TableName,
    },
    /// No such table.
    #[error("table {name} is not registered")]
    UnknownTable {
        /// The table.
        name: TableName,
    },
    /// The user is there.
    #[error("user {name} exists already")]
    UserExists {
        /// The user.
        name: UserName,
    },
    /// No such user.
    #[error("user {name} does not exist")]
    UnknownUser {
        /// The user.
        name: UserName,
    },
    /// Shards that join after the first sharded table own nothing, so that the ring would stay
    /// without them.
    #[error(
        "the ring is empty: register the shards before the first sharded table, since a shard \
         that joins later owns no vnodes"
    )]
    EmptyRing,
    /// The topology changed since the shards were asked.
    #[error("the topology changed from epoch {checked_at} to {found} while the shards were asked")]
    CheckedAtOtherEpoch {
        /// When they were asked.
        checked_at: Epoch,
        /// The present epoch.
        found: Epoch,
    },
    /// A vnode is not where a job believes it to be.
    #[error("vnode {token} does not belong to shard {shard}: the ring changed under the job")]
    VnodeElsewhere {
        /// The vnode.
        token: topology::Token,
        /// Whose it should be.
        shard: ShardId,
    },
    /// A sharded table was registered or forgotten while rows were moving.
    #[error(
        "the sharded tables are no longer those that the job moves: {found} instead of {moved}"
    )]
    TablesDiffer {
        /// How many the job moves.
        moved: usize,
        /// How many are registered.
        found: usize,
    },
    /// The shard's primary is about to be another server.
    #[error("a promotion of shard {id} is under way")]
    Promoting {
        /// The shard.
        id: ShardId,
    },
    /// The promotion is over already, or there is nothing new.
    #[error("shard {id} is not in this promotion")]
    NotPromoting {
        /// The shard.
        id: ShardId,
    },
    /// There are as many as there may be.
    #[error("there are {limit} {what} already, which is the limit")]
    LimitReached {
        /// Of what.
        what: &'static str,
        /// How many.
        limit: usize,
    },
}

impl Rejection {
    /// What kind of error this is to a client.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::UnusableName { .. } | Self::EndpointTwice { .. } => Code::Kind(Kind::Invalid),
            Self::ShardExists { .. }
            | Self::EndpointTaken { .. }
            | Self::GroupExists { .. }
            | Self::VnodeElsewhere { .. }
            | Self::TablesDiffer { .. }
            | Self::TableExists { .. }
            | Self::UserExists { .. } => Code::AlreadyExists,
            Self::UnknownShard { .. }
            | Self::UnknownGroup { .. }
            | Self::UnknownTable { .. }
            | Self::UnknownUser { .. } => Code::Kind(Kind::NotFound),
            Self::ShardOwnsVnodes { .. }
            | Self::ShardIsHome { .. }
            | Self::KeyTypeDiffers { .. }
            | Self::EmptyRing
            | Self::Promoting { .. }
            | Self::NotPromoting { .. }
            | Self::CheckedAtOtherEpoch { .. } => Code::Kind(Kind::Conflict),
            Self::LimitReached { .. } => Code::Kind(Kind::Exhausted),
        }
    }
}
