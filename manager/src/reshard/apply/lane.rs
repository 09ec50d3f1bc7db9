//! A lane: the one session that writes the changes of one owner on one mirror.
//!
//! Each target transaction holds whole source transactions, their rows and the place of their end
//! in the replication origin, so that a lane that is cut off anywhere goes on exactly where it was.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;
use topology::{Shard, Term};

use super::array::TextArray;
use super::catalog::{self, Table};
use super::chunk::{Chunk, End, Row};
use super::error::Error;
use super::origin;
use super::pipeline::Pipeline;
use super::plan::{Group, Kind, Planner, one_by_one};
use super::queue::{Queue, Work};
use super::statement::{self, Value};
use crate::reshard::flow::MovedTable;
use crate::reshard::ids::LegId;
use crate::reshard::lsn::Lsn;
use crate::reshard::session::{Class, Session, Sessions};

/// More prepared statements than tables have ways to change; then all are made anew.
const MAX_STATEMENTS: usize = 500;
/// Statements that are on their way at once when changes are made one by one.
const ONE_BY_ONE: usize = 200;

/// Few rows are looked for in tables of any size: always by an index, by a plan that is made once.
const SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_hashjoin = off; \
    SET enable_mergejoin = off; SET enable_seqscan = off; SET lock_timeout = '30s'";
/// What is reported as applied must not be lost with the server.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
    WHERE current_setting('synchronous_commit') = 'off'";
const PLACE: &str = "SELECT pg_replication_origin_xact_setup($1::text::pg_lsn, \
    timestamptz '2000-01-01 00:00:00+00' + $2::int8 * interval '1 microsecond')";
/// Without an id a transaction leaves no record, and the origin stays where it was.
const LEAVE_RECORD: &str = "SELECT pg_current_xact_id()::text";

/// Each part of a large transaction can be tried again.
const FIRST_PART: &str = "SAVEPOINT part";
const NEXT_PART: &str = "RELEASE part; SAVEPOINT part";

/// What tells others of a lane's work.
pub trait Observer: Send + Sync {
    /// A target transaction was committed.
    fn applied(&self, rows: u64, transactions: u64);
    /// All before a fence marker is committed.
    fn drained(&self, epoch: u64);
}

/// How a lane is opened.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The mirror.
    pub shard: &'a Shard,
    /// The leg.
    pub leg: &'a LegId,
    /// The term in whose name it writes.
    pub term: Term,
    /// The name of its origin.
    pub origin: &'a str,
    /// The leg's tables.
    pub tables: &'a [MovedTable],
}

#[derive(Debug)]
struct Prepared {
    statement: Statement,
    parameters: Vec<Value>,
}

/// A lane.
#[derive(Debug)]
pub struct Lane {
    session: Session,
    begin: String,
    place: Statement,
    tables: Vec<Table>,
    statements: HashMap<Kind, Arc<Prepared>>,
    planner: Planner,
    progress: Lsn,
    /// Whether a transaction was begun that goes on with the next chunk.
    is_open: bool,
    rows: u64,
}

impl Lane {
    /// Opens the session and takes the origin, from whoever had it.
    ///
    /// # Errors
    /// When the mirror is not reachable or refuses.
    pub async fn open(sessions: &Sessions, target: Target<'_>) -> Result<Self, Error> {
        let session = sessions
            .open_writer(target.shard, target.leg, "apply")
            .await?;
        let set = session.batch_execute(SETTINGS).await;
        set.map_err(|error| session.error("set up a lane", error))?;
        let set = session.execute(DURABLE, &[]).await;
        set.map_err(|error| session.error("set up a lane", error))?;
        let progress = origin::take(&session, target.origin, target.term).await?;
        let names: Vec<_> = target.tables.iter().map(|each| each.name.clone()).collect();
        let tables = catalog::tables(&session, &names).await?;
        let place = session.prepare(PLACE).await;
        let place = place.map_err(|error| session.error("prepare a statement", error))?;
        Ok(Self {
            begin: format!("BEGIN; SELECT vg.enter({})", target.term),
            session,
            place,
            tables,
            statements: HashMap::new(),
            planner: Planner::default(),
            progress,
            is_open: false,
            rows: 0,
        })
    }

    /// How far the mirror was when the lane was opened.
    #[must_use]
    pub fn progress(&self) -> Lsn {
        self.progress
    }

    /// The mirror's tables, in the order of the leg's.
    #[must_use]
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The mirror.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Commits nothing but the place.
    ///
    /// # Errors
    /// When the mirror refuses.
    pub async fn record(&mut self, at: Lsn) -> Result<(), Error> {
        let place = place_parameters(End {
            end: at,
            ..End::default()
        });
        let place: [&(dyn ToSql + Sync); 2] = [&place.0, &place.1];
        let mut pipeline = Pipeline::new(&self.session);
        pipeline.simple(&self.begin).await;
        pipeline.simple(LEAVE_RECORD).await;
        pipeline.execute(&self.place, &place).await;
        let counts = pipeline.finish().await;
        counts.map_err(|(_, error)| self.session.error("record a place", error))?;
        self.commit().await
    }

