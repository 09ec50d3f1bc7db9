//! The small messages around statements: settings, keys, states, ends.

use std::fmt;

use crate::read::{Reader, cancel_secret};
use crate::{DecodeError, Format, Formats, Oids, Reason, Text};

/// Where a session stands between two requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionStatus {
    /// Outside any transaction block.
    Idle,
    /// Inside one.
    InTransaction,
    /// Inside one that takes nothing but its end.
    Failed,
}

impl TransactionStatus {
    /// The byte that stands for it.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// Reads the body of a `ReadyForQuery`.
///
/// # Errors
/// It is malformed.
pub fn ready_for_query(body: &[u8]) -> Result<TransactionStatus, DecodeError> {
    let mut reader = Reader::new("ReadyForQuery", body);
    let field = "transaction status";
    let status = match reader.u8(field)? {
        b'I' => TransactionStatus::Idle,
        b'T' => TransactionStatus::InTransaction,
        b'E' => TransactionStatus::Failed,
        other => {
            let value = i32::from(other);
            return Err(reader.error(Reason::UnknownValue { field, value }));
        }
    };
    reader.end()?;
    Ok(status)
}

/// Reads the body of a `ParameterDescription`.
///
/// # Errors
/// It is malformed.
pub fn parameter_description(body: &[u8]) -> Result<Oids<'_>, DecodeError> {
    let mut reader = Reader::new("ParameterDescription", body);
    let types = reader.oids("parameter types")?;
    reader.end()?;
    Ok(types)
}

/// Reads the body of a `FunctionCallResponse`; `None` is NULL.
///
/// # Errors
/// It is malformed.
pub fn function_result(body: &[u8]) -> Result<Option<&[u8]>, DecodeError> {
    let mut reader = Reader::new("FunctionCallResponse", body);
    let value = reader.value("result")?;
    reader.end()?;
    Ok(value)
}

/// A setting and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterStatus<'a> {
    /// The setting's name.
    pub name: Text<'a>,
    /// Its value.
    pub value: Text<'a>,
}

impl<'a> ParameterStatus<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("ParameterStatus", body);
        let name = reader.text("name")?;
        let value = reader.text("value")?;
        reader.end()?;
        Ok(Self { name, value })
    }
}

/// What a cancel request for this session has to name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BackendKeyData<'a> {
    /// The session's process.
    pub process_id: i32,
    /// The session's secret; four bytes before protocol 3.2.
    pub secret: &'a [u8],
}

impl<'a> BackendKeyData<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("BackendKeyData", body);
        let process_id = reader.i32("process id")?;
        let secret = cancel_secret(&reader)?;
        Ok(Self { process_id, secret })
    }
}

/// Who knows the secret can cancel queries, so it isn't shown.
impl fmt::Debug for BackendKeyData<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("BackendKeyData");
        shown
            .field("process_id", &self.process_id)
            .finish_non_exhaustive()
    }
}

/// The end of a statement that went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandComplete<'a> {
    /// The statement's kind and how many rows it touched: `INSERT 0 1`, `BEGIN`.
    pub tag: Text<'a>,
}

impl<'a> CommandComplete<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("CommandComplete", body);
        let tag = reader.text("command tag")?;
        reader.end()?;
        Ok(Self { tag })
    }

    /// The count of rows at the tag's end, for commands that have one.
    #[must_use]
    pub fn rows(self) -> Option<u64> {
        let (_, last) = self.tag.as_str().ok()?.rsplit_once(' ')?;
        last.parse().ok()
    }
}

/// The formats of the copy data to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyResponse<'a> {
    /// The format as a whole.
    pub format: Format,
    /// The format of each column.
    pub columns: Formats<'a>,
}

impl<'a> CopyResponse<'a> {
    pub(super) fn decode(message: &'static str, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message, body);
        let code = i16::from(reader.u8("overall format")?);
        let Some(format) = Format::from_code(code) else {
            return Err(reader.error(Reason::UnknownFormat { code }));
        };
        let columns = reader.formats("column formats")?;
        reader.end()?;
        Ok(Self { format, columns })
    }
}

/// What another session sent by NOTIFY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationResponse<'a> {
    /// The process of that session.
    pub process_id: i32,
    /// The channel.
    pub channel: Text<'a>,
    /// The text that came along.
    pub payload: Text<'a>,
}

impl<'a> NotificationResponse<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("NotificationResponse", body);
        let process_id = reader.i32("process id")?;
        let channel = reader.text("channel")?;
        let payload = reader.text("payload")?;
        reader.end()?;
        Ok(Self {
            process_id,
            channel,
            payload,
        })
    }
}

/// What the server doesn't know of what the client asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NegotiateProtocolVersion<'a> {
    /// The newest version that the server speaks, major and minor half.
    pub version: u32,
    options: &'a [u8],
}

impl<'a> NegotiateProtocolVersion<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("NegotiateProtocolVersion", body);
        let version = reader.u32("version")?;
        let count = reader.u32("option count")?;
        let options = reader.rest();
        // Each option takes a byte at least, so the count can't run away from the body.
        for _ in 0..count {
            reader.text("option")?;
        }
        reader.end()?;
        Ok(Self { version, options })
    }

    /// The names of the extensions that the server doesn't know.
    pub fn options(self) -> impl Iterator<Item = Text<'a>> {
        let last = self.options.len().saturating_sub(1);
        let ended = self
            .options
            .get(..last)
            .filter(|_| !self.options.is_empty());
        ended
            .into_iter()
            .flat_map(|names| names.split(|byte| *byte == 0))
            .map(Text::new)
    }
}

impl fmt::Debug for NegotiateProtocolVersion<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<_> = self.options().collect();
        formatter
            .debug_struct("NegotiateProtocolVersion")
            .field("version", &self.version)
            .field("options", &options)
            .finish()
    }
}
