//! Pure: (topology, analysed statement, parameters, hint) → where it goes, or a refusal.

use topology::{Key, ShardIndex, Token};

/// Why a statement is not run: what an application reads. Never holds a parameter or a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The SQLSTATE, e.g. `0A000`.
    pub sqlstate: &'static str,
    /// Lower case, no full stop, names the table or the construct.
    pub message: String,
    /// What to do instead, where there is something.
    pub hint: Option<String>,
}

/// Where one statement text goes at one epoch; cached under the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// The shard that owns the key; all sources must give keys of one shard.
    Key {
        /// The type as which each source is read.
        key_type: topology::KeyType,
        /// Where the key values stand.
        sources: Vec<KeySource>,
        /// Whether the statement may write.
        writes: bool,
    },
    /// Tables that every shard has, or no table at all: any shard answers alike.
    Any {
        /// Whether the statement may write (to session or server state, not to tables).
        writes: bool,
    },
    /// The home shard of unsharded tables.
    Home(ShardIndex),
    /// Every shard, all or nothing: DDL.
    Everywhere,
    /// Sharded tables without a key in the statement: runs only under a hint, on the hint's shard.
    NeedsHint {
        /// The type as which the hint is read.
        key_type: topology::KeyType,
        /// Whether the statement may write.
        writes: bool,
        /// What to answer when there is no hint.
        refusal: Refusal,
    },
    /// Not run.
    Refused(Refusal),
}

/// Where a key value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In the statement's text.
    Literal(Key<'static>),
    /// In a parameter, counted from 0.
    Parameter(u16),
    /// In the elements of an array parameter, counted from 0: `key = ANY($1)`.
    ArrayParameter(u16),
}

/// Where one execution of a statement goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// One shard; the token is there when a key decided.
    Shard {
        /// The shard.
        index: ShardIndex,
        /// The key's token.
        token: Option<Token>,
    },
    /// Any active shard.
    Any,
    /// Every active shard.
    Everywhere,
}
