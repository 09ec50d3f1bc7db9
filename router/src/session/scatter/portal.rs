//! Portals and cursors of queries over the rows of several shards.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use wire::backend::encode;
use wire::frontend::Bind;

use super::{Streamed, with_hint};
use crate::cache::Planned;
use crate::error::Error;
use crate::query::Data;
use crate::route::{Plan, Refusal};
use crate::scatter;
use crate::scatter::exec::{self, Answer, Arguments};
use crate::session::Session;
use crate::session::attach::Stopped;
use crate::session::prepared::Prepared;
use crate::session::simple::syntax_refusal;
use crate::view::Serving;

/// A portal of such a query.
#[derive(Debug)]
pub(in crate::session) struct Scattered {
    asked: Asked,
    arguments: Arguments,
    /// What it comes to, once it was described or executed.
    answer: tokio::sync::Mutex<Option<Answer>>,
}

impl Scattered {
    /// A portal of what a Bind says.
    pub(in crate::session) fn new(prepared: Arc<Prepared>, bind: &Bind<'_>) -> Self {
        let arguments = Self::arguments(&prepared, bind);
        Self {
            asked: Asked::Prepared(prepared),
            arguments,
            answer: tokio::sync::Mutex::new(None),
        }
    }

    /// What a Bind gives a statement.
    pub(in crate::session) fn arguments(prepared: &Prepared, bind: &Bind<'_>) -> Arguments {
        let value = |value: &[u8]| Bytes::copy_from_slice(value);
        let values = bind.parameters_with_formats();
        let values = values.map(|(format, bytes)| (format, bytes.map(value)));
        let formats = bind.result_formats;
        Arguments {
            types: prepared.parameter_types.to_vec(),
            values: values.collect(),
            results: (0..formats.len()).map(|at| formats.of(at)).collect(),
        }
    }

    /// A cursor for a query.
    pub(in crate::session) fn cursor(query: String, arguments: Arguments) -> Self {
        Self {
            asked: Asked::Query(query),
            arguments,
            answer: tokio::sync::Mutex::new(None),
        }
    }

    /// The format in which a cursor's rows come.
    pub(in crate::session) fn format(&self) -> wire::Format {
        self.arguments.results.first().copied().unwrap_or_default()
    }
}

/// What a portal is of.
#[derive(Debug)]
enum Asked {
    /// A prepared statement.
    Prepared(Arc<Prepared>),
    /// The query of a cursor.
    Query(String),
}

impl Session {
    /// Describes a portal.
    pub(in crate::session) async fn describe_scattered(
        &mut self,
        scattered: &Scattered,
    ) -> Result<Bytes, Stopped> {
        self.find_backend_for_descriptions().await?;
        self.flush_to_go_on().await?;
        let mut answer = scattered.answer.lock().await;
        if answer.is_none() && !self.stand_aside().await? {
            // Its backends are not to be held until it is executed.
            let described = self.heading_of(scattered).await;
            self.end_lending(&described).await?;
            return described;
        }
        self.open(scattered, &mut answer).await?;
        let heading = answer.as_ref().map(|answer| answer.heading().clone());
        Ok(heading.unwrap_or_default())
    }

    /// What a portal hands out, asked within the transaction.
    async fn heading_of(&mut self, scattered: &Scattered) -> Result<Bytes, Stopped> {
        let serving = self.front.core.view.load();
        let (text, analysis) = self.query_of(&serving, scattered)?;
        let data = data_of(&analysis)?;
        let mut leases = self.lease_all(&serving).await?;
        let schemas = self.schemas();
        let schemas: Vec<&str> = schemas.iter().map(String::as_str).collect();
        let request = self.request((&text, data, None), &schemas, &scattered.arguments);
        let described = exec::describe(&serving, &mut leases, request).await;
        leases.give_back().await;
        described.map_err(|failure| self.fail_scatter(failure))
    }

    /// Executes a portal; false while it has more rows.
    pub(in crate::session) async fn execute_scattered(
        &mut self,
        scattered: &Scattered,
        max_rows: i32,
    ) -> Result<bool, Stopped> {
        // Answers so far come before its rows.
        self.find_backend_for_descriptions().await?;
        self.flush_to_go_on().await?;
        let max_rows = u64::try_from(max_rows).unwrap_or(0);
        let executed = self.hand_out(scattered, max_rows).await;
        self.end_lending(&executed).await?;
        executed
    }

    async fn hand_out(&mut self, scattered: &Scattered, max_rows: u64) -> Result<bool, Stopped> {
        let mut answer = scattered.answer.lock().await;
        self.open(scattered, &mut answer).await?;
        let Some(answer) = answer.as_mut() else {
            return Ok(true);
        };
        let before = answer.returned();
        match self.stream(answer, max_rows).await? {
            Streamed::All(rows) => {
                answer.put_end(&mut self.client.outbound, rows - before);
                Ok(true)
            }
            Streamed::Wanted => {
                self.keep_lent(answer).await?;
                encode::portal_suspended(&mut self.client.outbound);
                Ok(false)
            }
        }
    }

