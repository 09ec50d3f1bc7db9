//! One request of several messages on a borrowed backend, whose answer is kept to be put together
//! with those of other shards.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use wire::backend::{CommandComplete, Message as Decoded, parameter_description, tag};
use wire::frame::HEADER_BYTES;

use super::conversation::{self, Lost};
use crate::barrier::Leave;
use crate::moving::{self, Said};
use crate::pool::Lease;

/// Longest single message that is taken.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// What a shard said.
#[derive(Debug, Default)]
pub struct Collected {
    /// The types of a statement's parameters, where it was described.
    pub parameters: Vec<u32>,
    /// The RowDescription.
    pub heading: Option<Bytes>,
    /// The DataRows.
    pub rows: Vec<Bytes>,
    /// The command's tag.
    pub tag: Bytes,
    /// Its error, as a client reads it.
    pub error: Option<Bytes>,
    /// What a guard has said.
    pub guarded: Option<Said>,
}

/// Why there is no answer; the backend must be closed.
#[derive(Debug)]
pub enum Error {
    /// The shard is gone, or cannot be followed.
    Lost,
    /// It took longer than this.
    Late(Duration),
    /// More rows than are kept.
    TooMuch,
}

impl Collected {
    /// The values of its first row, as text.
    #[must_use]
    pub fn values(&self) -> Vec<Option<String>> {
        self.all_values().next().unwrap_or_default()
    }

    /// The values of each row, as text.
    pub fn all_values(&self) -> impl Iterator<Item = Vec<Option<String>>> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.rows.iter().map(move |row| {
            let body = row.get(HEADER_BYTES..).unwrap_or_default();
            let Ok(Decoded::DataRow(row)) = Decoded::decode(tag::DATA_ROW, body) else {
                return Vec::new();
            };
            row.values.iter().map(|value| value.map(text)).collect()
        })
    }

    /// The first value of each row, as text.
    pub fn first_values(&self) -> impl Iterator<Item = String> {
        self.rows.iter().filter_map(|row| {
            let body = row.get(HEADER_BYTES..)?;
            let Ok(Decoded::DataRow(row)) = Decoded::decode(tag::DATA_ROW, body) else {
                return None;
            };
            let first = row.values.iter().next().flatten()?;
            Some(String::from_utf8_lossy(first).into_owned())
        })
    }

    /// How much it keeps.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.rows.iter().map(Bytes::len).sum()
    }
}

/// Sends a request, by leave of the topology, that ends in one ReadyForQuery, and keeps the answer.
///
/// # Errors
/// [`Error`]; the backend must be closed.
///
/// Not cancel-safe: dropped in the middle, the backend must be closed.
pub async fn exchange(
    lease: &mut Lease,
    mut request: BytesMut,
    leave: Leave,
    max_bytes: usize,
) -> Result<Collected, Error> {
    let lost = |lost: Lost| match lost {
        Lost::Frame(wire::FrameError::TooLong { .. }) => Error::TooMuch,
        Lost::Io(_) | Lost::Closed | Lost::Frame(_) => Error::Lost,
    };
    conversation::send(lease, &mut request)
        .await
        .map_err(lost)?;
    drop(leave);
    let (mut collected, mut bytes) = (Collected::default(), 0);
    loop {
        let message = conversation::receive(lease, MAX_MESSAGE_BYTES).await;
        let message = message.map_err(lost)?;
        match message.tag() {
            tag::READY_FOR_QUERY => return Ok(collected),
            tag::ERROR_RESPONSE => {
                collected.guarded = moving::said(message.body());
                collected.error = Some(match collected.guarded.clone() {
                    Some(said) => said.error().frame(),
                    None => message.into_bytes(),
                });
            }
            tag::PARAMETER_DESCRIPTION => {
                let types = parameter_description(message.body()).map_err(|_| Error::Lost)?;
                collected.parameters = types.iter().collect();
            }
            tag::ROW_DESCRIPTION => collected.heading = Some(message.into_bytes()),
            tag::DATA_ROW => {
                bytes += message.bytes().len();
                if bytes > max_bytes {
                    return Err(Error::TooMuch);
                }
                collected.rows.push(message.into_bytes());
            }
            tag::COMMAND_COMPLETE => {
                let complete = CommandComplete::decode(message.body());
                let complete = complete.map_err(|_| Error::Lost)?;
                collected.tag = Bytes::copy_from_slice(complete.tag.as_bytes());
            }
            _ => {}
        }
    }
}

/// The same within a limit, where there is one.
///
/// # Errors
/// As [`exchange`].
pub async fn within(
    exchange: impl Future<Output = Result<Collected, Error>>,
    limit: Option<Duration>,
) -> Result<Collected, Error> {
    match limit {
        None => exchange.await,
        Some(limit) => match tokio::time::timeout(limit, exchange).await {
            Ok(collected) => collected,
            Err(_) => Err(Error::Late(limit)),
        },
    }
}
