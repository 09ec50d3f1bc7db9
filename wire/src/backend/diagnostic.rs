//! Errors and notices as they come from a server: a list of fields, each with a code of one byte.

use std::fmt;

use crate::read::Reader;
use crate::{DecodeError, SqlState, Text};

/// The codes of fields that are looked for or written here.
pub mod field {
    /// The severity, in the server's language.
    pub const LOCALIZED_SEVERITY: u8 = b'S';
    /// The severity, never translated.
    pub const SEVERITY: u8 = b'V';
    /// The SQLSTATE.
    pub const CODE: u8 = b'C';
    /// The primary message, one line as a rule.
    pub const MESSAGE: u8 = b'M';
    /// More about it.
    pub const DETAIL: u8 = b'D';
    /// What to do about it.
    pub const HINT: u8 = b'H';
    /// Where in the query text, in characters from 1.
    pub const POSITION: u8 = b'P';
    /// What was going on.
    pub const CONTEXT: u8 = b'W';
    /// The schema of the object that it is about.
    pub const SCHEMA: u8 = b's';
    /// The table that it is about.
    pub const TABLE: u8 = b't';
    /// The column that it is about.
    pub const COLUMN: u8 = b'c';
    /// The constraint that was broken.
    pub const CONSTRAINT: u8 = b'n';
    /// The function of the server's source that reported it.
    pub const ROUTINE: u8 = b'R';
}

/// The fields of an `ErrorResponse` or a `NoticeResponse`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Diagnostic<'a>(&'a [u8]);

impl<'a> Diagnostic<'a> {
    pub(super) fn decode(message: &'static str, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(message, body);
        while reader.u8("field code")? != 0 {
            reader.text("field value")?;
        }
        reader.end()?;
        Ok(Self(body))
    }

    /// Reads the body of an `ErrorResponse`.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode_error(body: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode("ErrorResponse", body)
    }

    /// Reads the body of a `NoticeResponse`.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode_notice(body: &'a [u8]) -> Result<Self, DecodeError> {
        Self::decode("NoticeResponse", body)
    }

    /// Codes and values in the order they came.
    pub fn fields(self) -> impl Iterator<Item = (u8, Text<'a>)> {
        let fields = self.0.split(|byte| *byte == 0);
        fields
            .map_while(|field| field.split_first())
            .map(|(code, value)| (*code, Text::new(value)))
    }

    /// The value of the first field with this code.
    #[must_use]
    pub fn field(self, code: u8) -> Option<Text<'a>> {
        self.fields()
            .find(|(candidate, _)| *candidate == code)
            .map(|(_, value)| value)
    }

    /// The severity, untranslated where the server sends it so.
    #[must_use]
    pub fn severity(self) -> Option<Text<'a>> {
        self.field(field::SEVERITY)
            .or_else(|| self.field(field::LOCALIZED_SEVERITY))
    }

    /// The SQLSTATE.
    #[must_use]
    pub fn code(self) -> Option<SqlState> {
        self.field(field::CODE)
            .and_then(|code| SqlState::parse(code.as_bytes()))
    }

    /// The primary message.
    #[must_use]
    pub fn message(self) -> Option<Text<'a>> {
        self.field(field::MESSAGE)
    }

    /// More about it.
    #[must_use]
    pub fn detail(self) -> Option<Text<'a>> {
        self.field(field::DETAIL)
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(self) -> Option<Text<'a>> {
        self.field(field::HINT)
    }
}

impl fmt::Debug for Diagnostic<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_map()
            .entries(self.fields().map(|(code, value)| (char::from(code), value)))
            .finish()
    }
}
