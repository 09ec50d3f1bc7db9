//! The simple query protocol: a text of any number of statements, one answer.

use wire::backend::encode;
use wire::frontend::Query;

use super::attach::Stopped;
use super::client::Frame;
use super::effects::{self, Effect};
use super::expect::Answer;
use super::state::Transaction;
use super::{Ended, Flight, Session, control, local, poison};
use crate::error::Error;
use crate::exec::everywhere;
use crate::query::{Class, Statement, SyntaxError};
use crate::route::{self, NoParameters, Plan, Refusal, Target};
use crate::view::Serving;

impl Session {
    /// Answers a Query message.
    pub(super) async fn simple_query(&mut self, frame: &Frame) -> Result<(), Ended> {
        if self.batch.is_failed() {
            // Until Sync, as PostgreSQL does.
            return Ok(());
        }
        let stopped = match self.run_text(frame).await {
            Ok(()) => return Ok(()),
            Err(stopped) => stopped,
        };
        match stopped {
            Stopped::Told(error) => self.answer_simple_error(&error).await,
            Stopped::Answered => self.answer_ready().await,
            Stopped::Ended(ended) => Err(ended),
        }
    }

    async fn run_text(&mut self, frame: &Frame) -> Result<(), Stopped> {
        self.close_batch().await?;
        let text = Query::decode(frame.body())?.sql;
        let sql = text.as_str().map_err(|_| not_utf8())?;
        let serving = self.front.core.view.load();
        let planned = match self.front.core.cache.plan(sql, &serving.snapshot) {
            Ok(planned) => planned,
            Err(error @ SyntaxError::Syntax { .. }) => {
                return self.let_shard_report(&serving, sql, error).await;
            }
            Err(error) => return Err(syntax_refusal(&error).into()),
        };
        let plans = self.plans(&planned, &serving);
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
                self.run_script(&serving, statements, &plans.plans, sql, frame)
                    .await
            }
        }
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
        if let Some(frames) = self.run_locally(class, sql)? {
            return self.answer_locally(&frames).await;
        }
        if let Transaction::FailedPending(_) = self.transaction {
            return Err(control::in_failed_transaction().into());
        }
        self.check_setting(class, sql)?;
        let failed = self.transaction == Transaction::Failed;
        if !failed && plan == Some(&Plan::Everywhere) {
            let frames = self.run_everywhere(serving, statement, sql).await?;
            return self.answer_locally(&frames).await;
        }
        let target = match plan {
            // A failed transaction answers everything with the same error, or ends.
            _ if failed || is_neutral(class) => Target::Any,
            Some(plan) => {
                self.flight.writes = writes(plan);
                route::resolve(plan, &NoParameters, None, &serving.snapshot)?
            }
            None => Target::Any,
        };
        self.attach(serving, target).await?;
        self.flight.ends = self.transaction == Transaction::Idle;
        self.note_effect(Effect::of(class, sql));
        self.forward_query(frame).await
    }

    /// Several statements, which all belong to one shard.
    async fn run_script(
        &mut self,
        serving: &Serving,
        statements: &[Statement],
        plans: &[Plan],
        sql: &str,
        frame: &Frame,
    ) -> Result<(), Stopped> {
        if plans.contains(&Plan::Everywhere) {
            return self.run_ddl_script(serving, statements, plans, sql).await;
        }
        let mut target = Target::Any;
        let mut effects = Vec::with_capacity(statements.len());
        for (statement, plan) in statements.iter().zip(plans) {
            let class = &statement.class;
            let own = sql.get(statement.location.clone()).unwrap_or_default();
            if matches!(class, Class::Deallocate(_) | Class::DiscardAll) {
                return Err(alone("DEALLOCATE and DISCARD ALL").into());
            }
            self.check_setting(class, own)?;
            effects.push(Effect::of(class, own));
            if is_neutral(class) {
                continue;
            }
            self.flight.writes |= writes(plan);
            target = match (
                target,
                route::resolve(plan, &NoParameters, None, &serving.snapshot)?,
            ) {
                (held, Target::Any) => held,
                (Target::Any, next) => next,
                (Target::Shard { index: held, .. }, next @ Target::Shard { index, .. })
                    if held == index =>
                {
                    next
                }
                (_, _) => return Err(several_shards().into()),
            };
        }
        self.attach(serving, target).await?;
        if let Some(attachment) = &mut self.attachment {
            attachment.movable = None;
        }
        self.flight.ends = self.transaction == Transaction::Idle;
        effects
            .into_iter()
            .for_each(|effect| self.note_effect(effect));
        self.forward_query(frame).await
    }

    /// Several schema changes: all of them on every shard, or none on any.
    async fn run_ddl_script(
        &mut self,
        serving: &Serving,
        statements: &[Statement],
        plans: &[Plan],
        sql: &str,
    ) -> Result<(), Stopped> {
        if plans.iter().any(|plan| *plan != Plan::Everywhere) {
            return Err(alone("schema changes that go to every shard").into());
        }
        let Some(first) = statements.first() else {
            return Ok(());
        };
        let frames = self.run_everywhere(serving, first, sql).await?;
        self.answer_locally(&frames).await
    }

    /// Runs a text on every shard and gives the answer without its ReadyForQuery.
    pub(super) async fn run_everywhere(
        &mut self,
        serving: &Serving,
        statement: &Statement,
        sql: &str,
    ) -> Result<bytes::Bytes, Stopped> {
        match &self.transaction {
            Transaction::Idle => {}
            Transaction::FailedPending(_) | Transaction::Failed => {
                return Err(control::in_failed_transaction().into());
            }
            Transaction::Pending(_) | Transaction::Open => {
                return Err(not_in_block(statement).into());
            }
        }
        let core = &self.front.core;
        match everywhere::run(core, serving, self.settings.committed(), sql).await {
            Ok(frames) => Ok(frames),
            Err(everywhere::Failure::Own(error)) => Err(error.into()),
            Err(everywhere::Failure::Shard(frames)) => {
                self.client.outbound.extend_from_slice(&frames);
                Err(Stopped::Answered)
            }
        }
    }

    /// Lets a shard say what is wrong with a text that is not SQL, without running it.
    async fn let_shard_report(
        &mut self,
        serving: &Serving,
        sql: &str,
        error: SyntaxError,
    ) -> Result<(), Stopped> {
        let own = syntax_refusal(&error);
        if matches!(self.transaction, Transaction::FailedPending(_)) {
            return Err(own.into());
        }
        match self.attach(serving, Target::Any).await {
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
        self.expected.forward(Answer::Ready);
        let seen = self.exchange_to_ready().await?;
        self.finish(&seen);
        Ok(())
    }

    /// Sends the client's own bytes and relays the answer.
    async fn forward_query(&mut self, frame: &Frame) -> Result<(), Stopped> {
        self.outbound.extend_from_slice(frame.bytes());
        self.expected.forward(Answer::Ready);
        let seen = self.exchange_to_ready().await?;
        self.finish(&seen);
        Ok(())
    }

    /// Tells the client why its statement does not run. In an open transaction the backend is made
    /// to fail, too, so that both agree about what follows.
    pub(super) async fn answer_simple_error(&mut self, error: &Error) -> Result<(), Ended> {
        self.front.core.metrics.refused(error.sqlstate());
        if self.attachment.is_some() && self.poison_backend(error).is_ok() {
            wire::frontend::encode::sync(&mut self.outbound);
            self.expected.forward(Answer::Ready);
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

    async fn answer_locally(&mut self, frames: &[u8]) -> Result<(), Stopped> {
        self.client.outbound.extend_from_slice(frames);
        Ok(self.answer_ready().await?)
    }

    /// Ends an answer that no backend ends.
    pub(super) async fn answer_ready(&mut self) -> Result<(), Ended> {
        local::ready(&mut self.client.outbound, self.transaction.status());
        self.client.flush().await?;
        Ok(())
    }

    /// Refuses a setting under which statements would be misread.
    pub(super) fn check_setting(&self, class: &Class, sql: &str) -> Result<(), Refusal> {
        match class {
            Class::Set(setting) => effects::check(setting, self.settings.current(), sql),
            _ => Ok(()),
        }
    }
}

/// Whether a plan's statement may write.
pub(super) fn writes(plan: &Plan) -> bool {
    match plan {
        Plan::Key { writes, .. } | Plan::Any { writes } | Plan::NeedsHint { writes, .. } => *writes,
        Plan::Home(_) | Plan::Everywhere => true,
        Plan::Refused(_) => false,
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

fn alone(what: &str) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: format!("{what} cannot be combined with other statements in one query string"),
        hint: Some("send it as a query of its own".to_owned()),
    }
}

fn several_shards() -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: "the statements of the query string belong to more than one shard".to_owned(),
        hint: Some("send each as a query of its own".to_owned()),
    }
}

fn not_in_block(statement: &Statement) -> Refusal {
    let tag = match &statement.class {
        Class::Ddl(ddl) => ddl.tag,
        _ => "the statement",
    };
    Refusal {
        sqlstate: "25001",
        message: format!("{tag} goes to every shard and cannot run inside a transaction block"),
        hint: Some("run it outside of BEGIN and COMMIT".to_owned()),
    }
}
