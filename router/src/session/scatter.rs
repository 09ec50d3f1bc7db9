//! Queries over the rows of several shards, for one client: its backends are borrowed for the time
//! of one statement, beside whatever the session holds.
//!
//! A transaction that has done something on a shard begins on all of them, and lends its backends to
//! the query, which so reads what the transaction has written. One that has done nothing yet, where
//! each statement has a snapshot of its own, goes on doing nothing.

use std::sync::Arc;

use super::attach::Stopped;
use super::client::ClientError;
use super::simple::syntax_refusal;
use super::state::Transaction;
use super::{Ended, Session, control};
use crate::cache::DEFAULT_SEARCH_PATH;
use crate::error::Error;
use crate::pool::Pool;
use crate::query::{self, Class, Data, Statement, TableRef};
use crate::route::{NoParameters, Parameters, Plan, Refusal};
use crate::scatter;
use crate::scatter::exec::{self, Answer, Arguments, Failure, Leases};
use crate::scatter::plan::around::Copying;
use crate::view::Serving;

mod portal;

pub(super) use portal::Scattered;

/// How much is written to the client at once.
const WRITE_BYTES: usize = 32 << 10;

/// What became of handing rows out.
enum Streamed {
    /// There are no more; so many there were in all.
    All(u64),
    /// As many as were wanted.
    Wanted,
}

impl Session {
    /// Answers a simple query, which no shard by itself can answer, where all of them can.
    pub(super) async fn scatter_query(
        &mut self,
        serving: &Serving,
        (statement, plan, sql): (&Statement, &Plan, &str),
        refusal: Refusal,
    ) -> Result<(), Stopped> {
        let ran = self
            .scatter_asked(serving, (statement, plan, sql), refusal)
            .await;
        self.end_lending(&ran).await?;
        ran?;
        Ok(self.answer_ready().await?)
    }

    async fn scatter_asked(
        &mut self,
        serving: &Serving,
        (statement, plan, sql): (&Statement, &Plan, &str),
        refusal: Refusal,
    ) -> Result<(), Stopped> {
        let text = statement.text(sql);
        let hinted = self.is_hinted(statement);
        if let Some((table, columns)) = scatter::copied_table(statement, plan)
            && !hinted
        {
            return self.scatter_table(serving, text, (table, columns)).await;
        }
        let Some(data) = scatter::candidate((statement, hinted), plan, &refusal) else {
            return Err(refusal.into());
        };
        match &statement.class {
            Class::Copy(_) => {
                let copying = Copying::read(text)?;
                let copied = self.copy_out(serving, (text, data), &copying).await;
                copied.map_err(|stopped| with_hint(stopped, &refusal))
            }
            _ => {
                let arguments = Arguments::default();
                let begun = self.begin_scatter(serving, (text, data), &arguments).await;
                let mut answer = begun.map_err(|stopped| with_hint(stopped, &refusal))?;
                self.hand_over(&mut answer).await
            }
        }
    }

    /// Answers a simple EXECUTE of a query over several shards.
    pub(super) async fn scatter_given(
        &mut self,
        serving: &Serving,
        (text, data, refusal): (&str, &Data, &Refusal),
        arguments: &Arguments,
    ) -> Result<(), Stopped> {
        let ran = async {
            let begun = self.begin_scatter(serving, (text, data), arguments).await;
            let mut answer = begun.map_err(|stopped| with_hint(stopped, refusal))?;
            self.hand_over(&mut answer).await
        };
        let ran = ran.await;
        self.end_lending(&ran).await?;
        ran?;
        Ok(self.answer_ready().await?)
    }

    /// Sends a whole answer.
    async fn hand_over(&mut self, answer: &mut Answer) -> Result<(), Stopped> {
        self.client.outbound.extend_from_slice(answer.heading());
        match self.stream(answer, 0).await? {
            Streamed::All(rows) => answer.put_end(&mut self.client.outbound, rows),
            Streamed::Wanted => {}
        }
        Ok(())
    }

    /// COPY of a sharded table to the client.
    async fn scatter_table(
        &mut self,
        serving: &Serving,
        text: &str,
        (table, columns): (&TableRef, &[String]),
    ) -> Result<(), Stopped> {
        let copying = Copying::read(text)?;
        let mut leases = self.lease_all(serving).await?;
        let query = exec::table_query(&mut leases, table, columns).await;
        let query = query.map_err(|failure| self.fail_scatter(failure))?;
        leases.give_back().await;
        let analysis = query::analyze(&query).map_err(|error| syntax_refusal(&error))?;
        let statement = analysis.statements.first();
        let Some(data) = statement.and_then(|it| scatter::query_of(&it.class)) else {
            return Err(Error::NoShard.into());
        };
        self.copy_out(serving, (&query, data), &copying).await
    }

