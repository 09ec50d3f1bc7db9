//! What a batch does before it has a backend: put off in order, and done as soon as there is one.

use std::sync::Arc;

use bytes::Bytes;
use wire::backend::encode;
use wire::frontend::TargetKind;

use crate::error::Error;
use crate::moving;
use crate::session::attach::Stopped;
use crate::session::effects::Effect;
use crate::session::expect::{Answer, Seen};
use crate::session::prepared::Prepared;
use crate::session::state::Transaction;
use crate::session::{Session, local};
use crate::view::Serving;

/// A message that needs no particular shard.
#[derive(Debug)]
pub(super) enum Step {
    /// Prepare a statement.
    Parse {
        prepared: Arc<Prepared>,
        named: bool,
        change: u64,
    },
    /// Describe a statement.
    Describe {
        prepared: Arc<Prepared>,
        named: bool,
    },
    /// Tell the client something, and which change of the session's statements it is about.
    Local(Bytes, Option<u64>),
}

impl Step {
    /// The statement that a shard is asked about.
    pub(super) fn prepared(&self) -> Option<&Arc<Prepared>> {
        match self {
            Self::Parse { prepared, .. } | Self::Describe { prepared, .. } => Some(prepared),
            Self::Local(..) => None,
        }
    }

    /// Whether the client asks itself for what the router would ask of a statement.
    fn is_described_by(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Parse { prepared, .. }, Self::Describe { prepared: next, .. }) => {
                prepared.id == next.id
            }
            _ => false,
        }
    }
}

/// Bytes for the backend that a batch may pile up before they are sent.
const MAX_OUTBOUND_BYTES: usize = 64 << 10;

/// Steps that a batch may pile up before it has a backend.
const MAX_DEFERRED: usize = 1024;

impl Session {
    /// Does a step, or puts it off until there is a backend.
    pub(super) fn step(&mut self, step: Step) -> Result<(), Stopped> {
        if self.attachment.is_some() {
            return self.run_step(step, false);
        }
        self.batch.deferred.push(step);
        Ok(())
    }

    /// Does what was put off, on the backend that there is now.
    pub(super) fn run_deferred(&mut self) -> Result<(), Stopped> {
        if self.batch.deferred.is_empty() {
            return Ok(());
        }
        let mut steps = std::mem::take(&mut self.batch.deferred)
            .into_iter()
            .peekable();
        while let Some(step) = steps.next() {
            let is_described_next = steps.peek().is_some_and(|next| step.is_described_by(next));
            self.run_step(step, is_described_next)?;
        }
        Ok(())
    }

    /// As [`Self::run_deferred`], with each statement on a backend that knows its tables.
    pub(super) async fn run_deferred_at_homes(&mut self, serving: &Serving) -> Result<(), Stopped> {
        let mut steps = std::mem::take(&mut self.batch.deferred)
            .into_iter()
            .peekable();
        while let Some(step) = steps.next() {
            let is_described_next = steps.peek().is_some_and(|next| step.is_described_by(next));
            let prepared = step.prepared();
            let home = prepared.and_then(|it| self.home_elsewhere(it, serving));
            match (step, home) {
                // It is prepared in earnest where it is bound.
                (Step::Parse { change, .. }, Some(_)) if !is_described_next => {
                    let complete = local::frames(encode::parse_complete);
                    self.expected.local(complete, Some(change));
                }
                (step, home) => {
                    if let Some(target) = home {
                        self.attach_to(serving, target).await?;
                    }
                    self.run_step(step, is_described_next)?;
                }
            }
        }
        Ok(())
    }

