//! The answer to one statement: columns, then rows as they are asked for, then a summary.
//!
//! A row is read from the shard when somebody wants it and not before, so that a slow reader slows
//! the shard down and memory does not grow with the result.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use topology::{ShardId, Snapshot};
use wire::backend::{CommandComplete, DataRow, RowDescription, encode, tag};

use crate::core::Core;
use crate::error::Error;
use crate::exec::conversation::Message;
use crate::exec::exchange::Exchange;
use crate::exec::types::name_of;
use crate::moving;
use crate::route::Target;
use crate::route::explain::{self, Explanation};
use crate::scatter::exec::{Answer, Failure};

/// PostgreSQL's id of the type text.
const TEXT: u32 = 25;

/// Stands for the shard of a statement that ran on all of them; no shard's id.
pub const EVERY_SHARD: &str = "*";

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name or label.
    pub name: String,
    /// PostgreSQL's type.
    pub type_oid: u32,
}

impl Column {
    /// PostgreSQL's name of the type, or its id as text where it is not built in.
    #[must_use]
    pub fn type_name(&self) -> Cow<'static, str> {
        name_of(self.type_oid)
    }
}

/// One row, its values in PostgreSQL's text form.
#[derive(Debug)]
pub struct Row(Message);

impl Row {
    /// The values in the order of the columns; none is NULL.
    pub fn values(&self) -> impl Iterator<Item = Option<&[u8]>> {
        // The message was checked when it came.
        let row = DataRow::decode(self.0.body()).ok();
        row.into_iter().flat_map(|row| row.values)
    }

    /// How many bytes the row has on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes().len()
    }
}

/// What is known when all rows have been read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rows returned; rows changed by a statement that returns none.
    pub row_count: u64,
    /// PostgreSQL's command tag.
    pub command_tag: String,
}

/// The answer to a statement that has begun.
#[derive(Debug)]
pub struct Rows {
    core: Arc<Core>,
    shard: Option<ShardId>,
    columns: Arc<[Column]>,
    source: Source,
    returned: u64,
}

#[derive(Debug)]
enum Source {
    Shard(Box<Exchange>),
    /// The rows of several shards.
    Shards(Box<Answer>),
    /// Rows of the router's own.
    Own(VecDeque<Message>, Summary),
    Ended(Summary),
    Broken,
}

impl Rows {
    pub(super) fn streaming(
        core: Arc<Core>,
        exchange: Box<Exchange>,
        columns: Vec<Column>,
    ) -> Self {
        Self {
            core,
            shard: Some(exchange.shard().clone()),
            columns: columns.into(),
            source: Source::Shard(exchange),
            returned: 0,
        }
    }

    /// The rows of several shards.
    pub(super) fn scattered(core: Arc<Core>, answer: Box<Answer>) -> Self {
        let heading = Message::of(answer.heading().clone());
        let columns = heading.as_ref().and_then(read_columns).unwrap_or_default();
        Self {
            core,
            shard: None,
            columns: columns.into(),
            source: Source::Shards(answer),
            returned: 0,
        }
    }

    pub(super) fn everywhere(core: Arc<Core>, summary: Summary) -> Self {
        Self {
            core,
            shard: None,
            columns: Arc::default(),
            source: Source::Ended(summary),
            returned: 0,
        }
    }

    /// The answer to EXPLAIN (ROUTE).
    pub(super) fn explaining(core: Arc<Core>, answer: &Explanation, snapshot: &Snapshot) -> Self {
        let mut frames = BytesMut::new();
        for line in &answer.lines {
            // A row of one column is never too wide.
            let _written = encode::data_row(&mut frames, &[Some(line.as_bytes())]);
        }
        let shard = match answer.target {
            Some(Target::Shard { index, .. }) => snapshot.shard(index).map(|it| it.id.clone()),
            Some(Target::Any | Target::Catalog | Target::Everywhere) | None => None,
        };
        let summary = Summary {
            row_count: u64::try_from(answer.lines.len()).unwrap_or(u64::MAX),
            command_tag: "EXPLAIN".to_owned(),
        };
        let column = Column {
            name: explain::COLUMN.to_owned(),
            type_oid: TEXT,
        };
        Self {
            core,
            shard,
            columns: [column].into(),
            source: Source::Own(Message::all_of(frames.freeze()).collect(), summary),
            returned: 0,
        }
    }

    /// The shard that answers, or [`EVERY_SHARD`].
    #[must_use]
    pub fn shard(&self) -> &str {
        self.shard.as_ref().map_or(EVERY_SHARD, ShardId::as_str)
    }

    /// The columns; none for a statement that returns no rows.
    #[must_use]
    pub fn columns(&self) -> &Arc<[Column]> {
        &self.columns
    }

