//! The few kinds of error that a caller can act on; each crate's error enums map to one of them.

use std::fmt;

/// What sort of thing went wrong; also the `kind` label of error metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is malformed or breaks a rule: change it.
    Invalid,
    /// The request is well-formed but this system does not do it.
    Unsupported,
    /// Nobody is logged in, or the credentials are wrong.
    Unauthenticated,
    /// Logged in, but not allowed.
    Denied,
    /// The thing named does not exist.
    NotFound,
    /// The thing exists already, or its present state does not allow the request.
    Conflict,
    /// Others were in the way, and nothing was done: run the whole transaction again.
    Aborted,
    /// A limit is reached: send less, or later.
    Exhausted,
    /// A server that is needed is not there: try again later.
    Unavailable,
    /// A time-out passed.
    Timeout,
    /// It is not known whether the request took effect.
    OutcomeUnknown,
    /// A defect of ours.
    Internal,
}

impl Kind {
    /// Every kind, for tests of the tables that map them.
    pub const ALL: [Self; 12] = [
        Self::Invalid,
        Self::Unsupported,
        Self::Unauthenticated,
        Self::Denied,
        Self::NotFound,
        Self::Conflict,
        Self::Aborted,
        Self::Exhausted,
        Self::Unavailable,
        Self::Timeout,
        Self::OutcomeUnknown,
        Self::Internal,
    ];

    /// The metric label and the `code` of an API error.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid_argument",
            Self::Unsupported => "unsupported",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "permission_denied",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Aborted => "aborted",
            Self::Exhausted => "resource_exhausted",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status (RFC 9110).
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unsupported => 501,
            Self::Unauthenticated => 401,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::Conflict | Self::Aborted => 409,
            Self::Exhausted => 429,
            Self::Unavailable => 503,
            Self::Timeout => 504,
            Self::OutcomeUnknown | Self::Internal => 500,
        }
    }

    /// The gRPC status code's number (`google.rpc.Code`).
    #[must_use]
    pub fn grpc_code(self) -> i32 {
        match self {
            Self::Invalid => 3,
            Self::Timeout => 4,
            Self::NotFound => 5,
            Self::Conflict => 9,
            Self::Aborted => 10,
            Self::Denied => 7,
            Self::Exhausted => 8,
            Self::Unsupported => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::OutcomeUnknown => 2,
            Self::Unauthenticated => 16,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_label_and_a_grpc_code_of_its_own() {
        let labels: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        let codes: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.grpc_code()).collect();
        assert_eq!(
            (labels.len(), codes.len()),
            (Kind::ALL.len(), Kind::ALL.len())
        );
        // 0 would be success; 16 is the last code.
        assert!(codes.iter().all(|code| (1..=16).contains(code)));
    }

    #[test]
    fn every_kind_is_an_error_of_the_side_that_can_mend_it() {
        for kind in Kind::ALL {
            let is_the_client_s = match kind {
                Kind::Invalid
                | Kind::Unauthenticated
                | Kind::Denied
                | Kind::NotFound
                | Kind::Conflict
                | Kind::Aborted
                | Kind::Exhausted => true,
                Kind::Unsupported
                | Kind::Unavailable
                | Kind::Timeout
                | Kind::OutcomeUnknown
                | Kind::Internal => false,
            };
            let hundreds = if is_the_client_s { 4 } else { 5 };
            assert_eq!(kind.http_status() / 100, hundreds, "{kind}");
        }
    }
}
