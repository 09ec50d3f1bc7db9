//! Pure: the rows of a COPY FROM STDIN, as they come, and the value that decides where each goes.
//!
//! Rows are cut where PostgreSQL cuts them and are passed on byte for byte; only the field of the
//! key is read. Whatever is wrong with a row besides is for the shard to say.

#![deny(clippy::indexing_slicing)]

use bytes::{Buf as _, Bytes, BytesMut};

use crate::route::Refusal;

mod binary;
mod csv;
mod options;
mod text;

pub(crate) use options::with_columns;
pub use options::{Format, Options};

/// Longest row that is taken into memory.
pub const MAX_ROW_BYTES: usize = 64 << 20;

/// What a row has in the place of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// A value, as the column's type reads it.
    Value(Bytes),
    /// NULL.
    Null,
    /// The row ends before it.
    Missing,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// What each shard reads before its first row.
    Head(Bytes),
    /// A row, with its end.
    Row(Bytes, Field),
    /// The end of the data, before the end of the copy.
    End,
}

/// What a line `\.` is in CSV data. Servers before PostgreSQL 18 end the data there, and psql sends
/// it to them at the end of what it reads from a script; later ones take it for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CsvMarker {
    /// The end of the data.
    Ends,
    /// A row.
    IsRow,
    /// The one on some shards, the other on others.
    Differs,
}

impl CsvMarker {
    /// What all servers of these versions take it for, as `server_version` gives each.
    pub fn of<'a>(versions: impl Iterator<Item = &'a str>) -> Self {
        let mut all = versions.map(|version| {
            let major = version.split(|it: char| !it.is_ascii_digit()).next();
            match major.and_then(|major| major.parse::<u32>().ok()) {
                Some(major) if major < 18 => Self::Ends,
                Some(_) => Self::IsRow,
                None => Self::Differs,
            }
        });
        let first = all.next().unwrap_or(Self::Differs);
        if all.all(|other| other == first) {
            first
        } else {
            Self::Differs
        }
    }
}

/// How the lines of the data end, by the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    Newline,
    Return,
    Both,
}

/// How far the present line was looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Scan {
    at: usize,
    quoted: bool,
    escaped: bool,
}

/// Cuts copy data into rows.
#[derive(Debug)]
pub struct Splitter {
    options: Options,
    /// The place of the key's field.
    key: usize,
    csv_marker: CsvMarker,
    buffer: BytesMut,
    scan: Scan,
    line_end: Option<LineEnd>,
    /// Whether what comes first is not a row.
    head: bool,
    ended: bool,
    /// Whether there is data that was not looked at.
    fresh: bool,
}

impl Splitter {
    /// For data in which the key is the field at `key`, counted from 0.
    #[must_use]
    pub fn new(options: Options, key: usize) -> Self {
        let head = options.header || options.format == Format::Binary;
        Self {
            options,
            key,
            csv_marker: CsvMarker::Differs,
            buffer: BytesMut::new(),
            scan: Scan::default(),
            line_end: None,
            head,
            ended: false,
            fresh: false,
        }
    }

    /// Tells what the servers take a line `\.` of CSV data for; refused until then.
    pub fn tell_csv_marker(&mut self, marker: CsvMarker) {
        self.csv_marker = marker;
    }

