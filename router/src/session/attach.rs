//! Gives a session the backend that its statement needs, and takes it away when the transaction is
//! over.
//!
//! A transaction has one backend on each of its shards (I5); `several` has those of the others. One
//! that has only done what every shard does alike may still move to the shard of its first keyed
//! statement.

use std::sync::Arc;

use topology::{ShardId, ShardIndex};

use super::client::ClientError;
use super::effects::Effect;
use super::expect::{Answer, Seen};
use super::extended::Portal;
use super::relay::RelayError;
use super::several::Ties;
use super::state::{Preamble, Transaction};
use super::{Ended, Flight, Session, poison};
use crate::error::Error;
use crate::metrics::route_of;
use crate::moving;
use crate::pool::{Baton, Lease, Pool};
use crate::route::{Refusal, Target};
use crate::view::Serving;

/// A backend on loan to a session.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) lease: Lease,
    pub(super) shard: ShardId,
    /// Set while only statements have run that any shard answers alike: what to replay elsewhere.
    pub(super) movable: Option<Option<Preamble>>,
    /// Set while nothing has been answered since it was chosen by a key: as `movable`, should what
    /// comes first be refused.
    pub(super) rewind: Option<Option<Preamble>>,
    /// What ties its transaction to those of other shards.
    pub(super) ties: Ties,
    /// Whether messages of the extended protocol were sent that no Sync has followed yet.
    pub(super) unsynced: bool,
    /// Whether it is of a replica, where only statements with a permit go.
    pub(super) on_replica: bool,
    /// Whether it was outside a transaction when it last was ready.
    pub(super) idle: bool,
    /// Set while others stand in line for it, or may.
    pub(super) baton: Option<Baton>,
}

impl Attachment {
    /// The transaction stays: what opened and shaped it is kept for other shards only.
    pub(super) fn pin(&mut self) {
        if let Some(Some(preamble)) = self.movable.take() {
            self.ties.script = Some(preamble);
        }
    }

    /// What came first was answered, and is not done anew.
    pub(super) fn keep(&mut self) {
        if let Some(Some(preamble)) = self.rewind.take() {
            self.ties.script = Some(preamble);
        }
    }
}

/// Why a statement does not run: the client is told, or its session ends.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The client is to read the error.
    Told(Error),
    /// The client has read an error already.
    Answered,
    /// The session cannot go on.
    Ended(Ended),
}

impl From<Ended> for Stopped {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Told(Error::Refused(refusal))
    }
}

impl From<wire::EncodeError> for Stopped {
    fn from(error: wire::EncodeError) -> Self {
        Self::Told(Error::Protocol(error.to_string()))
    }
}

impl From<wire::DecodeError> for Stopped {
    fn from(error: wire::DecodeError) -> Self {
        Self::Told(Error::Protocol(error.to_string()))
    }
}

impl Session {
    /// Makes sure that the session has a backend that `target` allows.
    pub(super) async fn attach(
        &mut self,
        serving: &Serving,
        target: Target,
    ) -> Result<(), Stopped> {
        // Every statement passes here, so that none passes a hold.
        self.check_hold(serving, target)?;
        self.attach_to(serving, target).await?;
        if self.flight.now_writes {
            self.note_writer(serving).await?;
        }
        self.flight.route = route_of(target);
        self.front.core.metrics.routed(&serving.snapshot, target);
        self.flight.note(serving.snapshot.epoch(), target);
        Ok(())
    }

