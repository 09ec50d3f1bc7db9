//! The simple query protocol: a text of any number of statements, one answer.

use platform::trace;
use tokio::time::Instant;
use wire::backend::encode;
use wire::frontend::Query;

use super::attach::Stopped;
use super::by_sql::BySql;
use super::client::Frame;
use super::effects::{self, Effect};
use super::expect::{Answer, Back};
use super::explaining::{self, Explain};
use super::form::{ByForm, Located};
use super::naming::Named;
use super::pulling::Asked as Pull;
use super::shortcut::Begun;
use super::state::Transaction;
use super::{Ended, Flight, Session, answers, control, local, poison};
use crate::error::Error;
use crate::exec::everywhere;
use crate::metrics::Decision;
use crate::query::{self, Class, CopyStatement, HINTS, Statement, SyntaxError};
use crate::route::{self, NoParameters, Plan, Refusal, Target};
use crate::scatter::exec::Arguments;
use crate::view::Serving;

impl Session {
    /// Answers a Query message, from where [`Session::begin`] has come to.
    pub(super) async fn simple_query(&mut self, frame: &Frame, begun: Begun) -> Result<(), Ended> {
        if !self.begin_simple().await? {
            return Ok(());
        }
        let mut since = None;
        let mut begun = begun;
        let stopped = loop {
            let ran = match std::mem::take(&mut begun) {
                Begun::Not => self.run_text(frame, Named::No).await,
                Begun::Located(serving, located) => self.run_alone(&serving, located, frame).await,
                Begun::Turn(asked) => self.answer_query(asked).await,
                Begun::Stopped(stopped) => Err(stopped),
                Begun::Answered => return Ok(()),
            };
            match ran {
                Ok(()) => return Ok(()),
                Err(stopped) => {
                    let bytes = frame.bytes().len();
                    match Box::pin(self.wait_out(stopped, bytes, &mut since)).await {
                        // It may be for one shard now.
                        Ok(()) => self.client.withhold_no_more(),
                        Err(stopped) => break stopped,
                    }
                }
            }
        };
        match stopped {
            Stopped::Told(error) => Box::pin(self.answer_simple_error(&error)).await,
            Stopped::Answered => self.answer_ready().await,
            Stopped::Ended(ended) => Err(ended),
        }
    }

    /// Ends what no Sync has ended; false when the message is to be skipped, as PostgreSQL skips
    /// whatever follows an error of the extended protocol up to Sync.
    pub(super) async fn begin_simple(&mut self) -> Result<bool, Ended> {
        if self.batch.is_failed() {
            return Ok(false);
        }
        if self.is_within_batch() {
            Box::pin(self.end_batch()).await?;
        }
        self.begin_alone();
        Ok(!self.batch.is_failed())
    }

    /// Begins a query that stands in no batch, or is one by itself.
    pub(super) fn begin_alone(&mut self) {
        // It is the end of the unnamed statement, too.
        self.unparsed = None;
        if !self.statements.is_empty() {
            self.statements.remove(&b""[..]);
        }
        self.torn = false;
        self.client.withhold_no_more();
    }

    /// Ends what no Sync has ended.
    async fn end_batch(&mut self) -> Result<(), Ended> {
        match self.close_batch().await {
            Ok(()) => Ok(()),
            Err(Stopped::Told(error)) => self.fail_batch(&error).await,
            Err(Stopped::Answered) => self.skip_to_sync().await,
            Err(Stopped::Ended(ended)) => Err(ended),
        }
    }

