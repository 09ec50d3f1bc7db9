//! The extended query protocol: Parse, Bind, Describe, Execute, Close, Flush, Sync.
//!
//! The router owns the names of prepared statements and prepares them on whichever backend needs
//! them. What comes before the first Bind is put off until that Bind says which shard it is for.

use std::sync::Arc;

use bytes::Bytes;
use platform::trace;
use wire::backend::encode;
use wire::frontend::{Execute, Parse, Target as Named, TargetKind};

use super::attach::Stopped;
use super::client::Frame;
use super::cursors::Fetching;
use super::effects::Effect;
use super::expect::Answer;
use super::housekeeping::no_statement;
use super::prepared::{Parsed, Prepared, reads_cursor};
use super::scatter::Scattered;
use super::several::Split;
use super::shortcut::Begun;
use super::state::Transaction;
use super::{ByName, Ended, Session, answers, control, local};
use crate::error::Error;
use crate::metrics::Decision;
use crate::pool;
use crate::query::{Class, HINTS, SyntaxError};
use crate::route::Refusal;
use crate::scatter::exec::Arguments;
use crate::session::simple::{not_utf8, syntax_refusal};
use crate::view::Serving;

mod again;
mod bind;
mod changes;
mod home;
mod lane;
mod portals;
mod steps;
mod sync;
mod together;

use again::Kept;
use changes::Changes;
pub(super) use lane::Unparsed;
use portals::{no_portal, spent};
use steps::Step;
use together::heading_of;

/// What has come since the last Sync.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// An error was reported: everything up to Sync is skipped.
    failed: bool,
    /// What waits for a backend, in order; empty while there is one.
    deferred: Vec<Step>,
    /// What it did to the session's statements.
    changes: Changes,
    /// Its messages, while it could be done anew.
    kept: Kept,
}

impl Batch {
    /// Whether everything up to Sync is skipped.
    #[must_use]
    pub(super) fn is_failed(&self) -> bool {
        self.failed
    }

    /// Whether its messages are kept.
    fn keeps(&self) -> bool {
        self.kept.keeps()
    }

    /// All that was sent of it has been answered: that is not done anew.
    pub(super) fn answered(&mut self) {
        if self.deferred.is_empty() {
            self.kept.answered();
        }
    }

    /// The client may have read something of it: that is not done anew either.
    pub(super) fn was_told(&mut self) {
        self.kept.give_up();
    }

    /// Undoes what it did to the session's statements by messages that were skipped.
    pub(super) fn undo(&self, numbers: &[u64], statements: &mut ByName<Arc<Prepared>>) {
        self.changes.undo(numbers, statements);
    }
}

/// A portal of the session.
#[derive(Debug, Clone)]
pub(super) enum Portal {
    /// Of a statement that the router answers itself.
    Local(Arc<Prepared>),
    /// Of a schema change that goes to every shard.
    Everywhere(Arc<Prepared>),
    /// Of a statement whose answer, and the description of it, are known.
    Answered(Bytes, Bytes),
    /// Of a statement that several shards run, each its part.
    Split(Arc<Split>),
    /// On the session's backend.
    Remote(Effect),
    /// Of a query over the rows of several shards.
    Scattered(Arc<Scattered>),
    /// Of a COPY into a table whose rows are on several shards.
    CopyIn(Arc<Prepared>),
    /// Of an INSERT of a query's rows for several shards.
    Pull(Arc<Prepared>, Arc<Arguments>),
    /// Of an EXPLAIN of what several shards do.
    Explain(Arc<Prepared>, Arc<Arguments>),
    /// Of a DECLARE of a cursor over several shards.
    Declare(Arc<Prepared>, Arc<Arguments>),
    /// Of a FETCH of one.
    Fetch(Arc<Fetching>),
    /// Was one of the first two, and has been executed.
    Spent,
}

/// Portals by name.
pub(super) type Portals = ByName<Portal>;

