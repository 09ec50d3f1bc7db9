//! Moves bytes between one backend and one client: writes what is to be sent, forwards what comes
//! back, looks only at message boundaries and at the few messages that end an answer.

use std::future::{Future as _, poll_fn};
use std::io;
use std::task::Poll;

use bytes::{Buf as _, Bytes, BytesMut};
use wire::{Scanner, Step};

use super::client::Client;
use super::copy::{Fed, MAX_WAITING_BYTES};
use super::expect::{Expectations, Verdict};
use crate::barrier::Leave;
use crate::pool::{Backend, Baton, Pool, would_be_misread};
use crate::stream::Moved;
use crate::view::View;

/// What is read of a backend at once, at first.
const READ_BYTES: usize = 16 << 10;

/// What is read at once of a backend that fills the buffer each time.
const MAX_READ_BYTES: usize = 128 << 10;

/// Longest message of a backend that must be seen whole: anything but rows and COPY data.
const MAX_WHOLE_BYTES: usize = 16 << 20;

/// Why an exchange stopped before all answers had come.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    /// The client is gone: its session ends, the backend is closed.
    #[error("client connection is gone")]
    Client(#[source] io::Error),
    /// The client sent what has no place in a copy: as before.
    #[error("{0}")]
    Protocol(String),
    /// The backend is gone, or what it says cannot be followed.
    #[error("backend connection is gone")]
    Backend {
        /// What was met.
        #[source]
        source: io::Error,
        /// Whether the client has read a part of a message, so that nothing can be said to it.
        within_message: bool,
    },
    /// The shard answered neither in time nor when it was asked to cancel.
    #[error("no answer within {limit:?}")]
    Late {
        /// The limit.
        limit: std::time::Duration,
        /// As in [`RelayError::Backend`].
        within_message: bool,
    },
}

/// Others who stand in line for the backend, and by whose leave they are written.
#[derive(Debug)]
pub(super) struct Sharing<'a> {
    pub(super) baton: &'a Baton,
    pub(super) pool: Pool,
    pub(super) view: &'a View,
}

impl Sharing<'_> {
    /// Adds what others have asked to what is to be written; they are routed anew where a newer
    /// topology may send them elsewhere.
    fn load(&self, outbound: &mut BytesMut) -> Option<Leave> {
        let leave = |routed| match self.pool.is_cut() {
            true => None,
            false => self.view.leave(routed),
        };
        self.baton.load(outbound, leave)
    }
}

/// A scanner of what a backend says, for one exchange.
pub(super) fn scanner() -> Scanner {
    Scanner::backend(MAX_WHOLE_BYTES)
}

/// Sends `outbound` to the backend, by leave of the topology where it begins a statement, and
/// relays until every expected answer has come.
///
/// Not cancel-safe: dropped in the middle, the backend must be closed.
///
/// # Errors
/// [`RelayError`]; the backend is of no further use.
pub(super) async fn exchange(
    (client, backend): (&mut Client, &mut Backend),
    outbound: &mut BytesMut,
    expected: &mut Expectations,
    (scanner, mut leave): (&mut Scanner, Option<Leave>),
    sharing: Option<Sharing<'_>>,
) -> Result<(), RelayError> {
    let mut read_bytes = READ_BYTES;
    let mut others_leave = None;
    loop {
        if !backend.inbound.is_empty() || expected.is_local_next() || client.owes() {
            pass_on(client, backend, expected, scanner).await?;
        }
        if outbound.is_empty() && expected.is_empty() && scanner.is_at_boundary() {
            if read_bytes > READ_BYTES && backend.inbound.is_empty() {
                // A large result is over; the next one of this backend is a small one, as a rule.
                backend.inbound = BytesMut::new();
            }
            return Ok(());
        }
        let lost = |source| RelayError::Backend {
            source,
            within_message: !scanner.is_at_boundary(),
        };
        if expected.is_copying_in() {
            if client.owes() {
                // It may wait for leave to begin.
                client.flush_now().await.map_err(RelayError::Client)?;
            }
            match client.take_copy(outbound).map_err(RelayError::Protocol)? {
                Fed::More => match copy_in(client, backend, outbound).await {
                    Side::Backend(result) => result.and_then(went_on).map_err(lost)?,
                    Side::Client(result) => result.map_err(RelayError::Client)?,
                },
                Fed::Ended => {
                    expected.copy_in_was_sent();
                    if expected.is_execute() {
                        // The backend keeps its answer back until Flush or Sync.
                        wire::frontend::encode::flush(outbound);
                    }
                }
                Fed::Left => {
                    return Err(RelayError::Client(io::ErrorKind::ConnectionAborted.into()));
                }
            }
            continue;
        }
        if let Some(sharing) = &sharing
            && others_leave.is_none()
        {
            others_leave = sharing.load(outbound);
        }
        match &sharing {
            Some(sharing) if outbound.is_empty() => {
                transfer_or_joined(backend, sharing, &mut read_bytes).await
            }
            _ => transfer(backend, outbound, &mut read_bytes).await,
        }
        .map_err(lost)?;
        if outbound.is_empty() {
            // All of it is on its way.
            drop((leave.take(), others_leave.take()));
        }
    }
}

/// Which side something came of.
enum Side {
    Backend(io::Result<Moved>),
    Client(io::Result<()>),
}

/// Moves copy data: writes what waits and, while that is little, reads more of the client; always
/// ready for what the backend has to say, such as an error that ends the copy.
async fn copy_in(client: &mut Client, backend: &mut Backend, outbound: &mut BytesMut) -> Side {
    backend.inbound.reserve(READ_BYTES);
    let wants_more = outbound.len() < MAX_WAITING_BYTES;
    let Backend {
        stream,
        inbound,
        traffic,
        ..
    } = backend;
    tokio::select! {
        biased;
        moved = stream.transfer(outbound, inbound) => {
            Side::Backend(moved.inspect(|moved| traffic.count(*moved)))
        }
        read = client.read_more(), if wants_more => Side::Client(read),
    }
}

