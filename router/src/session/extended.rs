//! The extended query protocol: Parse, Bind, Describe, Execute, Close, Flush, Sync.
//!
//! The router owns the names of prepared statements and prepares them on whichever backend needs
//! them. What comes before the first Bind is put off until that Bind says which shard it is for.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use wire::backend::encode;
use wire::frontend::{Bind, Execute, Parse, Target as Named, TargetKind};

use super::attach::Stopped;
use super::client::Frame;
use super::effects::Effect;
use super::expect::{Answer, Seen};
use super::housekeeping::{bare_description, is_answered_here, is_bare, is_own, no_statement};
use super::prepared::Prepared;
use super::state::Transaction;
use super::{Ended, Session, control, local};
use crate::cache::Planned;
use crate::error::Error;
use crate::query::{Class, SyntaxError};
use crate::route::{self, Parameter, Parameters, Plan, Refusal, Target};
use crate::session::simple::{is_neutral, not_utf8, syntax_refusal, writes};
use crate::view::Serving;

mod steps;

use steps::Step;

/// What has come since the last Sync.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// An error was reported: everything up to Sync is skipped.
    failed: bool,
    /// What waits for a backend, in order; empty while there is one.
    deferred: Vec<Step>,
    /// Statements that were prepared.
    parsed: Vec<(Bytes, u64)>,
    /// Statements that were closed; their place is the number of the answer.
    closed: Vec<(Bytes, Arc<Prepared>)>,
}

impl Batch {
    /// Whether everything up to Sync is skipped.
    #[must_use]
    pub(super) fn is_failed(&self) -> bool {
        self.failed
    }
}

/// A portal of the session.
#[derive(Debug, Clone)]
pub(super) enum Portal {
    /// Of a statement that the router answers itself.
    Local(Arc<Prepared>),
    /// Of a schema change that goes to every shard.
    Everywhere(Arc<Prepared>),
    /// On the session's backend.
    Remote(Effect),
}

/// Portals by name.
pub(super) type Portals = HashMap<Bytes, Portal>;

/// Most portals of one session.
const MAX_PORTALS: usize = 10_000;

/// The parameters of a Bind.
struct Bound<'a> {
    bind: Bind<'a>,
    types: &'a [u32],
}

impl Parameters for Bound<'_> {
    fn get(&self, index: u16) -> Option<Parameter<'_>> {
        let index = usize::from(index);
        let (format, value) = self.bind.parameter(index)?;
        let binary = format == wire::Format::Binary;
        Some(Parameter {
            value,
            binary,
            type_oid: self.types.get(index).copied().unwrap_or(0),
        })
    }
}

impl Session {
    /// Handles one message of the extended protocol.
    pub(super) async fn extended_message(&mut self, frame: &Frame) -> Result<(), Ended> {
        use wire::frontend::tag;
        if frame.tag() == tag::SYNC {
            return self.sync().await;
        }
        if self.batch.failed {
            return Ok(());
        }
        let handled = match frame.tag() {
            tag::PARSE => self.on_parse(frame),
            tag::BIND => self.on_bind(frame).await,
            tag::DESCRIBE => self.on_describe(frame),
            tag::EXECUTE => self.on_execute(frame).await,
            tag::CLOSE => self.on_close(frame),
            _ => self.on_flush().await,
        };
        let handled = match handled {
            Ok(()) => self.bound_buffers().await,
            Err(stopped) => Err(stopped),
        };
        match handled {
            Ok(()) => Ok(()),
            Err(Stopped::Told(error)) => self.fail_batch(&error).await,
            Err(Stopped::Answered) => {
                self.batch.failed = true;
                Ok(())
            }
            Err(Stopped::Ended(ended)) => Err(ended),
        }
    }

    fn on_parse(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let parse = Parse::decode(frame.body())?;
        let name = Bytes::copy_from_slice(parse.name.as_bytes());
        let sql = parse.sql.as_str().map_err(|_| not_utf8())?;
        if !name.is_empty() {
            self.may_name(&name)?;
        }
        let serving = self.front.core.view.load();
        let planned = match self.front.core.cache.plan(sql, &serving.snapshot) {
            Ok(planned) if planned.analysis.statements.len() <= 1 => Some(planned),
            // A shard says what is wrong with it, and runs nothing of it.
            Ok(_) | Err(SyntaxError::Syntax { .. }) => None,
            Err(error) => return Err(syntax_refusal(&error).into()),
        };
        if let Some(planned) = &planned {
            self.may_prepare(planned)?;
        }
        let definition = frame.body().get(name.len() + 1..).unwrap_or_default();
        let definition = Bytes::copy_from_slice(definition);
        let types = parse.parameter_types.iter().collect();
        let statements = &self.front.statements;
        // What FETCH returns depends on the cursor, so that it is not shared with other sessions.
        let own = name.is_empty() || planned.as_deref().is_some_and(reads_cursor);
        let prepared = if own {
            statements.unnamed(definition, types, planned)
        } else {
            statements.named(definition, types, planned)
        };
        self.batch.parsed.push((name.clone(), prepared.id));
        let named = !name.is_empty();
        self.statements.insert(name, Arc::clone(&prepared));
        if self.is_local(&prepared, &serving) {
            self.step(Step::Local(local::frames(encode::parse_complete)))
        } else {
            self.step(Step::Parse { prepared, named })
        }
    }

