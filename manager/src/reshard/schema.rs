//! The schema of tables whose rows move: what it is on a shard, whether two shards have the same,
//! and its creation on a shard that lacks them, by PostgreSQL's own tools.

use topology::{Shard, ShardId, TableName};

use super::session::{self, Class};

mod create;
mod describe;
mod dump;
mod reference;
mod sequences;
mod unfinished;

pub use create::{Creation, differences};
pub use describe::{Description, Line, describe, hash, hash_query};
pub use dump::Tools;
pub use reference::copy_reference;
pub use sequences::{carry_sequences, has_sequences};
pub use unfinished::{Unfinished, unfinished};

/// What can go wrong with a schema.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A statement or a session.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// There is no `pg_dump` of the server's version.
    #[error("pg_dump of PostgreSQL {major} is not installed on the manager's host")]
    NoTool {
        /// The version that is needed.
        major: u32,
    },
    /// It could not be run.
    #[error("pg_dump of shard {shard} does not run")]
    Run {
        /// The shard.
        shard: ShardId,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with an error, or gave too much.
    #[error("pg_dump of shard {shard}: {reason}")]
    Dump {
        /// The shard.
        shard: ShardId,
        /// What it says.
        reason: String,
    },
    /// It took too long.
    #[error("pg_dump of shard {shard} did not end within {limit:?}")]
    Timeout {
        /// The shard.
        shard: ShardId,
        /// The limit.
        limit: std::time::Duration,
    },
    /// Two shards do not have the same table.
    #[error("table {table} of shard {target} differs from that of shard {source_shard}: {what}")]
    Differs {
        /// The table.
        table: TableName,
        /// The shard that has it right.
        source_shard: ShardId,
        /// The other one.
        target: ShardId,
        /// The differences.
        what: String,
    },
}

impl Error {
    /// Whether the same may be tried again.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Session(error) => error.class(),
            Self::Timeout { .. } => Class::Retryable,
            Self::NoTool { .. } | Self::Run { .. } | Self::Dump { .. } | Self::Differs { .. } => {
                Class::Fatal
            }
        }
    }
}

/// Two shards of a leg: one has the schema, the other is to have it.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// The shard that has it.
    pub source: &'a Shard,
    /// The shard that is to have it.
    pub target: &'a Shard,
}
