//! Pure: tables that the console answers with, and their messages.

use bytes::BytesMut;
use wire::backend::{Column as WireColumn, encode};
use wire::{EncodeError, Format};

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Of texts.
    Text(&'static str),
    /// Of whole numbers.
    Int(&'static str),
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a text column.
    Text(String),
    /// Of a column of numbers.
    Int(i64),
    /// NULL.
    Null,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Int(i64::from(yes))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Columns and rows of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The columns.
    pub columns: &'static [Column],
    /// The rows, each with a value for each column.
    pub rows: Vec<Vec<Value>>,
}

const TEXT_OID: u32 = 25;
const INT8_OID: u32 = 20;

/// Writes RowDescription; `format` says how each column is spelled.
///
/// # Errors
/// When there are more columns than the protocol can count.
pub fn describe(
    out: &mut BytesMut,
    columns: &[Column],
    format: impl Fn(usize) -> Format,
) -> Result<(), EncodeError> {
    let described: Vec<WireColumn<'_>> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let described = match *column {
                Column::Text(name) => WireColumn::computed(name, TEXT_OID, -1),
                Column::Int(name) => WireColumn::computed(name, INT8_OID, 8),
            };
            WireColumn {
                format: format(at),
                ..described
            }
        })
        .collect();
    encode::row_description(out, &described)
}

/// Writes DataRow.
///
/// # Errors
/// When the row is longer than the protocol can say.
pub fn row(
    out: &mut BytesMut,
    values: &[Value],
    format: impl Fn(usize) -> Format,
) -> Result<(), EncodeError> {
    let spelled: Vec<Option<Vec<u8>>> = values
        .iter()
        .enumerate()
        .map(|(at, value)| match (value, format(at)) {
            (Value::Null, _) => None,
            // A text is spelled alike in both formats.
            (Value::Text(text), _) => Some(text.clone().into_bytes()),
            (Value::Int(number), Format::Text) => Some(number.to_string().into_bytes()),
            (Value::Int(number), Format::Binary) => Some(number.to_be_bytes().to_vec()),
        })
        .collect();
    let values: Vec<Option<&[u8]>> = spelled.iter().map(Option::as_deref).collect();
    encode::data_row(out, &values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_in_the_format_that_was_asked_for() {
        let values = [Value::Int(7), Value::from("a"), Value::Null];
        let mut out = BytesMut::new();
        row(&mut out, &values, |_| Format::Text).unwrap();
        assert_eq!(
            &out[..],
            b"D\0\0\0\x14\0\x03\0\0\0\x017\0\0\0\x01a\xff\xff\xff\xff"
        );
        out.clear();
        row(&mut out, &values, |_| Format::Binary).unwrap();
        assert_eq!(
            &out[..],
            b"D\0\0\0\x1b\0\x03\0\0\0\x08\0\0\0\0\0\0\0\x07\0\0\0\x01a\xff\xff\xff\xff"
        );
    }
}