    pub(super) async fn attach_to(
        &mut self,
        serving: &Serving,
        target: Target,
    ) -> Result<(), Stopped> {
        self.leave_replica().await?;
        let index = match (target, &self.attachment) {
            (Target::Shard { index, .. }, _) => index,
            (Target::Catalog, Some(_)) => match self.parked_catalogs(serving) {
                Some(index) => index,
                None => return Ok(()),
            },
            (Target::Any | Target::Everywhere, Some(_)) => return Ok(()),
            (Target::Any | Target::Catalog | Target::Everywhere, None) => {
                return Box::pin(self.attach_any(serving, target)).await;
            }
        };
        if let Some(attachment) = &mut self.attachment {
            let wanted = serving.snapshot.shard(index).map(|shard| &shard.id);
            if wanted == Some(&attachment.shard) {
                // What else is in the batch is not told from what was sent.
                if attachment.unsynced {
                    attachment.pin();
                } else if let Some(movable) = attachment.movable.take() {
                    attachment.rewind = Some(movable);
                }
                return Ok(());
            }
            if attachment.movable.is_none() || self.transaction == Transaction::Failed {
                return Box::pin(self.go_to(serving, index)).await;
            }
            Box::pin(self.move_away()).await?;
        }
        let pool = serving.primary(index).ok_or(Error::NoShard)?;
        let lease = self.checkout(pool).await?;
        self.begin_on(lease, pool.shard().clone(), None).await
    }

    /// Borrows a backend of whichever shard has one, beginning at the common shard for its catalogs,
    /// else at a shard that depends on the session, so that sessions spread.
    async fn attach_any(&mut self, serving: &Serving, target: Target) -> Result<(), Stopped> {
        if let Some(kept) = self.kept_shard().cloned()
            && let Some(lease) = self.kept_lease(&kept)
        {
            let preamble = self.transaction.preamble();
            return self.begin_on(lease, kept, Some(preamble)).await;
        }
        let pools: Vec<(ShardIndex, &Pool)> = serving.ready();
        let own = usize::try_from(self.cancel.key().process_id.unsigned_abs()).unwrap_or(0);
        let ready = pools.iter().map(|(index, _)| *index);
        let first = serving.beginning(target, ready, own);
        let mut last = Error::NoShard;
        for step in 0..pools.len() {
            let Some((_, pool)) = pools.get((first + step) % pools.len()) else {
                break;
            };
            // The last resort is the one that was the last.
            let lease = if step + 1 < pools.len() {
                self.checkout_there(pool).await
            } else {
                self.checkout(pool).await
            };
            match lease {
                Ok(lease) => {
                    let preamble = self.transaction.preamble();
                    let shard = pool.shard().clone();
                    return self.begin_on(lease, shard, Some(preamble)).await;
                }
                // Whoever called it off wants no other shard's.
                Err(Stopped::Told(error @ Error::Cancelled)) => return Err(error.into()),
                Err(Stopped::Told(error)) => last = error,
                Err(stopped) => return Err(stopped),
            }
        }
        Err(last.into())
    }

    /// Brings a fresh backend to where the session is: its settings, its open transaction.
    pub(super) async fn begin_on(
        &mut self,
        lease: Lease,
        shard: ShardId,
        movable: Option<Option<Preamble>>,
    ) -> Result<(), Stopped> {
        self.cancel.attach(Arc::clone(&lease.cancel));
        let mut wait = false;
        let is_chosen_by_key = movable.is_none();
        let attachment = Attachment {
            lease,
            shard,
            movable,
            rewind: None,
            ties: Ties::default(),
            unsynced: false,
            on_replica: false,
            idle: true,
            baton: None,
        };
        let attachment = self.attachment.insert(attachment);
        let settings = self.settings.committed();
        let known = &attachment.lease.settings;
        if !Arc::ptr_eq(known, settings) && **known != **settings {
            wire::frontend::encode::query(&mut self.outbound, settings.establish().as_bytes())?;
            self.expected.drop_answer(Answer::Ready);
            attachment.lease.settings = Arc::clone(settings);
            wait = true;
        }
        let before = std::mem::take(&mut self.transaction);
        if let Transaction::Pending(preamble) | Transaction::FailedPending(preamble) = &before {
            wire::frontend::encode::query(&mut self.outbound, preamble.sql().as_bytes())?;
            self.expected.drop_answer(Answer::Ready);
            // A lone BEGIN cannot fail and need not be waited for.
            wait = wait || !preamble.is_bare();
        }
        let rewind = match &before {
            Transaction::Pending(preamble) => Some(Some(preamble.clone())),
            Transaction::Idle => Some(None),
            Transaction::FailedPending(_) | Transaction::Open | Transaction::Failed => None,
        };
        self.transaction = match &before {
            Transaction::Pending(_) => Transaction::Open,
            Transaction::FailedPending(_) => {
                poison(&mut self.outbound)?;
                wire::frontend::encode::sync(&mut self.outbound);
                self.expected.replace_error(bytes::Bytes::new());
                self.expected.drop_answer(Answer::Ready);
                wait = true;
                Transaction::Failed
            }
            Transaction::Idle | Transaction::Open | Transaction::Failed => before.clone(),
        };
        if wait {
            Box::pin(self.settle(before)).await?;
        }
        if let Some(attachment) = &mut self.attachment
            && is_chosen_by_key
        {
            attachment.rewind = rewind;
        }
        Ok(())
    }

