//! A cursor over one message's body that checks each length before it takes the bytes.

use std::ffi::CStr;

use crate::limits::{MAX_CANCEL_SECRET_BYTES, MIN_CANCEL_SECRET_BYTES};
use crate::{DecodeError, Format, Formats, Oids, Reason, Text, Values};

#[derive(Debug)]
pub(crate) struct Reader<'a> {
    message: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'static str, body: &'a [u8]) -> Self {
        Self {
            message,
            rest: body,
        }
    }

    pub(crate) fn error(&self, reason: Reason) -> DecodeError {
        DecodeError {
            message: self.message,
            reason,
        }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn bytes(
        &mut self,
        count: usize,
        field: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.error(Reason::Truncated { field }));
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.error(Reason::Truncated { field }));
        };
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_be_bytes(self.array(field)?))
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array(field)?))
    }

    pub(crate) fn i16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.array(field)?))
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array(field)?))
    }

    pub(crate) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.array(field)?))
    }

    /// A string up to its zero byte, which is taken too.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<Text<'a>, DecodeError> {
        // This finds the zero byte a word at a time, which matters for long SQL.
        let Ok(text) = CStr::from_bytes_until_nul(self.rest) else {
            return Err(self.error(Reason::Unterminated { field }));
        };
        let bytes = self.bytes(text.to_bytes().len(), field)?;
        self.array::<1>(field)?;
        Ok(Text::new(bytes))
    }

    /// A length and that many bytes, or nothing for -1.
    pub(crate) fn value(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.i32(field)? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(count) => self.bytes(count, field).map(Some),
                Err(_) => Err(self.error(Reason::NegativeLength { field, length })),
            },
        }
    }

    pub(crate) fn format(&mut self, field: &'static str) -> Result<Format, DecodeError> {
        let code = self.i16(field)?;
        Format::from_code(code).ok_or_else(|| self.error(Reason::UnknownFormat { code }))
    }

    /// A count of sixteen bits and that many format codes.
    pub(crate) fn formats(&mut self, field: &'static str) -> Result<Formats<'a>, DecodeError> {
        let count = usize::from(self.u16(field)?);
        let bytes = self.bytes(count * 2, field)?;
        Formats::new(bytes).map_err(|code| self.error(Reason::UnknownFormat { code }))
    }

    /// A count of sixteen bits and that many object ids.
    pub(crate) fn oids(&mut self, field: &'static str) -> Result<Oids<'a>, DecodeError> {
        let count = usize::from(self.u16(field)?);
        Ok(Oids::new(self.bytes(count * 4, field)?))
    }

    /// A count of sixteen bits and that many values.
    pub(crate) fn values(&mut self, field: &'static str) -> Result<Values<'a>, DecodeError> {
        let count = usize::from(self.u16(field)?);
        let start = self.rest;
        for _ in 0..count {
            self.value(field)?;
        }
        let walked = start.len() - self.rest.len();
        Ok(Values::new(count, start.get(..walked).unwrap_or_default()))
    }

    /// Refuses what is left over.
    pub(crate) fn end(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.error(Reason::Trailing {
            bytes: self.rest.len(),
        }))
    }
}

/// All that is left, as the secret of a cancel request.
pub(crate) fn cancel_secret<'a>(reader: &Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let secret = reader.rest();
    if secret.len() < MIN_CANCEL_SECRET_BYTES {
        return Err(reader.error(Reason::Truncated { field: "secret" }));
    }
    match secret.len().checked_sub(MAX_CANCEL_SECRET_BYTES) {
        None | Some(0) => Ok(secret),
        Some(bytes) => Err(reader.error(Reason::Trailing { bytes })),
    }
}

/// A message that has no body.
pub(crate) fn empty(message: &'static str, body: &[u8]) -> Result<(), DecodeError> {
    Reader::new(message, body).end()
}
