//! Pure: what a client sends during COPY FROM STDIN, on its way to the backend.
//!
//! Copy data is cut anew where the client's buffer ends, so that a message of any length passes in
//! bounded memory and the backend's stream stands between two messages after each step. Which
//! message a byte of copy data came in means nothing to PostgreSQL.

use bytes::{Buf as _, BufMut as _, BytesMut};
use wire::frame::{HEADER_BYTES, Header};
use wire::frontend::tag;
use wire::limits::{MAX_MESSAGE_BYTES, MAX_SMALL_MESSAGE_BYTES};

/// Bytes for the backend that may wait before more of the client is taken.
pub(super) const MAX_WAITING_BYTES: usize = 64 << 10;

/// What [`CopyFeed::take`] met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    /// More is to come: from the client, or after what waits has been written.
    More,
    /// CopyDone or CopyFail was passed on.
    Ended,
    /// The client says goodbye.
    Left,
}

/// Where in the client's copy data the stream stands.
#[derive(Debug, Default)]
pub(super) struct CopyFeed {
    /// How much of a CopyData message is still to come.
    rest: usize,
    /// Whether there was a copy: what it leaves behind when it fails is ignored.
    used: bool,
}

impl CopyFeed {
    /// Moves messages of the client to `out`, as far as they have come and while little waits
    /// there.
    ///
    /// # Errors
    /// When the client sends what has no place in a copy; the session cannot go on after it.
    pub(super) fn take(
        &mut self,
        inbound: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Fed, String> {
        self.used = true;
        while out.len() < MAX_WAITING_BYTES {
            if self.rest > 0 {
                if !self.pass(inbound, out) {
                    return Ok(Fed::More);
                }
                continue;
            }
            let Some(header) = header(inbound)? else {
                return Ok(Fed::More);
            };
            if header.tag == tag::COPY_DATA {
                inbound.advance(HEADER_BYTES);
                self.rest = header.body_bytes;
                continue;
            }
            if header.tag == tag::TERMINATE {
                return Ok(Fed::Left);
            }
            if inbound.len() < header.frame_bytes() {
                return Ok(Fed::More);
            }
            let frame = inbound.split_to(header.frame_bytes());
            if matches!(header.tag, tag::COPY_DONE | tag::COPY_FAIL) {
                out.extend_from_slice(&frame);
                return Ok(Fed::Ended);
            }
            // Flush and Sync mean nothing within a copy.
        }
        Ok(Fed::More)
    }

    /// What comes of the copy is of no use to anybody.
    pub(super) fn give_up(&mut self) {
        self.used = true;
    }

    /// Passes on what has come of a message; false when nothing has.
    fn pass(&mut self, inbound: &mut BytesMut, out: &mut BytesMut) -> bool {
        let length = self.rest.min(inbound.len());
        let Some(piece) = inbound.get(..length).filter(|piece| !piece.is_empty()) else {
            return false;
        };
        out.put_u8(tag::COPY_DATA);
        out.put_u32(u32::try_from(length + 4).expect("a piece is shorter than its message"));
        out.extend_from_slice(piece);
        inbound.advance(length);
        self.rest -= length;
        true
    }

    /// Drops the copy data of a copy that has failed meanwhile. Nothing is dropped before the
    /// first copy.
    ///
    /// # Errors
    /// When a header is not one.
    pub(super) fn discard(&mut self, inbound: &mut BytesMut) -> Result<(), wire::FrameError> {
        while self.used {
            let length = self.rest.min(inbound.len());
            inbound.advance(length);
            self.rest -= length;
            if inbound.first() != Some(&tag::COPY_DATA) {
                break;
            }
            let Some(header) = Header::parse(inbound, MAX_MESSAGE_BYTES)? else {
                break;
            };
            inbound.advance(HEADER_BYTES);
            self.rest = header.body_bytes;
        }
        Ok(())
    }
}

/// The header of the next message, if it is there and the message may come during a copy.
fn header(inbound: &[u8]) -> Result<Option<Header>, String> {
    let max = match inbound.first() {
        None => return Ok(None),
        Some(&tag::COPY_DATA) => MAX_MESSAGE_BYTES,
        Some(&(tag::COPY_DONE | tag::COPY_FAIL | tag::FLUSH | tag::SYNC | tag::TERMINATE)) => {
            MAX_SMALL_MESSAGE_BYTES
        }
        Some(tag) => {
            return Err(format!(
                "unexpected message type 0x{tag:02X} during COPY from stdin"
            ));
        }
    };
    Header::parse(inbound, max).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("short");
        [&[tag], length.to_be_bytes().as_slice(), body].concat()
    }

