//! Pure: rows on their way to one shard, as the parameters of one INSERT.
//!
//! Each column is an array of texts, in binary form: its elements are the bytes of the rows as they
//! are.

use bytes::{BufMut as _, BytesMut};
use wire::Format;
use wire::backend::DataRow;
use wire::frontend::encode;

/// PostgreSQL's ids of the types text and text[].
const TEXT: u32 = 25;
const TEXT_ARRAY: u32 = 1009;

/// Where the number of elements stands in an array of one dimension.
const LENGTH_AT: std::ops::Range<usize> = 12..16;

/// The rows of one shard.
#[derive(Debug)]
pub(super) struct Batch {
    columns: Vec<BytesMut>,
    /// The places of its rows among all.
    pub(super) places: Vec<usize>,
}

/// What an INSERT of rows is bound to besides them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) types: &'a [u32],
    pub(super) values: &'a [(Format, Option<bytes::Bytes>)],
    /// The formats of what it hands out.
    pub(super) results: &'a [Format],
}

impl Batch {
    pub(super) fn new(columns: usize) -> Self {
        let empty = || {
            let mut array = BytesMut::new();
            // One dimension, perhaps NULLs, the type, the length, counted from 1.
            for word in [1, 1, TEXT, 0, 1] {
                array.put_u32(word);
            }
            array
        };
        Self {
            columns: std::iter::repeat_with(empty).take(columns).collect(),
            places: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How much it keeps.
    pub(super) fn bytes(&self) -> usize {
        self.columns.iter().map(BytesMut::len).sum()
    }

    /// Adds a row of texts, as far as it has columns here; none when a value is too long.
    pub(super) fn add(&mut self, row: &DataRow<'_>, place: usize) -> Option<()> {
        for (column, value) in self.columns.iter_mut().zip(row.values.iter()) {
            match value {
                None => column.put_i32(-1),
                Some(value) => {
                    column.put_i32(i32::try_from(value.len()).ok()?);
                    column.put_slice(value);
                }
            }
        }
        self.places.push(place);
        Some(())
    }

    /// The messages that insert the rows, up to Sync; they are gone from here then.
    pub(super) fn message(
        &mut self,
        sql: &str,
        own: Own<'_>,
    ) -> Result<(BytesMut, Vec<usize>), wire::EncodeError> {
        let fresh = Self::new(self.columns.len());
        let Self {
            mut columns,
            places,
        } = std::mem::replace(self, fresh);
        let length = u32::try_from(places.len()).unwrap_or(u32::MAX);
        for column in &mut columns {
            if let Some(place) = column.get_mut(LENGTH_AT) {
                place.copy_from_slice(&length.to_be_bytes());
            }
        }
        let mut types = own.types.to_vec();
        types.resize(own.values.len(), 0);
        let mut formats: Vec<Format> = own.values.iter().map(|(format, _)| *format).collect();
        let mut values: Vec<Option<&[u8]>> =
            own.values.iter().map(|(_, it)| it.as_deref()).collect();
        for column in &columns {
            types.push(TEXT_ARRAY);
            formats.push(Format::Binary);
            values.push(Some(column));
        }
        let mut out = BytesMut::new();
        encode::parse(&mut out, b"", sql.as_bytes(), &types)?;
        encode::bind(&mut out, b"", b"", &formats, &values, own.results)?;
        encode::execute(&mut out, b"", 0)?;
        encode::sync(&mut out);
        Ok((out, places))
    }
}

/// The query whose rows the parameters behind so many others are, by the names of their types.
pub(super) fn rows_of(own: usize, types: &[String]) -> String {
    let arrays: Vec<String> = (1..=types.len())
        .map(|at| format!("pg_catalog.unnest(${}::pg_catalog.text[])", own + at))
        .collect();
    let columns: Vec<String> = (0..types.len()).map(|at| format!("c{at}")).collect();
    let casts: Vec<String> = columns
        .iter()
        .zip(types)
        .map(|(column, name)| format!("u.{column}::{name}"))
        .collect();
    format!(
        "SELECT {} FROM ROWS FROM ({}) AS u({})",
        casts.join(", "),
        arrays.join(", "),
        columns.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_arrays() {
        let mut row = BytesMut::new();
        let values = [Some(&b"7"[..]), None, Some(b"left out")];
        wire::backend::encode::data_row(&mut row, &values).unwrap();
        let row = DataRow::decode(&row[wire::frame::HEADER_BYTES..]).unwrap();
        let mut batch = Batch::new(2);
        assert!(batch.is_empty());
        batch.add(&row, 5).unwrap();
        batch.add(&row, 9).unwrap();
        let own = Own {
            types: &[23],
            values: &[(Format::Text, None)],
            results: &[],
        };
        let (message, places) = batch.message("INSERT", own).unwrap();
        assert_eq!(places, [5, 9]);
        assert!(batch.is_empty());
        let first = [
            [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 2, 0, 0, 0, 1].as_slice(),
            &[0, 0, 0, 1, b'7', 0, 0, 0, 1, b'7'],
        ]
        .concat();
        let found = message.windows(first.len()).any(|part| part == first);
        assert!(found, "{message:?}");
    }

    #[test]
    fn rows_are_given_their_types_back() {
        let types = ["integer".to_owned(), "public.mood".to_owned()];
        assert_eq!(
            rows_of(1, &types),
            "SELECT u.c0::integer, u.c1::public.mood FROM ROWS FROM \
             (pg_catalog.unnest($2::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.text[])) \
             AS u(c0, c1)"
        );
    }
}