    /// Whether [`Self::next`] would not wait.
    #[must_use]
    pub fn has_buffered(&self) -> bool {
        match &self.source {
            Source::Shard(exchange) => exchange.has_buffered(),
            Source::Shards(answer) => answer.has_buffered(),
            Source::Own(..) | Source::Ended(_) | Source::Broken => true,
        }
    }

    /// The next row; none when there are no more, and then [`Self::summary`] says the rest.
    ///
    /// # Errors
    /// The rows so far are not the whole answer, and there are no more.
    pub async fn next(&mut self) -> Result<Option<Row>, Error> {
        let exchange = match &mut self.source {
            Source::Shard(exchange) => exchange,
            Source::Shards(answer) => {
                let next = answer.next().await;
                return self.next_of_shards(next);
            }
            Source::Own(rows, summary) => {
                let row = rows.pop_front().map(Row);
                if row.is_none() {
                    self.source = Source::Ended(std::mem::take(summary));
                }
                return Ok(row);
            }
            Source::Ended(_) | Source::Broken => return Ok(None),
        };
        match advance(exchange).await {
            Ok(Step::Row(row)) => {
                self.returned += 1;
                Ok(Some(row))
            }
            Ok(Step::End(command)) => {
                let row_count = match (&*self.columns, command.affected) {
                    ([], Some(affected)) => affected,
                    _ => self.returned,
                };
                self.source = Source::Ended(Summary {
                    row_count,
                    command_tag: command.tag,
                });
                Ok(None)
            }
            Err(error) => {
                self.source = Source::Broken;
                count(&self.core, &error);
                Err(error)
            }
        }
    }

    fn next_of_shards(
        &mut self,
        next: Result<Option<Bytes>, Failure>,
    ) -> Result<Option<Row>, Error> {
        match next {
            Ok(Some(row)) => {
                self.returned += 1;
                Ok(Message::of(row).map(Row))
            }
            Ok(None) => {
                self.source = Source::Ended(Summary {
                    row_count: self.returned,
                    command_tag: format!("SELECT {}", self.returned),
                });
                Ok(None)
            }
            Err(failure) => {
                self.source = Source::Broken;
                let error = failure.into_error();
                count(&self.core, &error);
                Err(error)
            }
        }
    }

    /// Takes and forgets the rows that are left. A statement that writes is not stopped by it.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn discard(&mut self) -> Result<(), Error> {
        while self.next().await?.is_some() {}
        Ok(())
    }

    /// Whether the statement may change anything.
    #[must_use]
    pub fn may_write(&self) -> bool {
        match &self.source {
            Source::Shard(exchange) => exchange.writes(),
            Source::Own(..) | Source::Shards(_) => false,
            Source::Ended(_) | Source::Broken => true,
        }
    }

    /// What is known once all rows have been read.
    #[must_use]
    pub fn summary(&self) -> Option<&Summary> {
        match &self.source {
            Source::Ended(summary) => Some(summary),
            Source::Shard(_) | Source::Shards(_) | Source::Own(..) | Source::Broken => None,
        }
    }
}

/// Counts an error of the router's own; those of shards are counted with their statements.
pub(super) fn count(core: &Core, error: &Error) {
    if let Error::Moving(moving::Error::Moved { code }) = error {
        core.moving.refused(code, false);
    }
    if !matches!(error, Error::Shard { .. }) {
        core.metrics.failed(error);
    }
}

enum Step {
    Row(Row),
    End(Command),
}

#[derive(Default)]
struct Command {
    tag: String,
    affected: Option<u64>,
}

async fn advance(exchange: &mut Exchange) -> Result<Step, Error> {
    loop {
        let message = exchange.receive().await?;
        match message.tag() {
            tag::DATA_ROW if DataRow::decode(message.body()).is_ok() => {
                return Ok(Step::Row(Row(message)));
            }
            tag::COMMAND_COMPLETE => {
                let command = read_command(&message);
                // The transaction commits after this, and may still fail.
                exchange.finish().await?;
                return Ok(Step::End(command));
            }
            tag::EMPTY_QUERY_RESPONSE => {
                exchange.finish().await?;
                return Ok(Step::End(Command::default()));
            }
            tag::ERROR_RESPONSE => return Err(exchange.fail_with(&message, false).await),
            tag::BIND_COMPLETE | tag::NOTICE_RESPONSE => {}
            _ => return Err(exchange.surprise(&message)),
        }
    }
}

fn read_command(message: &Message) -> Command {
    match CommandComplete::decode(message.body()) {
        Ok(complete) => Command {
            tag: complete.tag.to_lossy().into_owned(),
            affected: complete.rows(),
        },
        Err(_) => Command::default(),
    }
}

/// The columns that a RowDescription names.
pub(super) fn read_columns(message: &Message) -> Option<Vec<Column>> {
    let description = RowDescription::decode(message.body()).ok()?;
    let column = |column: wire::backend::Column<'_>| Column {
        name: column.name.to_lossy().into_owned(),
        type_oid: column.type_oid,
    };
    Some(description.columns().map(column).collect())
}
