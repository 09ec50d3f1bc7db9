//! What clients send: borrowed views of each message, and in [`encode`] the way back.
//!
//! The first packet, which has no tag, is in [`crate::startup`].

mod bind;
pub mod encode;
mod password;
mod rename;
pub mod tag;

pub use bind::Bind;
pub use password::{Password, SaslInitialResponse};
pub use rename::{bind_renamed, close_renamed, describe_renamed, parse_renamed};

use crate::read::{Reader, empty};
use crate::{DecodeError, Format, Formats, Oids, Reason, Text, Values};

/// Any message of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Run a text of statements.
    Query(Query<'a>),
    /// Prepare a statement.
    Parse(Parse<'a>),
    /// Make a portal of a statement and parameters.
    Bind(Bind<'a>),
    /// Ask for parameter types and columns.
    Describe(Target<'a>),
    /// Run a portal.
    Execute(Execute<'a>),
    /// Drop a statement or portal.
    Close(Target<'a>),
    /// End a run of extended messages.
    Sync,
    /// Ask for what is answered so far.
    Flush,
    /// Say goodbye.
    Terminate,
    /// Bytes for COPY.
    CopyData(&'a [u8]),
    /// The end of COPY.
    CopyDone,
    /// The end of COPY by the client's own error.
    CopyFail(Text<'a>),
    /// An answer to an authentication request.
    Password(Password<'a>),
    /// The old way of calling a function.
    FunctionCall(FunctionCall<'a>),
}

impl<'a> Message<'a> {
    /// Reads a body by its tag.
    ///
    /// # Errors
    /// An unknown tag or a malformed body.
    pub fn decode(tag: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(match tag {
            tag::QUERY => Self::Query(Query::decode(body)?),
            tag::PARSE => Self::Parse(Parse::decode(body)?),
            tag::BIND => Self::Bind(Bind::decode(body)?),
            tag::DESCRIBE => Self::Describe(Target::decode("Describe", body)?),
            tag::EXECUTE => Self::Execute(Execute::decode(body)?),
            tag::CLOSE => Self::Close(Target::decode("Close", body)?),
            tag::SYNC => empty("Sync", body).map(|()| Self::Sync)?,
            tag::FLUSH => empty("Flush", body).map(|()| Self::Flush)?,
            tag::TERMINATE => empty("Terminate", body).map(|()| Self::Terminate)?,
            tag::COPY_DATA => Self::CopyData(body),
            tag::COPY_DONE => empty("CopyDone", body).map(|()| Self::CopyDone)?,
            tag::COPY_FAIL => Self::CopyFail(copy_fail(body)?),
            tag::PASSWORD => Self::Password(Password::new(body)),
            tag::FUNCTION_CALL => Self::FunctionCall(FunctionCall::decode(body)?),
            tag => {
                let reason = Reason::UnknownTag { tag };
                return Err(DecodeError {
                    message: "frontend",
                    reason,
                });
            }
        })
    }
}

fn copy_fail(body: &[u8]) -> Result<Text<'_>, DecodeError> {
    let mut reader = Reader::new("CopyFail", body);
    let message = reader.text("message")?;
    reader.end()?;
    Ok(message)
}

/// One text of any number of statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// The text.
    pub sql: Text<'a>,
}

impl<'a> Query<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Query", body);
        let sql = reader.text("query string")?;
        reader.end()?;
        Ok(Self { sql })
    }
}

/// A statement to be prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; the empty one is overwritten by the next.
    pub name: Text<'a>,
    /// The text of one statement.
    pub sql: Text<'a>,
    /// The types of the first parameters as far as the client states them.
    pub parameter_types: Oids<'a>,
}

impl<'a> Parse<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Parse", body);
        let name = reader.text("statement name")?;
        let sql = reader.text("query string")?;
        let parameter_types = reader.oids("parameter types")?;
        reader.end()?;
        Ok(Self {
            name,
            sql,
            parameter_types,
        })
    }
}

/// What a name in Describe or Close stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TargetKind {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

impl TargetKind {
    /// The byte that stands for it.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Statement => b'S',
            Self::Portal => b'P',
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8("kind")? {
            b'S' => Ok(Self::Statement),
            b'P' => Ok(Self::Portal),
            other => {
                let value = i32::from(other);
                Err(reader.error(Reason::UnknownValue {
                    field: "kind",
                    value,
                }))
            }
        }
    }
}

/// The statement or portal that Describe or Close is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// Which of the two.
    pub kind: TargetKind,
    /// Its name; the empty one is a name too.
    pub name: Text<'a>,
}

impl<'a> Target<'a> {
    fn decode(message: &'static str, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message, body);
        let kind = TargetKind::read(&mut reader)?;
        let name = reader.text("name")?;
        reader.end()?;
        Ok(Self { kind, name })
    }

    /// Reads the body of a Describe.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode_describe(body: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode("Describe", body)
    }

    /// Reads the body of a Close.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode_close(body: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode("Close", body)
    }
}

/// A portal to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The portal's name.
    pub portal: Text<'a>,
    /// How many rows at most; no limit at zero and below.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Execute", body);
        let portal = reader.text("portal name")?;
        let max_rows = reader.i32("row limit")?;
        reader.end()?;
        Ok(Self { portal, max_rows })
    }
}

/// A function called by its object id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionCall<'a> {
    /// The function.
    pub function: u32,
    /// The formats of the arguments.
    pub formats: Formats<'a>,
    /// The arguments.
    pub arguments: Values<'a>,
    /// The format that the result shall have.
    pub result_format: Format,
}

impl<'a> FunctionCall<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("FunctionCall", body);
        let function = reader.u32("function id")?;
        let formats = reader.formats("argument formats")?;
        let arguments = reader.values("argument")?;
        if formats.len() > 1 && formats.len() != arguments.len() {
            return Err(reader.error(Reason::FormatCount {
                formats: formats.len(),
                parameters: arguments.len(),
            }));
        }
        let result_format = reader.format("result format")?;
        reader.end()?;
        Ok(Self {
            function,
            formats,
            arguments,
            result_format,
        })
    }
}

#[cfg(test)]
mod tests;