    /// Writes what comes, until something goes wrong.
    ///
    /// # Errors
    /// Always, in the end.
    pub async fn run(mut self, queue: &Queue, observer: &dyn Observer) -> Error {
        loop {
            let work = queue.take().await;
            let (bytes, done) = match work {
                Work::Record(at) => (0, self.record(at).await.map(|()| Some(at))),
                Work::Chunk(chunk) => {
                    let bytes = chunk.bytes();
                    (bytes, self.write(&chunk, observer).await)
                }
            };
            match done {
                Ok(committed) => queue.done(bytes, committed),
                Err(error) => return error,
            }
        }
    }

    /// Writes a chunk; tells the place that was committed, or nothing when the chunk is a part.
    async fn write(
        &mut self,
        chunk: &Chunk,
        observer: &dyn Observer,
    ) -> Result<Option<Lsn>, Error> {
        let groups = self.planner.plan(chunk);
        let prepared = self.prepared(chunk, &groups).await?;
        if let Err(refusal) = self.send(chunk, &groups, &prepared).await {
            self.write_one_by_one(chunk, refusal).await?;
        }
        self.rows += u64::try_from(chunk.rows().len()).unwrap_or(u64::MAX);
        self.is_open = true;
        if !chunk.is_complete {
            return Ok(None);
        }
        self.commit().await?;
        self.is_open = false;
        observer.applied(std::mem::take(&mut self.rows), chunk.transactions);
        if let Some(epoch) = chunk.fence {
            observer.drained(epoch);
        }
        Ok(Some(chunk.last.end))
    }

    /// Whether the chunk shares its transaction with others.
    fn is_part(&self, chunk: &Chunk) -> bool {
        self.is_open || !chunk.is_complete
    }

    /// All but the commit, in one go.
    async fn send(
        &self,
        chunk: &Chunk,
        groups: &[Group],
        prepared: &[Arc<Prepared>],
    ) -> Result<(), Refusal> {
        let place = place_parameters(chunk.last);
        let place: [&(dyn ToSql + Sync); 2] = [&place.0, &place.1];
        let arrays = arrays(chunk, groups, prepared);
        let parameters = parameters(&arrays);
        let mut pipeline = Pipeline::new(&self.session);
        if !self.is_open {
            pipeline.simple(&self.begin).await;
        }
        if self.is_part(chunk) {
            let savepoint = if self.is_open { NEXT_PART } else { FIRST_PART };
            pipeline.simple(savepoint).await;
        }
        let before = pipeline.len();
        for (prepared, parameters) in prepared.iter().zip(&parameters) {
            pipeline.execute(&prepared.statement, parameters).await;
        }
        if chunk.is_complete {
            if groups.is_empty() {
                pipeline.simple(LEAVE_RECORD).await;
            }
            pipeline.execute(&self.place, &place).await;
        }
        let counts = pipeline.finish().await.map_err(|(at, error)| {
            let group = at.checked_sub(before).filter(|at| *at < groups.len());
            Refusal::Sql { group, error }
        })?;
        wrong_count(groups, counts.get(before..).unwrap_or_default()).map_or(Ok(()), Err)
    }

    /// The same changes in the order in which the owner made them. What is wrong with one of them
    /// is wrong with the data.
    async fn write_one_by_one(&mut self, chunk: &Chunk, refusal: Refusal) -> Result<(), Error> {
        match &refusal {
            Refusal::Sql { group, error }
                if group.is_none() || Class::of(error) != Class::Fatal =>
            {
                return Err(self.refused(refusal));
            }
            Refusal::Sql { .. } | Refusal::Count { .. } => {}
        }
        tracing::info!(
            shard = %self.session.shard(),
            rows = chunk.rows().len(),
            "a batch is written change by change"
        );
        let back = if self.is_part(chunk) {
            "ROLLBACK TO part".to_owned()
        } else {
            format!("ROLLBACK; {}", self.begin)
        };
        self.simple("begin a batch anew", &back).await?;
        let groups = one_by_one(chunk);
        for groups in groups.chunks(ONE_BY_ONE) {
            let prepared = self.prepared(chunk, groups).await?;
            let arrays = arrays(chunk, groups, &prepared);
            let parameters = parameters(&arrays);
            let mut pipeline = Pipeline::new(&self.session);
            for (prepared, parameters) in prepared.iter().zip(&parameters) {
                pipeline.execute(&prepared.statement, parameters).await;
            }
            let outcome = pipeline.finish().await;
            let refusal = match outcome {
                Ok(counts) => wrong_count(groups, &counts),
                Err((at, error)) => Some(Refusal::Sql {
                    group: Some(at),
                    error,
                }),
            };
            if let Some(refusal) = refusal {
                return Err(self.conflict(chunk, groups, refusal));
            }
        }
        if chunk.is_complete {
            let place = place_parameters(chunk.last);
            let set = self
                .session
                .execute(&self.place, &[&place.0, &place.1])
                .await;
            set.map_err(|error| self.session.error("set a place", error))?;
        }
        Ok(())
    }

