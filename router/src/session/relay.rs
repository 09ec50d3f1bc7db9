//! Moves bytes between one backend and one client: writes what is to be sent, forwards what comes
//! back, looks only at message boundaries and at the few messages that end an answer.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wire::frame::{HEADER_BYTES, Header};

use super::client::Client;
use super::expect::{Expectations, Verdict};
use crate::pool::Backend;

/// What is read of a backend at once.
const READ_BYTES: usize = 16 << 10;

/// Longest message of a backend that must be seen whole: anything but rows and COPY data.
const MAX_CONTROL_BYTES: usize = 16 << 20;

/// Longest row: PostgreSQL's own limit of a message.
const MAX_ROW_BYTES: usize = (1 << 30) - 1;

/// Why an exchange stopped before all answers had come.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The client is gone: its session ends, the backend is closed.
    #[error("client connection is gone")]
    Client(#[source] io::Error),
    /// The backend is gone.
    #[error("backend connection is gone")]
    Backend(#[source] io::Error),
    /// The backend sent something that cannot be followed.
    #[error("backend broke the protocol: {0}")]
    Protocol(String),
}

/// Sends `outbound` to the backend and relays until every expected answer has come.
///
/// Not cancel-safe: dropped in the middle, the backend must be closed.
///
/// # Errors
/// [`RelayError`]; the backend is of no further use.
pub async fn exchange(
    client: &mut Client,
    backend: &mut Backend,
    outbound: &mut BytesMut,
    expected: &mut Expectations,
) -> Result<(), RelayError> {
    let mut row = Row::default();
    loop {
        pass_on(client, backend, expected, &mut row).await.map_err(|error| match error {
            Either::Client(error) => RelayError::Client(error),
            Either::Protocol(text) => RelayError::Protocol(text),
        })?;
        if outbound.is_empty() && expected.is_empty() && row.missing == 0 {
            return Ok(());
        }
        transfer(backend, outbound).await.map_err(RelayError::Backend)?;
    }
}

/// Writes if there is something to write, reads otherwise. While a write cannot go on, it reads
/// too: a backend that cannot get rid of its answers stops taking requests.
async fn transfer(backend: &mut Backend, outbound: &mut BytesMut) -> io::Result<()> {
    backend.inbound.reserve(READ_BYTES);
    let (mut reader, mut writer) = backend.stream.split();
    let read = if outbound.is_empty() {
        reader.read_buf(&mut backend.inbound).await?
    } else {
        tokio::select! {
            // Writing first: the usual request fits the socket's buffer at once.
            biased;
            written = writer.write_buf(outbound) => {
                if written? == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                return Ok(());
            }
            read = reader.read_buf(&mut backend.inbound) => read?,
        }
    };
    if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

enum Either {
    Client(io::Error),
    Protocol(String),
}

/// Handles everything that has arrived.
async fn pass_on(
    client: &mut Client,
    backend: &mut Backend,
    expected: &mut Expectations,
    row: &mut Row,
) -> Result<(), Either> {
    loop {
        let step = scan(&backend.inbound, expected, row).map_err(Either::Protocol)?;
        if step.forward == backend.inbound.len() && step.insert.is_none() && step.forward > 0 {
            // The usual case: all of it is for the client, and goes without a copy.
            client.write_through(&backend.inbound).await.map_err(Either::Client)?;
            backend.inbound.clear();
            return Ok(());
        }
        client.outbound.extend_from_slice(backend.inbound.get(..step.forward).unwrap_or_default());
        backend.inbound.advance(step.forward + step.skip);
        if let Some(frames) = &step.insert {
            client.outbound.extend_from_slice(frames);
        }
        if step.forward + step.skip == 0 && step.insert.is_none() {
            return client.flush().await.map_err(Either::Client);
        }
    }
}

/// What is left of a row, or of COPY data, whose beginning has been handled.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    missing: usize,
    forward: bool,
}

/// What to do with the beginning of the buffer: forward, then skip, then insert.
#[derive(Debug, Default, PartialEq, Eq)]
struct Step {
    forward: usize,
    skip: usize,
    insert: Option<Bytes>,
}

fn scan(inbound: &[u8], expected: &mut Expectations, row: &mut Row) -> Result<Step, String> {
    let mut forward = 0;
    loop {
        let rest = inbound.get(forward..).unwrap_or_default();
        if row.missing > 0 {
            let part = row.missing.min(rest.len());
            row.missing -= part;
            if !row.forward {
                return Ok(Step { forward, skip: part, insert: None });
            }
            forward += part;
            if row.missing > 0 {
                return Ok(Step { forward, ..Step::default() });
            }
            continue;
        }
        if let Some(frames) = expected.next_local() {
            return Ok(Step { forward, skip: 0, insert: Some(frames) });
        }
        let header = Header::parse(rest, MAX_ROW_BYTES).map_err(|error| error.to_string())?;
        let Some(header) = header else { return Ok(Step { forward, ..Step::default() }) };
        let frame_bytes = HEADER_BYTES + header.body_bytes;
        if matches!(header.tag, b'D' | b'd') {
            *row = Row { missing: frame_bytes, forward: expected.rows_are_forwarded() };
            continue;
        }
        if header.body_bytes > MAX_CONTROL_BYTES {
            return Err(format!("a message of {} bytes", header.body_bytes));
        }
        let Some(body) = rest.get(HEADER_BYTES..frame_bytes) else {
            return Ok(Step { forward, ..Step::default() });
        };
        match expected.on_frame(header.tag, body) {
            Some(Verdict::Forward) => forward += frame_bytes,
            Some(Verdict::Drop) => return Ok(Step { forward, skip: frame_bytes, insert: None }),
            Some(Verdict::Replace(frames)) => {
                return Ok(Step { forward, skip: frame_bytes, insert: Some(frames) });
            }
            None => return Err(format!("unexpected message {:?}", char::from(header.tag))),
        }
    }
}