    /// Feeds `sent` in chunks of `size`; gives the copy data, what else was passed on, and the
    /// last step.
    fn fed(sent: &[u8], size: usize) -> (Vec<u8>, Vec<u8>, Result<Fed, String>) {
        let (mut feed, mut inbound, mut out) = <(CopyFeed, BytesMut, BytesMut)>::default();
        let (mut data, mut rest) = (Vec::new(), Vec::new());
        let mut last = Ok(Fed::More);
        for chunk in sent.chunks(size) {
            inbound.extend_from_slice(chunk);
            last = feed.take(&mut inbound, &mut out);
            while let Ok(Some(header)) = Header::parse(&out, MAX_MESSAGE_BYTES) {
                let frame = out.split_to(header.frame_bytes());
                if header.tag == b'd' {
                    data.extend_from_slice(&frame[HEADER_BYTES..]);
                } else {
                    rest.extend_from_slice(&frame);
                }
            }
            assert!(out.is_empty(), "only whole messages are passed on");
            if last != Ok(Fed::More) {
                break;
            }
        }
        (data, rest, last)
    }

    #[test]
    fn copy_data_arrives_whole_however_it_is_cut() {
        let sent = [
            message(b'd', b"1\ta\n2\t"),
            message(b'd', b""),
            message(b'S', b""),
            message(b'd', b"b\n"),
            message(b'H', b""),
            message(b'c', b""),
        ]
        .concat();
        for size in 1..=sent.len() {
            let (data, rest, last) = fed(&sent, size);
            assert_eq!(data, b"1\ta\n2\tb\n", "in chunks of {size}");
            assert_eq!(rest, message(b'c', b""));
            assert_eq!(last, Ok(Fed::Ended));
        }
    }

    #[test]
    fn what_has_no_place_in_a_copy_ends_the_session() {
        let (_, _, last) = fed(&message(b'Q', b"SELECT 1\0"), 64);
        let text = last.unwrap_err();
        assert_eq!(text, "unexpected message type 0x51 during COPY from stdin");
        assert_eq!(fed(&message(b'X', b""), 64).2, Ok(Fed::Left));
        assert!(fed(&message(b'f', &[b'a'; 10_000]), 20_000).2.is_err());
    }

    #[test]
    fn little_waits_for_the_backend() {
        let mut inbound = BytesMut::new();
        for _ in 0..100 {
            inbound.extend_from_slice(&message(b'd', &[b'x'; 8 << 10]));
        }
        let (mut feed, mut out) = <(CopyFeed, BytesMut)>::default();
        assert_eq!(feed.take(&mut inbound, &mut out), Ok(Fed::More));
        assert!(out.len() < MAX_WAITING_BYTES + (9 << 10));
        assert!(!inbound.is_empty());
    }

    #[test]
    fn the_rest_of_a_failed_copy_is_dropped() {
        let (mut feed, mut out) = <(CopyFeed, BytesMut)>::default();
        let mut inbound = BytesMut::from(&message(b'd', b"12345")[..8]);
        assert_eq!(feed.take(&mut inbound, &mut out), Ok(Fed::More));
        inbound.extend_from_slice(b"45");
        inbound.extend_from_slice(&message(b'd', b"more"));
        inbound.extend_from_slice(&message(b'c', b""));
        feed.discard(&mut inbound).expect("headers are well");
        assert_eq!(inbound, message(b'c', b""));
    }
}