    fn run_step(&mut self, step: Step, is_described_next: bool) -> Result<(), Stopped> {
        match step {
            Step::Local(frames, change) => self.expected.local(frames, change),
            Step::Parse {
                prepared,
                named: false,
                change,
            } => {
                prepared.put_parse(&mut self.outbound, "");
                let answer = Answer::Parse(prepared.id);
                self.expected.forward_change(answer, change);
                self.note_unnamed(prepared.id);
                self.mark_unsynced();
            }
            Step::Parse {
                prepared,
                named: true,
                change,
            } => {
                if self.holds(prepared.id) {
                    let complete = local::frames(encode::parse_complete);
                    self.expected.local(complete, Some(change));
                    return Ok(());
                }
                prepared.put_parse(&mut self.outbound, &prepared.server_name);
                let answer = Answer::Parse(prepared.id);
                self.expected.forward_change(answer, change);
                self.note_prepared(prepared.id);
                self.mark_unsynced();
                if !is_described_next {
                    self.describe(&prepared, true, false)?;
                }
            }
            Step::Describe { prepared, named } => {
                self.prepare(&prepared, named)?;
                self.describe(&prepared, named, true)?;
                self.mark_unsynced();
            }
        }
        Ok(())
    }

    /// Whether the backend holds a statement.
    pub(super) fn is_prepared(&mut self, prepared: &Prepared, named: bool) -> bool {
        if named {
            return self.holds(prepared.id);
        }
        let attachment = self.attachment.as_ref();
        attachment.is_some_and(|attachment| attachment.lease.unnamed == Some(prepared.id))
    }

    /// Has the backend hold a statement, unless it does, and describe it.
    pub(in crate::session) fn prepare(
        &mut self,
        prepared: &Prepared,
        named: bool,
    ) -> Result<(), Stopped> {
        if self.is_prepared(prepared, named) {
            return Ok(());
        }
        let name = if named { &*prepared.server_name } else { "" };
        prepared.put_parse(&mut self.outbound, name);
        self.expected.drop_answer(Answer::Parse(prepared.id));
        if named {
            self.note_prepared(prepared.id);
        } else {
            self.note_unnamed(prepared.id);
        }
        if named || prepared.is_described() {
            self.describe(prepared, named, false)?;
        }
        Ok(())
    }

    /// Has the backend hold a statement, whose rows must have the form that clients were told:
    /// known before anything of it is run, for what is run may commit.
    pub(super) async fn prepare_alike(
        &mut self,
        prepared: &Prepared,
        named: bool,
    ) -> Result<(), Stopped> {
        self.prepare(prepared, named)?;
        if !prepared.is_described() {
            return Ok(());
        }
        self.mark_unsynced();
        let has_begun = !self.flight.effects.is_empty();
        let attachment = self.attachment.as_mut();
        let rewind = attachment.and_then(|it| it.rewind.take());
        self.flush_to_go_on().await?;
        if let Some(attachment) = &mut self.attachment {
            // Nothing was run but what can be run elsewhere as well.
            attachment.rewind = rewind.filter(|_| !has_begun);
        }
        if prepared.has_changed() {
            return Err(Error::PlanChanged.into());
        }
        Ok(())
    }

    /// Sends a Describe of a statement that the backend holds.
    fn describe(
        &mut self,
        prepared: &Prepared,
        named: bool,
        is_asked: bool,
    ) -> Result<(), Stopped> {
        let (Some(attachment), true) = (&self.attachment, is_asked || prepared.shape.is_some())
        else {
            return Ok(());
        };
        self.flight.prepares = true;
        let name = if named { &*prepared.server_name } else { "" };
        let out = &mut self.outbound;
        wire::frontend::encode::describe(out, TargetKind::Statement, name.as_bytes())?;
        let shape = prepared.shape.as_ref();
        self.expected.describe(is_asked, shape, &attachment.shard);
        Ok(())
    }

    /// Whether the backend holds a named statement; it counts as used.
    pub(in crate::session) fn holds(&mut self, id: u64) -> bool {
        let attachment = self.attachment.as_ref();
        attachment.is_some_and(|attachment| attachment.lease.prepared.holds(id))
    }

    fn note_unnamed(&mut self, id: u64) {
        if let Some(attachment) = &mut self.attachment {
            attachment.lease.unnamed = Some(id);
        }
    }

