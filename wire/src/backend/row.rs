//! Rows and the columns they are made of.

use std::fmt;

use crate::read::Reader;
use crate::{DecodeError, Format, Text, Values};

/// The columns of the rows that follow or would follow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RowDescription<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> RowDescription<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(NAME, body);
        let count = usize::from(reader.u16("column count")?);
        let bytes = reader.rest();
        for _ in 0..count {
            Column::read(&mut reader)?;
        }
        reader.end()?;
        Ok(Self { count, bytes })
    }

    /// How many columns there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.count
    }

    /// Whether there is no column, which a SELECT can have.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The columns in order.
    #[must_use]
    pub fn columns(self) -> Columns<'a> {
        Columns {
            left: self.count,
            reader: Reader::new(NAME, self.bytes),
        }
    }
}

const NAME: &str = "RowDescription";

impl fmt::Debug for RowDescription<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.columns()).finish()
    }
}

/// One column of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column<'a> {
    /// Its name.
    pub name: Text<'a>,
    /// The table it comes from, or 0.
    pub table_oid: u32,
    /// Its number in that table, or 0.
    pub table_column: i16,
    /// Its type.
    pub type_oid: u32,
    /// The size of the type; negative for types of variable size.
    pub type_bytes: i16,
    /// The type's modifier, such as the length of a varchar; -1 for none.
    pub type_modifier: i32,
    /// How its values are spelled; text too where it isn't known yet.
    pub format: Format,
}

impl<'a> Column<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            name: reader.text("column name")?,
            table_oid: reader.u32("table id")?,
            table_column: reader.i16("column number")?,
            type_oid: reader.u32("type id")?,
            type_bytes: reader.i16("type size")?,
            type_modifier: reader.i32("type modifier")?,
            format: reader.format("column format")?,
        })
    }

    /// A column that comes from no table and is spelled as text.
    #[must_use]
    pub fn computed(name: &'a str, type_oid: u32, type_bytes: i16) -> Self {
        Self {
            name: Text::new(name.as_bytes()),
            table_oid: 0,
            table_column: 0,
            type_oid,
            type_bytes,
            type_modifier: -1,
            format: Format::Text,
        }
    }
}

/// Iterates over the columns of a [`RowDescription`].
#[derive(Debug)]
pub struct Columns<'a> {
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Iterator for Columns<'a> {
    type Item = Column<'a>;

    fn next(&mut self) -> Option<Column<'a>> {
        self.left = self.left.checked_sub(1)?;
        Column::read(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Columns<'_> {}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataRow<'a> {
    /// Its values, in the formats that the columns state.
    pub values: Values<'a>,
}

impl<'a> DataRow<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("DataRow", body);
        let values = reader.values("column value")?;
        reader.end()?;
        Ok(Self { values })
    }
}
