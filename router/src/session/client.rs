//! The client's side of a session: its socket, its frames, what is waiting to be written to it.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wire::frame::{HEADER_BYTES, Header};

use super::copy::{CopyFeed, Fed};
use crate::stream::Stream;

/// A whole message of the client: header and body, as they came.
#[derive(Debug)]
pub(super) struct Frame {
    bytes: BytesMut,
}

impl Frame {
    /// The message type.
    #[must_use]
    pub(super) fn tag(&self) -> u8 {
        self.bytes.first().copied().unwrap_or_default()
    }

    /// The message without its header.
    #[must_use]
    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// The message with its header.
    #[must_use]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Why a client's session ends.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket is gone.
    #[error("client connection is gone")]
    Io(#[from] io::Error),
    /// The client closed the connection in the middle of a message.
    #[error("client closed the connection within a message")]
    Truncated,
    /// The client sent something that is not a message.
    #[error("{0}")]
    Protocol(String),
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    stream: Stream,
    inbound: BytesMut,
    /// Bytes for the client, written by [`Client::flush`].
    pub outbound: BytesMut,
    max_message_bytes: usize,
    copy: CopyFeed,
}

impl Client {
    /// What is read at once.
    const READ_BYTES: usize = 8 << 10;

    /// A client on a fresh connection; `inbound` holds what was read of it already.
    #[must_use]
    pub(super) fn new(stream: Stream, inbound: BytesMut, max_message_bytes: usize) -> Self {
        Self {
            stream,
            inbound,
            outbound: BytesMut::new(),
            max_message_bytes,
            copy: CopyFeed::default(),
        }
    }

    /// The next message, or none when the client closed the connection between two. Cancel-safe.
    ///
    /// # Errors
    /// [`ClientError`]; the session cannot go on after it.
    pub(super) async fn receive(&mut self) -> Result<Option<Frame>, ClientError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(Some(frame));
            }
            self.inbound.reserve(Self::READ_BYTES);
            if self.stream.read_buf(&mut self.inbound).await? == 0 {
                let clean = self.inbound.is_empty();
                return if clean {
                    Ok(None)
                } else {
                    Err(ClientError::Truncated)
                };
            }
        }
    }

    /// As [`Self::receive`], for a message of at most `max_body_bytes`. Not cancel-safe.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub(super) async fn receive_up_to(
        &mut self,
        max_body_bytes: usize,
    ) -> Result<Option<Frame>, ClientError> {
        let usual = std::mem::replace(&mut self.max_message_bytes, max_body_bytes);
        let received = self.receive().await;
        self.max_message_bytes = usual;
        received
    }

    /// A message that has been read already.
    ///
    /// # Errors
    /// When the header is not one, or announces more than the limit.
    pub(super) fn buffered(&mut self) -> Result<Option<Frame>, ClientError> {
        let protocol = |error: wire::FrameError| ClientError::Protocol(error.to_string());
        self.copy.discard(&mut self.inbound).map_err(protocol)?;
        let header = Header::parse(&self.inbound, self.max_message_bytes).map_err(protocol)?;
        let Some(header) = header else {
            return Ok(None);
        };
        let frame_bytes = HEADER_BYTES + header.body_bytes;
        if self.inbound.len() < frame_bytes {
            self.inbound.reserve(frame_bytes - self.inbound.len());
            return Ok(None);
        }
        Ok(Some(Frame {
            bytes: self.inbound.split_to(frame_bytes),
        }))
    }

    /// Moves what has been read of a copy to `out`.
    ///
    /// # Errors
    /// When it has no place in a copy.
    pub(super) fn take_copy(&mut self, out: &mut BytesMut) -> Result<Fed, String> {
        self.copy.take(&mut self.inbound, out)
    }

    /// Reads more, whatever it is. Cancel-safe.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn read_more(&mut self) -> io::Result<()> {
        self.inbound.reserve(Self::READ_BYTES);
        match self.stream.read_buf(&mut self.inbound).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Writes what is waiting.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if !self.outbound.is_empty() {
            self.stream.write_all_buf(&mut self.outbound).await?;
        }
        self.stream.flush().await
    }

    /// Writes bytes that are in another buffer, after what is waiting.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn write_through(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.outbound.is_empty() {
            self.stream.write_all(bytes).await?;
        } else {
            self.outbound.extend_from_slice(bytes);
        }
        self.flush().await
    }
}