impl Session {
    /// Handles one message of the extended protocol, from where [`Session::begin`] has come to.
    pub(super) async fn extended_message(
        &mut self,
        frame: &Frame,
        begun: Begun,
    ) -> Result<(), Ended> {
        use wire::frontend::tag;
        if frame.tag() == tag::SYNC {
            return self.sync_in_turn().await;
        }
        match begun {
            Begun::Turn(asked) => {
                let finished = self.finish_in_lane(frame, asked).await;
                return self.was_handled(finished).await;
            }
            Begun::Stopped(stopped) if !is_routed_anew(&stopped) => {
                return self.was_handled(Err(stopped)).await;
            }
            Begun::Not | Begun::Located(..) | Begun::Stopped(_) | Begun::Answered => {}
        }
        let keeps = self.keeps(frame);
        self.batch_message(frame).await?;
        if keeps {
            self.batch.kept.add(frame);
        }
        Ok(())
    }

    /// Handles one message of a batch.
    pub(super) async fn batch_message(&mut self, frame: &Frame) -> Result<(), Ended> {
        use wire::frontend::tag;
        if self.batch.failed {
            return Ok(());
        }
        // As PostgreSQL does: it writes at Sync or Flush, at an error, and when much waits.
        self.client.withhold();
        if let Some(unparsed) = self.unparsed.take() {
            self.take_up_unparsed(&unparsed, frame);
        }
        let handled = match frame.tag() {
            tag::PARSE => self.on_parse(frame).await,
            tag::BIND => self.bind_in_turn(frame).await,
            tag::DESCRIBE => self.on_describe(frame).await,
            tag::EXECUTE => self.on_execute(frame).await,
            tag::CLOSE => self.on_close(frame).await,
            _ => Box::pin(self.on_flush()).await,
        };
        let handled = match handled {
            Ok(()) => self.bound_buffers().await,
            Err(stopped) => Err(stopped),
        };
        self.was_handled(handled).await
    }

    /// Ends a message of a batch with what came of it.
    async fn was_handled(&mut self, handled: Result<(), Stopped>) -> Result<(), Ended> {
        match handled {
            // A client may wait for an error before it sends its Sync.
            Ok(()) if self.batch.failed => Ok(self.client.flush_now().await?),
            Ok(()) => Ok(()),
            Err(Stopped::Told(error)) => Box::pin(self.fail_batch(&error)).await,
            Err(Stopped::Answered) => self.skip_to_sync().await,
            Err(Stopped::Ended(ended)) => Err(ended),
        }
    }

    async fn on_parse(&mut self, frame: &Frame) -> Result<(), Stopped> {
        self.settle_batch().await?;
        let serving = self.front.core.view.load();
        let (name, prepared) = self.parse(frame, &serving).await?;
        let named = !name.is_empty();
        self.statements.insert(name.clone(), Arc::clone(&prepared));
        let change = self.batch.changes.parsed(name);
        if self.is_local(&prepared, &serving) {
            let complete = local::frames(encode::parse_complete);
            return self.step(Step::Local(complete, Some(change)));
        }
        self.go_home(&prepared, &serving).await?;
        self.step(Step::Parse {
            prepared,
            named,
            change,
        })
    }

    /// A client's statement, by its Parse, and its name.
    async fn parse(
        &self,
        frame: &Frame,
        serving: &Serving,
    ) -> Result<(Bytes, Arc<Prepared>), Stopped> {
        let parse = Parse::decode(frame.body())?;
        let name = Bytes::copy_from_slice(parse.name.as_bytes());
        let sql = parse.sql.as_str().map_err(|_| not_utf8())?;
        if !name.is_empty() {
            self.may_name(&name)?;
        }
        let bare = trace::without_comment(sql, &HINTS);
        let planned = match self.front.core.cache.plan(bare, &serving.snapshot) {
            Ok(planned) if planned.analysis.statements.len() <= 1 => Some(planned),
            // A shard says what is wrong with it, and runs nothing of it.
            Ok(_) | Err(SyntaxError::Syntax { .. }) => None,
            Err(error) => return Err(syntax_refusal(&error).into()),
        };
        let statement = planned
            .as_ref()
            .and_then(|it| it.analysis.statements.first());
        if statement.is_some_and(|statement| !control::is_exit(&statement.class)) {
            self.must_not_have_failed()?;
        }
        let definition = definition_of(&parse, frame);
        let (definition, planned, written) = self.defined(serving, definition, planned).await?;
        let parsed = Parsed {
            planned,
            written,
            ..self.said_in(&parse, definition)
        };
        let prepared = if name.is_empty() {
            self.front.statements.unnamed(parsed)
        } else {
            self.named(parsed)
        };
        Ok((name, prepared))
    }