    /// Waits for the answers to the router's own messages; an error among them is the client's.
    async fn settle(&mut self, before: Transaction) -> Result<(), Stopped> {
        let seen = self.exchange().await?;
        if !seen.own_error {
            return Ok(());
        }
        // The settings or the transaction are not what the statement relies on: it must not run.
        self.close_backend();
        self.transaction = before.refused();
        Err(Stopped::Answered)
    }

    /// Leaves a backend on which nothing has happened that another one could not repeat.
    pub(super) async fn move_away(&mut self) -> Result<(), Stopped> {
        let Some(attachment) = &mut self.attachment else {
            return Ok(());
        };
        let in_block = attachment.movable.as_ref().is_some_and(Option::is_some);
        if attachment.unsynced {
            attachment.unsynced = false;
            wire::frontend::encode::sync(&mut self.outbound);
            self.expected.drop_answer(Answer::Ready);
            let seen = self.exchange().await?;
            self.apply_effects(&seen);
            let expected = if in_block { b'T' } else { b'I' };
            if seen.error || seen.status != Some(expected) {
                return Err(self.leave_failed(in_block));
            }
        }
        let preamble = self
            .attachment
            .as_mut()
            .and_then(|attachment| attachment.movable.take());
        if let Some(Some(preamble)) = preamble {
            wire::frontend::encode::query(&mut self.outbound, b"ROLLBACK")?;
            self.expected.drop_answer(Answer::Ready);
            let seen = self.exchange().await?;
            if seen.error || seen.status != Some(b'I') {
                return Err(self.leave_failed(true));
            }
            self.transaction = Transaction::Pending(preamble);
        } else {
            self.settings.end_transaction(true);
        }
        // Those that are left had been made for another statement, on the backend that goes.
        self.portals
            .retain(|_, portal| !matches!(portal, Portal::Remote(_)));
        self.release();
        Ok(())
    }

    /// The client has read an error while its transaction was about to move.
    fn leave_failed(&mut self, in_block: bool) -> Stopped {
        self.close_backend();
        self.settings.end_transaction(false);
        self.transaction = if in_block {
            Transaction::FailedPending(Preamble::new("BEGIN"))
        } else {
            Transaction::Idle
        };
        Stopped::Answered
    }