    async fn copy_out(
        &mut self,
        serving: &Serving,
        (text, data): (&str, &Data),
        copying: &Copying,
    ) -> Result<(), Stopped> {
        let leases = self.lease_all(serving).await?;
        let arguments = Arguments::default();
        let wanted = (text, data, Some(copying));
        let mut answer = self
            .begin_leased(serving, leases, wanted, &arguments)
            .await?;
        self.hand_over(&mut answer).await
    }

    /// The answer to EXPLAIN (ROUTE) of a query that goes to all shards; none for any other.
    pub(super) fn explain_scatter(
        &self,
        (statement, sql): (&Statement, &str),
        plan: &Plan,
        params: Option<&dyn Parameters>,
        serving: &Serving,
    ) -> Option<Vec<String>> {
        let params = params.unwrap_or(&NoParameters);
        let refusal = self.place(statement, plan, params, serving).err()?;
        let hinted = self.is_hinted(statement);
        let data = scatter::candidate((statement, hinted), plan, &refusal)?;
        let text = statement.text(sql);
        let schemas = self.schemas();
        let schemas: Vec<&str> = schemas.iter().map(String::as_str).collect();
        let snapshot = &serving.snapshot;
        let epoch = format!("  Epoch: {}", snapshot.epoch());
        let planned = scatter::plan::either(text, data, (snapshot, &schemas));
        let mut lines = match planned {
            Ok(program) => {
                let shards = serving.active().count();
                let mut lines = vec![format!("Scatter over {shards} shards")];
                lines.push("  Reason: the statement shows no key of one shard".to_owned());
                lines.extend(program.describe().iter().map(|line| format!("  {line}")));
                lines
            }
            Err(own) => {
                let hint = own.hint.as_ref().or(refusal.hint.as_ref());
                let mut lines = vec![format!("Refused: {own}")];
                lines.push(format!("  SQLSTATE: {}", own.sqlstate));
                lines.extend(hint.map(|hint| format!("  Advice: {hint}")));
                lines
            }
        };
        lines.push(epoch);
        Some(lines)
    }

    /// The schemas in which names are looked for.
    pub(super) fn schemas(&self) -> Vec<String> {
        match self.settings.search_path() {
            Some(schemas) => schemas.to_vec(),
            None => DEFAULT_SEARCH_PATH.map(str::to_owned).to_vec(),
        }
    }

    /// Whether a statement or the session names where it runs.
    pub(super) fn is_hinted(&self, statement: &Statement) -> bool {
        let hints = self.hints(statement);
        hints.is_some_and(|(hints, _)| hints.shard.is_some() || hints.shard_key.is_some())
    }

