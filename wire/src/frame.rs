//! Where messages begin and end in a byte stream: the header of five bytes and what it bounds.
//!
//! Nothing here knows what a body means; [`scanner`] walks a stream of frames.

pub mod scanner;
mod tags;

pub use scanner::{Scanner, Step};
pub use tags::TagSet;

use crate::SqlState;

/// The tag and the length field.
pub const HEADER_BYTES: usize = 5;

/// The length field counts itself.
const LENGTH_BYTES: usize = 4;

/// The five bytes before each body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which message it is; the same byte means different things in the two directions.
    pub tag: u8,
    /// How many bytes follow the header.
    pub body_bytes: usize,
}

impl Header {
    /// Reads the header at the front of `bytes`; `None` if it isn't all there yet.
    ///
    /// # Errors
    /// A length below its own four bytes or a body above `max_body_bytes`.
    #[inline]
    pub fn parse(bytes: &[u8], max_body_bytes: usize) -> Result<Option<Self>, FrameError> {
        let Some(([tag, length @ ..], _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let (tag, length) = (*tag, i32::from_be_bytes(*length));
        let body_bytes = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_sub(LENGTH_BYTES));
        let Some(body_bytes) = body_bytes else {
            return Err(FrameError::BadLength { tag, length });
        };
        if body_bytes > max_body_bytes {
            return Err(FrameError::TooLong {
                tag,
                body_bytes,
                max: max_body_bytes,
            });
        }
        Ok(Some(Self { tag, body_bytes }))
    }

    /// How many bytes header and body take together.
    #[must_use]
    pub fn frame_bytes(self) -> usize {
        HEADER_BYTES + self.body_bytes
    }
}

/// A whole message where it lies in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    tag: u8,
    bytes: &'a [u8],
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame at the front of `bytes`; `None` if it isn't all there yet.
    ///
    /// # Errors
    /// As [`Header::parse`].
    #[inline]
    pub fn parse(bytes: &'a [u8], max_body_bytes: usize) -> Result<Option<Self>, FrameError> {
        let header = Header::parse(bytes, max_body_bytes)?;
        Ok(header.and_then(|header| Self::of(header, bytes)))
    }

    /// The frame of this header at the front of `bytes`, if they hold all of it.
    fn of(header: Header, bytes: &'a [u8]) -> Option<Self> {
        let bytes = bytes.get(..header.frame_bytes())?;
        let body = bytes.get(HEADER_BYTES..)?;
        Some(Self {
            tag: header.tag,
            bytes,
            body,
        })
    }

    /// Which message it is.
    #[must_use]
    pub fn tag(&self) -> u8 {
        self.tag
    }

    /// What follows the header.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Header and body, as they are to be forwarded.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// A stream that can't be followed any further: the connection has to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field is smaller than itself.
    #[error("message with tag {tag:#04x} has the impossible length {length}")]
    BadLength {
        /// The message's tag.
        tag: u8,
        /// What its length field says.
        length: i32,
    },
    /// The length is above the limit.
    #[error("message with tag {tag:#04x} has {body_bytes} bytes, more than {max}")]
    TooLong {
        /// The message's tag.
        tag: u8,
        /// The body's length as announced.
        body_bytes: usize,
        /// The limit.
        max: usize,
    },
    /// No message of this direction has this tag, so the stream is out of step.
    #[error("unknown message tag {tag:#04x}")]
    UnknownTag {
        /// The byte where a tag should be.
        tag: u8,
    },
}

impl FrameError {
    /// The code to answer with before closing.
    #[must_use]
    pub fn sqlstate(&self) -> SqlState {
        match self {
            Self::BadLength { .. } | Self::UnknownTag { .. } => SqlState::PROTOCOL_VIOLATION,
            Self::TooLong { .. } => SqlState::PROGRAM_LIMIT_EXCEEDED,
        }
    }
}

#[cfg(test)]
mod tests;
