//! INSERT of a query's rows that belong to several shards: the query is answered where it can be,
//! its rows come page by page, and each goes to the shard of its key. One statement is one
//! transaction.
//!
//! What a shard is sent is the client's own INSERT with a page of rows in the place of its query, so
//! that casts, defaults, ON CONFLICT and RETURNING are PostgreSQL's. Memory is bounded by a page.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use topology::ShardIndex;

use super::Session;
use super::attach::Stopped;
use super::state::Transaction;
use crate::error::Error;
use crate::query::{self, Class, Pulled, Statement};
use crate::route::{self, KeyColumn, NoParameters, Parameters, Plan, PulledInto, Refusal, Target};
use crate::scatter;
use crate::scatter::exec::{Answer, Arguments};
use crate::session::simple::{may_write, syntax_refusal};
use crate::view::Serving;

mod asking;
mod batch;
mod pages;

use asking::Program;
use pages::{Pages, Rows};

/// An INSERT that was refused for one shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) into: &'a PulledInto,
    /// Its text, alone.
    pub(super) sql: &'a str,
    pub(super) arguments: &'a Arguments,
    /// Why it is not for one shard.
    pub(super) refusal: &'a Refusal,
}

/// Where a query is answered.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// On one shard; whether it may write there.
    One(Target, bool),
    /// On all of them.
    All,
}

impl Source {
    /// A shard that knows all that the statement is about. What is handed out is described by the
    /// one whose catalogs clients read.
    fn target(self, sql: &str) -> Target {
        let returns = query::returns_rows(sql, query::MAX_STATEMENT_BYTES);
        match self {
            Self::One(Target::Any, _) | Self::All if returns => Target::Catalog,
            Self::One(target, _) => target,
            Self::All => Target::Any,
        }
    }
}

/// Until when a statement may take, and how long that was.
type Deadline = Option<(Instant, Duration)>;

impl Session {
    /// What an INSERT goes into that was refused for one shard, where its rows may go to several.
    pub(super) fn pulled_into(
        &self,
        statement: &Statement,
        refusal: &Refusal,
        serving: &Serving,
    ) -> Option<PulledInto> {
        // A table that is not registered may be a mistake in its name, which PostgreSQL tells better.
        if refusal.sqlstate != "0A000" || refusal.is_of_an_unregistered_table() {
            return None;
        }
        if self.hints(statement).is_some() {
            return None;
        }
        let class = match &statement.class {
            Class::ExplainRoute(inner) | Class::Explain { inner, .. } => inner,
            class => class,
        };
        let schemas = self.schemas();
        let schemas: Vec<&str> = schemas.iter().map(String::as_str).collect();
        route::pulled_into(class, &serving.snapshot, &schemas)
    }

    /// Answers a simple query that is such an INSERT.
    pub(super) async fn pull_query(
        &mut self,
        serving: &Serving,
        asked: Asked<'_>,
    ) -> Result<Bytes, Stopped> {
        let begun = self.transaction == Transaction::Idle;
        let ran = self.pull(serving, asked, true).await;
        self.conclude(begun, ran).await
    }

    /// Runs the INSERT within the transaction, which is begun if none is open; gives the answer,
    /// under its heading where one is wanted.
    pub(super) async fn pull(
        &mut self,
        serving: &Serving,
        asked: Asked<'_>,
        headed: bool,
    ) -> Result<Bytes, Stopped> {
        self.must_not_have_failed()?;
        let deadline = self.clock.answered_by();
        let about = (asked.into, asked.sql, asked.refusal);
        let (pulled, source) = self.take_apart(serving, about, asked.arguments)?;
        scatter::exec::check_holds(&self.front.core, serving)?;
        // What the session's own backends are needed for, they cannot be lent for.
        let apart = match source {
            Source::All if self.stand_aside().await? => Some(self.lease_all(serving).await?),
            Source::All | Source::One(..) => None,
        };
        let about = (&pulled, source.target(asked.sql));
        let program = self.program_of(serving, &asked, about).await?;
        let rows = match source {
            Source::One(_, writes) => Rows::of_one(self.current_shard(serving)?, writes),
            Source::All => {
                let leases = match apart {
                    Some(leases) => leases,
                    None => self.lease_all(serving).await?,
                };
                let answer = self.begin_pulling(serving, leases, &program, asked).await;
                self.end_lending(&answer).await?;
                Rows::of_all(answer?)
            }
        };
        self.pull_rows(serving, (&program, asked), (rows, deadline), headed)
            .await
    }

