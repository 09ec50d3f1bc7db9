//! Finds rows and the tokens of their keys in what COPY sends, pure. The key is the first column of
//! each row; nothing else is read of it.

use topology::hash::token_of;
use topology::key::InvalidKey;
use topology::{Key, KeyType, Token};

mod binary;
mod text;

/// How rows travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As the types' send functions write them.
    Binary,
    /// As text, for types whose binary form names objects that have other numbers elsewhere.
    Text,
}

impl Format {
    /// SQL's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Text => "text",
        }
    }

    /// What comes before the rows.
    #[must_use]
    pub fn head(self) -> &'static [u8] {
        match self {
            Self::Binary => binary::HEAD,
            Self::Text => b"",
        }
    }

    /// What comes after them.
    #[must_use]
    pub fn tail(self) -> &'static [u8] {
        match self {
            Self::Binary => binary::TAIL,
            Self::Text => b"",
        }
    }
}

/// What is wrong with rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They do not begin as COPY begins them.
    #[error("the copy does not begin with the header of the binary format")]
    Header,
    /// Another number of columns.
    #[error("a row has {found} columns instead of {expected}")]
    Columns {
        /// In the row.
        found: i16,
        /// Asked for.
        expected: i16,
    },
    /// A length that is none.
    #[error("a value has the impossible length {0}")]
    Length(i32),
    /// A row without a key belongs to no shard.
    #[error("a row has no key: its key column is NULL")]
    NullKey,
    /// The key cannot be read.
    #[error("a row has a key that is none")]
    Key(#[from] InvalidKey),
    /// The copy ends within a row, or goes on after its end.
    #[error("the copy does not end where it says that it ends")]
    End,
}

/// What lies at the front of some bytes.
enum Step {
    /// A row.
    Row { bytes: usize, token: Token },
    /// What is no row.
    Between { bytes: usize },
    /// The end of all rows.
    End { bytes: usize },
    /// More has to come before one can say.
    Incomplete,
}

/// Follows the rows of one COPY, however the pieces that they arrive in are cut.
#[derive(Debug)]
pub struct Scanner {
    format: Format,
    key_type: KeyType,
    columns: i16,
    /// The beginning of a row that a piece ended in.
    held: Vec<u8>,
    has_begun: bool,
    has_ended: bool,
}

impl Scanner {
    /// Rows of so many columns, the first of which is the key.
    #[must_use]
    pub fn new(format: Format, key_type: KeyType, columns: i16) -> Self {
        Self {
            format,
            key_type,
            columns,
            held: Vec::new(),
            has_begun: false,
            has_ended: false,
        }
    }

    /// Gives each row that a piece completes, as it is to be sent on, with its key's token.
    ///
    /// # Errors
    /// [`Malformed`]; nothing can be said of what follows.
    pub fn feed(
        &mut self,
        piece: &[u8],
        found: &mut impl FnMut(&[u8], Token),
    ) -> Result<(), Malformed> {
        if self.held.is_empty() {
            let used = self.scan(piece, found)?;
            self.held
                .extend_from_slice(piece.get(used..).unwrap_or_default());
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(piece);
            let used = self.scan(&held, found)?;
            held.drain(..used);
            self.held = held;
        }
        Ok(())
    }

    /// Whether all is there, at the end.
    ///
    /// # Errors
    /// [`Malformed::End`] when it is not.
    pub fn end(&self) -> Result<(), Malformed> {
        let is_ended = match self.format {
            Format::Binary => self.has_ended,
            Format::Text => true,
        };
        if is_ended && self.held.is_empty() {
            Ok(())
        } else {
            Err(Malformed::End)
        }
    }

    /// How many bytes of the piece are done with.
    fn scan(
        &mut self,
        piece: &[u8],
        found: &mut impl FnMut(&[u8], Token),
    ) -> Result<usize, Malformed> {
        let mut rest = piece;
        while !rest.is_empty() {
            let bytes = match self.step(rest)? {
                Step::Row { bytes, token } => {
                    found(rest.get(..bytes).unwrap_or(rest), token);
                    bytes
                }
                Step::Between { bytes } => bytes,
                Step::End { bytes } => {
                    self.has_ended = true;
                    bytes
                }
                Step::Incomplete => break,
            };
            rest = rest.get(bytes..).unwrap_or_default();
        }
        Ok(piece.len() - rest.len())
    }

    fn step(&mut self, rest: &[u8]) -> Result<Step, Malformed> {
        if self.has_ended {
            return Err(Malformed::End);
        }
        match self.format {
            Format::Binary if !self.has_begun => {
                let step = binary::head(rest)?;
                self.has_begun = matches!(step, Step::Between { .. });
                Ok(step)
            }
            Format::Binary => binary::row(rest, self.columns, self.key_type),
            Format::Text => text::row(rest, self.key_type),
        }
    }
}

fn token(key: Result<Key<'_>, InvalidKey>) -> Result<Token, Malformed> {
    Ok(token_of(&key?))
}

#[cfg(test)]
mod tests;
