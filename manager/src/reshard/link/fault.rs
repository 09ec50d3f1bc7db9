//! What can go wrong between the manager and a shard, and whether the same may be tried again.

use std::fmt;
use std::time::Duration;

use topology::ShardId;

use crate::reshard::session::Class;

/// What went wrong, where, and what was to be done.
#[derive(Debug, thiserror::Error)]
#[error("shard {shard}: {what}")]
pub struct Error {
    /// The shard.
    pub shard: ShardId,
    /// What was to be done.
    pub what: &'static str,
    /// What went wrong.
    #[source]
    pub fault: Fault,
}

impl Error {
    /// Something went wrong on a shard.
    #[must_use]
    pub fn new(shard: &ShardId, what: &'static str, fault: Fault) -> Self {
        let shard = shard.clone();
        Self { shard, what, fault }
    }

    /// Whether the same may be tried again.
    #[must_use]
    pub fn class(&self) -> Class {
        self.fault.class()
    }
}

/// What went wrong. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The network said no.
    #[error("{0}")]
    Io(String),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The time-out passed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The TLS handshake came to nothing.
    #[error("TLS handshake: {0}")]
    Tls(String),
    /// The server refused.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// The server asks for something that is not spoken here.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The server broke the protocol.
    #[error("protocol violation: {0}")]
    Protocol(String),
    /// A message would be longer than a server takes.
    #[error("a message of {bytes} bytes is longer than a server takes")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A replication stream came to its end.
    #[error("the server ended the replication stream")]
    Ended,
}

/// What a server refused with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// `ERROR`, `FATAL` or `PANIC`.
    pub severity: String,
    /// Its SQLSTATE.
    pub sqlstate: String,
    /// Its message.
    pub message: String,
    /// What it adds, or where it happened.
    pub detail: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.sqlstate)?;
        self.detail
            .iter()
            .try_for_each(|detail| write!(f, "; {detail}"))
    }
}

impl Fault {
    /// A message that has no place here.
    #[must_use]
    pub fn unexpected(tag: u8) -> Self {
        Self::Protocol(format!("unexpected message {:?}", char::from(tag)))
    }

    /// Whether the server refused with this SQLSTATE.
    #[must_use]
    pub fn has_code(&self, code: &str) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.sqlstate == code)
    }

    /// Whether the server ends the session after it.
    #[must_use]
    pub fn ends_session(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.severity != "ERROR",
            Self::Io(_)
            | Self::Closed
            | Self::Timeout(_)
            | Self::Tls(_)
            | Self::Unsupported(_)
            | Self::Protocol(_)
            | Self::TooLong { .. }
            | Self::Ended => true,
        }
    }

    /// Whether the same may be tried again.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Io(_) | Self::Closed | Self::Timeout(_) | Self::Ended => Class::Retryable,
            Self::Refused(refusal) => Class::of_code(&refusal.sqlstate),
            Self::Tls(_) | Self::Unsupported(_) | Self::Protocol(_) | Self::TooLong { .. } => {
                Class::Fatal
            }
        }
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<wire::EncodeError> for Fault {
    fn from(error: wire::EncodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<wire::DecodeError> for Fault {
    fn from(error: wire::DecodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<wire::FrameError> for Fault {
    fn from(error: wire::FrameError) -> Self {
        Self::Protocol(error.to_string())
    }
}
