//! What can go wrong for a client, and the one mapping of it to SQLSTATE, HTTP and gRPC.

use platform::Kind;

use crate::hold;
use crate::managers;
use crate::moving;
use crate::pool;
use crate::route::Refusal;

/// An error that a client is told about.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The router does not run the statement.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The rows of a prepared statement have another form than the client was told of, in
    /// PostgreSQL's words.
    #[error("cached plan must not change result type")]
    PlanChanged,
    /// No backend.
    #[error(transparent)]
    Pool(#[from] pool::Error),
    /// The statement's keys are being moved.
    #[error(transparent)]
    Hold(#[from] hold::Error),
    /// A shard refused the statement because rows are being moved.
    #[error(transparent)]
    Moving(#[from] moving::Error),
    /// The shard went away before it answered, and nothing that it was sent can have committed.
    #[error("shard {shard} closed the connection before it answered")]
    BackendLost {
        /// The shard.
        shard: topology::ShardId,
    },
    /// The connection that a session had to keep is gone, and what was left with it.
    #[error(
        "the connection to shard {shard} is gone which the session had to keep, and its temporary \
         tables, locks and notifications with it"
    )]
    BoundLost {
        /// The shard.
        shard: topology::ShardId,
    },
    /// The shard went away while it was running a statement that may have committed.
    #[error(
        "shard {shard} closed the connection while a statement was running: it is not known whether it took effect"
    )]
    OutcomeUnknown {
        /// The shard.
        shard: topology::ShardId,
    },
    /// A schema change committed on some shards and not surely on these.
    #[error("the statement is applied on some shards, but not known to be on: {}", listed(.missing))]
    PartlyApplied {
        /// Where it may be missing.
        missing: Vec<topology::ShardId>,
    },
    /// The numbers of shards, by which sequences differ, are not known.
    #[error("{0}, and sequences need them")]
    Numbers(String),
    /// A control write that the statement asks for is not done.
    #[error(transparent)]
    Managers(#[from] managers::Error),
    /// No topology with an active shard is known.
    #[error("no active shard is known to the router")]
    NoShard,
    /// A table group that a client named does not exist.
    #[error("table group {name:?} does not exist")]
    UnknownGroup {
        /// What the client called it.
        name: String,
    },
    /// The client broke the protocol.
    #[error("protocol violation: {0}")]
    Protocol(String),
    /// An error that the shard itself reported, for the fronts that do not forward its bytes.
    #[error("{message}")]
    Shard {
        /// Its SQLSTATE.
        sqlstate: String,
        /// Its message.
        message: String,
        /// Its DETAIL.
        detail: Option<String>,
        /// Its HINT.
        hint: Option<String>,
    },
    /// A time-out of the router.
    #[error("statement did not end within {0:?}")]
    Timeout(std::time::Duration),
    /// The client called it off before it was sent to a shard, in PostgreSQL's words.
    #[error("canceling statement due to user request")]
    Cancelled,
    /// A session or its transaction took too long.
    #[error("{0} {1:?}")]
    Expired(Limit, std::time::Duration),
    /// The router is going to end.
    #[error("the router is shutting down")]
    ShuttingDown,
}

/// A time limit of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Between two transactions of a client.
    ClientIdle,
    /// Between two messages within a transaction.
    IdleInTransaction,
    /// A transaction as a whole.
    Transaction,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ClientIdle => "closing a session that was idle for",
            Self::IdleInTransaction => "closing a session that was idle in a transaction for",
            Self::Transaction => "closing a session whose transaction was not over after",
        })
    }
}

impl Error {
    /// The SQLSTATE of this error.
    #[must_use]
    pub fn sqlstate(&self) -> &str {
        match self {
            Self::Refused(refusal) => refusal.sqlstate,
            Self::PlanChanged => "0A000",
            Self::Pool(pool::Error::Unreachable { .. } | pool::Error::Retired { .. })
            | Self::BackendLost { .. }
            | Self::BoundLost { .. } => "08006",
            Self::Pool(
                pool::Error::Exhausted { .. }
                | pool::Error::Crowded { .. }
                | pool::Error::Paused { .. },
            ) => "53400",
            Self::OutcomeUnknown { .. } | Self::PartlyApplied { .. } => "08007",
            Self::Hold(error) => error.sqlstate(),
            Self::Moving(error) => error.sqlstate(),
            Self::Managers(error) => error.sqlstate(),
            Self::NoShard | Self::Numbers(_) => "57P03",
            Self::UnknownGroup { .. } => "42704",
            Self::Protocol(_) => "08P01",
            Self::Shard { sqlstate, .. } => sqlstate,
            Self::Timeout(_) | Self::Cancelled => "57014",
            Self::Expired(Limit::ClientIdle, _) => "57P05",
            Self::Expired(Limit::IdleInTransaction, _) => "25P03",
            Self::Expired(Limit::Transaction, _) => "25P04",
            Self::ShuttingDown => "57P01",
        }
    }

