//! A batch that a guard has refused is done anew: its messages are handled as if they had come
//! again.
//!
//! They are kept only while moves are likely, and answers only until something is executed, so
//! that nothing is copied otherwise.

use super::{Batch, Portal};
use crate::error::Error;
use crate::session::attach::Stopped;
use crate::session::client::Frame;
use crate::session::expect::Back;
use crate::session::state::Transaction;
use crate::session::{Ended, Session, local};

/// Longest batch that is kept.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// The messages of a batch since the last one that was answered.
#[derive(Debug, Default)]
pub(super) struct Kept {
    frames: Vec<Frame>,
    bytes: usize,
    /// Whether the batch can't be done anew from them.
    lacks: bool,
    /// Whether a transaction was open when the first of them came.
    in_block: bool,
}

impl Kept {
    /// A message has been handled.
    pub(super) fn add(&mut self, frame: &Frame) {
        self.bytes += frame.bytes().len();
        if self.bytes > MAX_KEPT_BYTES {
            self.give_up();
        } else {
            self.frames.push(frame.copy());
        }
    }

    /// The batch can't be done anew any more.
    pub(super) fn give_up(&mut self) {
        self.frames = Vec::new();
        self.lacks = true;
    }

    /// What came so far was answered. A portal that was bound by it is gone with its backend.
    pub(super) fn answered(&mut self) {
        use wire::frontend::tag;
        let binds = self.frames.iter().any(|frame| frame.tag() == tag::BIND);
        if binds {
            self.give_up();
        } else {
            self.frames = Vec::new();
        }
    }

    /// Whether messages are kept to do the batch anew.
    pub(super) fn keeps(&self) -> bool {
        !self.lacks
    }

    /// Whether the batch can be done anew.
    pub(super) fn is_whole(&self) -> bool {
        !self.lacks && !self.frames.is_empty()
    }
}

impl Session {
    /// Whether a message is to be kept once it is handled.
    pub(super) fn keeps(&mut self, frame: &Frame) -> bool {
        use wire::frontend::tag;
        if self.batch.failed || self.batch.kept.lacks {
            return false;
        }
        if !self.front.core.moving.is_likely() {
            self.batch.kept.lacks = true;
            return false;
        }
        let in_block = self.transaction.is_block();
        let kept = &mut self.batch.kept;
        if kept.frames.is_empty() {
            kept.in_block = in_block;
        }
        // What the router has done of an open transaction is not to be done twice, and rows that
        // the client may have read are not to be sent twice.
        let executes = frame.tag() == tag::EXECUTE;
        let is_read = |portal: &Portal| matches!(portal, Portal::Scattered(_) | Portal::Fetch(_));
        if executes && self.portals.values().any(is_read) {
            self.batch.kept.give_up();
            return false;
        }
        let is_local = |portal: &Portal| !matches!(portal, Portal::Remote(_));
        if executes && kept.in_block && self.portals.values().any(is_local) {
            self.batch.kept.give_up();
            return false;
        }
        true
    }

    /// Has the answers to what is about to be sent kept from the client until something is
    /// executed, if it can be done anew until then.
    pub(super) fn keep_answers_back(&mut self) {
        if self.batch.kept.is_whole() && self.may_step_back() {
            self.expected.may_take_back(Back::Kept);
        }
    }

    /// Ends the batch, however often it has to be done anew.
    pub(super) async fn sync_in_turn(&mut self) -> Result<(), Ended> {
        match self.sync().await? {
            None => Ok(()),
            // As all that is rare: whoever meets none of it pays no memory for it.
            Some(refused) => Box::pin(self.sync_anew(refused)).await,
        }
    }

    /// Writes what is left of a batch's answers, with ReadyForQuery where no backend has said it.
    pub(super) async fn end_sync(&mut self, answered: bool) -> Result<(), Ended> {
        if answered {
            self.torn = false;
            self.client.withhold_no_more();
            if self.client.owes() {
                self.client.flush().await?;
            }
            return Ok(());
        }
        if self.transaction == Transaction::Idle {
            self.portals.clear();
        }
        self.answer_ready().await
    }

    async fn sync_anew(&mut self, refused: (Error, Batch)) -> Result<(), Ended> {
        let (mut since, mut refused) = (None, Some(refused));
        while let Some((error, batch)) = refused {
            let kept = self.take_back(batch);
            let bytes = kept.iter().map(|frame| frame.bytes().len()).sum();
            let waited = self.wait_out(Stopped::Told(error), bytes, &mut since);
            match waited.await {
                Ok(()) => {}
                Err(Stopped::Told(error)) => return self.end_refused(&error).await,
                Err(Stopped::Answered) => return self.answer_ready().await,
                Err(Stopped::Ended(ended)) => return Err(ended),
            }
            for frame in kept {
                self.batch_message(&frame).await?;
                self.batch.kept.add(&frame);
            }
            refused = self.sync().await?;
        }
        Ok(())
    }

    /// The session as it was before the batch, and the batch.
    fn take_back(&mut self, batch: Batch) -> Vec<Frame> {
        let Batch { changes, kept, .. } = batch;
        self.torn = false;
        changes.undo_all(&mut self.statements);
        if !kept.in_block {
            // The batch itself has begun the transaction, and will again.
            self.transaction = Transaction::Idle;
            self.settings.end_transaction(false);
            self.portals.clear();
        }
        kept.frames
    }

    async fn end_refused(&mut self, error: &Error) -> Result<(), Ended> {
        self.front.core.metrics.failed(error);
        self.transaction = std::mem::take(&mut self.transaction).refused();
        self.client.outbound.extend_from_slice(&local::error(error));
        self.answer_ready().await
    }
}