    /// The answer to EXPLAIN (ROUTE) of such an INSERT; none for any other statement.
    pub(super) fn explain_pulled(
        &self,
        (statement, sql): (&Statement, &str),
        plan: &Plan,
        params: Option<&dyn Parameters>,
        serving: &Serving,
    ) -> Option<Vec<String>> {
        let params = params.unwrap_or(&NoParameters);
        let refusal = self.place(statement, plan, params, serving).err()?;
        let into = self.pulled_into(statement, &refusal, serving)?;
        let Class::ExplainRoute(inner) = &statement.class else {
            return None;
        };
        let inner = Statement {
            class: (**inner).clone(),
            ..statement.clone()
        };
        let schemas = self.schemas();
        let schemas: Vec<&str> = schemas.iter().map(String::as_str).collect();
        let about = (&inner, plan);
        let split = route::split(about, &refusal, params, &serving.snapshot, &schemas);
        if !matches!(split, Ok(None)) {
            // Each shard inserts what it reads itself.
            return None;
        }
        let asked = (&into, statement.text(sql), &refusal);
        let epoch = format!("  Epoch: {}", serving.snapshot.epoch());
        match self.take_apart(serving, asked, params) {
            Ok((_, source)) => {
                let KeyColumn { table, column } = &into.key.column;
                let source = match source {
                    Source::One(..) => "one shard answers it",
                    Source::All => "all shards answer it, each for its rows",
                };
                Some(vec![
                    format!("Insert on up to {} shards", serving.active().count()),
                    format!("  Reason: the query's rows belong where their \"{column}\" is"),
                    format!("  Query: {source}"),
                    format!("  Then: its rows are inserted into \"{table}\" page by page"),
                    epoch,
                ])
            }
            Err(Stopped::Told(Error::Refused(own))) => {
                let mut lines = vec![format!("Refused: {own}")];
                lines.push(format!("  SQLSTATE: {}", own.sqlstate));
                lines.extend(own.hint.iter().map(|hint| format!("  Advice: {hint}")));
                lines.push(epoch);
                Some(lines)
            }
            Err(_) => None,
        }
    }

    /// What is handed out by such an INSERT once it is bound; none where that is nothing.
    pub(super) async fn describe_pulled(
        &mut self,
        serving: &Serving,
        asked: Asked<'_>,
    ) -> Result<Option<Bytes>, Stopped> {
        self.must_not_have_failed()?;
        if !query::returns_rows(asked.sql, query::MAX_STATEMENT_BYTES) {
            return Ok(None);
        }
        let about = (asked.into, asked.sql, asked.refusal);
        let (_, source) = self.take_apart(serving, about, asked.arguments)?;
        let target = source.target(asked.sql);
        self.heading_into(serving, &asked, target).await
    }

    /// The query of the INSERT, and where it is answered.
    fn take_apart(
        &self,
        serving: &Serving,
        (into, sql, refusal): (&PulledInto, &str, &Refusal),
        params: &dyn Parameters,
    ) -> Result<(Pulled, Source), Stopped> {
        let Some(pulled) = Pulled::read(sql, query::MAX_STATEMENT_BYTES) else {
            return Err(refusal.clone().into());
        };
        if pulled.drops_values() {
            return Err(drops_values().into());
        }
        scatter::plan::check_numbers(sql)?;
        let text = pulled.query(&[]).ok_or_else(not_understood)?;
        let planned = self.front.core.cache.plan(&text, &serving.snapshot);
        let planned = planned.map_err(|error| syntax_refusal(&error))?;
        let plans = self.plans(&planned, serving);
        let only = planned.analysis.statements.first().zip(plans.plans.first());
        let (statement, plan) = only.ok_or_else(not_understood)?;
        let Class::Select(data) = &statement.class else {
            return Err(not_understood().into());
        };
        if !data.writes.is_empty() {
            return Err(refusal.clone().into());
        }
        if data.scopes.len() != into.levels {
            return Err(reads_elsewhere().into());
        }
        match self.place(statement, plan, params, serving) {
            Ok(Target::Everywhere) => Err(not_understood().into()),
            Ok(target) => Ok((pulled, Source::One(target, may_write(plan, statement)))),
            Err(refusal) => match scatter::candidate((statement, false), plan, &refusal) {
                Some(_) => Ok((pulled, Source::All)),
                None => Err(with_way_out(refusal).into()),
            },
        }
    }

