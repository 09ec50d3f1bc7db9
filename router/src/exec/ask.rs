//! One query of the router's own on a borrowed backend, and what the shard says to it.

use bytes::{Bytes, BytesMut};
use wire::backend::{
    CommandComplete, Diagnostic, Message as Decoded, TransactionStatus, ready_for_query, tag,
};
use wire::frontend::encode;

use super::conversation::{self, Lost};
use crate::moving::{self, Said};
use crate::pool::Lease;

/// Longest message that is taken.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Most rows that are kept.
const MAX_ROWS: usize = 1024;

/// Values of a row, as text.
pub type Row = Vec<Option<String>>;

/// What a shard said, up to its ReadyForQuery.
#[derive(Debug)]
pub struct Reply {
    /// The last command's tag.
    pub tag: Option<Bytes>,
    /// The first rows.
    pub rows: Vec<Row>,
    /// Its error.
    pub error: Option<Refused>,
    /// Where its transaction stands.
    pub status: TransactionStatus,
}

/// An error of a shard.
#[derive(Debug, Clone)]
pub struct Refused {
    /// What a client reads.
    pub frame: Bytes,
    /// Its SQLSTATE.
    pub sqlstate: String,
}

impl Reply {
    /// Whether it went well and ended with this tag.
    #[must_use]
    pub fn is(&self, tag: &[u8]) -> bool {
        self.error.is_none() && self.tag.as_deref() == Some(tag)
    }
}

/// Asks. The caller knows where the backend's transaction stands and that it owes no answer.
///
/// # Errors
/// [`Lost`]; the backend must be closed.
///
/// Not cancel-safe: dropped in the middle, the backend must be closed.
pub async fn ask(lease: &mut Lease, sql: &str) -> Result<Reply, Lost> {
    let mut outbound = BytesMut::new();
    encode::query(&mut outbound, sql.as_bytes())
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
    // A simple query drops the unnamed statement.
    lease.unnamed = None;
    conversation::send(lease, &mut outbound).await?;
    let (mut rows, mut error, mut command) = (Vec::new(), None, None);
    loop {
        let message = conversation::receive(lease, MAX_MESSAGE_BYTES).await?;
        match message.tag() {
            tag::READY_FOR_QUERY => {
                return Ok(Reply {
                    tag: command,
                    rows,
                    error,
                    status: ready_for_query(message.body()).map_err(malformed)?,
                });
            }
            tag::ERROR_RESPONSE => error = Some(refused(message)?),
            tag::COMMAND_COMPLETE => {
                let complete = CommandComplete::decode(message.body()).map_err(malformed)?;
                command = Some(Bytes::copy_from_slice(complete.tag.as_bytes()));
            }
            tag::DATA_ROW if rows.len() < MAX_ROWS => rows.push(row(message.body())?),
            _ => {}
        }
    }
}

fn refused(message: conversation::Message) -> Result<Refused, Lost> {
    let diagnostic = Diagnostic::decode_error(message.body()).map_err(malformed)?;
    let sqlstate = diagnostic.code().map(|code| code.to_string());
    let said = moving::said(message.body()).map(Said::error);
    Ok(match said {
        Some(error) => Refused {
            sqlstate: error.sqlstate().to_owned(),
            frame: error.frame(),
        },
        None => Refused {
            sqlstate: sqlstate.unwrap_or_default(),
            frame: message.into_bytes(),
        },
    })
}

fn row(body: &[u8]) -> Result<Row, Lost> {
    let decoded = Decoded::decode(tag::DATA_ROW, body).map_err(malformed)?;
    let Decoded::DataRow(row) = decoded else {
        return Ok(Vec::new());
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(row.values.iter().map(|value| value.map(text)).collect())
}

fn malformed(error: wire::DecodeError) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, error)
}