    fn may_name(&self, name: &Bytes) -> Result<(), Refusal> {
        let limit = self.front.core.config.pgwire.max_prepared_statements;
        if self.statements.contains_key(name) {
            let name = String::from_utf8_lossy(name);
            return Err(Refusal {
                sqlstate: "42P05",
                message: format!("prepared statement \"{name}\" already exists"),
                hint: None,
            });
        }
        if self.statements.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
            return Err(Refusal {
                sqlstate: "54000",
                message: format!("a session cannot hold more than {limit} prepared statements"),
                hint: Some("close those that are no longer needed".to_owned()),
            });
        }
        Ok(())
    }

    /// Whether no shard is needed to prepare and describe a statement.
    fn is_local(&self, prepared: &Prepared, serving: &Serving) -> bool {
        let Some(planned) = &prepared.planned else {
            return false;
        };
        match prepared.statement() {
            None => true,
            Some(statement) if is_bare(&statement.class) => true,
            Some(statement) => {
                matches!(statement.class, Class::Ddl(_))
                    && self.plans(planned, serving).plans.first() == Some(&Plan::Everywhere)
            }
        }
    }

    async fn on_bind(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let bind = Bind::decode(frame.body())?;
        let portal = Bytes::copy_from_slice(bind.portal.as_bytes());
        let name = bind.statement.as_bytes();
        let prepared = self
            .statements
            .get(name)
            .ok_or_else(|| no_statement(name))?;
        let prepared = Arc::clone(prepared);
        self.may_open(&portal)?;
        let serving = self.front.core.view.load();
        let target = match self.target_of(&prepared, bind, &serving)? {
            Destination::Here(opened) => {
                self.portals.insert(portal, opened);
                return self.step(Step::Local(local::frames(encode::bind_complete)));
            }
            Destination::Shard(target) => target,
        };
        self.attach(&serving, target).await?;
        self.run_deferred()?;
        let named = !name.is_empty();
        self.ensure_prepared(&prepared, named);
        if named {
            let server_name = prepared.server_name.as_bytes();
            wire::frontend::bind_renamed(&mut self.outbound, frame.body(), server_name)?;
        } else {
            self.outbound.extend_from_slice(frame.bytes());
        }
        self.expected.forward(Answer::Bind);
        self.mark_unsynced();
        if !portal.is_empty() {
            self.stay();
        }
        let effect = prepared.statement().map_or(Effect::None, |statement| {
            Effect::of(&statement.class, prepared.sql())
        });
        self.portals.insert(portal, Portal::Remote(effect));
        Ok(())
    }

    fn may_open(&self, portal: &Bytes) -> Result<(), Refusal> {
        if !portal.is_empty() && self.portals.contains_key(portal) {
            let name = String::from_utf8_lossy(portal);
            return Err(Refusal {
                sqlstate: "42P03",
                message: format!("cursor \"{name}\" already exists"),
                hint: None,
            });
        }
        if self.portals.len() >= MAX_PORTALS {
            return Err(Refusal {
                sqlstate: "54000",
                message: format!("a session cannot hold more than {MAX_PORTALS} portals"),
                hint: None,
            });
        }
        Ok(())
    }

    /// Where a Bind goes.
    fn target_of(
        &mut self,
        prepared: &Arc<Prepared>,
        bind: Bind<'_>,
        serving: &Serving,
    ) -> Result<Destination, Stopped> {
        let Some(planned) = &prepared.planned else {
            return Err(not_understood().into());
        };
        let Some(statement) = prepared.statement() else {
            return Ok(Destination::Here(Portal::Local(Arc::clone(prepared))));
        };
        let class = &statement.class;
        let here = match class {
            Class::DiscardAll => self.settings.is_startup(),
            class => is_own(class) || (self.attachment.is_none() && is_answered_here(class)),
        };
        if here && is_own(class) {
            self.must_not_have_failed()?;
        }
        if here {
            return Ok(Destination::Here(Portal::Local(Arc::clone(prepared))));
        }
        match self.transaction {
            Transaction::FailedPending(_) => {
                return Err(control::in_failed_transaction().into());
            }
            Transaction::Failed => return Ok(Destination::Shard(Target::Any)),
            Transaction::Idle | Transaction::Pending(_) | Transaction::Open => {}
        }
        self.check_setting(class, prepared.sql())?;
        if is_neutral(class) {
            return Ok(Destination::Shard(Target::Any));
        }
        let plans = self.plans(planned, serving);
        let Some(plan) = plans.plans.first() else {
            return Ok(Destination::Shard(Target::Any));
        };
        if *plan == Plan::Everywhere {
            return Ok(Destination::Here(Portal::Everywhere(Arc::clone(prepared))));
        }
        self.flight.writes |= writes(plan);
        let bound = Bound {
            bind,
            types: &prepared.parameter_types,
        };
        Ok(Destination::Shard(route::resolve(
            plan,
            &bound,
            None,
            &serving.snapshot,
        )?))
    }

    fn on_describe(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let named = Named::decode_describe(frame.body())?;
        let name = named.name.as_bytes();
        match named.kind {
            TargetKind::Statement => {
                let prepared = self
                    .statements
                    .get(name)
                    .ok_or_else(|| no_statement(name))?;
                let prepared = Arc::clone(prepared);
                let serving = self.front.core.view.load();
                if self.is_local(&prepared, &serving) {
                    return self.step(Step::Local(bare_description()));
                }
                self.step(Step::Describe {
                    prepared,
                    named: !name.is_empty(),
                })
            }
            TargetKind::Portal => match self.portal(name) {
                None => Err(no_portal(name).into()),
                Some(Portal::Local(_) | Portal::Everywhere(_)) => {
                    self.step(Step::Local(local::frames(encode::no_data)))
                }
                Some(Portal::Remote(_)) => {
                    self.outbound.extend_from_slice(frame.bytes());
                    self.expected.forward(Answer::Describe);
                    Ok(())
                }
            },
        }
    }

    async fn on_execute(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let execute = Execute::decode(frame.body())?;
        let name = execute.portal.as_bytes();
        let portal = self.portal(name).ok_or_else(|| no_portal(name))?;
        match portal {
            Portal::Remote(effect) => {
                let copies = effect == Effect::CopyIn;
                self.outbound.extend_from_slice(frame.bytes());
                self.expected.forward(Answer::Execute);
                self.note_effect(effect);
                if copies {
                    // Whether the messages behind are the copy's is known only with its answer.
                    self.flush_backend().await?;
                }
                Ok(())
            }
            Portal::Local(prepared) => self.execute_locally(&prepared),
            Portal::Everywhere(prepared) => self.execute_everywhere(&prepared).await,
        }
    }

    /// A portal of that name. One that the router does not know may be an SQL cursor on the backend
    /// of the open transaction, which says so if it is none.
    fn portal(&self, name: &[u8]) -> Option<Portal> {
        let known = self.portals.get(name).cloned();
        let may_be_cursor = self.attachment.is_some() && self.transaction == Transaction::Open;
        known.or_else(|| may_be_cursor.then_some(Portal::Remote(Effect::None)))
    }

    fn execute_locally(&mut self, prepared: &Prepared) -> Result<(), Stopped> {
        let Some(statement) = prepared.statement() else {
            return self.step(Step::Local(local::frames(encode::empty_query_response)));
        };
        match self.run_locally(&statement.class, prepared.sql())? {
            Some(frames) => self.step(Step::Local(frames)),
            None => Err(executed_late().into()),
        }
    }

    async fn execute_everywhere(&mut self, prepared: &Prepared) -> Result<(), Stopped> {
        let Some(statement) = prepared.statement() else {
            return Ok(());
        };
        if self.transaction == Transaction::Idle && self.attachment.is_some() {
            if self
                .attachment
                .as_ref()
                .is_some_and(|attachment| attachment.movable.is_none())
            {
                return Err(executed_late().into());
            }
            self.move_away().await?;
        }
        let serving = self.front.core.view.load();
        self.emit_deferred();
        // Answers so far come before those of the schema change, even if that is an error.
        self.exchange().await?;
        let frames = self
            .run_everywhere(&serving, statement, prepared.sql())
            .await?;
        self.step(Step::Local(frames))
    }

    fn on_close(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let named = Named::decode_close(frame.body())?;
        let name = named.name.as_bytes();
        let complete = local::frames(encode::close_complete);
        match named.kind {
            TargetKind::Statement => match self.statements.remove_entry(name) {
                None => self.step(Step::Local(complete)),
                Some(entry) => {
                    let number = u64::try_from(self.batch.closed.len()).unwrap_or(u64::MAX);
                    self.batch.closed.push(entry);
                    self.step(Step::Closed {
                        frames: complete,
                        number,
                    })
                }
            },
            TargetKind::Portal => match self.portals.remove(name) {
                Some(Portal::Remote(_)) => {
                    self.outbound.extend_from_slice(frame.bytes());
                    self.expected.forward(Answer::Close);
                    Ok(())
                }
                Some(Portal::Local(_) | Portal::Everywhere(_)) | None => {
                    self.step(Step::Local(complete))
                }
            },
        }
    }

    async fn on_flush(&mut self) -> Result<(), Stopped> {
        self.find_backend().await?;
        self.flush_backend().await?;
        self.client.flush().await.map_err(Ended::from)?;
        Ok(())
    }

    /// Ends the batch.
    async fn sync(&mut self) -> Result<(), Ended> {
        if !self.batch.failed
            && let Err(stopped) = self.find_backend().await
        {
            match stopped {
                Stopped::Told(error) => self.fail_batch(&error).await?,
                Stopped::Answered => {}
                Stopped::Ended(ended) => return Err(ended),
            }
        }
        self.emit_deferred();
        let synced = self.attachment.is_some();
        if let Some(attachment) = &mut self.attachment {
            attachment.unsynced = false;
            self.flight.ends |= self.transaction == Transaction::Idle;
            wire::frontend::encode::sync(&mut self.outbound);
            self.expected.forward(Answer::Ready);
        }
        let exchanged = if synced {
            self.exchange_to_ready().await
        } else {
            self.exchange().await
        };
        let answered = match exchanged {
            Ok(seen) => {
                self.forget_unprepared(&seen);
                if synced {
                    self.finish(&seen);
                }
                synced
            }
            Err(Stopped::Told(error)) => {
                self.client
                    .outbound
                    .extend_from_slice(&local::error(&error));
                false
            }
            Err(Stopped::Answered) => false,
            Err(Stopped::Ended(ended)) => return Err(ended),
        };
        self.batch = Batch::default();
        if !answered {
            if self.transaction == Transaction::Idle {
                self.portals.clear();
            }
            self.answer_ready().await?;
        }
        Ok(())
    }

    /// Reports an error at this place; everything after it is skipped up to Sync.
    async fn fail_batch(&mut self, error: &Error) -> Result<(), Ended> {
        self.front.core.metrics.refused(error.sqlstate());
        self.batch.failed = true;
        match self.find_backend_for_descriptions().await {
            Ok(()) | Err(Stopped::Told(_)) => {}
            Err(Stopped::Answered) => return Ok(()),
            Err(Stopped::Ended(ended)) => return Err(ended),
        }
        if self.attachment.is_some() {
            if self.poison_backend(error).is_ok() {
                self.mark_unsynced();
            }
            return Ok(());
        }
        self.emit_deferred();
        self.expected.local(local::error(error));
        self.transaction = std::mem::take(&mut self.transaction).refused();
        Ok(())
    }

    /// Forgets the statements whose Parse failed or was skipped, and remembers those whose Close
    /// was.
    pub(super) fn forget_unprepared(&mut self, seen: &Seen) {
        for (name, id) in &self.batch.parsed {
            let gone = seen.unprepared.contains(id)
                && self
                    .statements
                    .get(name)
                    .is_some_and(|prepared| prepared.id == *id);
            if gone {
                self.statements.remove(name);
            }
        }
        for number in &seen.skipped {
            let entry = usize::try_from(*number)
                .ok()
                .and_then(|at| self.batch.closed.get(at));
            if let Some((name, prepared)) = entry.cloned() {
                self.statements.entry(name).or_insert(prepared);
            }
        }
    }
}

fn reads_cursor(planned: &Planned) -> bool {
    let first = planned.analysis.statements.first();
    first.is_some_and(|statement| matches!(statement.class, Class::Cursor(_)))
}

/// Where a Bind goes.
enum Destination {
    /// To no shard.
    Here(Portal),
    /// To a shard.
    Shard(Target),
}

fn no_portal(name: &[u8]) -> Refusal {
    let message = format!(
        "portal \"{}\" does not exist",
        String::from_utf8_lossy(name)
    );
    Refusal {
        sqlstate: "34000",
        message,
        hint: None,
    }
}

fn not_understood() -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: "the statement is not understood by the router and cannot be routed".to_owned(),
        hint: None,
    }
}

fn executed_late() -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: "a portal that reaches no or every shard must be executed before another \
                  statement is bound"
            .to_owned(),
        hint: Some("send Sync between the statements".to_owned()),
    }
}
