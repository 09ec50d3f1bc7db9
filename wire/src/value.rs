//! The small borrowed pieces that messages are made of: strings, format codes, object ids, values.

use std::fmt;
use std::str::Utf8Error;

/// A string of the protocol without its zero byte, in the session's client encoding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// Takes bytes that hold no zero byte; an encoder refuses those that do.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes as they came.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The string, if it is UTF-8.
    ///
    /// # Errors
    /// Another client encoding may give bytes that are not UTF-8.
    pub fn as_str(self) -> Result<&'a str, Utf8Error> {
        std::str::from_utf8(self.0)
    }

    /// The string for a person to read, with what is not UTF-8 replaced.
    #[must_use]
    pub fn to_lossy(self) -> std::borrow::Cow<'a, str> {
        String::from_utf8_lossy(self.0)
    }

    /// Whether it is empty: the unnamed statement or portal.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl AsRef<[u8]> for Text<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_lossy(), formatter)
    }
}

/// How a value is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// As its type's output function writes it.
    #[default]
    Text,
    /// As its type's send function writes it.
    Binary,
}

impl Format {
    /// The format of a code.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Text),
            1 => Some(Self::Binary),
            _ => None,
        }
    }

    /// The code of the format.
    #[must_use]
    pub fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// Format codes: none (all are text), one for all, or one for each.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Formats<'a>(&'a [[u8; 2]]);

impl<'a> Formats<'a> {
    /// Checks that every code has a meaning and gives back the first that has none.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, i16> {
        let (codes, _) = bytes.as_chunks::<2>();
        for code in codes {
            let code = i16::from_be_bytes(*code);
            if Format::from_code(code).is_none() {
                return Err(code);
            }
        }
        Ok(Self(codes))
    }

    /// How many codes there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there is no code, which means text.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The format of the item at this place.
    #[must_use]
    pub fn of(self, index: usize) -> Format {
        let code = match self.0 {
            [] => return Format::Text,
            [only] => Some(only),
            each => each.get(index),
        };
        code.and_then(|code| Format::from_code(i16::from_be_bytes(*code)))
            .unwrap_or_default()
    }

    /// The codes as they came.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Format> + use<'a> {
        self.0
            .iter()
            .map(|code| Format::from_code(i16::from_be_bytes(*code)).unwrap_or_default())
    }
}

impl fmt::Debug for Formats<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// Object ids, most often of types.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Oids<'a>(&'a [[u8; 4]]);

impl<'a> Oids<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.as_chunks::<4>().0)
    }

    /// How many there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The id at this place; 0 stands for a type that the server shall infer.
    #[must_use]
    pub fn get(self, index: usize) -> Option<u32> {
        self.0.get(index).map(|oid| u32::from_be_bytes(*oid))
    }

    /// All of them in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.0.iter().map(|oid| u32::from_be_bytes(*oid))
    }
}

impl fmt::Debug for Oids<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

/// Values with their lengths before them, as in `Bind` and `DataRow`; `None` is NULL.
///
/// Each lies behind the one before, so reaching the nth walks over n lengths.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Values<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Values<'a> {
    /// Takes bytes that the decoder has walked over already.
    pub(crate) fn new(count: usize, bytes: &'a [u8]) -> Self {
        Self { count, bytes }
    }

    /// How many values there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The value at this place: `None` outside, `Some(None)` for NULL.
    #[must_use]
    pub fn get(self, index: usize) -> Option<Option<&'a [u8]>> {
        self.iter().nth(index)
    }

    /// All of them in order.
    #[must_use]
    pub fn iter(self) -> ValuesIter<'a> {
        ValuesIter {
            left: self.count,
            bytes: self.bytes,
        }
    }
}

impl fmt::Debug for Values<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for Values<'a> {
    type Item = Option<&'a [u8]>;
    type IntoIter = ValuesIter<'a>;

    fn into_iter(self) -> ValuesIter<'a> {
        self.iter()
    }
}

/// Iterates over [`Values`].
#[derive(Debug, Clone)]
pub struct ValuesIter<'a> {
    left: usize,
    bytes: &'a [u8],
}

impl<'a> Iterator for ValuesIter<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (length, rest) = self.bytes.split_first_chunk::<4>()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            self.bytes = rest;
            return Some(None);
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.bytes = rest;
        Some(Some(value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ValuesIter<'_> {}

#[cfg(test)]
mod tests;
