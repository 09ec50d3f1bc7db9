//! Whole messages to and from a borrowed backend. What they mean is the caller's business.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wire::Header;
use wire::backend::tag;
use wire::frame::HEADER_BYTES;

use crate::pool::{Lease, would_be_misread};
use crate::stream::Moved;

/// How much is read at once, and kept for the next reader of a backend.
const READ_BYTES: usize = 32 << 10;

/// One message of a shard, header included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    tag: u8,
    bytes: Bytes,
}

impl Message {
    /// One message of the router's own, or as it came; none when that is not what it is.
    pub(super) fn of(frame: Bytes) -> Option<Self> {
        Self::all_of(frame).next()
    }

    /// Messages of the router's own, in place of a shard's.
    pub(super) fn all_of(mut frames: Bytes) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            let header = Header::parse(&frames, usize::MAX).ok().flatten()?;
            let whole = frames.len() >= header.frame_bytes();
            whole.then(|| Self {
                tag: header.tag,
                bytes: frames.split_to(header.frame_bytes()),
            })
        })
    }

    /// Which message it is.
    #[must_use]
    pub fn tag(&self) -> u8 {
        self.tag
    }

    /// What follows the header.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// Header and body.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Header and body, to be forwarded as they are.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// Why a conversation can't go on; the backend is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The socket said no.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The shard closed the connection.
    #[error("the shard closed the connection")]
    Closed,
    /// A message that can't be read, or is longer than the caller takes.
    #[error(transparent)]
    Frame(#[from] wire::FrameError),
}

/// Sends everything in `outbound`.
///
/// # Errors
/// [`Lost`] when the socket takes no more.
///
/// Not cancel-safe: dropped in the middle, the backend must be closed.
pub async fn send(lease: &mut Lease, outbound: &mut BytesMut) -> Result<(), Lost> {
    let bytes = outbound.len();
    lease.stream.write_all_buf(outbound).await?;
    lease.traffic.count(Moved::Out(bytes));
    Ok(())
}

/// The next message that answers a request: a setting's new value and another session's NOTIFY are
/// passed over, since they may come at any time. Cancel-safe.
///
/// # Errors
/// [`Lost`] when the shard is gone or a body is longer than `max_body_bytes`.
pub async fn receive(lease: &mut Lease, max_body_bytes: usize) -> Result<Message, Lost> {
    loop {
        if let Some(message) = buffered(lease, max_body_bytes)? {
            return Ok(message);
        }
        let backend = &mut **lease;
        backend.inbound.reserve(READ_BYTES);
        let bytes = backend.stream.read_buf(&mut backend.inbound).await?;
        backend.traffic.count(Moved::In(bytes));
        if bytes == 0 {
            return Err(Lost::Closed);
        }
    }
}

/// As [`receive`], without waiting; none when no whole message has arrived.
///
/// # Errors
/// As [`receive`].
pub fn buffered(lease: &mut Lease, max_body_bytes: usize) -> Result<Option<Message>, Lost> {
    while let Some(header) = arrived(lease, max_body_bytes)? {
        let bytes = lease.inbound.split_to(header.frame_bytes()).freeze();
        let message = Message {
            tag: header.tag,
            bytes,
        };
        if header.tag == tag::PARAMETER_STATUS && would_be_misread(message.body()) {
            // A function has done so; whoever borrowed the backend next would be misread.
            lease.forbid_reuse();
        }
        if !matches!(
            header.tag,
            tag::PARAMETER_STATUS | tag::NOTIFICATION_RESPONSE
        ) {
            return Ok(Some(message));
        }
    }
    Ok(None)
}

/// Whether a whole message lies in the buffer.
#[must_use]
pub fn has_buffered(lease: &Lease, max_body_bytes: usize) -> bool {
    // A bad header counts: the next read says what is wrong with it.
    !matches!(arrived(lease, max_body_bytes), Ok(None))
}

fn arrived(lease: &Lease, max_body_bytes: usize) -> Result<Option<Header>, Lost> {
    let header = Header::parse(&lease.inbound, max_body_bytes)?;
    Ok(header.filter(|header| lease.inbound.len() >= header.frame_bytes()))
}

/// Lets go of a buffer that a long message has grown, so that idle backends stay small.
pub fn shrink(lease: &mut Lease) {
    if lease.inbound.is_empty() && lease.inbound.capacity() > READ_BYTES {
        lease.inbound = BytesMut::new();
    }
}

/// Passes over whatever a backend still says, until it has closed the connection.
pub async fn drain(lease: &mut Lease) {
    loop {
        let backend = &mut **lease;
        backend.inbound.clear();
        backend.inbound.reserve(READ_BYTES);
        match backend.stream.read_buf(&mut backend.inbound).await {
            Ok(0) | Err(_) => return,
            Ok(bytes) => backend.traffic.count(Moved::In(bytes)),
        }
    }
}

/// As [`receive`], with the settings and notifications that `receive` passes over. Cancel-safe.
///
/// # Errors
/// As [`receive`].
pub async fn receive_any(lease: &mut Lease, max_body_bytes: usize) -> Result<Message, Lost> {
    loop {
        if let Some(header) = arrived(lease, max_body_bytes)? {
            let bytes = lease.inbound.split_to(header.frame_bytes()).freeze();
            return Ok(Message {
                tag: header.tag,
                bytes,
            });
        }
        let backend = &mut **lease;
        backend.inbound.reserve(READ_BYTES);
        let bytes = backend.stream.read_buf(&mut backend.inbound).await?;
        backend.traffic.count(Moved::In(bytes));
        if bytes == 0 {
            return Err(Lost::Closed);
        }
    }
}