    /// Whether there is data that was not looked at.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.fresh
    }

    /// Adds data, however it was cut.
    pub fn push(&mut self, data: &[u8]) {
        if !self.ended {
            self.buffer.extend_from_slice(data);
            self.fresh |= !data.is_empty();
        }
    }

    /// What comes next, as far as it is there; `last` when no more data comes.
    ///
    /// # Errors
    /// [`Refusal`]: the data is none, in PostgreSQL's words, or is too long.
    pub fn next(&mut self, last: bool) -> Result<Option<Piece>, Refusal> {
        if self.ended || self.buffer.is_empty() {
            self.fresh = false;
            return Ok(None);
        }
        let piece = match self.options.format {
            Format::Binary => self.next_tuple()?,
            Format::Text | Format::Csv => self.next_line(last)?,
        };
        if piece.is_none() && self.buffer.len() > MAX_ROW_BYTES {
            return Err(Refusal {
                sqlstate: "54000",
                message: format!("a row of COPY is longer than the limit of {MAX_ROW_BYTES} bytes"),
                hint: Some("insert it by itself".to_owned()),
            });
        }
        if piece.is_none() {
            self.fresh = false;
        }
        if piece == Some(Piece::End) {
            self.ended = true;
            self.buffer.clear();
        }
        Ok(piece)
    }

    fn next_line(&mut self, last: bool) -> Result<Option<Piece>, Refusal> {
        let found = self.end_of_line(last)?;
        let Some((content, whole)) = found else {
            return Ok(None);
        };
        self.scan = Scan::default();
        let line = self.buffer.split_to(whole).freeze();
        if self.buffer.is_empty() {
            // What was allocated for it goes with it.
            self.buffer = BytesMut::new();
        }
        let own = line.get(..content).unwrap_or_default();
        if own == b"\\." && self.is_end()? {
            return Ok(Some(Piece::End));
        }
        if std::mem::take(&mut self.head) {
            return Ok(Some(Piece::Head(line)));
        }
        let field = match self.options.format {
            Format::Csv => csv::field(own, self.key, &self.options)?,
            Format::Text | Format::Binary => text::field(own, self.key, &self.options),
        };
        Ok(Some(Piece::Row(line, field)))
    }

    /// Whether a line `\.` is the end of the data.
    fn is_end(&self) -> Result<bool, Refusal> {
        match (self.options.format, self.csv_marker) {
            (Format::Text | Format::Binary, _) | (Format::Csv, CsvMarker::Ends) => Ok(true),
            (Format::Csv, CsvMarker::IsRow) => Ok(false),
            (Format::Csv, CsvMarker::Differs) => Err(Refusal::unsupported(
                "the line \"\\.\" in CSV data ends it on some shards and is a value on others",
            )
            .hint("leave it out, or quote it")),
        }
    }

    /// The length of the present line without its end, and with it.
    fn end_of_line(&mut self, last: bool) -> Result<Option<(usize, usize)>, Refusal> {
        let is_csv = self.options.format == Format::Csv;
        while let Some(byte) = self.buffer.get(self.scan.at).copied() {
            let at = self.scan.at;
            if is_csv {
                csv::follow(&mut self.scan, byte, &self.options);
            } else if byte == b'\\' {
                let Some(next) = self.buffer.get(at + 1) else {
                    break;
                };
                if *next == b'.' && at > 0 {
                    return Err(text::corrupt("end-of-copy marker corrupt"));
                }
                self.scan.at += 2;
                continue;
            }
            if self.scan.quoted || !matches!(byte, b'\n' | b'\r') {
                self.scan.at += 1;
                continue;
            }
            let next = self.buffer.get(at + 1).copied();
            if byte == b'\r' && next.is_none() && !last && self.line_end != Some(LineEnd::Return) {
                return Ok(None);
            }
            let (found, length) = match (byte, next) {
                (b'\r', Some(b'\n')) if self.line_end != Some(LineEnd::Return) => {
                    (LineEnd::Both, 2)
                }
                (b'\r', _) => (LineEnd::Return, 1),
                _ => (LineEnd::Newline, 1),
            };
            if *self.line_end.get_or_insert(found) != found {
                return Err(mixed(byte, is_csv));
            }
            return Ok(Some((at, at + length)));
        }
        let rest = self.buffer.len();
        if !last {
            return Ok(None);
        }
        self.scan.at = rest;
        Ok(Some((rest, rest)))
    }

    fn next_tuple(&mut self) -> Result<Option<Piece>, Refusal> {
        if self.head {
            let Some(length) = binary::head(&self.buffer) else {
                return Ok(None);
            };
            if self.buffer.len() < length {
                return Ok(None);
            }
            self.head = false;
            return Ok(Some(Piece::Head(self.buffer.split_to(length).freeze())));
        }
        match binary::tuple(&self.buffer, self.key)? {
            binary::Tuple::Incomplete => Ok(None),
            binary::Tuple::Trailer if self.buffer.len() == binary::TRAILER_BYTES => {
                Ok(Some(Piece::End))
            }
            binary::Tuple::Trailer => Err(text::corrupt("received copy data after EOF marker")),
            binary::Tuple::Row { length, key } => {
                let row = self.buffer.split_to(length).freeze();
                let field = match key {
                    binary::Place::Missing => Field::Missing,
                    binary::Place::Null => Field::Null,
                    binary::Place::At(from, to) => {
                        let mut value = row.slice(..to);
                        value.advance(from);
                        Field::Value(value)
                    }
                };
                Ok(Some(Piece::Row(row, field)))
            }
        }
    }
}

fn mixed(byte: u8, is_csv: bool) -> Refusal {
    let kind = if is_csv { "unquoted" } else { "literal" };
    let name = if byte == b'\r' {
        "carriage return"
    } else {
        "newline"
    };
    text::corrupt(&format!("{kind} {name} found in data"))
}

#[cfg(test)]
mod tests;
