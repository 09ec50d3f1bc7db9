//! Changes on their way to a mirror: rows of whole transactions, or parts of a large one, in one
//! buffer.

use std::sync::Arc;

use wire::pgoutput::{OldTuple, Tuple, Value};

use crate::reshard::lsn::Lsn;
use crate::reshard::shape::Shape;

/// What happens to a row. The order is the one in which independent changes are made, so that what
/// one gives up is free for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// It goes.
    Delete,
    /// It changes.
    Update,
    /// It comes.
    Insert,
}

impl Op {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Update => "update",
            Self::Insert => "insert",
        }
    }
}

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// NULL.
    Null,
    /// Not told, since it did not change.
    Unchanged,
    /// As its type's output function writes it.
    Text(&'a [u8]),
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    start: u32,
    len: u32,
}

impl Cell {
    const NULL: Self = Self {
        start: 0,
        len: u32::MAX,
    };
    const UNCHANGED: Self = Self {
        start: 0,
        len: u32::MAX - 1,
    };
}

/// A change of one row.
#[derive(Debug, Clone)]
pub struct Row {
    /// What happens.
    pub op: Op,
    /// Whether the columns that identify it change.
    pub is_rekeyed: bool,
    /// What its values mean.
    pub shape: Arc<Shape>,
    old: u32,
    new: u32,
}

/// Why a change cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// A binary value was not asked for.
    #[error("a value is not text")]
    Binary,
    /// The row has another number of values than its table has columns.
    #[error("{values} values for {columns} columns")]
    Width {
        /// How many there are.
        values: usize,
        /// How many there should be.
        columns: usize,
    },
    /// The shard key is not in the stream.
    #[error("the key is NULL or not told")]
    Key,
    /// What identifies the row is not in the stream.
    #[error("a column that identifies the row is not told")]
    Identity,
    /// A row comes from another shard with values that the stream does not tell.
    #[error("column {0} is stored out of line and not told")]
    OutOfLine(usize),
    /// More bytes than can be counted.
    #[error("more than 4 GiB at once")]
    TooLarge,
}

/// Where a transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct End {
    /// Where its commit record begins.
    pub commit: Lsn,
    /// Where that ends.
    pub end: Lsn,
    /// When it was committed: microseconds since 2000.
    pub at: i64,
}

/// Changes that are made together.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    data: Vec<u8>,
    cells: Vec<Cell>,
    rows: Vec<Row>,
    /// The last transaction in it.
    pub last: End,
    /// Everything for this lane up to here is in it or before it.
    pub safe: Lsn,
    /// How many transactions end in it.
    pub transactions: u64,
    /// Whether the last of them ends in it.
    pub is_complete: bool,
    /// The epoch of a fence marker in it.
    pub fence: Option<u64>,
}

