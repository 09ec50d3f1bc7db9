//! The client's side of a session: its socket, its frames, what is waiting to be written to it.
//!
//! Most clients of a router are idle, so that what an idle one holds counts most: no buffer at all.
//! What arrives is read into a buffer of the thread and copied out to the size it has.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use wire::frame::{HEADER_BYTES, Header};
use wire::startup::Parameters;

use super::converting::Conversion;
use super::copy::{CopyFeed, Fed};
use super::roll::Visitor;
use super::withheld;
use crate::charset::Named;
use crate::stream::Stream;

/// Between two looks at whether a client has left that is not read from.
const CLOSED_INTERVAL: Duration = Duration::from_millis(100);

/// How much of what waits for a commit is kept. Rows beyond it are written, and so are statements
/// that are done, if there are so many. PostgreSQL keeps 8 KiB.
const MAX_WITHHELD_BYTES: usize = 64 << 10;

/// A whole message of the client: header and body, as they came.
#[derive(Debug)]
pub(super) struct Frame {
    bytes: BytesMut,
}

impl Frame {
    /// A Query of a text that the router wrote.
    pub(super) fn query(sql: &str) -> Result<Self, wire::EncodeError> {
        let mut bytes = BytesMut::new();
        wire::frontend::encode::query(&mut bytes, sql.as_bytes())?;
        Ok(Self { bytes })
    }

    /// A message of these bytes.
    pub(super) fn of(bytes: BytesMut) -> Self {
        Self { bytes }
    }

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

    /// The same message, to be kept.
    #[must_use]
    pub(super) fn copy(&self) -> Self {
        Self {
            bytes: BytesMut::from(self.bytes()),
        }
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
    /// Whether a write is under way, so that the client may have read a part of it.
    midway: bool,
    /// Whether answers wait for the commit that they depend on.
    withholds: bool,
    /// Whether answers of what is withheld were written, or may be of what is committed.
    keeps_completions: bool,
    copy: CopyFeed,
    /// What converts its texts, unless they are UTF-8.
    conversion: Option<Box<Conversion>>,
}

/// What is read at once.
const READ_BYTES: usize = 16 << 10;

thread_local! {
    /// Where every client of this thread is read to; borrowed for the time of one system call.
    static ARRIVING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

impl Client {
    /// A client on a fresh connection; `inbound` holds what was read of it already.
    #[must_use]
    pub(super) fn new(stream: Stream, inbound: BytesMut, max_message_bytes: usize) -> Self {
        Self {
            stream,
            inbound,
            outbound: BytesMut::new(),
            max_message_bytes,
            midway: false,
            withholds: false,
            keeps_completions: false,
            copy: CopyFeed::default(),
            conversion: None,
        }
    }

    /// Whether its texts are converted.
    #[must_use]
    pub(super) fn converts(&self) -> bool {
        self.conversion.is_some()
    }

    /// What converts its texts, if anything does.
    pub(super) fn conversion(&mut self) -> Option<&mut Conversion> {
        self.conversion.as_deref_mut()
    }

    /// What comes of it next is in this encoding. What it reads is, once a ParameterStatus that
    /// says so has gone before.
    pub(super) fn convert(&mut self, named: Named) {
        let conversion = self
            .conversion
            .get_or_insert_with(|| Box::new(Conversion::new()));
        conversion.expect(named);
    }

    /// Its texts are UTF-8 again. All that was converted is written.
    pub(super) fn convert_no_more(&mut self) {
        self.conversion = None;
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
            if self.read().await? == 0 {
                let clean = self.inbound.is_empty();
                return if clean {
                    Ok(None)
                } else {
                    Err(ClientError::Truncated)
                };
            }
        }
    }

    /// Reads what has arrived, at least a byte; none when the client closed the connection.
    async fn read(&mut self) -> io::Result<usize> {
        if !self.inbound.is_empty() {
            // The rest of a message whose beginning is there goes to its place at once.
            self.inbound.reserve(READ_BYTES);
            return self.stream.read_buf(&mut self.inbound).await;
        }
        self.inbound = BytesMut::new();
        if self.outbound.is_empty() {
            self.outbound = BytesMut::new();
        }
        let (stream, inbound) = (&mut self.stream, &mut self.inbound);
        poll_fn(|context| {
            ARRIVING.with_borrow_mut(|arriving| {
                let mut buffer = ReadBuf::new(arriving);
                let read = Pin::new(&mut *stream).poll_read(context, &mut buffer);
                read.map_ok(|()| {
                    *inbound = BytesMut::from(buffer.filled());
                    buffer.filled().len()
                })
            })
        })
        .await
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

    /// What the console shows of it.
    #[must_use]
    pub(super) fn visitor(&self, parameters: &Parameters) -> Visitor {
        let text = |name| parameters.get(name).unwrap_or_default().to_owned();
        Visitor {
            user: text("user"),
            database: text("database"),
            application: text("application_name"),
            peer: self.stream.socket().peer_addr().ok(),
            encrypted: matches!(self.stream, Stream::Tls(_)),
        }
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
        let bytes = if self.inbound.len() == frame_bytes {
            // The usual case; splitting would make the buffer a shared one.
            std::mem::take(&mut self.inbound)
        } else {
            self.inbound.split_to(frame_bytes)
        };
        Ok(Some(Frame { bytes }))
    }

    /// What has been read and not yet handled, up to a length.
    #[must_use]
    pub(super) fn peek(&self, bytes: usize) -> &[u8] {
        if self.conversion.as_ref().is_some_and(|it| it.asks_next()) {
            return &[];
        }
        self.inbound.get(..bytes).unwrap_or(&self.inbound)
    }

    /// So many bytes have been handled otherwise.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.inbound.advance(bytes.min(self.inbound.len()));
    }

    /// Bytes that have been read and not yet handled.
    #[must_use]
    pub(super) fn buffered_bytes(&self) -> usize {
        self.inbound.len()
    }

    /// Returns once the client has closed its connection, for whoever has nothing to receive
    /// meanwhile. What the client sends is kept for later, up to a limit. Cancel-safe.
    pub(super) async fn gone(&mut self) -> io::Error {
        while self.inbound.len() < READ_BYTES {
            self.inbound.reserve(READ_BYTES);
            match self.stream.read_buf(&mut self.inbound).await {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
        // The rest stays with the kernel, which says all the same when the client has closed.
        while !self.stream.is_closed_by_peer() {
            tokio::time::sleep(CLOSED_INTERVAL).await;
        }
        io::ErrorKind::UnexpectedEof.into()
    }

    /// Moves what has been read of a copy to `out`.
    ///
    /// # Errors
    /// When it has no place in a copy.
    pub(super) fn take_copy(&mut self, out: &mut BytesMut) -> Result<Fed, String> {
        match &mut self.conversion {
            Some(conversion) => conversion.take_copy(&mut self.copy, &mut self.inbound, out),
            None => self.copy.take(&mut self.inbound, out),
        }
    }

    /// Reads more, whatever it is. Cancel-safe.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn read_more(&mut self) -> io::Result<()> {
        match self.read().await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Writes what is waiting, unless it waits for a commit.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if !self.withholds {
            return self.flush_now().await;
        }
        if self.outbound.len() < MAX_WITHHELD_BYTES {
            return Ok(());
        }
        let rows = match self.keeps_completions {
            true => 0,
            false => withheld::before_completions(&self.outbound),
        };
        if rows == 0 {
            // Much waits that is done, or is a message that goes on.
            self.keeps_completions = true;
            return self.flush_now().await;
        }
        self.midway = true;
        let whole = self.outbound.get(..rows).unwrap_or_default();
        match &mut self.conversion {
            Some(conversion) => conversion.pass(whole),
            None => self.stream.write_all(whole).await?,
        }
        self.outbound.advance(rows);
        self.write_converted().await
    }

    /// Writes what is waiting, whatever it waits for.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn flush_now(&mut self) -> io::Result<()> {
        self.midway = true;
        match &mut self.conversion {
            Some(conversion) => {
                conversion.pass(&self.outbound);
                self.outbound.clear();
            }
            None if !self.outbound.is_empty() => {
                self.stream.write_all_buf(&mut self.outbound).await?;
            }
            None => {}
        }
        self.write_converted().await
    }

    /// Ends a write: what is converted goes, unless the end of an answer is behind it, which waits.
    async fn write_converted(&mut self) -> io::Result<()> {
        if let Some(conversion) = &mut self.conversion
            && !conversion.is_at_end()
            && !conversion.ready.is_empty()
        {
            self.stream.write_all_buf(&mut conversion.ready).await?;
            conversion.written();
        }
        self.stream.flush().await?;
        self.midway = false;
        Ok(())
    }

    /// Writes bytes as far as that can be done at once, where nothing is waiting; the rest waits for
    /// [`Self::flush_now`].
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) fn write_at_once(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.stream.write_at_once(bytes)?;
        let rest = bytes.get(written..).unwrap_or_default();
        self.outbound.extend_from_slice(rest);
        Ok(())
    }

