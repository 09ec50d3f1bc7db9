//! Query strings of several statements. PostgreSQL runs one as a transaction of its own, up to
//! where it has BEGIN and COMMIT itself.
//!
//! A string that belongs to one shard goes there as it is. Of any other each statement is run in its
//! turn, as if it had come alone within a transaction that the router begins and ends for it; the
//! client reads one ReadyForQuery.

use bytes::Bytes;
use platform::trace;
use wire::SqlState;

use super::attach::Stopped;
use super::client::Frame;
use super::effects::Effect;
use super::expect::Answer;
use super::naming::Named;
use super::several::{End, without_tag};
use super::simple::{is_neutral, may_write};
use super::state::{SessionSettings, Transaction};
use super::{Ended, Flight, Session, answers, control, local};
use crate::cache::DEFAULT_SEARCH_PATH;
use crate::error::Error;
use crate::moving;
use crate::query::{Class, HINTS, ShardingCall, Statement};
use crate::route::{self, NoParameters, Plan, Refusal, Target};
use crate::view::Serving;

impl Session {
    /// Runs several statements: where all of them belong to one shard, as they are.
    pub(super) async fn run_script(
        &mut self,
        serving: &Serving,
        statements: &[Statement],
        plans: &[Plan],
        sql: &str,
        frame: &Frame,
    ) -> Result<(), Stopped> {
        if statements.iter().any(|it| must_be_alone(&it.class)) {
            return Err(alone("DISCARD ALL and a function of schema sharding").into());
        }
        if plans.iter().all(|plan| *plan == Plan::Everywhere) {
            // All of them on every shard, or none on any.
            let frames = self.run_everywhere(serving, statements, sql).await?;
            return self.answer_locally(&frames).await;
        }
        if plans.contains(&Plan::Everywhere) || self.must_be_in_turn(statements) {
            return self.run_in_turn(statements, sql).await;
        }
        for statement in statements {
            let own = sql.get(statement.location.clone()).unwrap_or_default();
            self.check_setting(&statement.class, own)?;
        }
        let Some((target, effects)) = self.survey(serving, statements, plans, sql)? else {
            return self.run_in_turn(statements, sql).await;
        };
        self.attach(serving, target).await?;
        self.stay();
        self.flight.ends = self.transaction == Transaction::Idle;
        effects
            .into_iter()
            .for_each(|effect| self.note_effect(effect));
        self.forward_query(frame).await
    }

    /// Where a script goes, and what its statements do to the session; none where that is not one
    /// shard. Each is read under the settings that those before it leave.
    fn survey(
        &mut self,
        serving: &Serving,
        statements: &[Statement],
        plans: &[Plan],
        sql: &str,
    ) -> Result<Option<(Target, Vec<Effect>)>, Stopped> {
        let mut settings = self.settings.clone();
        let mut target = Target::Any;
        let mut effects = Vec::with_capacity(statements.len());
        for (statement, plan) in statements.iter().zip(plans) {
            let class = &statement.class;
            let own = sql.get(statement.location.clone()).unwrap_or_default();
            if !is_neutral(class) {
                let anew = (settings.search_path() != self.settings.search_path())
                    .then(|| plan_under(statement, serving, &settings));
                let plan = anew.as_ref().unwrap_or(plan);
                self.flight
                    .note_writes(self.flight.writes || may_write(plan, statement));
                let next = match self.place(statement, plan, &NoParameters, serving) {
                    Ok(next) => next,
                    // It may be for several shards.
                    Err(refusal) if refusal.sqlstate == "0A000" => return Ok(None),
                    Err(refusal) => return Err(refusal.into()),
                };
                self.check_hold(serving, next)?;
                let Some(joined) = join(target, next) else {
                    return Ok(None);
                };
                target = joined;
            }
            self.flight.note_calls(statement);
            let effect = Effect::of_statement(statement, own);
            effect.apply(&mut settings);
            effects.push(effect);
        }
        Ok(Some((target, effects)))
    }

    /// Whether a string cannot be sent to one shard as it is, wherever its statements belong.
    fn must_be_in_turn(&self, statements: &[Statement]) -> bool {
        // A backend may answer some of them as well, since there is nothing to do.
        let either = |class: &_| matches!(class, Class::DiscardOther(_) | Class::Unlisten(_));
        let own = |class| answers::is_own(class) && !control::is_control(class) && !either(class);
        let several = self.company.is_some();
        let of_router = |class| own(class) || (several && is_neutral(class));
        leaves_open(statements) || statements.iter().any(|it| of_router(&it.class))
    }

    /// Runs each statement where it belongs; outside of a transaction block they are one
    /// transaction.
    async fn run_in_turn(&mut self, statements: &[Statement], sql: &str) -> Result<(), Stopped> {
        self.flight = Flight::default();
        self.scripted = true;
        let ran = self.each_in_turn(statements, sql).await;
        let ended = self.end_string(ran).await;
        self.scripted = false;
        ended?;
        Ok(self.answer_ready().await?)
    }

