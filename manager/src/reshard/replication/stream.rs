//! The stream of a slot: what the server sends, and how far it was told that we are.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, BufMut as _, Bytes};
use tokio::time::Instant;
use wire::Header;
use wire::backend::tag;
use wire::frame::HEADER_BYTES;
use wire::limits::MAX_MESSAGE_BYTES;

use crate::reshard::link::{Error, Fault, Link, refused};
use crate::reshard::lsn::Lsn;

/// How often the server hears of us at least, while [`Stream::next`] is waited for.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Seconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const POSTGRES_EPOCH: u64 = 946_684_800;

const WHAT: &str = "read the replication stream";

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message of the output plugin.
    Data(XLogData),
    /// How far the server has read its log.
    Keepalive {
        /// The end of what it has read and, where it was for us, sent.
        wal_end: Lsn,
        /// Whether it wanted an answer; one is on its way.
        reply: bool,
    },
}

/// A message of the output plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XLogData {
    /// Where its record is.
    pub start: Lsn,
    /// The end of the server's log when it was sent.
    pub end: Lsn,
    /// The message; a slice of the buffer that it was read into.
    pub bytes: Bytes,
}

/// A running stream. Dropping it closes the connection.
#[derive(Debug)]
pub struct Stream {
    link: Link,
    confirmed: Lsn,
    is_status_due: bool,
    next_status: Instant,
}

impl Stream {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            confirmed: Lsn::INVALID,
            is_status_due: false,
            next_status: Instant::now() + STATUS_INTERVAL,
        }
    }

    /// The next event. Cancel-safe. While it is waited for, the server is told now and then that
    /// we are still here; it must hear of that each few minutes.
    ///
    /// # Errors
    /// [`Error`] names the shard; the stream is of no more use.
    pub async fn next(&mut self) -> Result<Event, Error> {
        let event = self.read().await;
        event.map_err(|fault| self.link.error(WHAT, fault))
    }

    /// The next event if it has arrived already.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_arrived(&mut self) -> Result<Option<Event>, Error> {
        let event = self.decode();
        event.map_err(|fault| self.link.error(WHAT, fault))
    }

    /// Everything up to this place is safe with us: the server need not keep it. It is told with
    /// the next call of [`Self::next`] that has to wait, or of [`Self::flush`].
    pub fn confirm(&mut self, lsn: Lsn) {
        if lsn > self.confirmed {
            self.confirmed = lsn;
            self.is_status_due = true;
        }
    }

    /// Tells the server what was confirmed. Cancel-safe.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn flush(&mut self) -> Result<(), Error> {
        let sent = async {
            self.put_status()?;
            self.link.flush().await
        };
        let sent = sent.await;
        sent.map_err(|fault| self.link.error("confirm a replication stream", fault))
    }

    async fn read(&mut self) -> Result<Event, Fault> {
        loop {
            if let Some(event) = self.decode()? {
                return Ok(event);
            }
            if self.is_status_due || Instant::now() >= self.next_status {
                self.put_status()?;
            }
            let due = tokio::time::sleep_until(self.next_status);
            tokio::select! {
                biased;
                filled = self.link.fill() => filled?,
                () = due => self.put_status()?,
            }
        }
    }

    /// The event at the front of what has arrived, if it is all there.
    fn decode(&mut self) -> Result<Option<Event>, Fault> {
        while let Some(header) = Header::parse(self.link.arrived(), MAX_MESSAGE_BYTES)? {
            if self.link.arrived().len() < header.frame_bytes() {
                break;
            }
            let mut body = self.link.take(header.frame_bytes());
            body.advance(HEADER_BYTES);
            match header.tag {
                tag::COPY_DATA => {
                    if let Some(event) = self.event(body.freeze())? {
                        return Ok(Some(event));
                    }
                }
                tag::ERROR_RESPONSE => return Err(refused(&body)?),
                tag::COPY_DONE | tag::COMMAND_COMPLETE | tag::READY_FOR_QUERY => {
                    return Err(Fault::Ended);
                }
                tag::NOTICE_RESPONSE | tag::PARAMETER_STATUS => {}
                tag => return Err(Fault::unexpected(tag)),
            }
        }
        Ok(None)
    }

    fn event(&mut self, mut body: Bytes) -> Result<Option<Event>, Fault> {
        let cut = |_| Fault::Protocol("a replication message that is cut off".to_owned());
        match body.try_get_u8().map_err(cut)? {
            b'w' => {
                let start = Lsn(body.try_get_u64().map_err(cut)?);
                let end = Lsn(body.try_get_u64().map_err(cut)?);
                let _sent_at = body.try_get_i64().map_err(cut)?;
                let bytes = body;
                Ok(Some(Event::Data(XLogData { start, end, bytes })))
            }
            b'k' => {
                let wal_end = Lsn(body.try_get_u64().map_err(cut)?);
                let _sent_at = body.try_get_i64().map_err(cut)?;
                let reply = body.try_get_u8().map_err(cut)? != 0;
                self.is_status_due |= reply;
                Ok(Some(Event::Keepalive { wal_end, reply }))
            }
            // A kind of message that later servers may send and that asks for nothing.
            _ => Ok(None),
        }
    }

    fn put_status(&mut self) -> Result<(), Fault> {
        self.is_status_due = false;
        self.next_status = Instant::now() + STATUS_INTERVAL;
        let mut body = [0_u8; 34];
        let mut out = body.as_mut_slice();
        out.put_u8(b'r');
        // Written, flushed and applied are one thing here.
        for _ in 0..3 {
            out.put_u64(self.confirmed.0);
        }
        out.put_i64(now());
        out.put_u8(0);
        self.link.put_copy_data(&body, &[])
    }
}

/// PostgreSQL's time: microseconds since 2000. It only shows in the server's views.
fn now() -> i64 {
    let epoch = UNIX_EPOCH + Duration::from_secs(POSTGRES_EPOCH);
    let passed = SystemTime::now().duration_since(epoch).unwrap_or_default();
    i64::try_from(passed.as_micros()).unwrap_or(i64::MAX)
}