    /// More about it, where the shard has said more.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Shard { detail, .. } => detail.as_deref(),
            Self::Moving(error) => error.detail(),
            Self::Refused(_)
            | Self::PlanChanged
            | Self::Pool(_)
            | Self::Hold(_)
            | Self::Managers(_)
            | Self::Numbers(_)
            | Self::BackendLost { .. }
            | Self::BoundLost { .. }
            | Self::OutcomeUnknown { .. }
            | Self::PartlyApplied { .. }
            | Self::NoShard
            | Self::UnknownGroup { .. }
            | Self::Protocol(_)
            | Self::Timeout(_)
            | Self::Cancelled
            | Self::Expired(..)
            | Self::ShuttingDown => None,
        }
    }

    /// What to do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => refusal.hint.as_deref(),
            Self::Shard { hint, .. } => hint.as_deref(),
            Self::Hold(error) => error.hint(),
            Self::Moving(error) => error.hint(),
            Self::Managers(error) => error.hint(),
            Self::NoShard => Some("register a shard: shardctl shards add"),
            Self::UnknownGroup { .. } => Some("register a table of the group: shardctl tables add"),
            Self::PartlyApplied { .. } => Some(
                "see what they lack with \"shardctl schema diff\", and create it with \"shardctl schema repair\"",
            ),
            Self::PlanChanged
            | Self::Pool(_)
            | Self::Numbers(_)
            | Self::BackendLost { .. }
            | Self::BoundLost { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Protocol(_)
            | Self::Timeout(_)
            | Self::Cancelled
            | Self::Expired(..)
            | Self::ShuttingDown => None,
        }
    }

    /// The function of PostgreSQL that reports this error, where drivers know the error by it:
    /// asyncpg and pgjdbc prepare a statement anew after 0A000 of this one only.
    #[must_use]
    pub fn routine(&self) -> Option<&'static str> {
        matches!(self, Self::PlanChanged).then_some("RevalidateCachedQuery")
    }

    /// The kind, which HTTP and gRPC answer by.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Refused(refusal) => kind_of_sqlstate(refusal.sqlstate),
            Self::PlanChanged => Kind::Unsupported,
            Self::Pool(_)
            | Self::Hold(_)
            | Self::Numbers(_)
            | Self::BackendLost { .. }
            | Self::BoundLost { .. }
            | Self::NoShard
            | Self::ShuttingDown => Kind::Unavailable,
            Self::OutcomeUnknown { .. } | Self::PartlyApplied { .. } => Kind::OutcomeUnknown,
            Self::Protocol(_) => Kind::Invalid,
            Self::UnknownGroup { .. } => Kind::NotFound,
            Self::Managers(error) => error.kind(),
            Self::Moving(error) => kind_of_sqlstate(error.sqlstate()),
            Self::Shard { sqlstate, .. } => kind_of_sqlstate(sqlstate),
            Self::Timeout(_) | Self::Cancelled | Self::Expired(..) => Kind::Timeout,
        }
    }
}

fn listed(shards: &[topology::ShardId]) -> String {
    let names: Vec<&str> = shards.iter().map(topology::ShardId::as_str).collect();
    names.join(", ")
}

/// The kind of a SQLSTATE, by its class (PostgreSQL 15, appendix A).
#[must_use]
pub fn kind_of_sqlstate(sqlstate: &str) -> Kind {
    match sqlstate {
        "42501" => return Kind::Denied,
        "57014" => return Kind::Timeout,
        // A request that does not fit its own statement, such as a parameter too few.
        "08P01" => return Kind::Invalid,
        "08007" | "40003" => return Kind::OutcomeUnknown,
        // The transaction is to be run again.
        "40001" | "40P01" => return Kind::Aborted,
        _ => {}
    }
    match sqlstate.get(..2).unwrap_or_default() {
        "0A" => Kind::Unsupported,
        "22" | "42" | "26" | "34" | "3D" | "3F" | "21" | "44" => Kind::Invalid,
        "23" | "25" | "40" | "55" | "2B" => Kind::Conflict,
        "28" => Kind::Unauthenticated,
        "53" | "54" => Kind::Exhausted,
        "08" | "57" => Kind::Unavailable,
        _ => Kind::Internal,
    }
}