impl Chunk {
    /// The changes in order.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// About how much memory it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.len() + self.cells.len() * size_of::<Cell>() + self.rows.len() * size_of::<Row>()
    }

    /// Adds a row that comes. What `new` does not tell is taken from `old`.
    ///
    /// # Errors
    /// [`Untold`] when the row cannot be known.
    pub fn insert(
        &mut self,
        shape: &Arc<Shape>,
        old: Option<OldTuple<'_>>,
        new: Tuple<'_>,
    ) -> Result<(), Untold> {
        let start = self.next_cell()?;
        self.put(shape, new)?;
        for at in 0..shape.columns.len() {
            let place = to_usize(start) + at;
            let told = self
                .cells
                .get(place)
                .is_some_and(|cell| !is_unchanged(*cell));
            if told {
                continue;
            }
            let value = old.and_then(|old| known(shape, old, at));
            let value = value.ok_or(Untold::OutOfLine(at))?;
            let cell = self.store(value)?;
            self.set(place, cell);
        }
        self.push(Op::Insert, shape, start, start, false);
        Ok(())
    }

    /// Adds a row that goes, told in full or by its identity.
    ///
    /// # Errors
    /// [`Untold`] when the row cannot be known.
    pub fn delete(&mut self, shape: &Arc<Shape>, old: Tuple<'_>) -> Result<(), Untold> {
        let start = self.next_cell()?;
        check_width(shape, old)?;
        for at in &shape.identity {
            let value = old.get(*at).unwrap_or(Value::Null);
            let cell = self.identity(shape, value)?;
            self.cells.push(cell);
        }
        self.push(Op::Delete, shape, start, start, false);
        Ok(())
    }

    /// Adds a row that changes.
    ///
    /// # Errors
    /// [`Untold`] when the row cannot be known.
    pub fn update(
        &mut self,
        shape: &Arc<Shape>,
        old: Option<Tuple<'_>>,
        new: Tuple<'_>,
    ) -> Result<(), Untold> {
        let start = self.next_cell()?;
        self.put(shape, new)?;
        let identity = self.next_cell()?;
        let mut is_rekeyed = false;
        match old {
            None => {
                for at in &shape.identity {
                    let cell = self.cells.get(to_usize(start) + at).copied();
                    let cell = cell.filter(|cell| !is_unchanged(*cell));
                    self.cells.push(cell.ok_or(Untold::Identity)?);
                }
            }
            Some(old) => {
                check_width(shape, old)?;
                for at in &shape.identity {
                    let cell = self.identity(shape, old.get(*at).unwrap_or(Value::Null))?;
                    self.cells.push(cell);
                    let is = self.content_at(to_usize(start) + at);
                    is_rekeyed |= is != Content::Unchanged && is != self.content(cell);
                }
            }
        }
        self.push(Op::Update, shape, identity, start, is_rekeyed);
        Ok(())
    }

    fn push(&mut self, op: Op, shape: &Arc<Shape>, old: u32, new: u32, is_rekeyed: bool) {
        self.rows.push(Row {
            op,
            is_rekeyed,
            shape: Arc::clone(shape),
            old,
            new,
        });
    }

    /// The value of a column that identifies a row, `at` its place in [`Shape::identity`]: what it
    /// was before an update or a delete.
    #[must_use]
    pub fn old(&self, row: &Row, at: usize) -> Content<'_> {
        self.content_at(to_usize(row.old) + at)
    }

    /// The value of a column after an insert or an update.
    #[must_use]
    pub fn new_value(&self, row: &Row, at: usize) -> Content<'_> {
        self.content_at(to_usize(row.new) + at)
    }

    /// Takes the changes of a chunk that follows this one; that one is empty then.
    ///
    /// # Errors
    /// [`Untold::TooLarge`]; callers keep chunks far below that.
    pub fn append(&mut self, next: &mut Self) -> Result<(), Untold> {
        let data = u32::try_from(self.data.len()).map_err(|_| Untold::TooLarge)?;
        let cells = u32::try_from(self.cells.len()).map_err(|_| Untold::TooLarge)?;
        let data_end = u32::try_from(self.data.len() + next.data.len());
        data_end.map_err(|_| Untold::TooLarge)?;
        self.data.append(&mut next.data);
        self.cells.extend(next.cells.drain(..).map(|cell| {
            if cell.len >= Cell::UNCHANGED.len {
                cell
            } else {
                Cell {
                    start: cell.start + data,
                    len: cell.len,
                }
            }
        }));
        self.rows.extend(next.rows.drain(..).map(|row| Row {
            old: row.old + cells,
            new: row.new + cells,
            ..row
        }));
        self.last = next.last;
        self.safe = next.safe;
        self.transactions += next.transactions;
        self.is_complete = next.is_complete;
        self.fence = next.fence.or(self.fence);
        next.clear();
        Ok(())
    }

    /// Forgets everything but keeps its memory, unless that is much.
    pub fn clear(&mut self) {
        const MAX_KEPT_BYTES: usize = 1 << 20;
        if self.data.capacity() > MAX_KEPT_BYTES {
            self.data = Vec::new();
        }
        self.data.clear();
        self.cells.clear();
        self.rows.clear();
        self.last = End::default();
        self.safe = Lsn::INVALID;
        self.transactions = 0;
        self.is_complete = false;
        self.fence = None;
    }

    /// The columns that identify a row, with their values, for a person to read.
    #[must_use]
    pub fn key_text(&self, row: &Row) -> String {
        const MAX_VALUE_CHARS: usize = 64;
        const MAX_COLUMNS: usize = 8;
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (at, column) in row.shape.identity.iter().enumerate().take(MAX_COLUMNS) {
            let Some(described) = row.shape.columns.get(*column) else {
                continue;
            };
            names.push(described.name.as_str());
            let content = match row.op {
                Op::Insert => self.new_value(row, *column),
                Op::Update | Op::Delete => self.old(row, at),
            };
            values.push(match content {
                Content::Null => "null".to_owned(),
                Content::Unchanged => "?".to_owned(),
                Content::Text(bytes) => {
                    let text = String::from_utf8_lossy(bytes);
                    text.chars().take(MAX_VALUE_CHARS).collect()
                }
            });
        }
        format!("({})=({})", names.join(","), values.join(","))
    }

    fn put(&mut self, shape: &Shape, tuple: Tuple<'_>) -> Result<(), Untold> {
        check_width(shape, tuple)?;
        for value in tuple.values() {
            let cell = self.store(value)?;
            self.cells.push(cell);
        }
        Ok(())
    }

    fn store(&mut self, value: Value<'_>) -> Result<Cell, Untold> {
        let bytes = match value {
            Value::Null => return Ok(Cell::NULL),
            Value::Unchanged => return Ok(Cell::UNCHANGED),
            Value::Binary(_) => return Err(Untold::Binary),
            Value::Text(bytes) => bytes,
        };
        let start = u32::try_from(self.data.len()).map_err(|_| Untold::TooLarge)?;
        let len = u32::try_from(bytes.len()).map_err(|_| Untold::TooLarge)?;
        if start
            .checked_add(len)
            .is_none_or(|end| end >= Cell::UNCHANGED.len)
        {
            return Err(Untold::TooLarge);
        }
        self.data.extend_from_slice(bytes);
        Ok(Cell { start, len })
    }

    /// Only rows without a key may be told by NULLs.
    fn identity(&mut self, shape: &Shape, value: Value<'_>) -> Result<Cell, Untold> {
        match value {
            Value::Null if shape.is_whole => Ok(Cell::NULL),
            Value::Null | Value::Unchanged => Err(Untold::Identity),
            Value::Text(_) | Value::Binary(_) => self.store(value),
        }
    }

    fn next_cell(&self) -> Result<u32, Untold> {
        u32::try_from(self.cells.len()).map_err(|_| Untold::TooLarge)
    }

    fn set(&mut self, place: usize, cell: Cell) {
        if let Some(old) = self.cells.get_mut(place) {
            *old = cell;
        }
    }

    fn content_at(&self, place: usize) -> Content<'_> {
        let cell = self.cells.get(place).copied();
        self.content(cell.unwrap_or(Cell::UNCHANGED))
    }

    fn content(&self, cell: Cell) -> Content<'_> {
        if cell.len == Cell::NULL.len {
            return Content::Null;
        }
        if is_unchanged(cell) {
            return Content::Unchanged;
        }
        let start = to_usize(cell.start);
        let bytes = self.data.get(start..start + to_usize(cell.len));
        Content::Text(bytes.unwrap_or_default())
    }
}

/// What an old row tells of a column. One that is told by its key has NULL for all others, which
/// says nothing.
fn known<'a>(shape: &Shape, old: OldTuple<'a>, at: usize) -> Option<Value<'a>> {
    let value = match old {
        OldTuple::Full(tuple) => tuple.get(at),
        OldTuple::Key(tuple) => {
            let is_told = shape.columns.get(at).is_some_and(|each| each.is_identity);
            tuple.get(at).filter(|_| is_told)
        }
    };
    value.filter(|value| *value != Value::Unchanged)
}

fn check_width(shape: &Shape, tuple: Tuple<'_>) -> Result<(), Untold> {
    let (values, columns) = (tuple.len(), shape.columns.len());
    if values == columns {
        Ok(())
    } else {
        Err(Untold::Width { values, columns })
    }
}

fn is_unchanged(cell: Cell) -> bool {
    cell.len == Cell::UNCHANGED.len
}

/// A place in memory, which has more than 32 bits here.
fn to_usize(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}