    pub(super) async fn run_text(&mut self, frame: &Frame, named: Named) -> Result<(), Stopped> {
        // It may be routed anew, to what is not shared.
        self.flight.shares = None;
        let text = Query::decode(frame.body())?.sql;
        let sql = text.as_str().map_err(|_| not_utf8())?;
        let sql = trace::without_comment(sql, &HINTS);
        let serving = self.front.core.view.load();
        if let Some(places) = query::new_ids(sql) {
            return self.run_with_ids(sql, &places, named).await;
        }
        match self.locate_by_form(sql, &serving) {
            Some(ByForm::Located(located)) => {
                return self.run_located(&serving, located, frame).await;
            }
            Some(ByForm::Unnamed(plans)) if named == Named::No => {
                return self.run_with_columns(&serving, sql, &plans).await;
            }
            Some(ByForm::Viewed(plans)) => {
                return self.run_with_views(sql, &plans, named).await;
            }
            Some(ByForm::Unnamed(_)) | None => {}
        }
        let planned = match self.front.core.cache.plan(sql, &serving.snapshot) {
            Ok(planned) => planned,
            Err(error @ SyntaxError::Syntax { .. }) => {
                let own = syntax_refusal(&error);
                let any = Target::Any;
                return Box::pin(self.let_shard_report(&serving, any, sql, own)).await;
            }
            Err(error) => return Err(syntax_refusal(&error).into()),
        };
        let plans = self.plans(&planned, &serving);
        if self.needs_views(&plans) {
            return self.run_with_views(sql, &plans, named).await;
        }
        if named == Named::No && self.needs_columns(&plans) {
            return self.run_with_columns(&serving, sql, &plans).await;
        }
        match planned.analysis.statements.as_slice() {
            [] => {
                let frames = local::frames(encode::empty_query_response);
                self.answer_locally(&frames).await
            }
            [statement] => {
                let plan = plans.plans.first();
                self.run_single(&serving, statement, plan, sql, frame).await
            }
            statements => {
                let plans = &plans.plans;
                Box::pin(self.run_script(&serving, statements, plans, sql, frame)).await
            }
        }
    }

    /// One statement, of which is known that it goes to one shard and does nothing else.
    async fn run_located(
        &mut self,
        serving: &Serving,
        located: Located,
        frame: &Frame,
    ) -> Result<(), Stopped> {
        if self.may_share_located(&located)
            && let Some(standing) = self.line_up_located(serving, &located, [frame.bytes(), &[]])?
        {
            let asked = self.wait_for_turn(serving, standing).await?;
            self.flight.shares = Some(located.planned);
            return self.answer_query(asked).await;
        }
        self.run_alone(serving, located, frame).await
    }

    /// As [`Self::run_located`], on a backend of its own.
    async fn run_alone(
        &mut self,
        serving: &Serving,
        located: Located,
        frame: &Frame,
    ) -> Result<(), Stopped> {
        let shares = self.may_share_located(&located);
        let Located {
            target,
            writes,
            permit,
            planned,
        } = located;
        self.flight.note_writes(writes);
        self.attach_reader(serving, target, permit).await?;
        self.flight.ends = self.transaction == Transaction::Idle;
        self.flight.shares = shares.then_some(planned);
        self.forward_query(frame).await
    }

    /// One statement, which is the whole text.
    async fn run_single(
        &mut self,
        serving: &Serving,
        statement: &Statement,
        plan: Option<&Plan>,
        sql: &str,
        frame: &Frame,
    ) -> Result<(), Stopped> {
        let class = &statement.class;
        if self.company.is_some()
            && let Some(frames) = Box::pin(self.run_together(class)).await?
        {
            return self.answer_locally(&frames).await;
        }
        self.drop_cursors(class);
        if let Class::Cursor(_) = class {
            let text = statement.text(sql);
            if let Some(frames) = Box::pin(self.use_cursor(class, text)).await? {
                return self.answer_locally(&frames).await;
            }
        }
        if let Class::Sharding(call) = class {
            let frames = Box::pin(self.run_sharding(call, serving)).await?;
            return self.answer_in_rows(class, &frames).await;
        }
        if let Some(frames) = self.run_locally(class, sql)? {
            self.front.core.metrics.decided(Decision::Local);
            return self.answer_in_rows(class, &frames).await;
        }
        if let Transaction::FailedPending(_) = self.transaction {
            return Err(control::in_failed_transaction().into());
        }
        if let Some(which) = BySql::of(class) {
            return self.run_by_sql(serving, statement, which, sql).await;
        }
        self.check_setting(class, sql)?;
        let failed = self.transaction == Transaction::Failed;
        if !failed
            && let Some(frames) = self.explain_route((statement, sql), plan, None, serving)?
        {
            return self.answer_in_rows(class, &frames).await;
        }
        if !failed && plan == Some(&Plan::Everywhere) {
            let only = std::slice::from_ref(statement);
            let frames = Box::pin(self.run_everywhere(serving, only, sql)).await?;
            return self.answer_locally(&frames).await;
        }
        let permit = self.permit(statement, plan);
        let target = match plan {
            // A failed transaction answers everything with the same error, or ends.
            _ if failed => Target::Any,
            _ if is_neutral(class) => neutral_target(class),
            Some(plan) => {
                self.flight.note_writes(may_write(plan, statement));
                match self.place(statement, plan, &NoParameters, serving) {
                    Ok(target) => target,
                    Err(refusal) => {
                        let asked = (statement, plan, sql);
                        return Box::pin(self.run_on_several(serving, asked, refusal)).await;
                    }
                }
            }
            None => Target::Any,
        };
        self.attach_reader(serving, target, permit).await?;
        if let Class::DeclareCursor { name, .. } = class {
            Box::pin(self.must_be_a_new_cursor(name)).await?;
            self.note_cursor(name);
        }
        self.flight.ends = self.transaction == Transaction::Idle;
        self.flight.note_calls(statement);
        self.note_effect(Effect::of_statement(statement, sql));
        self.forward_query(frame).await
    }