    /// The backend gets one more statement, and loses the one that was not used for longest.
    fn note_prepared(&mut self, id: u64) {
        let Some(attachment) = &mut self.attachment else {
            return;
        };
        self.flight.prepares = true;
        let Some(evicted) = attachment.lease.prepared.add(id) else {
            return;
        };
        let name = format!("router_{evicted}");
        let kind = TargetKind::Statement;
        // The name is made of letters and digits.
        let _written = wire::frontend::encode::close(&mut self.outbound, kind, name.as_bytes());
        self.expected.drop_answer(Answer::CloseStatement(evicted));
    }

    pub(super) fn mark_unsynced(&mut self) {
        if let Some(attachment) = &mut self.attachment {
            attachment.unsynced = true;
        }
    }

    /// Attaches any backend when something waits that only a shard can answer.
    pub(super) async fn find_backend(&mut self) -> Result<(), Stopped> {
        let waits = |step: &Step| matches!(step, Step::Parse { .. } | Step::Describe { .. });
        if self.attachment.is_none() && self.batch.deferred.iter().any(waits) {
            let serving = self.front.core.view.load();
            let target = self.target_of_deferred(&serving);
            Box::pin(self.attach(&serving, target)).await?;
        }
        if self.attachment.is_none() {
            return Ok(());
        }
        if self.batch.deferred.len() > 1 {
            let serving = self.front.core.view.load();
            if self.has_other_homes(None, &serving) {
                return Box::pin(self.run_deferred_at_homes(&serving)).await;
            }
        }
        self.run_deferred()
    }

    /// As [`Self::find_backend`], unless the client can do without: before an error, a statement
    /// need not have been prepared in earnest.
    pub(in crate::session) async fn find_backend_for_descriptions(
        &mut self,
    ) -> Result<(), Stopped> {
        let waits = |step: &Step| match step {
            Step::Describe { .. } => true,
            Step::Parse { prepared, .. } => prepared.planned.is_none(),
            Step::Local(..) => false,
        };
        if self.attachment.is_none() && !self.batch.deferred.iter().any(waits) {
            return Ok(());
        }
        self.find_backend().await
    }

    /// Answers what was put off without a backend, up to the first step that needs one; what
    /// follows that one is as if it had never come.
    pub(super) fn emit_deferred(&mut self) {
        if self.batch.deferred.is_empty() {
            return;
        }
        let deferred = std::mem::take(&mut self.batch.deferred);
        let mut steps = deferred.into_iter();
        for step in steps.by_ref() {
            match step {
                Step::Local(frames, change) => self.expected.local(frames, change),
                Step::Parse { change, .. } => {
                    let complete = local::frames(encode::parse_complete);
                    self.expected.local(complete, Some(change));
                }
                Step::Describe { .. } => break,
            }
        }
        self.batch.deferred = steps.collect();
        self.drop_deferred();
    }

    /// Forgets what was put off, and what it did to the session's statements.
    pub(super) fn drop_deferred(&mut self) {
        if self.batch.deferred.is_empty() {
            return;
        }
        let deferred = std::mem::take(&mut self.batch.deferred);
        let changes: Vec<u64> = deferred
            .into_iter()
            .filter_map(|step| match step {
                Step::Parse { change, .. } => Some(change),
                Step::Local(_, change) => change,
                Step::Describe { .. } => None,
            })
            .collect();
        self.batch.undo(&changes, &mut self.statements);
    }

    /// Has the backend answer what it was sent so far.
    pub(super) async fn flush_backend(&mut self) -> Result<(), Stopped> {
        // What is answered now is not measured at Sync, nor alone in its request.
        self.flight.shares = None;
        let effects = &self.flight.effects;
        if effects.iter().any(Effect::moves_transaction) {
            // A Sync right after it ends nothing else, and its answer says where things stand.
            self.mark_unsynced();
            let seen = Box::pin(self.sync_silently()).await?;
            self.finish(&seen);
            return Ok(());
        }
        if self.attachment.is_some() && !self.outbound.is_empty() {
            wire::frontend::encode::flush(&mut self.outbound);
        }
        if self.attachment.is_none() {
            self.emit_deferred();
        }
        let seen = self.exchange().await?;
        if seen.error {
            self.batch.failed = true;
        }
        if self.batch.deferred.is_empty() {
            self.batch.changes.settle();
        }
        self.apply_effects(&seen);
        Ok(())
    }