    /// What a Parse says, under the settings that are in force; without its analysis.
    fn said_in(&self, parse: &Parse<'_>, definition: Bytes) -> Parsed {
        Parsed {
            definition,
            parameter_types: parse.parameter_types.iter().collect(),
            planned: None,
            settings: Arc::clone(self.settings.in_force()),
            promised: None,
            written: None,
        }
    }

    /// A statement by the client's name, to be parsed under the settings that are in force now.
    pub(super) async fn statement(&mut self, name: &[u8]) -> Result<Arc<Prepared>, Stopped> {
        self.settle_batch().await?;
        if self.statements.get(name).is_some_and(|it| it.reads_views()) {
            self.take_present_views(name).await?;
        }
        let known = self.statements.get(name);
        let mut known = Arc::clone(known.ok_or_else(|| no_statement(name))?);
        let settings = self.settings.in_force();
        if !name.is_empty()
            && !Arc::ptr_eq(&known.settings, settings)
            && !known.settings.read_alike(settings)
        {
            known = self.named(known.under(settings));
            let name = Bytes::copy_from_slice(name);
            self.statements.insert(name, Arc::clone(&known));
        }
        if known.has_changed() {
            return Err(Error::PlanChanged.into());
        }
        Ok(known)
    }

    /// A statement with a name, shared with the sessions to which its text means the same: not
    /// where it may name a temporary table, nor where what it returns depends on a cursor.
    pub(super) fn named(&self, parsed: Parsed) -> Arc<Prepared> {
        let statements = &self.front.statements;
        let is_own =
            self.temporary().is_some() || parsed.planned.as_deref().is_some_and(reads_cursor);
        if is_own {
            return statements.unnamed(parsed);
        }
        statements.named(parsed, self.front.core.schema.version())
    }