    async fn each_in_turn(&mut self, statements: &[Statement], sql: &str) -> Result<(), Stopped> {
        let mut from = 0;
        for statement in statements {
            // What stands before it may be its hint.
            let text = sql.get(from..statement.location.end).unwrap_or_default();
            let text = text.trim_start_matches([';', ' ', '\n', '\t', '\r']);
            from = statement.location.end;
            if control::is_control(&statement.class) {
                self.client.keep_completions();
            }
            if self.torn {
                return Err(Error::Moving(moving::Error::Outdated).into());
            }
            if self.is_implicit()
                && let Some(frames) = self.control_implicitly(&statement.class, text).await?
            {
                self.client.outbound.extend_from_slice(&frames);
                continue;
            }
            if self.transaction == Transaction::Idle && !control::is_control(&statement.class) {
                self.begin_implicitly().await?;
            }
            self.run_one(text).await?;
        }
        Ok(())
    }

    /// Runs one statement of a string; an error that the client has read ends the string.
    async fn run_one(&mut self, text: &str) -> Result<(), Stopped> {
        let frame = Frame::query(text)?;
        let mut since = None;
        loop {
            match Box::pin(self.run_text(&frame, Named::No)).await {
                Ok(()) => break,
                Err(stopped) => {
                    let bytes = frame.bytes().len();
                    Box::pin(self.wait_out(stopped, bytes, &mut since)).await?;
                }
            }
        }
        match self.transaction {
            Transaction::Failed | Transaction::FailedPending(_) => Err(Stopped::Answered),
            Transaction::Idle | Transaction::Pending(_) | Transaction::Open => Ok(()),
        }
    }

    /// Transaction control within the transaction that a string is; none for other statements.
    async fn control_implicitly(
        &mut self,
        class: &Class,
        text: &str,
    ) -> Result<Option<Bytes>, Stopped> {
        let end = match class {
            Class::Begin { .. } => return self.turn_into_block(text).map(Some),
            Class::Commit { chain: false } => End::Commit,
            Class::Rollback { chain: false } => End::RollBack,
            class => {
                return match only_in_blocks(class) {
                    Some(refusal) => Err(refusal.into()),
                    None => Ok(None),
                };
            }
        };
        let said = self.end_implicitly(end).await?;
        let tag = match end {
            End::Commit => "COMMIT",
            End::RollBack => "ROLLBACK",
        };
        let words = "there is no transaction in progress";
        let complete = local::complete_with_warning(tag, SqlState::NO_ACTIVE_TRANSACTION, words);
        Ok(Some([said, complete].concat().into()))
    }

    /// BEGIN makes what the string has done so far a part of the block.
    pub(super) fn turn_into_block(&mut self, text: &str) -> Result<Bytes, Stopped> {
        let words: Vec<String> = trace::without_comment(text, &HINTS)
            .split_whitespace()
            .map(str::to_ascii_uppercase)
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let tag = match words.as_slice() {
            ["BEGIN"] | ["BEGIN", "TRANSACTION" | "WORK"] => "BEGIN",
            ["START", "TRANSACTION"] => "START TRANSACTION",
            _ => {
                let what = "BEGIN with options, behind other statements for several shards,";
                return Err(alone(what).into());
            }
        };
        if self.attachment.is_none() {
            self.company = None;
        } else if let Some(company) = &mut self.company {
            company.become_block();
        }
        Ok(local::complete(tag))
    }

    /// Ends the transaction that a string is; gives what is said besides the answer.
    async fn end_implicitly(&mut self, end: End) -> Result<Bytes, Stopped> {
        let ended = match (&self.attachment, end) {
            (None, _) => {
                self.settings.end_transaction(end == End::Commit);
                self.portals.clear();
                Ok(Bytes::new())
            }
            (Some(_), End::Commit) => self.end_together(End::Commit, false).await,
            (Some(_), End::RollBack) => self.abandon_parts().await,
        };
        self.company = None;
        self.transaction = Transaction::Idle;
        let frames = ended?;
        Ok(match end {
            End::Commit => without_tag(&frames),
            End::RollBack => Bytes::new(),
        })
    }

    /// Ends what the router has begun for a string, after an error or the last statement.
    async fn end_string(&mut self, ran: Result<(), Stopped>) -> Result<(), Ended> {
        let ran = match ran {
            // What it had done is lost, and nobody was told.
            Ok(()) if self.torn => Err(Error::Moving(moving::Error::Outdated).into()),
            ran => ran,
        };
        let end = match ran {
            Ok(()) => End::Commit,
            Err(Stopped::Told(error)) => {
                Box::pin(self.answer_simple_error(&error)).await?;
                End::RollBack
            }
            Err(Stopped::Answered) => End::RollBack,
            Err(Stopped::Ended(ended)) => return Err(ended),
        };
        if !self.is_implicit() {
            return Ok(());
        }
        match self.end_implicitly(end).await {
            Ok(said) => self.client.outbound.extend_from_slice(&said),
            Err(Stopped::Told(error)) => {
                self.front.core.metrics.failed(&error);
                let frames = local::error(&error);
                self.client.outbound.extend_from_slice(&frames);
            }
            Err(Stopped::Answered) => {}
            Err(Stopped::Ended(ended)) => return Err(ended),
        }
        Ok(())
    }