    /// Asks all shards for the rows, before any is inserted.
    async fn begin_pulling(
        &mut self,
        serving: &Serving,
        leases: scatter::exec::Leases,
        program: &Program,
        asked: Asked<'_>,
    ) -> Result<Answer, Stopped> {
        let analysis = query::analyze(&program.query).map_err(|error| syntax_refusal(&error))?;
        let statement = analysis.statements.first();
        let data = statement.and_then(|it| scatter::query_of(&it.class));
        let data = data.ok_or_else(not_understood)?;
        let arguments = Arguments {
            types: program.types.clone(),
            values: asked.arguments.values.clone(),
            results: Vec::new(),
        };
        let wanted = (program.query.as_str(), data, None);
        let begun = self.begin_leased(serving, leases, wanted, &arguments).await;
        let mut answer = begun.map_err(|stopped| match stopped {
            Stopped::Told(Error::Refused(refusal)) => with_way_out(refusal).into(),
            stopped => stopped,
        })?;
        self.keep_lent(&mut answer).await?;
        Ok(answer)
    }

    /// Inserts the rows; gives the answer.
    async fn pull_rows(
        &mut self,
        serving: &Serving,
        (program, asked): (&Program, Asked<'_>),
        (rows, deadline): (Rows, Deadline),
        headed: bool,
    ) -> Result<Bytes, Stopped> {
        let mut shards: Vec<ShardIndex> = serving.active().map(|(index, _)| index).collect();
        if let Some(shard) = rows.shard()
            && !shards.contains(&shard)
        {
            shards.push(shard);
        }
        self.gather(serving, &shards, false).await?;
        let lent = self.lend(serving, &shards).await?;
        let mut pages = Pages::new((program, asked), lent, rows, deadline);
        let ran = self.move_rows(serving, &mut pages).await;
        let grace = self.front.core.config.sharding.connect_timeout;
        let mut back = pages.end(grace).await;
        if let Err(Stopped::Ended(_)) = ran {
            // The backends are closed, and with them the transaction ends.
            back.clear();
        }
        self.reclaim(back, ran.is_err()).await?;
        ran?;
        pages.answer(headed)
    }

    fn current_shard(&self, serving: &Serving) -> Result<ShardIndex, Error> {
        let own = self.attachment.as_ref().map(|it| &it.shard);
        let mut shards = (0..).map(ShardIndex).zip(serving.snapshot.shards());
        let found = shards.find(|(_, shard)| Some(&shard.id) == own);
        found.map(|(index, _)| index).ok_or(Error::NoShard)
    }
}

fn not_understood() -> Refusal {
    Refusal::unsupported("the query of an INSERT for several shards is not understood")
}

fn reads_elsewhere() -> Refusal {
    Refusal::unsupported(
        "a sub-query in ON CONFLICT or RETURNING is not supported where rows go to several shards",
    )
    .hint("restrict the query to one value of the column that gives the key")
}

fn drops_values() -> Refusal {
    Refusal::unsupported(
        "OVERRIDING USER VALUE is not supported where a query's rows go to several shards",
    )
    .hint("leave the identity column out of the list")
}

/// A query that is refused by itself, with what else can be done about it.
fn with_way_out(mut refusal: Refusal) -> Refusal {
    if refusal.sqlstate == "0A000" && refusal.hint.is_none() {
        let hint = "write the query so that it is answered by itself, or restrict it to one value of \
                    the column that gives the key";
        refusal.hint = Some(hint.to_owned());
    }
    refusal
}