    /// One statement that was refused for one shard.
    async fn run_on_several(
        &mut self,
        serving: &Serving,
        (statement, plan, sql): (&Statement, &Plan, &str),
        refusal: Refusal,
    ) -> Result<(), Stopped> {
        if let Some(into) = self.copied_into(statement, serving) {
            let frames = self.copy_in_query(serving, &into, sql).await?;
            return self.answer_locally(&frames).await;
        }
        if explaining::is_explain(&statement.class) {
            let explain = Explain {
                statement,
                plan,
                sql,
                refusal: &refusal,
                arguments: &Arguments::default(),
            };
            let frames = self.explain_simply(serving, explain).await?;
            return self.answer_locally(&frames).await;
        }
        let text = (sql, &refusal);
        let split = self.split_of((statement, plan), text, &NoParameters, serving)?;
        if let Some(split) = split {
            let frames = self.query_in_parts(serving, &split).await?;
            return self.answer_locally(&frames).await;
        }
        if let Some(into) = self.pulled_into(statement, &refusal, serving) {
            let asked = Pull {
                into: &into,
                sql: statement.text(sql),
                arguments: &Arguments::default(),
                refusal: &refusal,
            };
            let frames = self.pull_query(serving, asked).await?;
            return self.answer_locally(&frames).await;
        }
        if refusal.may_be_of_a_mistake() {
            let index = route::common_shard(&serving.snapshot)?;
            let there = Target::Shard { index, token: None };
            let asked = probe(&statement.class, sql);
            let asked = asked.as_deref().unwrap_or(sql);
            return self.let_shard_report(serving, there, asked, refusal).await;
        }
        let asked = (statement, plan, sql);
        let none = Arguments::default();
        if let Some(frames) = self.declare_scattered(asked, &refusal, none).await? {
            return self.answer_locally(&frames).await;
        }
        self.scatter_query(serving, asked, refusal).await
    }

    /// Runs a text on every shard and gives the answer without its ReadyForQuery.
    pub(super) async fn run_everywhere(
        &mut self,
        serving: &Serving,
        statements: &[Statement],
        sql: &str,
    ) -> Result<bytes::Bytes, Stopped> {
        let schemas = self.schemas();
        let setting = route::Setting {
            snapshot: &serving.snapshot,
            search_path: &schemas.iter().map(String::as_str).collect::<Vec<_>>(),
            new_tables: self.new_tables(),
        };
        let change = everywhere::Change::of(statements, sql, &setting)?;
        for statement in statements.iter().filter(|it| !it.hints.registers()) {
            // Under a shard hint a schema change is refused.
            self.place(statement, &Plan::Everywhere, &NoParameters, serving)?;
        }
        match &self.transaction {
            Transaction::Idle => {}
            Transaction::FailedPending(_) | Transaction::Failed => {
                return Err(control::in_failed_transaction().into());
            }
            Transaction::Pending(_) | Transaction::Open => {
                return Box::pin(self.change_within(serving, &change)).await;
            }
        }
        let core = &self.front.core;
        let outcome = everywhere::run(core, serving, self.settings.committed(), &change).await;
        match outcome {
            Ok(frames) => Ok(frames),
            Err(everywhere::Failure::Own(error)) => Err(error.into()),
            Err(everywhere::Failure::Shard(frames)) => {
                self.client.outbound.extend_from_slice(&frames);
                Err(Stopped::Answered)
            }
        }
    }