    pub(super) fn may_name(&self, name: &Bytes) -> Result<(), Refusal> {
        let limit = self.front.core.config.pgwire.max_prepared_statements;
        if self.statements.contains_key(name) {
            self.must_not_have_failed()?;
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

    async fn on_describe(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let named = Named::decode_describe(frame.body())?;
        let name = named.name.as_bytes();
        match named.kind {
            TargetKind::Statement => {
                let prepared = self.statement(name).await?;
                let serving = self.front.core.view.load();
                if self.is_local(&prepared, &serving) {
                    let own = self.cursor_description(&prepared).await?;
                    let frames = match own {
                        Some(frames) => frames,
                        None => answers::description(&prepared)?,
                    };
                    return self.step(Step::Local(frames, None));
                }
                self.go_home(&prepared, &serving).await?;
                self.step(Step::Describe {
                    prepared,
                    named: !name.is_empty(),
                })
            }
            TargetKind::Portal => match self.seek(name).await? {
                None => Err(no_portal(name).into()),
                Some(Portal::Spent) => self.step(Step::Local(local::frames(encode::no_data), None)),
                Some(Portal::Answered(_, heading)) => self.step(Step::Local(heading, None)),
                Some(Portal::Fetch(fetching)) => {
                    let heading = self.fetch_heading(&fetching).await;
                    self.step(Step::Local(heading, None))
                }
                Some(Portal::CopyIn(_) | Portal::Declare(..)) => {
                    self.step(Step::Local(local::frames(encode::no_data), None))
                }
                Some(Portal::Explain(prepared, arguments)) => {
                    self.step(Step::Local(heading_of(&prepared, &arguments)?, None))
                }
                Some(Portal::Split(split)) => Box::pin(self.describe_split(&split)).await,
                Some(Portal::Pull(prepared, arguments)) => {
                    Box::pin(self.describe_pull(&prepared, &arguments)).await
                }
                Some(Portal::Local(prepared) | Portal::Everywhere(prepared)) => {
                    let heading = answers::portal_description(&prepared)?;
                    self.step(Step::Local(heading, None))
                }
                Some(Portal::Remote(_)) => {
                    self.forward_to_portal(frame, Answer::Describe);
                    Ok(())
                }
                Some(Portal::Scattered(scattered)) => {
                    let heading = Box::pin(self.describe_scattered(&scattered)).await?;
                    self.step(Step::Local(heading, None))
                }
            },
        }
    }

    async fn on_execute(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let execute = Execute::decode(frame.body())?;
        let name = execute.portal.as_bytes();
        let portal = self.seek(name).await?.ok_or_else(|| no_portal(name))?;
        if !matches!(portal, Portal::Remote(_) | Portal::Scattered(_))
            && let Some(known) = self.portals.get_mut(name)
        {
            *known = Portal::Spent;
        }
        match portal {
            Portal::Remote(effect) => {
                let copies = effect == Effect::CopyIn;
                self.forward_to_portal(frame, Answer::Execute);
                self.note_effect(effect);
                if copies {
                    // Whether the messages behind are the copy's is known only with its answer.
                    Box::pin(self.flush_backend()).await?;
                }
                Ok(())
            }
            Portal::Answered(frames, _) => self.step(Step::Local(frames, None)),
            Portal::Split(split) => Box::pin(self.execute_split(&split)).await,
            Portal::CopyIn(prepared) => Box::pin(self.execute_copy_in(&prepared)).await,
            Portal::Pull(prepared, arguments) => {
                Box::pin(self.execute_pull(&prepared, &arguments)).await
            }
            Portal::Explain(prepared, arguments) => {
                Box::pin(self.explain_portal(&prepared, &arguments)).await
            }
            Portal::Declare(prepared, arguments) => {
                Box::pin(self.execute_declare(&prepared, &arguments)).await
            }
            Portal::Fetch(fetching) => Box::pin(self.execute_fetch(&fetching)).await,
            Portal::Local(prepared) => Box::pin(self.execute_locally(&prepared)).await,
            Portal::Everywhere(prepared) => Box::pin(self.execute_everywhere(&prepared)).await,
            Portal::Scattered(scattered) => {
                let executed = self.execute_scattered(&scattered, execute.max_rows);
                if Box::pin(executed).await?
                    && let Some(known) = self.portals.get_mut(name)
                {
                    *known = Portal::Spent;
                }
                Ok(())
            }
            Portal::Spent => Err(spent(name).into()),
        }
    }

    /// As [`Self::portal`], wherever in the transaction it is.
    async fn seek(&mut self, name: &[u8]) -> Result<Option<Portal>, Stopped> {
        if self.company.is_some() {
            Box::pin(self.seek_portal(name)).await?;
        }
        let found = self.portal(name);
        if found.is_none() && self.is_bound() && !name.is_empty() {
            return Box::pin(self.kept_portal()).await;
        }
        Ok(found)
    }

    async fn seek_and_remove(&mut self, name: &[u8]) -> Result<Option<Portal>, Stopped> {
        if self.company.is_some() {
            Box::pin(self.seek_portal(name)).await?;
        }
        Ok(self.portals.remove(name))
    }

    /// A portal of that name. One that the router does not know may be an SQL cursor on the backend
    /// of the open transaction, which says so if it is none.
    fn portal(&self, name: &[u8]) -> Option<Portal> {
        let known = self.portals.get(name).cloned();
        let may_be_cursor = self.attachment.is_some() && self.transaction == Transaction::Open;
        known.or_else(|| may_be_cursor.then_some(Portal::Remote(Effect::None)))
    }

    /// Sends a message about a portal of the backend as it came.
    fn forward_to_portal(&mut self, frame: &Frame, answer: Answer) {
        self.outbound.extend_from_slice(frame.bytes());
        self.expected.forward(answer);
        self.mark_unsynced();
    }

    async fn execute_locally(&mut self, prepared: &Prepared) -> Result<(), Stopped> {
        let Some(statement) = prepared.statement() else {
            let empty = local::frames(encode::empty_query_response);
            return self.step(Step::Local(empty, None));
        };
        if self.attachment.is_some() {
            // It is done at once, so that it must be known that nothing before it has failed.
            self.flush_to_go_on().await?;
        }
        if self.is_implicit()
            && let Class::Begin { .. } = &statement.class
        {
            let frames = self.turn_into_block(statement.text(prepared.sql()))?;
            return self.step(Step::Local(frames, None));
        }
        if self.company.is_some()
            && control::ends(&statement.class)
            && let Some(frames) = Box::pin(self.finish_together(&statement.class)).await?
        {
            return self.step(Step::Local(frames, None));
        }
        if let Class::Sharding(call) = &statement.class {
            let serving = self.front.core.view.load();
            let frames = self.run_sharding(call, &serving).await?;
            return self.step(Step::Local(frames, None));
        }
        match self.run_locally(&statement.class, prepared.sql())? {
            Some(frames) => {
                self.front.core.metrics.decided(Decision::Local);
                self.step(Step::Local(frames, None))
            }
            None => Err(executed_late().into()),
        }
    }

    async fn on_close(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let named = Named::decode_close(frame.body())?;
        let name = named.name.as_bytes();
        let complete = local::frames(encode::close_complete);
        match named.kind {
            TargetKind::Statement => {
                let closed = self.statements.remove_entry(name);
                let change = closed.map(|(name, prepared)| {
                    let changes = &mut self.batch.changes;
                    changes.closed(name, prepared)
                });
                self.step(Step::Local(complete, change))
            }
            TargetKind::Portal => match self.seek_and_remove(name).await? {
                Some(Portal::Remote(_)) => {
                    self.forward_to_portal(frame, Answer::ClosePortal);
                    Ok(())
                }
                Some(
                    Portal::Local(_)
                    | Portal::Everywhere(_)
                    | Portal::Split(_)
                    | Portal::CopyIn(_)
                    | Portal::Declare(..)
                    | Portal::Pull(..)
                    | Portal::Explain(..)
                    | Portal::Fetch(_)
                    | Portal::Answered(..)
                    | Portal::Scattered(_)
                    | Portal::Spent,
                )
                | None => self.step(Step::Local(complete, None)),
            },
        }
    }

    async fn on_flush(&mut self) -> Result<(), Stopped> {
        self.find_backend().await?;
        self.flush_backend().await?;
        // The client asks for it before there is a commit.
        self.client.flush_now().await.map_err(Ended::from)?;
        Ok(())
    }

    /// Reports an error at this place; everything after it is skipped up to Sync.
    pub(super) async fn fail_batch(&mut self, error: &Error) -> Result<(), Ended> {
        self.front.core.metrics.failed(error);
        self.batch.failed = true;
        match self.find_backend_for_descriptions().await {
            Ok(()) | Err(Stopped::Told(_)) => {}
            Err(Stopped::Answered) => return Ok(self.client.flush_now().await?),
            Err(Stopped::Ended(ended)) => return Err(ended),
        }
        if self.attachment.is_some() {
            if self.poison_backend(error).is_ok() {
                self.mark_unsynced();
            }
        } else {
            self.emit_deferred();
            self.expected.local(local::error(error), None);
            self.transaction = std::mem::take(&mut self.transaction).refused();
        }
        // As PostgreSQL does: a client may wait for the error before it sends its Sync.
        match self.flush_backend().await {
            Ok(()) | Err(Stopped::Answered) => {}
            Err(Stopped::Told(lost)) => {
                let frames = local::error(&lost);
                self.client.outbound.extend_from_slice(&frames);
            }
            Err(Stopped::Ended(ended)) => return Err(ended),
        }
        Ok(self.client.flush_now().await?)
    }

    /// Has everything up to Sync skipped: the client has read an error already.
    pub(super) async fn skip_to_sync(&mut self) -> Result<(), Ended> {
        self.batch.failed = true;
        Ok(self.client.flush_now().await?)
    }
}

/// The text of a Parse and the types of its parameters, as they came.
fn definition_of(parse: &Parse<'_>, frame: &Frame) -> Bytes {
    let name_bytes = parse.name.as_bytes().len() + 1;
    Bytes::copy_from_slice(frame.body().get(name_bytes..).unwrap_or_default())
}

/// Whether what was stopped is routed anew by who handles the messages one by one.
fn is_routed_anew(stopped: &Stopped) -> bool {
    matches!(
        stopped,
        Stopped::Told(Error::Hold(_) | Error::Pool(pool::Error::Retired { .. }))
    )
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
