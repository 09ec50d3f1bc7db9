//! What an error of the etcd client means: was the request sent, and what did etcd say to it?

use std::error::Error as StdError;

use tonic::{Code, ConnectError, Status};

use crate::store::{Error, Revision};

type Source = Box<dyn StdError + Send + Sync>;

/// Why an attempt at one member gave no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// etcd refused the request and did not apply it; another member would say the same.
    Answered(Error),
    /// The request was not sent.
    Unsent(Source),
    /// The request may have been sent and applied.
    Unknown(Source),
}

/// Whether etcd refused, without applying it, a request whose login is from before its users or
/// roles were changed.
pub(super) fn is_of_stale_login(error: &etcd_client::Error) -> bool {
    match error {
        etcd_client::Error::GRpcStatus(status) => {
            status.code() == Code::InvalidArgument
                && status.message().contains("revision of auth store is old")
        }
        _ => false,
    }
}

impl Failure {
    pub(super) fn of(error: etcd_client::Error) -> Self {
        match error {
            etcd_client::Error::GRpcStatus(status) => Self::of_status(status),
            // The client says so too when it could not ask.
            etcd_client::Error::LeaseKeepAliveError(ref text) if text == "lease not found" => {
                Self::Answered(Error::LeaseExpired)
            }
            // These come before anything is sent.
            etcd_client::Error::InvalidArgs(_)
            | etcd_client::Error::InvalidUri(_)
            | etcd_client::Error::InvalidMetadataValue(_)
            | etcd_client::Error::EndpointError(_)
            | etcd_client::Error::EndpointsNotManaged => Self::Unsent(error.into()),
            etcd_client::Error::IoError(_)
            | etcd_client::Error::TransportError(_)
            | etcd_client::Error::LeaseKeepAliveError(_)
            | etcd_client::Error::WatchError(_)
            | etcd_client::Error::Utf8Error(_)
            | etcd_client::Error::ElectError(_)
            | etcd_client::Error::Internal(_) => Self::Unknown(error.into()),
        }
    }

    /// As [`Self::of`], for the log-in before the request.
    pub(super) fn before_sending(error: etcd_client::Error) -> Self {
        match Self::of(error) {
            Self::Unknown(source) => Self::Unsent(source),
            other => other,
        }
    }

    fn of_status(status: Status) -> Self {
        if was_not_connected(&status) {
            return Self::Unsent(status.into());
        }
        // A status with a source was made on this side, when the connection broke.
        if status.source().is_some() {
            return Self::Unknown(status.into());
        }
        let text = status.message().to_owned();
        match status.code() {
            Code::NotFound if text.contains("lease not found") => {
                Self::Answered(Error::LeaseExpired)
            }
            // etcd doesn't say which revision is the oldest; no caller needs it of a read.
            Code::OutOfRange if text.contains("compacted") => Self::Answered(Error::Compacted {
                oldest: Revision(0),
            }),
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated => Self::Answered(Error::Denied(text)),
            // etcd says Unavailable both when it has no leader and when a proposal that it made
            // was not confirmed in time, and such a proposal may still be applied.
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Unknown(status.into()),
        }
    }
}

fn was_not_connected(status: &Status) -> bool {
    let mut next = status.source();
    while let Some(error) = next {
        if error.is::<ConnectError>() {
            return true;
        }
        next = error.source();
    }
    false
}
