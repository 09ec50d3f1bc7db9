//! What is wrong with a message that can't be read or written.
//!
//! Framing errors, which end a connection, are [`crate::FrameError`]; after an error of this file
//! the stream is still in step.

use crate::SqlState;

/// A message's body that breaks the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {message} message: {reason}")]
pub struct DecodeError {
    /// The message's name in the protocol's documentation.
    pub message: &'static str,
    /// What is wrong with it.
    pub reason: Reason,
}

impl DecodeError {
    /// The code to answer with.
    #[must_use]
    pub fn sqlstate(&self) -> SqlState {
        match self.reason {
            Reason::UnknownFormat { .. } => SqlState::INVALID_PARAMETER_VALUE,
            Reason::UnknownTag { .. }
            | Reason::Truncated { .. }
            | Reason::Unterminated { .. }
            | Reason::Trailing { .. }
            | Reason::NegativeLength { .. }
            | Reason::FormatCount { .. }
            | Reason::UnknownValue { .. } => SqlState::PROTOCOL_VIOLATION,
        }
    }
}

/// Why a body can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No message of this direction has this tag.
    #[error("unknown tag {tag:#04x}")]
    UnknownTag {
        /// The tag.
        tag: u8,
    },
    /// The body is shorter than its contents say.
    #[error("the body ends inside the {field}")]
    Truncated {
        /// What was being read.
        field: &'static str,
    },
    /// A string runs to the end of the body.
    #[error("the {field} has no terminating zero byte")]
    Unterminated {
        /// What was being read.
        field: &'static str,
    },
    /// The body is longer than its contents say.
    #[error("{bytes} bytes follow the last field")]
    Trailing {
        /// How many bytes are left.
        bytes: usize,
    },
    /// A value's length is below the -1 that stands for NULL, or below 0 where NULL can't be.
    #[error("the {field} has length {length}")]
    NegativeLength {
        /// What was being read.
        field: &'static str,
        /// The length it announces.
        length: i32,
    },
    /// Neither no format, nor one for all, nor one for each.
    #[error("{formats} parameter formats for {parameters} parameters")]
    FormatCount {
        /// How many formats there are.
        formats: usize,
        /// How many parameters there are.
        parameters: usize,
    },
    /// A format code other than text and binary.
    #[error("unsupported format code {code}")]
    UnknownFormat {
        /// The code.
        code: i16,
    },
    /// A byte or number that has no meaning here.
    #[error("the {field} is {value}, which has no meaning")]
    UnknownValue {
        /// What was being read.
        field: &'static str,
        /// Its value.
        value: i32,
    },
}

/// A message that can't be written as asked. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A string holds the byte that would end it on the wire.
    #[error("the {field} contains a zero byte")]
    InteriorZero {
        /// What was being written.
        field: &'static str,
    },
    /// More items than the wire's counter can say.
    #[error("{count} {field} are more than {max}")]
    TooMany {
        /// What is too many.
        field: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// The message would be longer than a receiver takes.
    #[error("a message of {bytes} bytes is longer than {max}")]
    TooLong {
        /// The length of the message or of one value.
        bytes: usize,
        /// The longest possible.
        max: usize,
    },
    /// The message that was to be copied in part can't be read.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}