    fn conflict(&self, chunk: &Chunk, groups: &[Group], refusal: Refusal) -> Error {
        let at = match &refusal {
            Refusal::Sql { group, error } if Class::of(error) == Class::Fatal => *group,
            Refusal::Sql { .. } => None,
            Refusal::Count { group, .. } => Some(*group),
        };
        let group = at.and_then(|at| groups.get(at));
        let row = group.and_then(|group| chunk.rows().get(*group.rows.first()?));
        let Some(row) = row else {
            return self.refused(refusal);
        };
        Error::Conflict {
            shard: self.session.shard().clone(),
            table: row.shape.name.clone(),
            op: row.op.as_str(),
            key: chunk.key_text(row),
            what: refusal.text(),
        }
    }

    fn refused(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Sql { error, .. } => self.session.error("write a batch", error).into(),
            Refusal::Count { .. } => Error::Ended("a count without a row"),
        }
    }

    async fn commit(&self) -> Result<(), Error> {
        self.simple("commit a batch", "COMMIT").await
    }

    async fn simple(&self, what: &'static str, sql: &str) -> Result<(), Error> {
        let done = self.session.batch_execute(sql).await;
        done.map_err(|error| self.session.error(what, error).into())
    }

    /// The statements of groups, prepared where they are new.
    async fn prepared(
        &mut self,
        chunk: &Chunk,
        groups: &[Group],
    ) -> Result<Vec<Arc<Prepared>>, Error> {
        if self.statements.len() > MAX_STATEMENTS {
            self.statements.clear();
        }
        let mut prepared = Vec::with_capacity(groups.len());
        for group in groups {
            if let Some(known) = self.statements.get(&group.kind) {
                prepared.push(Arc::clone(known));
                continue;
            }
            let row = group.rows.first().and_then(|at| chunk.rows().get(*at));
            let Some(row) = row else {
                return Err(Error::Ended("a group without a row"));
            };
            let new = Arc::new(self.prepare(&group.kind, row).await?);
            self.statements.insert(group.kind.clone(), Arc::clone(&new));
            prepared.push(new);
        }
        Ok(prepared)
    }

    async fn prepare(&self, kind: &Kind, row: &Row) -> Result<Prepared, Error> {
        let Some(table) = self.tables.get(kind.table) else {
            return Err(Error::Ended("a table without a description"));
        };
        let text = table
            .check(&row.shape)
            .and_then(|()| statement::text(kind, &row.shape, table));
        let text = text.map_err(|source| Error::Mirror {
            shard: self.session.shard().clone(),
            table: table.name.clone(),
            source,
        })?;
        let statement = self.session.prepare(&text.sql).await;
        let statement =
            statement.map_err(|error| self.session.error("prepare a statement", error))?;
        let parameters = text.parameters;
        Ok(Prepared {
            statement,
            parameters,
        })
    }
}

/// Why a batch was not written as planned.
#[derive(Debug)]
enum Refusal {
    /// A statement, of a group if it is one of theirs.
    Sql {
        group: Option<usize>,
        error: tokio_postgres::Error,
    },
    /// A group changed another number of rows than it has.
    Count {
        group: usize,
        rows: usize,
        changed: u64,
    },
}

impl Refusal {
    fn text(&self) -> String {
        match self {
            Self::Sql { error, .. } => {
                let text = error.as_db_error().map(|error| match error.detail() {
                    Some(detail) => format!("{} ({detail})", error.message()),
                    None => error.message().to_owned(),
                });
                text.unwrap_or_else(|| error.to_string())
            }
            Self::Count { changed: 0, .. } => "it is not there".to_owned(),
            Self::Count { rows, changed, .. } => {
                format!("{changed} rows were changed instead of {rows}")
            }
        }
    }
}

fn wrong_count(groups: &[Group], counts: &[u64]) -> Option<Refusal> {
    let mut pairs = groups.iter().zip(counts).enumerate();
    pairs.find_map(|(at, (group, changed))| {
        let rows = group.rows.len();
        (u64::try_from(rows) != Ok(*changed)).then_some(Refusal::Count {
            group: at,
            rows,
            changed: *changed,
        })
    })
}

fn arrays<'a>(
    chunk: &'a Chunk,
    groups: &'a [Group],
    prepared: &[Arc<Prepared>],
) -> Vec<Vec<TextArray<'a>>> {
    let pairs = groups.iter().zip(prepared);
    let arrays = pairs.map(|(group, prepared)| {
        let array = |value: &Value| TextArray {
            chunk,
            rows: &group.rows,
            value: *value,
        };
        prepared.parameters.iter().map(array).collect()
    });
    arrays.collect()
}

fn parameters<'a>(arrays: &'a [Vec<TextArray<'a>>]) -> Vec<Vec<&'a (dyn ToSql + Sync)>> {
    let group = |arrays: &'a Vec<TextArray<'a>>| {
        let parameter = |array: &'a TextArray<'a>| -> &'a (dyn ToSql + Sync) { array };
        arrays.iter().map(parameter).collect()
    };
    arrays.iter().map(group).collect()
}

fn place_parameters(end: End) -> (String, i64) {
    (end.end.to_string(), end.at)
}
