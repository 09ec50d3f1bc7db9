//! What can go wrong for a client of the manager, and the one mapping of it to REST and gRPC.

use platform::Kind;
use topology::watch::LoadError;
use topology::{numbers, routers};

use crate::control::Rejection;
use crate::reshard::plan::{self, PlanId};
use crate::reshard::{api, guard, session};
use crate::{audit, commit, failover, shards};

/// What sort of thing went wrong: a [`Kind`], or the one distinction that clients of this API make
/// beyond those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The thing to be created exists.
    AlreadyExists,
    /// Anything else.
    Kind(Kind),
}

impl Code {
    /// The `code` of a REST error.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyExists => "already_exists",
            Self::Kind(kind) => kind.as_str(),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::AlreadyExists => Kind::Conflict.http_status(),
            Self::Kind(kind) => kind.http_status(),
        }
    }

    /// The gRPC status code.
    #[must_use]
    pub fn grpc(self) -> tonic::Code {
        match self {
            Self::AlreadyExists => tonic::Code::AlreadyExists,
            Self::Kind(kind) => tonic::Code::from_i32(kind.grpc_code()),
        }
    }

    /// The code that a leader's answer carries.
    #[must_use]
    pub fn of_grpc(code: tonic::Code) -> Self {
        if code == tonic::Code::AlreadyExists {
            return Self::AlreadyExists;
        }
        let number = i32::from(code);
        let found = Kind::ALL
            .into_iter()
            .find(|kind| kind.grpc_code() == number);
        Self::Kind(found.unwrap_or(Kind::Internal))
    }
}

