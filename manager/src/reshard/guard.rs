//! What a shard itself does for a leg: it refuses writes to moving rows while another shard owns
//! them, whoever sends them, and it refuses managers of earlier terms. `sql` is the text of it,
//! pure; `term`, `install` and `fence` bring it to a shard. Nothing is left there after a job but
//! schema `vg` with the term.

use std::time::Duration;

use topology::{ShardId, TableName};

use super::flow::{Bounds, MovedTable};
use super::ids::LegId;
use super::lsn::InvalidLsn;
use super::session::{self, Class};

pub mod fence;
pub mod horizon;
pub mod install;
pub mod sql;
pub mod term;

/// What is guarded: rows of some tables whose keys are in some ranges.
#[derive(Debug, Clone)]
pub struct Guarded {
    /// The leg; its tag is in every name.
    pub leg: LegId,
    /// The tables.
    pub tables: Vec<MovedTable>,
    /// The ranges.
    pub bounds: Bounds,
}

impl Guarded {
    /// The tables' names as SQL text, as elements of an array literal.
    fn names(&self) -> Vec<String> {
        let names = self.tables.iter().map(|table| &table.name);
        names.map(crate::identifier::quoted).collect()
    }
}

/// How long a lock on a table may be waited for, during which writers wait too, and for how long
/// it is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// One attempt.
    pub lock_timeout: Duration,
    /// All of them, for one table.
    pub limit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_millis(50),
            limit: Duration::from_secs(60),
        }
    }
}

/// What can go wrong with a guard.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A statement or the session.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// Somebody has a table locked all the time.
    #[error("shard {shard}: table {table} was locked by others for {waited:?}")]
    Busy {
        /// The shard.
        shard: ShardId,
        /// The table.
        table: TableName,
        /// For how long it was tried.
        waited: Duration,
    },
    /// The table is gone, or never was.
    #[error("shard {shard} has no table {table}")]
    NoTable {
        /// The shard.
        shard: ShardId,
        /// The table.
        table: TableName,
    },
    /// There is no fence of this leg.
    #[error("shard {shard} has no fence of leg {leg}")]
    NoFence {
        /// The shard.
        shard: ShardId,
        /// The leg.
        leg: LegId,
    },
    /// An answer that cannot be.
    #[error("shard {shard} says no place in its log after a fence")]
    Answer {
        /// The shard.
        shard: ShardId,
        /// What is wrong with it.
        source: InvalidLsn,
    },
}

impl Error {
    /// Whether the same may be tried again.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Session(error) => error.class(),
            Self::Busy { .. } => Class::Retryable,
            Self::NoTable { .. } | Self::NoFence { .. } | Self::Answer { .. } => Class::Fatal,
        }
    }
}
