//! Rows, or as much of them as the plugin tells.

use std::fmt;

use crate::read::Reader;
use crate::{DecodeError, Reason};

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// NULL, or in an old row a column that is not part of the identity.
    Null,
    /// Stored out of line and not changed: not told.
    Unchanged,
    /// As the type's output function writes it.
    Text(&'a [u8]),
    /// As the type's send function writes it.
    Binary(&'a [u8]),
}

/// A row: one value for each column of its relation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'a> {
    count: usize,
    bytes: &'a [u8],
}

const NAME: &str = "TupleData";

impl<'a> Tuple<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = usize::from(reader.u16("column count")?);
        let start = reader.rest();
        for _ in 0..count {
            Value::read(reader)?;
        }
        let walked = start.len() - reader.rest().len();
        let bytes = start.get(..walked).unwrap_or_default();
        Ok(Self { count, bytes })
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

    /// The values in the order of the relation's columns.
    #[must_use]
    pub fn values(self) -> Values<'a> {
        Values {
            left: self.count,
            reader: Reader::new(NAME, self.bytes),
        }
    }

    /// The value at a place.
    #[must_use]
    pub fn get(self, index: usize) -> Option<Value<'a>> {
        self.values().nth(index)
    }
}

impl fmt::Debug for Tuple<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.values()).finish()
    }
}

/// What is told of a row that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldTuple<'a> {
    /// The columns that identify it; the others are NULL.
    Key(Tuple<'a>),
    /// All of it.
    Full(Tuple<'a>),
}

impl<'a> OldTuple<'a> {
    /// The values.
    #[must_use]
    pub fn tuple(self) -> Tuple<'a> {
        match self {
            Self::Key(tuple) | Self::Full(tuple) => tuple,
        }
    }
}

/// The values of a row.
#[derive(Debug)]
pub struct Values<'a> {
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        // They were walked before, so that none of them can end early.
        Value::read(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Values<'_> {}

impl<'a> Value<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match reader.u8("kind of value")? {
            b'n' => Ok(Self::Null),
            b'u' => Ok(Self::Unchanged),
            b't' => bytes(reader).map(Self::Text),
            b'b' => bytes(reader).map(Self::Binary),
            kind => Err(reader.error(Reason::UnknownValue {
                field: "kind of value",
                value: i32::from(kind),
            })),
        }
    }
}

fn bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let length = reader.i32("value length")?;
    match usize::try_from(length) {
        Ok(count) => reader.bytes(count, "value"),
        Err(_) => Err(reader.error(Reason::NegativeLength {
            field: "value",
            length,
        })),
    }
}

/// The row after a change.
pub(super) fn new<'a>(reader: &mut Reader<'a>) -> Result<Tuple<'a>, DecodeError> {
    match reader.u8("kind of row")? {
        b'N' => Tuple::read(reader),
        kind => Err(unknown(reader, kind)),
    }
}

/// What is told of the row before a change.
pub(super) fn old<'a>(reader: &mut Reader<'a>) -> Result<OldTuple<'a>, DecodeError> {
    match reader.u8("kind of row")? {
        b'K' => Tuple::read(reader).map(OldTuple::Key),
        b'O' => Tuple::read(reader).map(OldTuple::Full),
        kind => Err(unknown(reader, kind)),
    }
}

fn unknown(reader: &Reader<'_>, kind: u8) -> DecodeError {
    reader.error(Reason::UnknownValue {
        field: "kind of row",
        value: i32::from(kind),
    })
}