/// An error that a client is told about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request breaks a rule.
    #[error("{field}: {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        rule: String,
    },
    /// The topology does not allow it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// There is no plan for what is wanted.
    #[error(transparent)]
    Plan(#[from] plan::Error),
    /// Jobs cannot do it.
    #[error(transparent)]
    Jobs(#[from] api::Error),
    /// The ring is another one than that of the plan.
    #[error(
        "plan {wanted} was made for another ring, the same request would now come to plan {found}: \
         look at the new plan and run that"
    )]
    PlanOutdated {
        /// The plan that was to be run.
        wanted: PlanId,
        /// What it would be at present.
        found: PlanId,
    },
    /// Its write did not come about.
    #[error(transparent)]
    Commit(#[from] commit::Error),
    /// The thing named does not exist.
    #[error("{what} does not exist")]
    NotFound {
        /// The thing with its name.
        what: String,
    },
    /// A shard still holds what must be gone first.
    #[error("{reason}")]
    InUse {
        /// Which shard holds what.
        reason: String,
    },
    /// A shard that must be asked cannot be.
    #[error(transparent)]
    Shard(#[from] shards::Error),
    /// Nothing was promoted, or it is not known whether.
    #[error(transparent)]
    Failover(Box<failover::Error>),
    /// Shards have no numbers.
    #[error(transparent)]
    Numbers(#[from] numbers::Error),
    /// A shard's schema cannot be repaired.
    #[error("the schema was not repaired")]
    Repair(#[from] guard::Error),
    /// No shard owns anything.
    #[error("the ring is empty: register a shard")]
    RingEmpty,
    /// The store was never read, so that nothing is known.
    #[error("the topology has not been read from the store yet")]
    NotLoaded,
    /// There is no leader to do it.
    #[error("no manager leads at the moment")]
    NoLeader,
    /// Another manager took this one for the leader.
    #[error("this manager does not lead")]
    NotLeading,
    /// The leader cannot be reached; nothing was sent to it.
    #[error("leader {leader} at {address} is not reachable")]
    LeaderUnreachable {
        /// Its id.
        leader: String,
        /// Its gRPC address.
        address: String,
        /// Why.
        #[source]
        source: tonic::Status,
    },
    /// The leader was asked, and no answer came.
    #[error("leader {leader} gave no answer: it is not known whether the change was made")]
    LeaderSilent {
        /// Its id.
        leader: String,
        /// What is known of the reason.
        #[source]
        source: tonic::Status,
    },
    /// The leader's own answer.
    #[error("{message}")]
    FromLeader {
        /// What sort of error it was.
        code: Code,
        /// The leader's text, which was written for clients.
        message: String,
    },
    /// The store cannot be read.
    #[error("the store is not readable")]
    Unreadable(#[from] LoadError),
    /// The audit log cannot be read.
    #[error("the audit log is not readable")]
    AuditUnreadable(#[from] audit::ReadError),
    /// A user's record cannot be read.
    #[error("a stored user is not readable")]
    UserUnreadable(#[from] topology::records::DecodeError),
    /// The credential is not good.
    #[error(transparent)]
    Unidentified(#[from] platform::bearer::Rejected),
    /// Name and password do not fit. Which of them is wrong is not told.
    #[error("{}name or password is wrong", named(name.as_ref()))]
    WrongPassword {
        /// The name, if it can be one.
        name: Option<topology::access::AccountName>,
    },
    /// Nobody needs to log in.
    #[error("logins are off: security.enable_rbac is false")]
    NoLogins,
    /// Others log in.
    #[error("too many passwords are being checked: try again")]
    Busy,
    /// It is not known which routers live.
    #[error("the routers' records are not readable")]
    RoutersUnreadable(#[from] routers::Error),
    /// A defect of ours.
    #[error("{0}")]
    Internal(&'static str),
}

impl From<failover::Error> for Error {
    fn from(error: failover::Error) -> Self {
        Self::Failover(Box::new(error))
    }
}

fn named(name: Option<&topology::access::AccountName>) -> String {
    name.map_or_else(String::new, |name| format!("account {name}: "))
}

impl Error {
    /// A field that breaks a rule.
    #[must_use]
    pub fn invalid(field: &'static str, rule: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            rule: rule.into(),
        }
    }

    /// What sort of error this is.
    #[must_use]
    pub fn code(&self) -> Code {
        let kind = match self {
            Self::Rejected(rejection) => return rejection.code(),
            Self::Commit(error) => return error.code(),
            Self::Failover(error) => return error.code(),
            Self::Plan(error) => return error.code(),
            Self::Jobs(error) => return error.code(),
            Self::FromLeader { code, .. } => return *code,
            Self::Invalid { .. } => Kind::Invalid,
            Self::NotFound { .. } => Kind::NotFound,
            Self::Unidentified(rejected) => rejected.kind(),
            Self::WrongPassword { .. } => Kind::Unauthenticated,
            Self::NoLogins => Kind::Conflict,
            Self::Busy => Kind::Exhausted,
            Self::InUse { .. } | Self::RingEmpty | Self::PlanOutdated { .. } => Kind::Conflict,
            Self::Shard(error) => error.kind(),
            Self::Numbers(numbers::Error::Store(_) | numbers::Error::Busy) => Kind::Unavailable,
            Self::Numbers(numbers::Error::Unreadable(_)) => Kind::Internal,
            Self::Numbers(numbers::Error::Exhausted) => Kind::Exhausted,
            Self::Repair(error) => match error.class() {
                session::Class::Retryable | session::Class::StaleTerm => Kind::Unavailable,
                session::Class::Fatal => Kind::Conflict,
            },
            Self::NotLoaded
            | Self::NoLeader
            | Self::NotLeading
            | Self::LeaderUnreachable { .. } => Kind::Unavailable,
            Self::LeaderSilent { .. } => Kind::OutcomeUnknown,
            Self::Unreadable(LoadError::Store(_))
            | Self::RoutersUnreadable(routers::Error::Store(_))
            | Self::AuditUnreadable(audit::ReadError::Store(_) | audit::ReadError::Restless) => {
                Kind::Unavailable
            }
            Self::Unreadable(LoadError::Entry(_) | LoadError::NoHead)
            | Self::AuditUnreadable(audit::ReadError::Entry(_) | audit::ReadError::Broken(_))
            | Self::UserUnreadable(_)
            | Self::RoutersUnreadable(
                routers::Error::Unreadable(_) | routers::Error::UnknownKey { .. },
            )
            | Self::Internal(_) => Kind::Internal,
        };
        Code::Kind(kind)
    }

    /// What the client reads. Of a defect it only learns that there is one; the log has the rest.
    #[must_use]
    pub fn public_text(&self) -> String {
        match self.code() {
            Code::Kind(Kind::Internal) => {
                tracing::error!(
                    error = platform::telemetry::error_chain(self),
                    "request met a defect"
                );
                "internal error, see the server's log".to_owned()
            }
            Code::Kind(Kind::Unavailable | Kind::OutcomeUnknown) => {
                tracing::warn!(
                    error = platform::telemetry::error_chain(self),
                    "request not done"
                );
                self.client_text()
            }
            Code::AlreadyExists | Code::Kind(_) => self.client_text(),
        }
    }

    /// What a shard says is written for operators, who are the clients of this API.
    fn client_text(&self) -> String {
        match self {
            Self::Shard(error) => error.full_text(),
            Self::Repair(_) => platform::telemetry::error_chain(self),
            other => other.to_string(),
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let mut status = Self::new(error.code().grpc(), error.public_text());
        if let Error::FromLeader { .. } = error {
            let yes = tonic::metadata::MetadataValue::from_static("1");
            status
                .metadata_mut()
                .insert(audit::refusals::FROM_LEADER, yes);
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_way_from_the_leader_through_a_follower() {
        let all = Kind::ALL.map(Code::Kind);
        for code in all.into_iter().chain([Code::AlreadyExists]) {
            assert_eq!(Code::of_grpc(code.grpc()), code);
        }
    }

    #[test]
    fn a_defect_is_not_described_to_the_client() {
        let error = Error::Internal("the pointer is null");
        assert!(!error.public_text().contains("pointer"));
        assert_eq!(error.code().http_status(), 500);
    }
}
