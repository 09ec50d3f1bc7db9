//! What became of statements: where each was sent, or why it was not.

use crate::error::{self, Error, kind_of_sqlstate};
use crate::hold;
use crate::pool::{self, metrics::Route};
use crate::route::{Refusal, Target};

/// What became of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It was sent to primaries.
    Sent(Route),
    /// It was sent to a replica.
    Replica,
    /// It was sent nowhere: the router answered.
    Local,
}

impl Decision {
    pub(super) const ALL: [Self; 7] = [
        Self::Sent(Route::Key),
        Self::Sent(Route::Home),
        Self::Sent(Route::Any),
        Self::Sent(Route::Everywhere),
        Self::Sent(Route::Scatter),
        Self::Replica,
        Self::Local,
    ];

    /// Its place in [`Self::ALL`].
    pub(super) fn number(self) -> usize {
        match self {
            Self::Sent(Route::Key) => 0,
            Self::Sent(Route::Home) => 1,
            Self::Sent(Route::Any) => 2,
            Self::Sent(Route::Everywhere) => 3,
            Self::Sent(Route::Scatter) => 4,
            Self::Replica => 5,
            Self::Local => 6,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Sent(route) => route.as_str(),
            Self::Replica => "replica",
            Self::Local => "local",
        }
    }
}

/// As the durations of requests to shards are told apart.
#[must_use]
pub fn route_of(target: Target) -> Route {
    match target {
        Target::Shard { token: Some(_), .. } => Route::Key,
        Target::Shard { token: None, .. } => Route::Home,
        Target::Any | Target::Catalog => Route::Any,
        Target::Everywhere => Route::Everywhere,
    }
}

/// The usual ones of [`reason`].
pub(super) const REASONS: [&str; 10] = [
    "several_shards",
    "unsupported",
    "invalid_argument",
    "shard_unreachable",
    "pool_exhausted",
    "pool_crowded",
    "hold_queue",
    "keys_moving",
    "backend_lost",
    "timeout",
];

/// Why a statement was not run, in one of a few words.
pub(super) fn reason(error: &Error) -> &'static str {
    match error {
        Error::Refused(refusal) => reason_of_refusal(refusal),
        Error::PlanChanged => kind_of_sqlstate(error.sqlstate()).as_str(),
        Error::Pool(error) => match error {
            pool::Error::Unreachable { .. } => "shard_unreachable",
            pool::Error::Exhausted { .. } => "pool_exhausted",
            pool::Error::Crowded { .. } => "pool_crowded",
            pool::Error::Retired { .. } => "shard_moved",
            pool::Error::Paused { .. } => "pool_paused",
        },
        Error::Hold(hold::Error::Held(_)) => "held",
        Error::Hold(_) => "hold_queue",
        Error::Moving(_) => "keys_moving",
        Error::BackendLost { .. } | Error::BoundLost { .. } => "backend_lost",
        Error::OutcomeUnknown { .. } | Error::PartlyApplied { .. } => "outcome_unknown",
        Error::Numbers(_) | Error::Managers(_) => "control_plane",
        Error::NoShard => "no_shard",
        Error::UnknownGroup { .. } => "invalid_argument",
        Error::Protocol(_) => "protocol",
        Error::Shard { .. } => "shard",
        Error::Timeout(_) => "timeout",
        Error::Cancelled => "cancelled",
        Error::Expired(limit, _) => match limit {
            error::Limit::ClientIdle => "client_idle",
            error::Limit::IdleInTransaction => "idle_in_transaction",
            error::Limit::Transaction => "transaction_too_long",
        },
        Error::ShuttingDown => "shutting_down",
    }
}

pub(super) fn reason_of_refusal(refusal: &Refusal) -> &'static str {
    if refusal.is_of_several_shards() {
        "several_shards"
    } else {
        kind_of_sqlstate(refusal.sqlstate).as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_decision_has_a_place_and_a_word_of_its_own() {
        let numbers: Vec<usize> = Decision::ALL.iter().map(|it| it.number()).collect();
        assert_eq!(numbers, (0..Decision::ALL.len()).collect::<Vec<_>>());
        let words: std::collections::BTreeSet<_> =
            Decision::ALL.iter().map(|it| it.as_str()).collect();
        assert_eq!(words.len(), Decision::ALL.len());
    }

    #[test]
    fn a_refusal_is_told_by_its_reason() {
        let several = Refusal::of_several_shards();
        assert_eq!(reason_of_refusal(&several), "several_shards");
        assert_eq!(reason(&Error::NoShard), "no_shard");
        assert_eq!(reason(&Refusal::unsupported("no").into()), "unsupported");
    }
}