    /// As [`Self::flush_backend`], for what must not be done if anything before it has failed.
    pub(in crate::session) async fn flush_to_go_on(&mut self) -> Result<(), Stopped> {
        self.flush_backend().await?;
        self.go_on()
    }

    /// Where a statement goes and what it means depend on what was sent before it in the batch and
    /// is not answered yet: on settings, and on whether the transaction has ended. Waits for that.
    pub(super) async fn settle_batch(&mut self) -> Result<(), Stopped> {
        let waits = |effect: &Effect| effect.moves_transaction() || effect.changes();
        if self.flight.effects.iter().any(waits) {
            Box::pin(self.flush_to_go_on()).await?;
        }
        Ok(())
    }

    /// Ends with a Sync of the router's own what was sent without one.
    pub(super) async fn sync_silently(&mut self) -> Result<Seen, Stopped> {
        if let Some(attachment) = &mut self.attachment
            && std::mem::take(&mut attachment.unsynced)
        {
            wire::frontend::encode::sync(&mut self.outbound);
            if self.flight.effects.iter().any(Effect::moves_transaction) {
                // What the end of the client's transaction gives settings back to comes with it.
                self.expected.forward(Answer::Commands);
            } else {
                self.expected.drop_answer(Answer::Ready);
            }
        }
        let seen = self.exchange().await?;
        self.batch.failed |= seen.error;
        Ok(seen)
    }

    fn go_on(&self) -> Result<(), Stopped> {
        if self.batch.failed {
            Err(Stopped::Answered)
        } else {
            Ok(())
        }
    }

    /// Keeps a long batch from piling up in memory.
    pub(super) async fn bound_buffers(&mut self) -> Result<(), Stopped> {
        if self.attachment.is_none() && self.batch.deferred.len() > MAX_DEFERRED {
            self.find_backend().await?;
            if self.attachment.is_none() {
                self.emit_deferred();
                Box::pin(self.exchange()).await?;
            }
        }
        if self.outbound.len() > MAX_OUTBOUND_BYTES || self.expected.len() > MAX_DEFERRED {
            Box::pin(self.flush_backend()).await?;
        }
        Ok(())
    }

    /// Whether anything has come that no Sync has ended.
    pub(in crate::session) fn is_within_batch(&self) -> bool {
        let attachment = self.attachment.as_ref();
        let unsynced = attachment.is_some_and(|attachment| attachment.unsynced);
        let waits = !self.batch.deferred.is_empty() || !self.expected.is_empty();
        unsynced || waits || (self.is_implicit() && !self.scripted) || self.torn
    }

    /// A simple query ends a batch that no Sync has ended.
    pub(in crate::session) async fn close_batch(&mut self) -> Result<(), Stopped> {
        self.find_backend().await?;
        self.emit_deferred();
        let attachment = self.attachment.as_ref();
        let unsynced = attachment.is_some_and(|attachment| attachment.unsynced);
        if std::mem::take(&mut self.torn) {
            return Err(Error::Moving(moving::Error::Outdated).into());
        }
        if self.is_implicit() {
            return Ok(Box::pin(self.sync_together()).await?);
        }
        if !unsynced && self.expected.is_empty() {
            return Ok(());
        }
        self.flight.ends |= self.transaction == Transaction::Idle;
        let seen = self.sync_silently().await?;
        self.batch = super::Batch::default();
        if unsynced {
            self.finish(&seen);
        }
        if seen.error {
            Err(Stopped::Answered)
        } else {
            Ok(())
        }
    }
}
