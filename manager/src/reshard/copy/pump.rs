//! Moves the rows of one range: from the source's buffer, by their tokens, into the mirrors'
//! buffers. All sockets are served at once, so that the owner writes while the mirrors read; who is
//! too slow stops the others, and little is ever held.

use std::task::Poll;

use bytes::BytesMut;
use topology::Token;
use wire::Header;
use wire::backend::tag;
use wire::frame::HEADER_BYTES;
use wire::frontend::encode;
use wire::limits::MAX_MESSAGE_BYTES;

use super::part::Part;
use super::scan::{Format, Scanner};
use super::view::take_rows;
use super::{Error, Shared};
use crate::reshard::flow::Bounds;
use crate::reshard::link::{Fault, Link, refused};

/// While a mirror has so much to take, the source is not read.
const MAX_PENDING_BYTES: usize = 1 << 20;
/// Rows go in messages of about this size: a server reads few large ones faster than many small.
const BATCH_BYTES: usize = 64 << 10;

const READ: &str = "read rows to be copied";
const STORE: &str = "store copied rows";

/// What was moved.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// Rows read.
    pub(super) scanned: u64,
    /// Their bytes.
    pub(super) scanned_bytes: u64,
    /// Rows moved.
    pub(super) rows: u64,
    /// Their bytes.
    pub(super) bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.scanned += other.scanned;
        self.scanned_bytes += other.scanned_bytes;
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

/// A mirror that takes rows.
pub(super) struct Sink<'a> {
    link: &'a mut Link,
    bounds: &'a Bounds,
    format: Format,
    batch: BytesMut,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl<'a> Sink<'a> {
    pub(super) fn new(link: &'a mut Link, bounds: &'a Bounds, format: Format) -> Self {
        let mut batch = BytesMut::with_capacity(BATCH_BYTES * 2);
        batch.extend_from_slice(format.head());
        Self {
            link,
            bounds,
            format,
            batch,
            rows: 0,
            bytes: 0,
        }
    }

    fn put(&mut self, row: &[u8]) -> Result<(), Fault> {
        self.rows += 1;
        self.bytes += u64::try_from(row.len()).unwrap_or(u64::MAX);
        self.batch.extend_from_slice(row);
        if self.batch.len() < BATCH_BYTES {
            return Ok(());
        }
        self.send_batch()
    }

    fn send_batch(&mut self) -> Result<(), Fault> {
        self.link.put_copy_data(&[], &self.batch)?;
        self.batch.clear();
        Ok(())
    }

    /// Says that no more rows come. The server's answer is the caller's to read.
    pub(super) async fn close(mut self) -> Result<&'a mut Link, Error> {
        self.batch.extend_from_slice(self.format.tail());
        let sent = async {
            self.send_batch()?;
            encode::copy_done(self.link.outbound());
            self.link.flush().await
        };
        let sent = sent.await;
        sent.map_err(|fault| self.link.error(STORE, fault))?;
        Ok(self.link)
    }

    /// Sends what can be sent, and hears whether the server refuses it.
    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Result<(), Fault> {
        while let Poll::Ready(filled) = self.link.poll_fill(context) {
            filled?;
            while let Some(header) = Header::parse(self.link.arrived(), MAX_MESSAGE_BYTES)? {
                if self.link.arrived().len() < header.frame_bytes() {
                    break;
                }
                let frame = self.link.take(header.frame_bytes());
                match header.tag {
                    tag::ERROR_RESPONSE => {
                        return Err(refused(frame.get(HEADER_BYTES..).unwrap_or_default())?);
                    }
                    tag::NOTICE_RESPONSE | tag::PARAMETER_STATUS => {}
                    tag => return Err(Fault::unexpected(tag)),
                }
            }
        }
        Ok(())
    }
}

/// Moves rows until the statement that reads them has ended.
pub(super) async fn run(
    source: &mut Link,
    sinks: &mut [Sink<'_>],
    part: &Part,
    shared: &Shared,
) -> Result<Tally, Error> {
    let mut scanner = Scanner::new(part.format, part.table.key_type, part.column_count);
    let mut total = Tally::default();
    let outcome = async {
        loop {
            // The beginning has arrived along with the answer that announced it.
            let (tally, is_done) = sort(source, sinks, (&mut scanner, part))?;
            total.add(tally);
            shared.progress.rows_scanned.add(tally.scanned);
            shared.progress.rows_copied.add(tally.rows);
            shared.progress.bytes_copied.add(tally.bytes);
            if is_done {
                return Ok(());
            }
            let (rows, bytes) = (tally.scanned, tally.scanned_bytes);
            shared.throttle.spend(rows, bytes).await;
            fill(source, sinks).await?;
        }
    };
    match outcome.await {
        Ok(()) => Ok(total),
        Err(error) => {
            // None of it will be committed.
            shared.progress.rows_scanned.take_back(total.scanned);
            shared.progress.rows_copied.take_back(total.rows);
            shared.progress.bytes_copied.take_back(total.bytes);
            Err(error)
        }
    }
}

/// Waits for more of the source, and sends meanwhile to the mirrors.
async fn fill(source: &mut Link, sinks: &mut [Sink<'_>]) -> Result<(), Error> {
    let filled = std::future::poll_fn(|context| {
        let mut is_full = false;
        for sink in &mut *sinks {
            if let Err(fault) = sink.poll(context) {
                return Poll::Ready(Err(sink.link.error(STORE, fault)));
            }
            is_full |= sink.link.outbound().len() > MAX_PENDING_BYTES;
        }
        if is_full {
            return Poll::Pending;
        }
        let filled = source.poll_fill(context);
        filled.map_err(|fault| source.error(READ, fault))
    });
    Ok(filled.await?)
}

/// Takes what has arrived of the source to the mirrors; says whether it was the last.
fn sort(
    source: &mut Link,
    sinks: &mut [Sink<'_>],
    (scanner, part): (&mut Scanner, &Part),
) -> Result<(Tally, bool), Error> {
    let mut tally = Tally::default();
    let taken = take_rows(source, &part.table.name, scanner, &mut |row, token| {
        tally.scanned += 1;
        give(sinks, row, token, &mut tally)
    })?;
    tally.scanned_bytes = u64::try_from(taken.bytes).unwrap_or(u64::MAX);
    Ok((tally, taken.is_done))
}

/// Puts a row where its token belongs, if it moves at all.
fn give(sinks: &mut [Sink<'_>], row: &[u8], token: Token, tally: &mut Tally) -> Result<(), Error> {
    let Some(sink) = sinks.iter_mut().find(|sink| sink.bounds.contains(token)) else {
        return Ok(());
    };
    tally.rows += 1;
    tally.bytes += u64::try_from(row.len()).unwrap_or(u64::MAX);
    sink.put(row)
        .map_err(|fault| sink.link.error(STORE, fault).into())
}
