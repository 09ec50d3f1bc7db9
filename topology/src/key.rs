//! A shard key's type and value, read as PostgreSQL reads them. Hashing is in [`crate::hash`].

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Longest text key in bytes. Keys must not be toasted, or a move could not see them in the WAL.
pub const MAX_TEXT_KEY_BYTES: usize = 1024;

/// The type that all key columns of a table group share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// int2, int4 and int8; hashed as 8 bytes little-endian.
    Bigint,
    /// text and varchar; hashed as its UTF-8 bytes.
    Text,
    /// uuid; hashed as its 16 bytes.
    Uuid,
}

impl KeyType {
    /// PostgreSQL's name of the type, also the stored and the API form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bigint => "bigint",
            Self::Text => "text",
            Self::Uuid => "uuid",
        }
    }

    /// Reads the API's word for a key type; aliases of the same family are accepted.
    ///
    /// # Errors
    /// [`InvalidKey::UnknownType`] for any other word.
    pub fn parse(word: &str) -> Result<Self, InvalidKey> {
        match word.to_ascii_lowercase().as_str() {
            "bigint" | "int8" | "int" | "integer" | "int4" | "smallint" | "int2" => {
                Ok(Self::Bigint)
            }
            "text" | "varchar" | "character varying" => Ok(Self::Text),
            "uuid" => Ok(Self::Uuid),
            _ => Err(InvalidKey::UnknownType {
                word: word.chars().take(64).collect(),
            }),
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a value is not a key of the wanted type. The text of each is PostgreSQL's own where it has
/// one, and never holds more than 64 characters of the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The key type itself is not known.
    #[error("key type {word:?} is not known: use bigint, text or uuid")]
    UnknownType {
        /// The word that was given.
        word: String,
    },
    /// SQLSTATE 22P02.
    #[error("invalid input syntax for type {key_type}: \"{value}\"")]
    Syntax {
        /// The type that was wanted.
        key_type: KeyType,
        /// The value, shortened.
        value: String,
    },
    /// SQLSTATE 22003.
    #[error("value \"{value}\" is out of range for type bigint")]
    OutOfRange {
        /// The value, shortened.
        value: String,
    },
    /// SQLSTATE 54000: longer than [`MAX_TEXT_KEY_BYTES`].
    #[error("shard key of {bytes} bytes is longer than the limit of {MAX_TEXT_KEY_BYTES}")]
    TooLong {
        /// The value's length.
        bytes: usize,
    },
    /// SQLSTATE 22021.
    #[error("shard key is not valid UTF-8")]
    NotUtf8,
    /// SQLSTATE 22P03: a binary value whose length does not fit the type.
    #[error("incorrect binary data format for type {key_type}: {bytes} bytes")]
    BinaryLength {
        /// The type that was wanted.
        key_type: KeyType,
        /// The value's length.
        bytes: usize,
    },
}

/// A shard key's value. NULL is not a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    /// An integer of any width.
    Bigint(i64),
    /// Text as stored: no trimming, no case folding.
    Text(Cow<'a, str>),
    /// The 16 bytes in network order, as PostgreSQL stores them.
    Uuid([u8; 16]),
}

impl<'a> Key<'a> {
    /// Reads a value in PostgreSQL's text format.
    ///
    /// # Errors
    /// The [`InvalidKey`] that PostgreSQL's own input function would raise.
    pub fn from_text(key_type: KeyType, value: &'a [u8]) -> Result<Self, InvalidKey> {
        let text = std::str::from_utf8(value).map_err(|_| InvalidKey::NotUtf8)?;
        match key_type {
            KeyType::Bigint => parse_bigint(text).map(Self::Bigint),
            KeyType::Text if text.len() > MAX_TEXT_KEY_BYTES => {
                Err(InvalidKey::TooLong { bytes: text.len() })
            }
            KeyType::Text => Ok(Self::Text(Cow::Borrowed(text))),
            KeyType::Uuid => parse_uuid(text).map(Self::Uuid),
        }
    }

    /// Reads a value in PostgreSQL's binary format: 2, 4 or 8 bytes big-endian for an integer,
    /// the bytes of a text, the 16 bytes of a uuid.
    ///
    /// # Errors
    /// [`InvalidKey::BinaryLength`] when the length does not fit the type.
    pub fn from_binary(key_type: KeyType, value: &'a [u8]) -> Result<Self, InvalidKey> {
        let wrong = InvalidKey::BinaryLength {
            key_type,
            bytes: value.len(),
        };
        match key_type {
            KeyType::Bigint => match *value {
                [a, b] => Ok(Self::Bigint(i16::from_be_bytes([a, b]).into())),
                [a, b, c, d] => Ok(Self::Bigint(i32::from_be_bytes([a, b, c, d]).into())),
                _ => value
                    .try_into()
                    .map(|bytes| Self::Bigint(i64::from_be_bytes(bytes)))
                    .map_err(|_| wrong),
            },
            KeyType::Text => Self::from_text(key_type, value),
            KeyType::Uuid => value.try_into().map(Self::Uuid).map_err(|_| wrong),
        }
    }

    /// The type of this key.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        match self {
            Self::Bigint(_) => KeyType::Bigint,
            Self::Text(_) => KeyType::Text,
            Self::Uuid(_) => KeyType::Uuid,
        }
    }

    /// The same key without borrowed text.
    #[must_use]
    pub fn into_owned(self) -> Key<'static> {
        match self {
            Self::Bigint(value) => Key::Bigint(value),
            Self::Text(text) => Key::Text(Cow::Owned(text.into_owned())),
            Self::Uuid(bytes) => Key::Uuid(bytes),
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

/// int8in of PostgreSQL 12 to 15: optional white space, sign and decimal digits.
fn parse_bigint(text: &str) -> Result<i64, InvalidKey> {
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidKey::Syntax {
            key_type: KeyType::Bigint,
            value: shorten(text),
        });
    }
    trimmed.parse().map_err(|_| InvalidKey::OutOfRange {
        value: shorten(text),
    })
}

/// uuid_in: 32 hexadecimal digits, a hyphen allowed after each group of four, braces around.
fn parse_uuid(text: &str) -> Result<[u8; 16], InvalidKey> {
    let wrong = || InvalidKey::Syntax {
        key_type: KeyType::Uuid,
        value: shorten(text),
    };
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(wrong)?,
        None => text,
    };
    let mut source = inner.bytes().peekable();
    let mut bytes = [0_u8; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let mut digit = || source.next().and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
        *byte = u8::try_from(high * 16 + low).map_err(|_| wrong())?;
        if index % 2 == 1 && index < 15 && source.peek() == Some(&b'-') {
            source.next();
        }
    }
    if source.next().is_some() {
        Err(wrong())
    } else {
        Ok(bytes)
    }
}