    /// Writes all that is converted.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn flush_converted(&mut self) -> io::Result<()> {
        let Some(conversion) = &mut self.conversion else {
            return Ok(());
        };
        conversion.release();
        self.write_converted().await
    }

    /// From now on answers wait for a commit: a client may take the end of a statement for the end
    /// of its transaction.
    pub(super) fn withhold(&mut self) {
        self.withholds = true;
    }

    /// Whether answers wait for a commit, or would.
    #[must_use]
    pub(super) fn withholds(&self) -> bool {
        self.withholds
    }

    /// Something of what waits, or will wait, may be committed whatever becomes of the rest.
    pub(super) fn keep_completions(&mut self) {
        self.keeps_completions = true;
    }

    /// There is no commit to wait for any more. Nothing is written yet.
    pub(super) fn withhold_no_more(&mut self) {
        self.withholds = false;
        self.keeps_completions = false;
    }

    /// The commit has failed: no statement is to be read as done, as far as that can be helped.
    pub(super) fn take_completions_back(&mut self) {
        if self.withholds && !self.keeps_completions {
            withheld::cut_completions(&mut self.outbound);
        }
    }

    /// Whether something waits to be written.
    #[must_use]
    pub(super) fn owes(&self) -> bool {
        !self.outbound.is_empty()
    }

    /// Whether a write was begun and given up.
    #[must_use]
    pub(super) fn is_midway(&self) -> bool {
        self.midway
    }

    /// Writes bytes that are in another buffer, after what is waiting.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn write_through(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.outbound.is_empty() && !self.withholds && self.conversion.is_none() {
            self.midway = true;
            self.stream.write_all(bytes).await?;
        } else {
            self.outbound.extend_from_slice(bytes);
        }
        self.flush().await
    }
}
