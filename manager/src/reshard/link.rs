//! A connection to a shard in the protocol's own messages, for what a SQL client cannot do or does
//! too slowly: replication streams and COPY. Statements go by the simple protocol; what follows
//! them is read in place, in one buffer that is filled by large reads.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};
use topology::{Shard, ShardId};
use wire::Frame;
use wire::backend::{CommandComplete, Diagnostic, Message, field, tag};
use wire::frame::HEADER_BYTES;
use wire::frontend::encode;
use wire::limits::MAX_MESSAGE_BYTES;

use self::dial::Socket;
pub use self::fault::{Error, Fault, Refusal};
use crate::shards::Config;

mod dial;
mod fault;
mod login;

/// How much one read may bring.
const READ_BYTES: usize = 256 << 10;
/// With less room than this in the buffer a larger one is taken.
const MIN_ROOM_BYTES: usize = 32 << 10;

/// The rows of an answer, each value as text.
pub type Rows = Vec<Vec<Option<String>>>;

/// A logged-in connection; ends when it is dropped.
#[derive(Debug)]
pub struct Link {
    shard: ShardId,
    socket: Socket,
    inbound: BytesMut,
    outbound: BytesMut,
}

impl Link {
    /// Logs in to a shard's primary, with these further names and values in the start-up packet.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn connect(
        config: &Config,
        shard: &Shard,
        parameters: &[(&str, &str)],
    ) -> Result<Self, Error> {
        let login = login::run(config, shard, parameters).await;
        login.map_err(|fault| Error::new(&shard.id, "log in", fault))
    }

    /// The shard.
    #[must_use]
    pub fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// Runs statements and gives the rows of all of them.
    ///
    /// # Errors
    /// [`Error`] says what was to be done; after a refusal the connection can go on.
    pub async fn query(&mut self, what: &'static str, sql: &str) -> Result<Rows, Error> {
        let answer = self.ask(sql).await;
        answer.map_err(|fault| self.error(what, fault))
    }

    async fn ask(&mut self, sql: &str) -> Result<Rows, Fault> {
        encode::query(&mut self.outbound, sql.as_bytes())?;
        let mut rows = Rows::new();
        let mut refusal = None;
        loop {
            match self.receive().await {
                Ok((tag::DATA_ROW, body)) => rows.push(texts(&body)?),
                Ok((tag::READY_FOR_QUERY, _)) => break,
                Ok((tag::ROW_DESCRIPTION | tag::COMMAND_COMPLETE, _)) => {}
                Ok((tag::EMPTY_QUERY_RESPONSE, _)) => {}
                Ok((tag, _)) => return Err(Fault::unexpected(tag)),
                // ReadyForQuery follows, unless the session ends.
                Err(fault @ Fault::Refused(_)) if !fault.ends_session() => {
                    refusal = Some(fault);
                }
                Err(fault) => return Err(fault),
            }
        }
        refusal.map_or(Ok(rows), Err)
    }

    /// Runs a statement that answers with copy data, up to the answer that announces it: one of
    /// `tag::COPY_OUT_RESPONSE`, `tag::COPY_IN_RESPONSE` and `tag::COPY_BOTH_RESPONSE`.
    ///
    /// # Errors
    /// [`Error`] says what was to be done.
    pub async fn begin_copy(
        &mut self,
        what: &'static str,
        sql: &str,
        announced: u8,
    ) -> Result<(), Error> {
        let answer = async {
            encode::query(&mut self.outbound, sql.as_bytes())?;
            let (tag, _) = self.receive().await?;
            if tag == announced {
                Ok(())
            } else {
                Err(Fault::unexpected(tag))
            }
        };
        let answer: Result<(), Fault> = answer.await;
        answer.map_err(|fault| self.error(what, fault))
    }

    /// Reads up to the end of the statement that runs; says how many rows it touched, if it does.
    ///
    /// # Errors
    /// [`Error`] says what was to be done.
    pub async fn finish(&mut self, what: &'static str) -> Result<Option<u64>, Error> {
        let mut rows = None;
        loop {
            match self.receive().await {
                Ok((tag::READY_FOR_QUERY, _)) => return Ok(rows),
                Ok((tag::COMMAND_COMPLETE, body)) => {
                    let complete = CommandComplete::decode(&body);
                    rows = complete
                        .map_err(|error| self.error(what, error.into()))?
                        .rows();
                }
                Ok((tag, _)) => return Err(self.error(what, Fault::unexpected(tag))),
                Err(fault) => return Err(self.error(what, fault)),
            }
        }
    }

    /// The error of something on this shard.
    #[must_use]
    pub fn error(&self, what: &'static str, fault: Fault) -> Error {
        Error::new(&self.shard, what, fault)
    }

    /// What has come and was not taken.
    #[must_use]
    pub fn arrived(&self) -> &[u8] {
        &self.inbound
    }

    /// Passes over what has been looked at in [`Self::arrived`].
    pub fn pass(&mut self, bytes: usize) {
        self.inbound.advance(bytes);
    }

    /// Takes what has been looked at in [`Self::arrived`]; costs no allocation.
    pub fn take(&mut self, bytes: usize) -> BytesMut {
        self.inbound.split_to(bytes)
    }

    /// What is to be sent; it goes out with the next call of [`Self::fill`] or [`Self::flush`].
    pub fn outbound(&mut self) -> &mut BytesMut {
        &mut self.outbound
    }

    /// Sends what is to be sent. Cancel-safe.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn flush(&mut self) -> Result<(), Fault> {
        self.socket.write_all_buf(&mut self.outbound).await?;
        self.socket.flush().await?;
        Ok(())
    }

    /// Waits until more has arrived, and sends meanwhile what is to be sent. Cancel-safe.
    ///
    /// # Errors
    /// What the socket says; its end is an error.
    pub async fn fill(&mut self) -> Result<(), Fault> {
        std::future::poll_fn(|context| self.poll_fill(context)).await
    }

    /// As [`Self::fill`].
    ///
    /// # Errors
    /// As [`Self::fill`].
    pub fn poll_fill(&mut self, context: &mut std::task::Context<'_>) -> Poll<Result<(), Fault>> {
        // What cannot be sent yet must not keep the peer's words unread: it may wait for us.
        if let Poll::Ready(Err(fault)) = self.poll_send(context) {
            return Poll::Ready(Err(fault));
        }
        if self.inbound.capacity() - self.inbound.len() < MIN_ROOM_BYTES {
            self.inbound.reserve(READ_BYTES);
        }
        let read = pin!(self.socket.read_buf(&mut self.inbound)).poll(context);
        read.map(|read| match read? {
            0 => Err(Fault::Closed),
            _ => Ok(()),
        })
    }

    /// Sends what can be sent; ready when nothing is left.
    ///
    /// # Errors
    /// What the socket says.
    pub fn poll_send(&mut self, context: &mut std::task::Context<'_>) -> Poll<Result<(), Fault>> {
        while !self.outbound.is_empty() {
            let socket = Pin::new(&mut self.socket);
            match socket.poll_write(context, &self.outbound) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Fault::Closed)),
                Poll::Ready(Ok(written)) => self.outbound.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The next message that is not a mere notice; a refusal is an error. Cancel-safe.
    ///
    /// # Errors
    /// What the server or the socket says.
    pub async fn receive(&mut self) -> Result<(u8, Bytes), Fault> {
        loop {
            while let Some(frame) = Frame::parse(&self.inbound, MAX_MESSAGE_BYTES)? {
                let (tag, bytes) = (frame.tag(), frame.bytes().len());
                let frame = self.inbound.split_to(bytes).freeze();
                let body = frame.slice(HEADER_BYTES..);
                match tag {
                    tag::ERROR_RESPONSE => return Err(refused(&body)?),
                    tag::NOTICE_RESPONSE | tag::PARAMETER_STATUS | tag::NOTIFICATION_RESPONSE => {}
                    tag => return Ok((tag, body)),
                }
            }
            self.fill().await?;
        }
    }

    /// Appends a piece of copy data that is to be sent.
    ///
    /// # Errors
    /// It is too long for a message.
    pub fn put_copy_data(&mut self, head: &[u8], data: &[u8]) -> Result<(), Fault> {
        let length = HEADER_BYTES - 1 + head.len() + data.len();
        let length = i32::try_from(length).map_err(|_| Fault::TooLong { bytes: length })?;
        self.outbound
            .reserve(HEADER_BYTES + head.len() + data.len());
        self.outbound.put_u8(wire::frontend::tag::COPY_DATA);
        self.outbound.put_i32(length);
        self.outbound.put_slice(head);
        self.outbound.put_slice(data);
        Ok(())
    }
}

/// The refusal that an ErrorResponse tells of.
///
/// # Errors
/// The message is malformed.
pub fn refused(body: &[u8]) -> Result<Fault, Fault> {
    let diagnostic = Diagnostic::decode_error(body)?;
    let text = |text: wire::Text<'_>| text.to_lossy().into_owned();
    let context = || diagnostic.field(field::CONTEXT).map(text);
    Ok(Fault::Refused(Box::new(Refusal {
        severity: diagnostic.severity().map(text).unwrap_or_default(),
        sqlstate: diagnostic
            .code()
            .map_or_else(String::new, |code| code.to_string()),
        message: diagnostic.message().map(text).unwrap_or_default(),
        detail: diagnostic.detail().map(text).or_else(context),
    })))
}

fn texts(body: &[u8]) -> Result<Vec<Option<String>>, Fault> {
    let Message::DataRow(row) = Message::decode(tag::DATA_ROW, body)? else {
        return Err(Fault::unexpected(tag::DATA_ROW));
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(row.values.iter().map(|value| value.map(text)).collect())
}