    /// Opens a cursor, so that it reads what is there now; gives its heading.
    pub(in crate::session) async fn open_cursor(
        &mut self,
        cursor: &Scattered,
    ) -> Result<(), Stopped> {
        let opened = self.open_and_keep(cursor).await;
        self.end_lending(&opened).await?;
        opened
    }

    async fn open_and_keep(&mut self, cursor: &Scattered) -> Result<(), Stopped> {
        let mut answer = cursor.answer.lock().await;
        self.open(cursor, &mut answer).await?;
        match answer.as_mut() {
            Some(answer) => self.keep_lent(answer).await,
            None => Ok(()),
        }
    }

    /// Rows of a cursor, at most so many unless that is 0; gives their number. They are dropped
    /// unless they are to be shown, under a heading where one is.
    pub(in crate::session) async fn fetch_rows(
        &mut self,
        cursor: &Scattered,
        (max_rows, shown, headed): (u64, bool, bool),
    ) -> Result<u64, Stopped> {
        let mut answer = cursor.answer.lock().await;
        let Some(answer) = answer.as_mut() else {
            return Ok(0);
        };
        let before = answer.returned();
        if !shown {
            while max_rows == 0 || answer.returned() - before < max_rows {
                match answer.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(failure) => return Err(self.fail_scatter(failure)),
                }
            }
            return Ok(answer.returned() - before);
        }
        if headed {
            self.client.outbound.extend_from_slice(answer.heading());
        }
        self.stream(answer, max_rows).await?;
        Ok(answer.returned() - before)
    }

    /// How many rows of a cursor have been read.
    pub(in crate::session) async fn cursor_position(&self, cursor: &Scattered) -> u64 {
        let answer = cursor.answer.lock().await;
        answer.as_ref().map_or(0, Answer::returned)
    }

    /// The heading of a cursor that is open.
    pub(in crate::session) async fn cursor_heading(&self, cursor: &Scattered) -> Bytes {
        let answer = cursor.answer.lock().await;
        let heading = answer.as_ref().map(|answer| answer.heading().clone());
        heading.unwrap_or_default()
    }

    /// Frees backends of the transaction that an answer still reads from.
    pub(in crate::session) async fn keep_lent(
        &mut self,
        answer: &mut Answer,
    ) -> Result<(), Stopped> {
        if !self.has_lent() {
            return Ok(());
        }
        let kept = answer.keep().await;
        kept.map_err(|failure| self.fail_scatter(failure))
    }

    async fn open(
        &mut self,
        scattered: &Scattered,
        answer: &mut Option<Answer>,
    ) -> Result<(), Stopped> {
        if answer.is_some() {
            return Ok(());
        }
        let mut since: Option<Instant> = None;
        loop {
            let serving = self.front.core.view.load();
            match self.open_by(&serving, scattered).await {
                Ok(opened) => {
                    *answer = Some(opened);
                    return Ok(());
                }
                Err(stopped) => Box::pin(self.wait_out(stopped, 0, &mut since)).await?,
            }
        }
    }

    async fn open_by(
        &mut self,
        serving: &Serving,
        scattered: &Scattered,
    ) -> Result<Answer, Stopped> {
        let Asked::Prepared(prepared) = &scattered.asked else {
            let (text, analysis) = self.query_of(serving, scattered)?;
            let data = data_of(&analysis)?;
            let arguments = &scattered.arguments;
            return self.begin_scatter(serving, (&text, data), arguments).await;
        };
        let (Some(planned), Some(statement)) = (&prepared.planned, prepared.statement()) else {
            return Err(Error::NoShard.into());
        };
        let plans = self.plans(planned, serving);
        let plan = plans.plans.first().ok_or(Error::NoShard)?;
        let refusal = match plan {
            Plan::NeedsHint { refusal, .. } => refusal.clone(),
            _ => Refusal::of_several_shards(),
        };
        let Some(data) = scatter::candidate((statement, self.is_hinted(statement)), plan, &refusal)
        else {
            return Err(refusal.into());
        };
        let text = statement.text(prepared.sql());
        let begun = self
            .begin_scatter(serving, (text, data), &scattered.arguments)
            .await;
        begun.map_err(|stopped| with_hint(stopped, &refusal))
    }

    /// The text of a portal's query, and what it is.
    fn query_of(
        &self,
        serving: &Serving,
        scattered: &Scattered,
    ) -> Result<(String, Arc<Planned>), Stopped> {
        let text = match &scattered.asked {
            Asked::Query(text) => text.clone(),
            Asked::Prepared(prepared) => {
                let text = prepared.sql();
                let own = prepared.statement().map(|it| it.text(text));
                own.unwrap_or(text).to_owned()
            }
        };
        let planned = self.front.core.cache.plan(&text, &serving.snapshot);
        let planned = planned.map_err(|error| syntax_refusal(&error))?;
        Ok((text, planned))
    }
}

/// What a text of one query reads.
fn data_of(planned: &Planned) -> Result<&Data, Stopped> {
    let statement = planned.analysis.statements.first();
    let data = statement.and_then(|it| scatter::query_of(&it.class));
    data.ok_or_else(|| Error::NoShard.into())
}