    /// The backend or the client went away in the middle of an exchange.
    pub(super) fn lost(&mut self, error: RelayError) -> Stopped {
        let shard = self
            .attachment
            .as_ref()
            .map(|attachment| attachment.shard.clone());
        let in_block = matches!(self.transaction, Transaction::Open | Transaction::Failed)
            && !self.is_implicit();
        let flight = std::mem::take(&mut self.flight);
        // A copy whose end was not sent commits nothing, however it is given up.
        let late_in_copy =
            matches!(error, RelayError::Late { .. }) && self.expected.is_copying_in();
        self.expected.abandon();
        let seen = self.expected.take_seen();
        self.batch.undo(&seen.undone, &mut self.statements);
        self.close_backend();
        self.outbound.clear();
        self.settings.end_transaction(false);
        if in_block && !flight.ends {
            self.transaction = Transaction::FailedPending(Preamble::new("BEGIN"));
        } else {
            self.transaction = Transaction::Idle;
        }
        let (source, within_message) = match error {
            RelayError::Client(source) => return Stopped::Ended(source.into()),
            RelayError::Protocol(text) => {
                return Stopped::Ended(ClientError::Protocol(text).into());
            }
            RelayError::Backend {
                source,
                within_message,
            } => (Ok(source), within_message),
            RelayError::Late {
                limit,
                within_message,
            } => (Err(Error::Timeout(limit)), within_message),
        };
        let Some(shard) = shard else {
            return Error::NoShard.into();
        };
        let _logged = self.span.enter();
        let lost = match source {
            Ok(source) => {
                tracing::warn!(%shard, error = %source, "lost a backend within an exchange");
                Error::BackendLost {
                    shard: shard.clone(),
                }
            }
            Err(late) => {
                tracing::warn!(%shard, error = %late, "gave a backend up: it answers no cancel");
                late
            }
        };
        // Inside a block nothing is committed before COMMIT is sent, and outside of one nothing
        // before Sync or a simple query; what only reads commits nothing.
        let error = if flight.ends && !late_in_copy && (in_block || flight.writes) {
            Error::OutcomeUnknown { shard }
        } else {
            lost
        };
        if within_message {
            Stopped::Ended(Ended::Broken(error))
        } else if seen.is_taken_back() {
            Error::Moving(moving::Error::Outdated).into()
        } else if seen.error {
            Stopped::Answered
        } else {
            error.into()
        }
    }

    /// The backend holds something, such as a portal, that could not be had elsewhere.
    pub(super) fn stay(&mut self) {
        if let Some(attachment) = &mut self.attachment {
            attachment.pin();
        }
    }

    /// A statement is about to be sent: some keep the transaction from moving.
    pub(super) fn note_effect(&mut self, effect: Effect) {
        if let Some(attachment) = &mut self.attachment
            && effect.pins()
        {
            attachment.pin();
        }
        self.flight.ends |= effect.ends();
        self.flight.effects.push(effect);
    }

    /// The exchange ended in ReadyForQuery: the session's state follows the backend's.
    pub(super) fn finish(&mut self, seen: &Seen) {
        self.apply_effects(seen);
        self.flight = Flight::default();
        self.transaction = Transaction::from_status(seen.status.unwrap_or(b'I'));
        if self.transaction == Transaction::Idle {
            self.settings
                .end_transaction(!seen.error && !seen.rolled_back());
            if std::mem::take(&mut self.reshaped) {
                // What others have prepared meanwhile was of the schema before.
                drop(self.front.core.schema.forgetting());
            }
            self.portals.clear();
            self.release();
        }
    }

    /// Remembers what the completed statements did to the session.
    pub(super) fn apply_effects(&mut self, seen: &Seen) {
        let mut effects = std::mem::take(&mut self.flight.effects);
        let count = seen.completed.min(effects.len());
        for (at, effect) in effects.drain(..count).enumerate() {
            match &effect {
                Effect::Commit if seen.is_rollback(at) => {
                    Effect::Rollback.apply(&mut self.settings);
                }
                effect => effect.apply(&mut self.settings),
            }
            if effect == Effect::Discard {
                self.statements.clear();
            }
            if let Effect::Binds(table) = &effect {
                self.bind(table.as_deref());
            }
            if effect == Effect::Reshapes {
                drop(self.front.core.schema.forgetting());
                self.reshaped = true;
            }
            let Some(attachment) = &mut self.attachment else {
                continue;
            };
            if effect == Effect::Discard {
                attachment.lease.prepared.clear();
                attachment.lease.unnamed = None;
                // The lock by which the shard knows whose it is is gone, too.
                attachment.lease.forbid_reuse();
            }
            if effect.undoes(self.settings.startup()) {
                // The backend went back to the server's defaults, not to this session's.
                attachment.lease.forbid_reuse();
            }
            if let Some(Some(preamble)) = &mut attachment.movable
                && !effect.record(preamble)
            {
                attachment.movable = None;
            }
            let count = attachment.ties.record(&effect);
            if let Some(company) = &mut self.company {
                company.follow(&effect, count);
            }
        }
        // Those that were not completed wait for theirs.
        self.flight.effects = effects;
    }
}
