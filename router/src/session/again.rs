//! What was routed is looked at once more when it is written, and what a guard has refused before
//! the client has read a byte of its answer is taken back, to be routed anew.

use topology::{Epoch, Token};

use super::attach::Stopped;
use super::exchange::follow;
use super::expect::{Answer, Guarded, Seen};
use super::extended::Portal;
use super::state::{Preamble, Transaction};
use super::{Flight, Session};
use crate::barrier::Leave;
use crate::error::Error;
use crate::moving;
use crate::route::Target;

/// What statements that are not written yet were routed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Routed {
    /// The oldest topology of them.
    epoch: Epoch,
    /// The key that is theirs; none when there are several.
    token: Option<Token>,
}

impl Flight {
    /// A statement is going to be written that was routed by this epoch's topology.
    pub(super) fn note(&mut self, epoch: Epoch, target: Target) {
        let Target::Shard {
            token: Some(token), ..
        } = target
        else {
            return;
        };
        let before = self.routed;
        let epoch = before.map_or(epoch, |before| before.epoch.min(epoch));
        let is_same = before.is_none_or(|before| before.token == Some(token));
        self.routed = Some(Routed {
            epoch,
            token: is_same.then_some(token),
        });
    }
}

impl Session {
    /// The right to write what is waiting, or why it may not be written: it is gone then.
    pub(super) fn leave(&mut self) -> Result<Option<Leave>, Stopped> {
        let Some(routed) = self.flight.routed else {
            return Ok(None);
        };
        if self.outbound.is_empty() {
            return Ok(None);
        }
        if let Some(leave) = self.front.core.view.leave(routed.epoch) {
            return Ok(Some(leave));
        }
        loop {
            let serving = self.front.core.view.load();
            let epoch = serving.snapshot.epoch();
            if !self.is_still_right(routed, &serving.snapshot) {
                self.routed = routed.epoch;
                return Err(self.withdraw());
            }
            self.flight.routed = Some(Routed { epoch, ..routed });
            // Refused again only by a topology that is newer still.
            if let Some(leave) = self.front.core.view.leave(epoch) {
                return Ok(Some(leave));
            }
        }
    }

    /// Whether a newer topology sends the statement where it is, and at once.
    fn is_still_right(&self, routed: Routed, snapshot: &topology::Snapshot) -> bool {
        let (Some(token), Some(attachment)) = (routed.token, &self.attachment) else {
            return false;
        };
        let owner = snapshot.ring().lookup(token);
        let owner = owner.and_then(|vnode| snapshot.shard(vnode.owner));
        let has_begun = attachment.rewind.is_none();
        owner.is_some_and(|shard| shard.id == attachment.shard)
            && !attachment.lease.pool().is_cut()
            && (has_begun || snapshot.hold_of(token).is_none())
    }

    /// Takes back what was not written. What the transaction has done before is lost with its
    /// backend.
    fn withdraw(&mut self) -> Stopped {
        self.outbound.clear();
        let seen = self.expected.forget_unsent();
        self.batch.undo(&seen.undone, &mut self.statements);
        if let Some(attachment) = &mut self.attachment {
            // Whoever stands behind it has not been written either.
            attachment.baton = None;
        }
        let rewind = self.attachment.as_mut().and_then(|it| it.rewind.take());
        let in_block = self.transaction.is_block() && !self.is_implicit();
        self.flight = Flight::default();
        self.transaction = match rewind {
            Some(preamble) => {
                if let Some(attachment) = &mut self.attachment {
                    attachment.unsynced = false;
                    follow(&mut attachment.lease, &seen);
                }
                self.portals
                    .retain(|_, portal| !matches!(portal, Portal::Remote(_)));
                self.release();
                preamble.map_or(Transaction::Idle, Transaction::Pending)
            }
            None => {
                self.torn |= !in_block;
                self.close_backend();
                self.settings.end_transaction(false);
                if in_block {
                    Transaction::FailedPending(Preamble::new("BEGIN"))
                } else {
                    Transaction::Idle
                }
            }
        };
        Error::Moving(moving::Error::Outdated).into()
    }

    /// Whether what is about to be sent begins something that can begin elsewhere.
    pub(super) fn may_step_back(&self) -> bool {
        let attachment = self.attachment.as_ref();
        attachment.is_some_and(|attachment| attachment.rewind.is_some())
    }

    /// Whether what met this error can be routed anew: it is as it was before.
    pub(super) fn may_repeat(&self, error: &moving::Error) -> bool {
        let failed = matches!(
            self.transaction,
            Transaction::Failed | Transaction::FailedPending(_)
        );
        error.may_be_repeated() && self.attachment.is_none() && !failed && !self.torn
    }

    /// Leaves a backend whose shard has refused the first that it was asked; gives what
    /// [`Session::wait_out`] waits for.
    pub(super) async fn step_back(&mut self, seen: &Seen) -> Error {
        if let Some(routed) = self.flight.routed {
            self.routed = routed.epoch;
        }
        self.flight = Flight::default();
        let rewind = self.attachment.as_mut().and_then(|it| it.rewind.take());
        self.portals
            .retain(|_, portal| !matches!(portal, Portal::Remote(_)));
        if seen.status != Some(b'I') {
            let rolled_back = async {
                wire::frontend::encode::query(&mut self.outbound, b"ROLLBACK")?;
                self.expected.drop_answer(Answer::Ready);
                self.exchange().await
            };
            let is_idle = matches!(rolled_back.await, Ok(seen) if seen.status == Some(b'I'));
            if !is_idle {
                // The shard rolls back what its client has left.
                self.outbound.clear();
                self.expected.abandon();
                self.close_backend();
            }
        }
        self.transaction = rewind
            .flatten()
            .map_or(Transaction::Idle, Transaction::Pending);
        self.release();
        let code = match &seen.guarded {
            Some(Guarded::TakenBack(said) | Guarded::Told(said)) => said.code(),
            None => "",
        };
        Error::Moving(moving::Error::Moved { code })
    }
}