    /// The client has read the error of a statement, and its ReadyForQuery unless the statement is
    /// of a string.
    pub(super) fn went_wrong(&self) -> Result<(), Stopped> {
        match self.scripted {
            true => Err(Stopped::Answered),
            false => Ok(()),
        }
    }

    /// A request is being sent that is answered up to ReadyForQuery, which the client reads unless
    /// more statements of its string follow.
    pub(super) fn expect_ready(&mut self) {
        self.expected.forward(match self.scripted {
            true => Answer::Commands,
            false => Answer::Ready,
        });
    }
}

/// Where a statement goes under other settings than those of its session.
fn plan_under(statement: &Statement, serving: &Serving, settings: &SessionSettings) -> Plan {
    let schemas: Vec<&str> = match settings.search_path() {
        Some(schemas) => schemas.iter().map(String::as_str).collect(),
        None => DEFAULT_SEARCH_PATH.to_vec(),
    };
    route::plan(statement, &serving.snapshot, &schemas)
}

/// The shard where statements go together of which some go to `held` and the next one to `next`;
/// none where it is not one.
fn join(held: Target, next: Target) -> Option<Target> {
    match (held, next) {
        (_, Target::Everywhere) | (Target::Everywhere, _) => None,
        (held, Target::Any | Target::Catalog) => Some(held),
        (Target::Any | Target::Catalog, next) => Some(next),
        (Target::Shard { index: held, .. }, Target::Shard { index, .. }) => {
            (held == index).then_some(next)
        }
    }
}

/// Whether a statement is for the router alone and cannot be a part of a transaction.
fn must_be_alone(class: &Class) -> bool {
    match class {
        Class::DiscardAll => true,
        Class::Sharding(call) => !matches!(call, ShardingCall::NextId | ShardingCall::NextIds(_)),
        _ => false,
    }
}

/// Whether a string begins a transaction block that it does not end: it may go on on other shards,
/// as one that is begun by a BEGIN alone.
fn leaves_open(statements: &[Statement]) -> bool {
    let mut open = false;
    for statement in statements {
        match &statement.class {
            Class::Begin { .. } => open = true,
            class if control::ends(class) => open = false,
            _ => {}
        }
    }
    open
}

/// What PostgreSQL says of a statement about a block where there is none.
fn only_in_blocks(class: &Class) -> Option<Refusal> {
    let command = match class {
        Class::Commit { chain: true } => "COMMIT AND CHAIN",
        Class::Rollback { chain: true } => "ROLLBACK AND CHAIN",
        Class::Savepoint(_) => "SAVEPOINT",
        Class::Release(_) => "RELEASE SAVEPOINT",
        Class::RollbackTo(_) => "ROLLBACK TO SAVEPOINT",
        _ => return None,
    };
    Some(Refusal {
        sqlstate: "25P01",
        message: format!("{command} can only be used in transaction blocks"),
        hint: None,
    })
}

fn alone(what: &str) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: format!("{what} cannot be combined with other statements in one query string"),
        hint: Some("send it as a query of its own".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::analyze;

    fn statements(sql: &str) -> Vec<Statement> {
        analyze(sql).unwrap().statements
    }

    #[test]
    fn a_string_leaves_a_block_open_that_it_does_not_end() {
        for (sql, open) in [
            ("BEGIN; SELECT 1", true),
            ("SELECT 1; START TRANSACTION", true),
            ("COMMIT; BEGIN; SELECT 1", true),
            ("BEGIN; SELECT 1; COMMIT", false),
            ("BEGIN; SELECT 1; ROLLBACK; SELECT 2", false),
            ("SELECT 1; SELECT 2", false),
        ] {
            assert_eq!(leaves_open(&statements(sql)), open, "{sql}");
        }
    }

    #[test]
    fn savepoints_and_chains_need_a_block() {
        for (sql, refused) in [
            ("SAVEPOINT a", true),
            ("RELEASE a", true),
            ("ROLLBACK TO a", true),
            ("COMMIT AND CHAIN", true),
            ("ROLLBACK AND CHAIN", true),
            ("COMMIT", false),
            ("SELECT 1", false),
        ] {
            let refusal = only_in_blocks(&statements(sql)[0].class);
            assert_eq!(
                refusal.map(|it| it.sqlstate),
                refused.then_some("25P01"),
                "{sql}"
            );
        }
    }

    #[test]
    fn what_registers_a_table_stands_alone() {
        for (sql, alone) in [
            ("SELECT sharding.shard_table('t', 'k')", true),
            ("DISCARD ALL", true),
            ("SELECT sharding.next_id()", false),
            ("DEALLOCATE ALL", false),
        ] {
            assert_eq!(must_be_alone(&statements(sql)[0].class), alone, "{sql}");
        }
    }
}
