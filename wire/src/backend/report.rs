//! Errors and notices of our own, built field by field.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::SqlState;
use crate::backend::{field, tag};
use crate::limits::MAX_REPORT_FIELDS;
use crate::write::{cut_text, frame};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The statement came to an end.
    Error,
    /// The session comes to an end.
    Fatal,
    /// The statement goes on, but something may not be as meant.
    Warning,
    /// For a person to read.
    Notice,
    /// What a person asked to be told.
    Info,
}

impl Severity {
    /// The word that travels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
            Self::Info => "INFO",
        }
    }

    /// Whether it travels as an `ErrorResponse`, not as a `NoticeResponse`.
    #[must_use]
    pub fn is_error(self) -> bool {
        match self {
            Self::Error | Self::Fatal => true,
            Self::Warning | Self::Notice | Self::Info => false,
        }
    }
}

/// An error or notice to be sent to a client.
///
/// ```
/// use wire::{SqlState, backend::Report};
///
/// let mut out = bytes::BytesMut::new();
/// Report::error(SqlState::FEATURE_NOT_SUPPORTED, "no shard key in the statement")
///     .hint("Compare the key column with a value.")
///     .encode(&mut out);
/// assert!(out.starts_with(b"E"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    severity: Severity,
    code: SqlState,
    message: Cow<'static, str>,
    more: Vec<(u8, Cow<'static, str>)>,
}

impl Report {
    /// A report of any severity.
    pub fn new(severity: Severity, code: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            severity,
            code,
            message: message.into(),
            more: Vec::new(),
        }
    }

    /// An error that ends the statement.
    pub fn error(code: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// An error that ends the session.
    pub fn fatal(code: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Fatal, code, message)
    }

    /// Adds more about it.
    #[must_use]
    pub fn detail(self, text: impl Into<Cow<'static, str>>) -> Self {
        self.field(field::DETAIL, text)
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(self, text: impl Into<Cow<'static, str>>) -> Self {
        self.field(field::HINT, text)
    }

    /// Adds any other field. The code 0, which ends a report, and fields beyond
    /// [`MAX_REPORT_FIELDS`] are left out.
    #[must_use]
    pub fn field(mut self, code: u8, text: impl Into<Cow<'static, str>>) -> Self {
        if code != 0 && self.more.len() < MAX_REPORT_FIELDS {
            self.more.push((code, text.into()));
        }
        self
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// The SQLSTATE.
    #[must_use]
    pub fn code(&self) -> SqlState {
        self.code
    }

    /// The primary message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Appends it as an `ErrorResponse` or a `NoticeResponse`, as its severity says.
    ///
    /// Texts are cut at a zero byte and at
    /// [`MAX_ANSWER_TEXT_BYTES`](crate::limits::MAX_ANSWER_TEXT_BYTES).
    pub fn encode(&self, out: &mut BytesMut) {
        let tag = if self.severity.is_error() {
            tag::ERROR_RESPONSE
        } else {
            tag::NOTICE_RESPONSE
        };
        frame(out, tag, |out| {
            put(out, field::LOCALIZED_SEVERITY, self.severity.as_str());
            put(out, field::SEVERITY, self.severity.as_str());
            put(out, field::CODE, self.code.as_str());
            put(out, field::MESSAGE, &self.message);
            for (code, text) in &self.more {
                put(out, *code, text);
            }
            out.put_u8(0);
        });
    }
}

fn put(out: &mut BytesMut, code: u8, text: &str) {
    out.put_u8(code);
    cut_text(out, text);
}