    /// Lets a shard say what is wrong with a text, without running it; where it finds nothing, the
    /// client reads the router's own refusal.
    pub(super) async fn let_shard_report(
        &mut self,
        serving: &Serving,
        target: Target,
        sql: &str,
        own: Refusal,
    ) -> Result<(), Stopped> {
        if matches!(self.transaction, Transaction::FailedPending(_)) {
            return Err(own.into());
        }
        match self.attach(serving, target).await {
            Err(Stopped::Told(_)) => return Err(own.into()),
            attached => attached?,
        }
        if let Some(attachment) = &mut self.attachment {
            attachment.lease.unnamed = None;
        }
        // Parse only: should the shard's own parser accept it, it is not run unrouted.
        wire::frontend::encode::parse(&mut self.outbound, b"", sql.as_bytes(), &[])?;
        self.expected.drop_answer(Answer::Parse(0));
        poison(&mut self.outbound)?;
        self.expected
            .replace_error(local::error(&Error::Refused(own)));
        wire::frontend::encode::sync(&mut self.outbound);
        self.expect_ready();
        let seen = self.exchange_to_ready().await?;
        self.finish(&seen);
        if seen.error {
            return self.went_wrong();
        }
        Ok(())
    }

    /// Sends the client's own bytes and relays the answer.
    pub(super) async fn forward_query(&mut self, frame: &Frame) -> Result<(), Stopped> {
        self.outbound.extend_from_slice(frame.bytes());
        self.open_lane().await;
        self.answer_query(Instant::now()).await
    }

    /// Relays the answer to a query that is sent, or about to be, and was asked at that time.
    async fn answer_query(&mut self, asked: Instant) -> Result<(), Stopped> {
        self.expect_ready();
        if self.may_step_back() {
            self.expected.may_take_back(Back::Unread);
        }
        let seen = self.exchange_since(asked).await?;
        if seen.is_taken_back() {
            return Err(Box::pin(self.step_back(&seen)).await.into());
        }
        self.finish(&seen);
        if self.company.is_some() {
            Box::pin(self.undo_parked()).await;
        }
        if seen.error {
            return self.went_wrong();
        }
        Ok(())
    }

    /// Tells the client why its statement does not run. In an open transaction the backend is made
    /// to fail, too, so that both agree about what follows.
    pub(super) async fn answer_simple_error(&mut self, error: &Error) -> Result<(), Ended> {
        self.front.core.metrics.failed(error);
        if self.attachment.is_some() && self.poison_backend(error).is_ok() {
            wire::frontend::encode::sync(&mut self.outbound);
            self.expect_ready();
            return match self.exchange_to_ready().await {
                Ok(seen) => {
                    self.finish(&seen);
                    Ok(())
                }
                Err(Stopped::Ended(ended)) => Err(ended),
                Err(Stopped::Told(lost)) => {
                    self.client.outbound.extend_from_slice(&local::error(&lost));
                    self.answer_ready().await
                }
                Err(Stopped::Answered) => self.answer_ready().await,
            };
        }
        self.flight = Flight::default();
        self.transaction = std::mem::take(&mut self.transaction).refused();
        self.client.outbound.extend_from_slice(&local::error(error));
        self.answer_ready().await
    }

    /// Sends a message that fails for certain, whose error the client reads as `error`.
    pub(super) fn poison_backend(&mut self, error: &Error) -> Result<(), Stopped> {
        poison(&mut self.outbound)?;
        self.expected.replace_error(local::error(error));
        Ok(())
    }

    /// As [`Self::answer_locally`]; what has rows gets its heading.
    async fn answer_in_rows(&mut self, class: &Class, frames: &[u8]) -> Result<(), Stopped> {
        let heading = answers::heading(class)?;
        self.client.outbound.extend_from_slice(&heading);
        self.answer_locally(frames).await
    }

