//! The answer of `POST /v1/execute`, written while its rows come.
//!
//! The status is sent with the first rows. An error after that breaks the body off, so that no
//! client takes a part of a result for the whole.

use std::io::Write as _;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use serde_json::json;
use tokio::time::Instant;

use super::json::{distinct_names, write_text, write_value};
use super::request::{RowForm, Style};
use crate::error::Error;
use crate::exec::types::Shape;
use crate::exec::{Row, Rows};
use crate::route::Refusal;

/// A part of the body is sent once it is this long, or when the shard takes its time.
const CHUNK_BYTES: usize = 32 << 10;

/// An answer that is being written.
#[derive(Debug)]
pub(super) struct Answer {
    rows: Rows,
    style: Style,
    started: Instant,
    columns: Vec<Column>,
    buffer: Vec<u8>,
    /// Rows written so far.
    written: u64,
    ended: bool,
}

#[derive(Debug)]
struct Column {
    /// What stands before the value: the name in an object, nothing in an array.
    lead: Vec<u8>,
    name: String,
    shape: Shape,
}

impl Answer {
    pub(super) fn new(rows: Rows, style: Style, started: Instant) -> Self {
        let mut answer = Self {
            columns: columns(&rows, style),
            buffer: Vec::with_capacity(1024),
            rows,
            style,
            started,
            written: 0,
            ended: false,
        };
        answer.write_head();
        answer
    }

    /// Waits for the first part of the result and answers with it. A short result is whole then.
    pub(super) async fn into_response(mut self) -> Result<Response, Error> {
        let first = self.next_chunk().await?;
        let body = if self.ended {
            Body::from(first)
        } else {
            Body::from_stream(stream::unfold(Some((self, Some(first))), Self::step))
        };
        Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
    }

    /// One step of the streamed body.
    async fn step(
        state: Option<(Self, Option<Bytes>)>,
    ) -> Option<(Result<Bytes, Error>, Option<(Self, Option<Bytes>)>)> {
        let (mut answer, first) = state?;
        if let Some(first) = first {
            return Some((Ok(first), Some((answer, None))));
        }
        if answer.ended {
            return None;
        }
        match answer.next_chunk().await {
            Ok(chunk) => Some((Ok(chunk), Some((answer, None)))),
            Err(error) => {
                let (shard, sqlstate) = (answer.rows.shard(), error.sqlstate());
                tracing::warn!(shard, sqlstate, "answer broken off after its first rows");
                Some((Err(error), None))
            }
        }
    }

    /// What can be sent next.
    async fn next_chunk(&mut self) -> Result<Bytes, Error> {
        loop {
            match self.rows.next().await? {
                Some(row) => self.write_row(&row)?,
                None => {
                    self.write_tail();
                    self.ended = true;
                }
            }
            if self.ended || self.buffer.len() >= CHUNK_BYTES || !self.rows.has_buffered() {
                return Ok(Bytes::from(std::mem::take(&mut self.buffer)));
            }
        }
    }

    fn write_head(&mut self) {
        let described = self.rows.columns().iter().zip(&self.columns);
        let columns: Vec<serde_json::Value> = described
            .map(|(described, column)| {
                json!({
                    "name": column.name,
                    "type_oid": described.type_oid,
                    "type": described.type_name(),
                })
            })
            .collect();
        self.buffer.extend_from_slice(b"{\"shard_id\":");
        write_text(&mut self.buffer, self.rows.shard());
        self.buffer.extend_from_slice(b",\"columns\":");
        write(&mut self.buffer, format_args!("{}", json!(columns)));
        self.buffer.extend_from_slice(b",\"rows\":[");
    }

    fn write_row(&mut self, row: &Row) -> Result<(), Error> {
        let (open, close) = match self.style.rows {
            RowForm::Objects => (b'{', b'}'),
            RowForm::Arrays => (b'[', b']'),
        };
        if self.written > 0 {
            self.buffer.push(b',');
        }
        self.written += 1;
        self.buffer.push(open);
        for (index, (column, value)) in self.columns.iter().zip(row.values()).enumerate() {
            if index > 0 {
                self.buffer.push(b',');
            }
            self.buffer.extend_from_slice(&column.lead);
            let text = value.map(std::str::from_utf8).transpose();
            let text = text.map_err(|_| not_utf8(&column.name))?;
            let as_strings = self.style.numbers_as_strings;
            write_value(&mut self.buffer, column.shape, text, as_strings);
        }
        self.buffer.push(close);
        Ok(())
    }

    fn write_tail(&mut self) {
        let summary = self.rows.summary().cloned().unwrap_or_default();
        let latency_ms = self.started.elapsed().as_secs_f64() * 1_000.0;
        let row_count = summary.row_count;
        write(
            &mut self.buffer,
            format_args!("],\"row_count\":{row_count},\"latency_ms\":{latency_ms:.3}"),
        );
        self.buffer.extend_from_slice(b",\"command_tag\":");
        write_text(&mut self.buffer, &summary.command_tag);
        self.buffer.push(b'}');
    }
}

fn columns(rows: &Rows, style: Style) -> Vec<Column> {
    let described = rows.columns();
    let names: Vec<&str> = described.iter().map(|column| &*column.name).collect();
    let names = match style.rows {
        RowForm::Objects => distinct_names(&names),
        RowForm::Arrays => names.into_iter().map(ToOwned::to_owned).collect(),
    };
    let column = |(name, type_oid): (String, u32)| {
        let mut lead = Vec::new();
        if style.rows == RowForm::Objects {
            write_text(&mut lead, &name);
            lead.push(b':');
        }
        Column {
            lead,
            name,
            shape: Shape::or_text(type_oid),
        }
    };
    let types = described.iter().map(|column| column.type_oid);
    names.into_iter().zip(types).map(column).collect()
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("a Vec takes all that is written");
}

/// Only a database whose encoding is SQL_ASCII sends such bytes.
fn not_utf8(column: &str) -> Error {
    Error::Refused(Refusal {
        sqlstate: "22021",
        message: format!("a value of column {column:?} is not valid UTF-8"),
        hint: Some("use the Postgres front, or encode the value in the query".to_owned()),
    })
}
