//! Pure: the messages that the router itself answers with.

use bytes::{Bytes, BytesMut};
use wire::SqlState;
use wire::backend::{Report, Severity, TransactionStatus, encode, field};

use crate::error::Error;

/// An error that ends the statement.
#[must_use]
pub(super) fn error(error: &Error) -> Bytes {
    let mut out = BytesMut::new();
    report(Severity::Error, error).encode(&mut out);
    out.freeze()
}

/// An error that ends the session.
pub(super) fn fatal(out: &mut BytesMut, error: &Error) {
    report(Severity::Fatal, error).encode(out);
}

/// A statement that was completed without a shard.
#[must_use]
pub(super) fn complete(tag: &str) -> Bytes {
    frames(|out| encode::command_complete(out, tag))
}

/// The same after a warning.
#[must_use]
pub(super) fn complete_with_warning(tag: &str, code: SqlState, message: &'static str) -> Bytes {
    frames(|out| {
        Report::new(Severity::Warning, code, message).encode(out);
        encode::command_complete(out, tag);
    })
}

/// The end of an answer. `status` is the byte of [`super::state::Transaction::status`].
pub(super) fn ready(out: &mut BytesMut, status: u8) {
    let status = match status {
        b'T' => TransactionStatus::InTransaction,
        b'E' => TransactionStatus::Failed,
        _ => TransactionStatus::Idle,
    };
    encode::ready_for_query(out, status);
}

/// Whatever `write` writes.
#[must_use]
pub(super) fn frames(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out);
    out.freeze()
}

fn report(severity: Severity, error: &Error) -> Report {
    let code = SqlState::parse(error.sqlstate().as_bytes()).unwrap_or(SqlState::INTERNAL_ERROR);
    let more = [
        (field::DETAIL, error.detail()),
        (field::HINT, error.hint()),
        (field::ROUTINE, error.routine()),
    ];
    let mut report = Report::new(severity, code, error.to_string());
    for (code, text) in more {
        if let Some(text) = text {
            report = report.field(code, text.to_owned());
        }
    }
    report
}
