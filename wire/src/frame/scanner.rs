//! Walking a stream of frames that arrives in chunks, for a relay that forwards bytes untouched.
//!
//! Frames of a chosen set of tags (rows, copy data) are *streamed*: the scanner passes over them
//! in runs, however they are cut by chunks, and nobody waits for their end. All other frames are
//! *whole*: a step gives each of them when the buffer holds it complete.

use crate::frame::{Frame, FrameError, HEADER_BYTES, Header, TagSet};
use crate::limits::{MAX_MESSAGE_BYTES, MAX_SMALL_MESSAGE_BYTES};
use crate::{backend, frontend};

/// What lies at the front of the bytes given to [`Scanner::next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Bytes of streamed frames, to be forwarded as they are: the rest of one, any number of whole
    /// ones, the beginning of one.
    Stream {
        /// The longest such run.
        bytes: &'a [u8],
        /// How many frames have their header in it.
        begun: usize,
    },
    /// One whole frame.
    Whole(Frame<'a>),
    /// The buffer ends inside a header or a whole frame, or is empty.
    Incomplete {
        /// How many bytes are missing at least. It comes from the peer: grow a buffer towards it,
        /// don't allocate it at once.
        missing: usize,
    },
}

/// Follows one direction of a connection from frame to frame.
///
/// Its only state is how much of a streamed frame is still to come. The caller keeps the bytes: it
/// calls [`next`](Self::next) with what it has from the end of the last step on, and keeps what is
/// left at [`Step::Incomplete`] in front of the next chunk.
///
/// ```
/// use wire::{Scanner, Step};
///
/// fn relay(scanner: &mut Scanner, chunk: &[u8]) -> Result<usize, wire::FrameError> {
///     let mut rest = chunk;
///     loop {
///         let passed = match scanner.next(rest)? {
///             Step::Stream { bytes, .. } => bytes.len(),
///             Step::Whole(frame) => frame.bytes().len(), // Look at the frame here.
///             Step::Incomplete { .. } => break,
///         };
///         (_, rest) = rest.split_at(passed);
///     }
///     Ok(chunk.len() - rest.len()) // Forward that many in one write; keep the rest.
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Scanner {
    missing: usize,
    known: TagSet,
    streamed: TagSet,
    small: TagSet,
    max_whole_bytes: usize,
}

impl Scanner {
    /// Follows what a client sends: copy data is streamed, everything else whole and not longer
    /// than `max_whole_bytes`.
    #[must_use]
    pub fn frontend(max_whole_bytes: usize) -> Self {
        Self {
            missing: 0,
            known: frontend::tag::ALL,
            streamed: TagSet::of(&[frontend::tag::COPY_DATA]),
            small: frontend::tag::SMALL,
            max_whole_bytes: max_whole_bytes.min(MAX_MESSAGE_BYTES),
        }
    }

    /// Follows what a server sends: rows and copy data are streamed, everything else whole and not
    /// longer than `max_whole_bytes`.
    #[must_use]
    pub fn backend(max_whole_bytes: usize) -> Self {
        Self {
            missing: 0,
            known: backend::tag::ALL,
            streamed: TagSet::of(&[backend::tag::DATA_ROW, backend::tag::COPY_DATA]),
            small: TagSet::of(&[]),
            max_whole_bytes: max_whole_bytes.min(MAX_MESSAGE_BYTES),
        }
    }

    /// The same with another set of streamed frames; the empty set gives every frame whole.
    ///
    /// What is streamed is bounded by [`MAX_MESSAGE_BYTES`] alone.
    #[must_use]
    pub fn streaming(mut self, tags: TagSet) -> Self {
        self.streamed = tags;
        self
    }

    /// Whether the stream stands between two frames, so that a frame of our own may be put in.
    ///
    /// It says so too when the caller keeps the beginning of a frame that it has not forwarded.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.missing == 0
    }

    /// Says what lies at the front of `chunk`, and goes on behind it.
    ///
    /// # Errors
    /// The stream can't be followed any further. What precedes the bad header was given before.
    #[inline]
    pub fn next<'a>(&mut self, chunk: &'a [u8]) -> Result<Step<'a>, FrameError> {
        let (end, begun) = self.skip_streamed(chunk);
        if end > 0 {
            let bytes = chunk.get(..end).unwrap_or(chunk);
            return Ok(Step::Stream { bytes, begun });
        }
        if self.missing > 0 {
            return Ok(Step::Incomplete {
                missing: self.missing,
            });
        }
        let Some(header) = self.header(chunk)? else {
            return Ok(Step::Incomplete {
                missing: HEADER_BYTES - chunk.len(),
            });
        };
        Ok(match Frame::of(header, chunk) {
            Some(frame) => Step::Whole(frame),
            None => Step::Incomplete {
                missing: header.frame_bytes() - chunk.len(),
            },
        })
    }

    /// Where the run of streamed frames at the front ends, and how many begin in it.
    #[inline]
    fn skip_streamed(&mut self, chunk: &[u8]) -> (usize, usize) {
        let mut end = self.missing.min(chunk.len());
        let mut begun = 0;
        self.missing -= end;
        while let Some(rest) = chunk.get(end..) {
            // A bad header is left for the next step, which finds it at the front.
            let Ok(Some(header)) = Header::parse(rest, MAX_MESSAGE_BYTES) else {
                break;
            };
            if !self.streamed.contains(header.tag) {
                break;
            }
            let present = header.frame_bytes().min(rest.len());
            self.missing = header.frame_bytes() - present;
            end += present;
            begun += 1;
        }
        (end, begun)
    }

    /// The header at the front of `chunk`, held against the limit of its tag.
    fn header(&self, chunk: &[u8]) -> Result<Option<Header>, FrameError> {
        let Some(tag) = chunk.first().copied() else {
            return Ok(None);
        };
        if !self.known.contains(tag) {
            return Err(FrameError::UnknownTag { tag });
        }
        let max = if self.streamed.contains(tag) {
            MAX_MESSAGE_BYTES
        } else if self.small.contains(tag) {
            self.max_whole_bytes.min(MAX_SMALL_MESSAGE_BYTES)
        } else {
            self.max_whole_bytes
        };
        Header::parse(chunk, max)
    }
}
