//! Columns of a chunk as parameters: arrays of text, written in place.

use std::error::Error;

use bytes::{BufMut as _, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::chunk::{Chunk, Content};
use super::statement::Value;

/// One value of each of some rows.
#[derive(Debug)]
pub(super) struct TextArray<'a> {
    pub(super) chunk: &'a Chunk,
    pub(super) rows: &'a [usize],
    pub(super) value: Value,
}

/// The object id of `text`.
const TEXT: u32 = 25;

impl ToSql for TextArray<'_> {
    fn to_sql(
        &self,
        _ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let count = i32::try_from(self.rows.len())?;
        // One dimension, there may be NULLs, and the first subscript is 1.
        out.put_i32(1);
        out.put_i32(1);
        out.put_u32(TEXT);
        out.put_i32(count);
        out.put_i32(1);
        for row in self.rows {
            let row = self.chunk.rows().get(*row);
            let content = row.map(|row| match self.value {
                Value::Old(at) => self.chunk.old(row, at),
                Value::New(at) => self.chunk.new_value(row, at),
            });
            match content {
                Some(Content::Text(bytes)) => {
                    out.put_i32(i32::try_from(bytes.len())?);
                    out.put_slice(bytes);
                }
                Some(Content::Null) => out.put_i32(-1),
                Some(Content::Unchanged) | None => return Err("a value that is not told".into()),
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT_ARRAY
    }

    to_sql_checked!();
}