    pub(super) async fn answer_locally(&mut self, frames: &[u8]) -> Result<(), Stopped> {
        if self.transaction == Transaction::Idle {
            // A setting outside of a transaction block holds at once.
            self.settings.end_transaction(true);
        }
        self.client.outbound.extend_from_slice(frames);
        Ok(self.answer_ready().await?)
    }

    /// Ends an answer that no backend ends.
    pub(super) async fn answer_ready(&mut self) -> Result<(), Ended> {
        // What an error kept from being done is not to be taken for what comes next.
        self.flight = Flight::default();
        if self.scripted {
            return Ok(());
        }
        local::ready(&mut self.client.outbound, self.transaction.status());
        self.torn = false;
        self.client.withhold_no_more();
        self.client.flush().await?;
        Ok(())
    }

    /// Refuses a setting under which statements would be misread.
    pub(super) fn check_setting(&self, class: &Class, sql: &str) -> Result<(), Refusal> {
        match class {
            Class::Set(setting) => {
                if setting.values.is_none() {
                    self.check_reset(Some(&setting.name))?;
                }
                effects::check(setting, self.settings.in_force(), sql)
            }
            Class::Reset(name) => self.check_reset(name.as_deref()),
            Class::Copy(copy) if copy.names_encoding && self.client.converts() => {
                Err(effects::other_encoding())
            }
            _ => Ok(()),
        }
    }

    fn check_reset(&self, name: Option<&str>) -> Result<(), Refusal> {
        let in_block = self.transaction.is_block();
        effects::check_reset(name, self.settings.startup(), in_block)
    }
}

/// Whether a statement may write: so may a function that it calls.
pub(super) fn may_write(plan: &Plan, statement: &Statement) -> bool {
    let writes = match plan {
        Plan::Key { writes, .. } | Plan::Any { writes } | Plan::NeedsHint { writes, .. } => *writes,
        Plan::Home(_)
        | Plan::Bound(_)
        | Plan::Everywhere
        | Plan::NeedsColumns { .. }
        | Plan::NeedsViews { .. } => true,
        Plan::Catalog | Plan::Refused(_) => false,
    };
    writes || !statement.functions.is_empty()
}

/// A query of the table that a COPY names, which PostgreSQL looks for only when it runs it. The
/// name stands where it does in the COPY, as an error tells the place of it.
fn probe(class: &Class, sql: &str) -> Option<String> {
    let Class::Copy(CopyStatement {
        table: Some(table), ..
    }) = class
    else {
        return None;
    };
    const QUERY: &str = "TABLE";
    let first = table.schema.as_ref().unwrap_or(&table.name);
    let before = sql.split(first.as_str()).next().unwrap_or_default();
    let place = before.trim_end_matches('"').chars().count();
    let blanks = " ".repeat(place.saturating_sub(QUERY.len()));
    let names = table.schema.iter().chain([&table.name]);
    let names: Vec<String> = names
        .map(|name| format!("\"{}\"", name.replace('"', "\"\"")))
        .collect();
    Some(format!("{blanks}{QUERY}{}", names.join(".")))
}

/// Where a neutral statement goes while the session is on no shard. The common shard knows the
/// constraints of the tables that are there alone.
pub(super) fn neutral_target(class: &Class) -> Target {
    if *class == Class::SetConstraints {
        Target::Catalog
    } else {
        Target::Any
    }
}

/// Whether a statement is about the session or its transaction, and so goes where they are.
pub(super) fn is_neutral(class: &Class) -> bool {
    control::is_control(class)
        || matches!(
            class,
            Class::Set(_)
                | Class::Reset(_)
                | Class::Show(_)
                | Class::SetConstraints
                | Class::DiscardAll
                | Class::Cursor(_)
                // In a query string with others; each alone is answered by the router.
                | Class::DiscardOther(_)
                | Class::Unlisten(_)
        )
}

pub(super) fn not_utf8() -> Refusal {
    Refusal {
        sqlstate: "22021",
        message: "invalid byte sequence for encoding \"UTF8\" in the statement".to_owned(),
        hint: None,
    }
}

pub(super) fn syntax_refusal(error: &SyntaxError) -> Refusal {
    Refusal {
        sqlstate: error.sqlstate(),
        message: error.to_string(),
        hint: None,
    }
}
