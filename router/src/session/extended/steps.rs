//! What a batch does before it has a backend: put off in order, and done as soon as there is one.

use std::sync::Arc;

use bytes::Bytes;
use wire::backend::encode;
use wire::frontend::TargetKind;

use crate::route::Target;
use crate::session::attach::Stopped;
use crate::session::effects::Effect;
use crate::session::expect::{Answer, Seen};
use crate::session::prepared::Prepared;
use crate::session::state::Transaction;
use crate::session::{Session, local};

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

/// Bytes for the backend that a batch may pile up before they are sent.
const MAX_OUTBOUND_BYTES: usize = 64 << 10;

/// Steps that a batch may pile up before it has a backend.
const MAX_DEFERRED: usize = 1024;

impl Session {
    /// Does a step, or puts it off until there is a backend.
    pub(super) fn step(&mut self, step: Step) -> Result<(), Stopped> {
        if self.attachment.is_some() {
            return self.run_step(step);
        }
        self.batch.deferred.push(step);
        Ok(())
    }

    /// Does what was put off, on the backend that there is now.
    pub(super) fn run_deferred(&mut self) -> Result<(), Stopped> {
        for step in std::mem::take(&mut self.batch.deferred) {
            self.run_step(step)?;
        }
        Ok(())
    }

    fn run_step(&mut self, step: Step) -> Result<(), Stopped> {
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
            }
            Step::Describe { prepared, named } => {
                self.ensure_prepared(&prepared, named);
                let name = if named {
                    prepared.server_name.as_bytes()
                } else {
                    b""
                };
                let out = &mut self.outbound;
                wire::frontend::encode::describe(out, TargetKind::Statement, name)?;
                self.expected.forward(Answer::Describe);
                self.mark_unsynced();
            }
        }
        Ok(())
    }

    /// Makes sure that the backend holds a statement.
    pub(in crate::session) fn ensure_prepared(&mut self, prepared: &Prepared, named: bool) {
        let held = if named {
            self.holds(prepared.id)
        } else {
            let attachment = self.attachment.as_ref();
            attachment.is_some_and(|attachment| attachment.lease.unnamed == Some(prepared.id))
        };
        if held {
            return;
        }
        let name = if named { &*prepared.server_name } else { "" };
        prepared.put_parse(&mut self.outbound, name);
        self.expected.drop_answer(Answer::Parse(prepared.id));
        if named {
            self.note_prepared(prepared.id);
        } else {
            self.note_unnamed(prepared.id);
        }
    }

    /// Whether the backend holds a named statement; it counts as used.
    pub(in crate::session) fn holds(&mut self, id: u64) -> bool {
        let attachment = self.attachment.as_mut();
        attachment.is_some_and(|attachment| attachment.lease.prepared.get(&id).is_some())
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
        let Some((evicted, ())) = attachment.lease.prepared.push(id, ()) else {
            return;
        };
        if evicted != id {
            let name = format!("router_{evicted}");
            let kind = TargetKind::Statement;
            // The name is made of letters and digits.
            let _written = wire::frontend::encode::close(&mut self.outbound, kind, name.as_bytes());
            let answer = Answer::CloseStatement(evicted);
            self.expected.drop_answer(answer);
        }
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
            Box::pin(self.attach(&serving, Target::Any)).await?;
        }
        if self.attachment.is_some() {
            self.run_deferred()
        } else {
            Ok(())
        }
    }

    /// As [`Self::find_backend`], unless the client can do without: before an error, a statement
    /// need not have been prepared in earnest.
    pub(in crate::session) async fn find_backend_for_descriptions(&mut self) -> Result<(), Stopped> {
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
    async fn sync_silently(&mut self) -> Result<Seen, Stopped> {
        if let Some(attachment) = &mut self.attachment
            && std::mem::take(&mut attachment.unsynced)
        {
            wire::frontend::encode::sync(&mut self.outbound);
            self.expected.drop_answer(Answer::Ready);
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
        unsynced || !self.batch.deferred.is_empty() || !self.expected.is_empty()
    }

    /// A simple query ends a batch that no Sync has ended.
    pub(in crate::session) async fn close_batch(&mut self) -> Result<(), Stopped> {
        self.find_backend().await?;
        self.emit_deferred();
        let attachment = self.attachment.as_ref();
        let unsynced = attachment.is_some_and(|attachment| attachment.unsynced);
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
