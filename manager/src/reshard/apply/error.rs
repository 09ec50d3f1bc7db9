//! What can stop the following of a shard.

use topology::key::InvalidKey;
use topology::{ShardId, TableName};

use super::catalog::Differs;
use super::chunk::Untold;
use crate::reshard::link;
use crate::reshard::lsn::Lsn;
use crate::reshard::session::{self, Class};
use crate::reshard::shape::Unfit;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// On a SQL session.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// On a replication connection.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// A message of the stream is malformed.
    #[error("shard {shard}: its replication stream cannot be read")]
    Message {
        /// The owner.
        shard: ShardId,
        /// What is wrong with it.
        source: wire::DecodeError,
    },
    /// The stream says what it never says.
    #[error("shard {shard}: its replication stream breaks its rules: {what}")]
    Rules {
        /// The owner.
        shard: ShardId,
        /// What it did.
        what: &'static str,
    },
    /// The publication has more tables than the leg.
    #[error("table {table} of shard {shard} is published but not part of the job")]
    UnknownTable {
        /// The owner.
        shard: ShardId,
        /// The table.
        table: String,
    },
    /// A table's changes do not say enough.
    #[error("table {table} of shard {shard} cannot be followed")]
    Unfit {
        /// The owner.
        shard: ShardId,
        /// The table.
        table: TableName,
        /// What is missing.
        source: Unfit,
    },
    /// A table's definition changed.
    #[error("schema changed: table {table} of shard {shard}: {what}")]
    SchemaChanged {
        /// The owner.
        shard: ShardId,
        /// The table.
        table: TableName,
        /// How it changed.
        what: String,
    },
    /// A table was emptied at once.
    #[error("table {table} of shard {shard} was truncated during the job")]
    Truncated {
        /// The owner.
        shard: ShardId,
        /// The table.
        table: String,
    },
    /// A row whose key cannot be hashed.
    #[error("table {table} of shard {shard}: a row's key cannot be hashed")]
    Key {
        /// The owner.
        shard: ShardId,
        /// The table.
        table: TableName,
        /// Why not.
        source: InvalidKey,
    },
    /// A row that the stream does not tell well enough.
    #[error("table {table} of shard {shard}: a change cannot be followed")]
    Row {
        /// The owner.
        shard: ShardId,
        /// The table.
        table: TableName,
        /// What is missing.
        source: Untold,
    },
    /// The mirror's table differs from the owner's.
    #[error("table {table} of shard {shard} differs from the owner's")]
    Mirror {
        /// The mirror.
        shard: ShardId,
        /// The table.
        table: TableName,
        /// How.
        source: Differs,
    },
    /// The mirror does not have what the stream changes, or has what it adds.
    #[error("table {table} of shard {shard}: {op} of the row {key}: {what}")]
    Conflict {
        /// The mirror.
        shard: ShardId,
        /// The table.
        table: TableName,
        /// What was to happen to it.
        op: &'static str,
        /// The row.
        key: String,
        /// What stood against it.
        what: String,
    },
    /// The slot is not there.
    #[error("shard {shard}: replication slot {slot} is {state}; the copy has to be made again")]
    Slot {
        /// The owner.
        shard: ShardId,
        /// The slot.
        slot: String,
        /// How it is.
        state: &'static str,
    },
    /// Another server answers for the owner, or a promoted standby.
    #[error(
        "shard {shard} was system {before} and is {now}: changes may be missing, \
         the copy has to be made again"
    )]
    AnotherServer {
        /// The owner.
        shard: ShardId,
        /// System and timeline before.
        before: String,
        /// System and timeline now.
        now: String,
    },
    /// The mirror lost what it once had.
    #[error(
        "shard {shard} has changes up to {progress} but had them up to {confirmed} before: \
         it lost some, the copy has to be made again"
    )]
    MirrorLost {
        /// The mirror.
        shard: ShardId,
        /// What its origin says.
        progress: Lsn,
        /// What the slot was told.
        confirmed: Lsn,
    },
    /// A part of the following ended by a fault of the program.
    #[error("the task {0} ended without an error")]
    Ended(&'static str),
}

impl Error {
    /// Whether the same may be tried again.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Session(error) => error.class(),
            Self::Link(error) => error.class(),
            Self::Message { .. }
            | Self::Rules { .. }
            | Self::UnknownTable { .. }
            | Self::Unfit { .. }
            | Self::SchemaChanged { .. }
            | Self::Truncated { .. }
            | Self::Key { .. }
            | Self::Row { .. }
            | Self::Mirror { .. }
            | Self::Conflict { .. }
            | Self::Slot { .. }
            | Self::AnotherServer { .. }
            | Self::MirrorLost { .. }
            | Self::Ended(_) => Class::Fatal,
        }
    }
}