    pub(super) fn request<'a>(
        &self,
        (text, data, copying): (&'a str, &'a Data, Option<&'a Copying>),
        search_path: &'a [&'a str],
        arguments: &'a Arguments,
    ) -> exec::Request<'a> {
        exec::Request {
            text,
            data,
            search_path,
            arguments,
            until: self.clock.answered_by(),
            copying,
            late: None,
        }
    }

    /// Takes back the backends of the transaction that were lent for a query that has ended.
    pub(super) async fn end_lending<T>(
        &mut self,
        ended: &Result<T, Stopped>,
    ) -> Result<(), Stopped> {
        match ended {
            // Its backends are closed.
            Err(Stopped::Ended(_)) => Ok(()),
            ended => self.reclaim_returned(ended.is_err()).await,
        }
    }

    async fn begin_scatter(
        &mut self,
        serving: &Serving,
        (text, data): (&str, &Data),
        arguments: &Arguments,
    ) -> Result<Answer, Stopped> {
        let leases = self.lease_all(serving).await?;
        self.begin_leased(serving, leases, (text, data, None), arguments)
            .await
    }

    /// Borrows a backend of each shard, under the session's settings.
    pub(super) async fn lease_all(&mut self, serving: &Serving) -> Result<Leases, Stopped> {
        self.reclaim_returned(false).await?;
        if !self.stand_aside().await? {
            self.routed = serving.snapshot.epoch();
            exec::check_holds(&self.front.core, serving)?;
            return self.lend_all(serving).await;
        }
        self.routed = serving.snapshot.epoch();
        let front = Arc::clone(&self.front);
        exec::check_holds(&front.core, serving)?;
        let settings = Arc::clone(self.settings.committed());
        let grace = front.core.config.sharding.connect_timeout;
        let borrow = async |pool: &Pool| pool.checkout().await.map_err(Error::Pool);
        let mut wait = self.cancel.waits();
        let leased = tokio::select! {
            biased;
            gone = self.client.gone() => return Err(left(gone)),
            () = wait.cancelled() => return Err(Error::Cancelled.into()),
            leased = Leases::borrow(serving.active(), &settings, grace, borrow) => leased,
        };
        drop(wait);
        leased.map_err(|failure| self.fail_scatter(failure))
    }

    pub(super) async fn begin_leased(
        &mut self,
        serving: &Serving,
        leases: Leases,
        (text, data, copying): (&str, &Data, Option<&Copying>),
        arguments: &Arguments,
    ) -> Result<Answer, Stopped> {
        let front = Arc::clone(&self.front);
        let schemas = self.schemas();
        let schemas: Vec<&str> = schemas.iter().map(String::as_str).collect();
        let request = exec::Request {
            text,
            data,
            search_path: &schemas,
            arguments,
            until: self.clock.answered_by(),
            copying,
            late: None,
        };
        let mut wait = self.cancel.waits();
        let begun = tokio::select! {
            biased;
            gone = self.client.gone() => return Err(left(gone)),
            () = wait.cancelled() => return Err(Error::Cancelled.into()),
            begun = exec::begin(&front.core, serving, leases, request) => begun,
        };
        drop(wait);
        begun.map_err(|failure| self.fail_scatter(failure))
    }

    /// Leaves a backend on which nothing has happened. True when nothing that the session has done
    /// on a shard could be missed by a query on other backends.
    pub(super) async fn stand_aside(&mut self) -> Result<bool, Stopped> {
        let is_movable = self
            .attachment
            .as_ref()
            .is_some_and(|it| it.movable.is_some());
        if is_movable && self.transaction != Transaction::Failed {
            self.move_away().await?;
        }
        let apart = match &self.transaction {
            Transaction::Idle => self.attachment.is_none(),
            Transaction::Pending(preamble) => {
                let isolated = self
                    .settings
                    .in_force()
                    .has("default_transaction_isolation");
                preamble.has_no_snapshot() && !isolated
            }
            Transaction::Open => false,
            Transaction::FailedPending(_) | Transaction::Failed => {
                return Err(control::in_failed_transaction().into());
            }
        };
        Ok(apart)
    }

    /// Hands rows to the client, at most so many unless that is 0.
    async fn stream(&mut self, answer: &mut Answer, max_rows: u64) -> Result<Streamed, Stopped> {
        let before = answer.returned();
        let mut wait = self.cancel.waits();
        loop {
            if max_rows > 0 && answer.returned() - before >= max_rows {
                return Ok(Streamed::Wanted);
            }
            let waits = !answer.has_buffered();
            let full = self.client.outbound.len() >= WRITE_BYTES;
            if (full || (waits && self.client.owes()))
                && let Err(error) = self.client.flush().await
            {
                answer.stop().await;
                return Err(left(error));
            }
            let next = tokio::select! {
                biased;
                () = wait.cancelled() => Err(Failure::Own(Error::Cancelled)),
                next = answer.next() => next,
                gone = self.client.gone(), if waits => {
                    answer.stop().await;
                    return Err(left(gone));
                }
            };
            match next {
                Ok(Some(row)) => self.client.outbound.extend_from_slice(&row),
                Ok(None) => return Ok(Streamed::All(answer.returned())),
                Err(failure) => {
                    answer.stop().await;
                    drop(wait);
                    return Err(self.fail_scatter(failure));
                }
            }
        }
    }

    /// What becomes of a failure.
    pub(super) fn fail_scatter(&mut self, failure: Failure) -> Stopped {
        match failure {
            Failure::Own(error) => error.into(),
            Failure::Shard(frames) => {
                self.transaction = std::mem::take(&mut self.transaction).refused();
                self.client.outbound.extend_from_slice(&frames);
                Stopped::Answered
            }
        }
    }
}

fn left(error: std::io::Error) -> Stopped {
    Stopped::Ended(Ended::Client(ClientError::Io(error)))
}

/// A refusal without a way out gets the one that a statement without a key has.
fn with_hint(stopped: Stopped, refusal: &Refusal) -> Stopped {
    match stopped {
        Stopped::Told(Error::Refused(mut own)) if own.hint.is_none() && own.sqlstate == "0A000" => {
            own.hint.clone_from(&refusal.hint);
            own.into()
        }
        stopped => stopped,
    }
}
