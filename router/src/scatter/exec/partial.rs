//! The rows of all shards as parameters of a last query, which PostgreSQL answers on one of them.

use bytes::{BufMut as _, Bytes, BytesMut};
use wire::Format;
use wire::backend::DataRow;
use wire::quote::literal;

use super::Failure;
use super::ask::Name;
use crate::route::Refusal;
use crate::scatter::plan::sql::{Hole, Sql};

/// Most rows that a last query is given.
const MAX_ROWS: usize = 1_000_000;

/// Most bytes of them.
const MAX_BYTES: usize = 64 << 20;

/// PostgreSQL's id of the type real.
pub(super) const FLOAT4: u32 = 700;

/// PostgreSQL's id of the type text[].
pub(super) const TEXT_ARRAY: u32 = 1009;

/// Rows, column by column, as arrays of texts.
#[derive(Debug)]
pub(super) struct Partial {
    columns: Vec<BytesMut>,
    rows: usize,
    bytes: usize,
}

impl Partial {
    pub(super) fn new(columns: usize) -> Self {
        let empty = || BytesMut::from(&b"{"[..]);
        Self {
            columns: std::iter::repeat_with(empty).take(columns).collect(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Adds a DataRow of texts.
    pub(super) fn add(&mut self, row: &Bytes) -> Result<(), Failure> {
        let body = row.get(wire::frame::HEADER_BYTES..).unwrap_or_default();
        let Ok(row) = DataRow::decode(body) else {
            return Err(too_much().into());
        };
        self.rows += 1;
        self.bytes += body.len();
        if self.rows > MAX_ROWS || self.bytes > MAX_BYTES {
            return Err(too_much().into());
        }
        for (column, value) in self.columns.iter_mut().zip(row.values.iter()) {
            if column.len() > 1 {
                column.put_u8(b',');
            }
            match value {
                None => column.put_slice(b"NULL"),
                Some(value) => quote(column, value),
            }
        }
        Ok(())
    }

    /// What stands for the rows in SQL; their parameters come after `own` others.
    pub(super) fn source(&self, own: usize, names: &[Name]) -> String {
        let parameters = (1..=self.columns.len()).map(|at| format!("${}", own + at));
        self.source_of(parameters, names)
    }

    /// The same with the rows within the text, for a statement that takes no parameters.
    pub(super) fn literal_source(&self, names: &[Name]) -> String {
        let arrays = self.columns.iter().map(|column| {
            let text = String::from_utf8_lossy(column);
            literal(&format!("{text}}}"))
        });
        self.source_of(arrays, names)
    }

    fn source_of(&self, arrays: impl Iterator<Item = String>, names: &[Name]) -> String {
        let parameters: Vec<String> = arrays
            .map(|array| format!("pg_catalog.unnest({array}::pg_catalog.text[])"))
            .collect();
        let columns: Vec<String> = (0..self.columns.len()).map(|at| format!("c{at}")).collect();
        let casts: Vec<String> = columns
            .iter()
            .zip(names)
            .map(|(column, name)| {
                let collate = match &name.collation {
                    Some(collation) => format!(" COLLATE {collation}"),
                    None => String::new(),
                };
                format!("(u.{column}::{}){collate} AS {column}", name.type_name)
            })
            .collect();
        format!(
            "(SELECT {} FROM ROWS FROM ({}) AS u({}))",
            casts.join(", "),
            parameters.join(", "),
            columns.join(", ")
        )
    }

    pub(super) fn into_arrays(self) -> impl Iterator<Item = Bytes> {
        self.columns.into_iter().map(|mut column| {
            column.put_u8(b'}');
            column.freeze()
        })
    }
}

fn quote(out: &mut BytesMut, value: &[u8]) {
    out.reserve(value.len() + 2);
    out.put_u8(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}

/// A last query with its holes filled.
pub(super) fn fill(last: &str, source: &str, types: &[u32], names: &[Name]) -> String {
    Sql(last.to_owned()).fill(|hole| match hole {
        Hole::Partial => source.to_owned(),
        Hole::Type(at) => names
            .get(at)
            .map_or_else(String::new, |name| name.type_name.clone()),
        Hole::Average(sum, count) => average(types.get(sum).copied(), sum, count),
        Hole::Own(_) | Hole::Limit | Hole::Output(_) | Hole::Widen(_) => String::new(),
    })
}

/// An average of a sum of this type, as PostgreSQL works it out.
fn average(type_oid: Option<u32>, sum: usize, count: usize) -> String {
    const INT8: u32 = 20;
    const NUMERIC: u32 = 1700;
    const FLOAT8: u32 = 701;
    let (sum, count) = (
        format!("pg_catalog.sum(p.c{sum})"),
        format!("NULLIF(pg_catalog.sum(p.c{count}), 0)"),
    );
    match type_oid {
        Some(INT8 | NUMERIC) => {
            format!("({sum}::pg_catalog.numeric OPERATOR(pg_catalog./) {count})")
        }
        // An average begins with zero, so that it is never negative zero.
        Some(FLOAT8) => format!(
            "(({sum} OPERATOR(pg_catalog.+) 0::pg_catalog.float8) OPERATOR(pg_catalog./) \
             {count}::pg_catalog.float8)"
        ),
        _ => format!("({sum} OPERATOR(pg_catalog./) {count}::pg_catalog.float8)"),
    }
}

/// The first columns of the rows.
pub(super) fn list(columns: usize) -> String {
    let columns: Vec<String> = (0..columns).map(|at| format!("p.c{at}")).collect();
    columns.join(", ")
}

pub(super) fn order_by(by: &[String]) -> String {
    if by.is_empty() {
        String::new()
    } else {
        format!(" ORDER BY {}", by.join(", "))
    }
}

/// The integer that a parameter is.
pub(super) fn read_integer(format: Format, value: &[u8]) -> Option<i64> {
    match format {
        Format::Text => std::str::from_utf8(value).ok()?.trim().parse().ok(),
        Format::Binary => match value.len() {
            2 => Some(i16::from_be_bytes(value.try_into().ok()?).into()),
            4 => Some(i32::from_be_bytes(value.try_into().ok()?).into()),
            8 => Some(i64::from_be_bytes(value.try_into().ok()?)),
            _ => None,
        },
    }
}

fn too_much() -> Refusal {
    Refusal {
        sqlstate: "54000",
        message: format!(
            "more than {MAX_ROWS} rows or {MAX_BYTES} bytes of several shards would have to be \
             brought together"
        ),
        hint: Some(
            "group by fewer values, add a condition or the shard key, or order texts by COLLATE \
             \"C\""
                .to_owned(),
        ),
    }
}