/// Writes if there is something to write, reads otherwise. While a write cannot go on, it reads
/// too: a backend that cannot get rid of its answers stops taking requests.
/// `read_bytes` grows when more was there than was read.
async fn transfer(
    backend: &mut Backend,
    outbound: &mut BytesMut,
    read_bytes: &mut usize,
) -> io::Result<()> {
    backend.inbound.reserve(*read_bytes);
    let moved = backend.stream.transfer(outbound, &mut backend.inbound);
    let moved = moved.await?;
    backend.traffic.count(moved);
    if matches!(moved, Moved::In(read) if read >= *read_bytes) {
        *read_bytes = (*read_bytes * 2).min(MAX_READ_BYTES);
    }
    went_on(moved)
}

/// Reads, until others want something to be written.
async fn transfer_or_joined(
    backend: &mut Backend,
    sharing: &Sharing<'_>,
    read_bytes: &mut usize,
) -> io::Result<()> {
    let mut nothing = BytesMut::new();
    let transfer = transfer(backend, &mut nothing, read_bytes);
    tokio::pin!(transfer);
    poll_fn(|context| {
        let moved = transfer.as_mut().poll(context);
        if moved.is_pending() && sharing.baton.poll_joined(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        moved
    })
    .await
}

/// Whether anything was moved at all.
fn went_on(moved: Moved) -> io::Result<()> {
    match moved {
        Moved::Out(0) => Err(io::ErrorKind::WriteZero.into()),
        Moved::In(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Moved::Out(_) | Moved::In(_) => Ok(()),
    }
}

/// Handles everything that has arrived.
async fn pass_on(
    client: &mut Client,
    backend: &mut Backend,
    expected: &mut Expectations,
    scanner: &mut Scanner,
) -> Result<(), RelayError> {
    loop {
        let part = scan(&backend.inbound, expected, scanner).map_err(|text| {
            let source = io::Error::new(io::ErrorKind::InvalidData, text);
            RelayError::Backend {
                source,
                within_message: !scanner.is_at_boundary(),
            }
        })?;
        let ends = part.forward == backend.inbound.len() || expected.is_empty();
        if ends && part.forward > 0 && part.is_plain() && !expected.keeps_back() {
            // The usual case: all of it is for the client, and goes without a copy. What is behind
            // it is for another one.
            let answer = backend.inbound.get(..part.forward).unwrap_or_default();
            client
                .write_through(answer)
                .await
                .map_err(RelayError::Client)?;
            backend.inbound.advance(part.forward);
            return Ok(());
        }
        client
            .outbound
            .extend_from_slice(backend.inbound.get(..part.forward).unwrap_or_default());
        backend.inbound.advance(part.forward + part.skip);
        if let Some(frames) = &part.insert {
            client.outbound.extend_from_slice(frames);
        }
        if part == Part::default() && expected.keeps_back() {
            return Ok(());
        }
        if part == Part::default() {
            return client.flush().await.map_err(RelayError::Client);
        }
    }
}

/// What to do with the beginning of the buffer: forward, then skip, then insert.
#[derive(Debug, Default, PartialEq, Eq)]
struct Part {
    forward: usize,
    skip: usize,
    insert: Option<Bytes>,
}

impl Part {
    /// Whether all of it is forwarded.
    fn is_plain(&self) -> bool {
        self.skip == 0 && self.insert.is_none()
    }
}

/// Walks the buffer up to where forwarding has to be interrupted, or to its end.
fn scan(
    inbound: &[u8],
    expected: &mut Expectations,
    scanner: &mut Scanner,
) -> Result<Part, String> {
    let mut forward = 0;
    loop {
        if scanner.is_at_boundary()
            && let Some(frames) = expected.next_local()
        {
            return Ok(Part {
                forward,
                skip: 0,
                insert: Some(frames),
            });
        }
        if scanner.is_at_boundary() && expected.is_empty() {
            // All that was asked for is there. What a backend says after it, such as that it is
            // going to end, is met by whoever asks it next.
            return Ok(Part {
                forward,
                ..Part::default()
            });
        }
        let rest = inbound.get(forward..).unwrap_or_default();
        match scanner.next(rest).map_err(|error| error.to_string())? {
            Step::Incomplete { .. } => {
                return Ok(Part {
                    forward,
                    ..Part::default()
                });
            }
            Step::Stream { bytes, .. } if expected.rows_are_forwarded() => forward += bytes.len(),
            Step::Stream { bytes, .. } => {
                return Ok(Part {
                    forward,
                    skip: bytes.len(),
                    insert: None,
                });
            }
            Step::Whole(frame) => {
                let skip = frame.bytes().len();
                if frame.tag() == b'S' && would_be_misread(frame.body()) {
                    return Err(
                        "standard_conforming_strings or client_encoding was changed".to_owned()
                    );
                }
                match expected.on_frame(frame.tag(), frame.body()) {
                    Some(Verdict::Forward) => forward += skip,
                    Some(Verdict::Drop) => {
                        return Ok(Part {
                            forward,
                            skip,
                            insert: None,
                        });
                    }
                    Some(Verdict::Replace(frames)) => {
                        return Ok(Part {
                            forward,
                            skip,
                            insert: Some(frames),
                        });
                    }
                    None => {
                        return Err(format!("unexpected message {:?}", char::from(frame.tag())));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
