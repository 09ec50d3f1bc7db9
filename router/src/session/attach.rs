//! Gives a session the backend that its statement needs, and takes it away when the transaction is
//! over.
//!
//! A transaction stays on one shard and one backend (I5). One that has only read what every shard
//! answers alike may still move to the shard of its first keyed statement.

use std::sync::Arc;

use topology::{ShardId, ShardIndex};

use super::expect::Answer;
use super::relay::{RelayError, exchange};
use super::state::{Preamble, Transaction};
use super::{Ended, Session};
use crate::error::Error;
use crate::pool::{Lease, Pool};
use crate::route::{Refusal, Target};
use crate::view::Serving;

/// A backend on loan to a session.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) lease: Lease,
    pub(super) shard: ShardId,
    /// Set while only statements have run that any shard answers alike: what to replay elsewhere.
    pub(super) movable: Option<Option<Preamble>>,
    /// Whether messages of the extended protocol were sent that no Sync has followed yet.
    pub(super) unsynced: bool,
}

/// Why a statement does not run: the client is told, or its session ends.
#[derive(Debug)]
pub(super) enum Stopped {
    /// Nothing of the statement was sent; the client reads the error.
    Told(Error),
    /// The session cannot go on.
    Ended(Ended),
    /// The backend refused what the statement needs first, and the client has read its error.
    Answered,
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

impl Session {
    /// Makes sure that the session has a backend that `target` allows.
    pub(super) async fn attach(&mut self, serving: &Serving, target: Target) -> Result<(), Stopped> {
        if let Some(attachment) = &mut self.attachment {
            match target {
                Target::Any => return Ok(()),
                Target::Shard { index, .. } => {
                    let wanted = serving.snapshot.shard(index).map(|shard| &shard.id);
                    if wanted == Some(&attachment.shard) {
                        attachment.movable = None;
                        return Ok(());
                    }
                    if attachment.movable.is_none() {
                        return Err(crosses_shards(&attachment.shard, wanted).into());
                    }
                }
                Target::Everywhere => {
                    if attachment.movable.is_none() {
                        return Err(Error::Refused(in_transaction()).into());
                    }
                }
            }
            self.move_away().await?;
        }
        match target {
            Target::Any => self.attach_any(serving).await,
            Target::Shard { index, .. } => {
                let pool = serving.primary(index).ok_or(Error::NoShard)?;
                let lease = pool.checkout().await.map_err(Error::Pool)?;
                self.begin_on(lease, pool, None).await
            }
            Target::Everywhere => Ok(()),
        }
    }

    /// Borrows a backend of whichever shard has one, beginning at a shard that depends on the
    /// session, so that sessions spread.
    async fn attach_any(&mut self, serving: &Serving) -> Result<(), Stopped> {
        let pools: Vec<(ShardIndex, &Pool)> = serving.active().collect();
        let first = self.cancel.key().process_id.unsigned_abs() as usize;
        let mut last = Error::NoShard;
        for step in 0..pools.len() {
            let Some((_, pool)) = pools.get((first + step) % pools.len()) else { break };
            match pool.checkout().await {
                Ok(lease) => {
                    let preamble = match &self.transaction {
                        Transaction::Pending(preamble) => Some(preamble.clone()),
                        Transaction::Idle
                        | Transaction::FailedPending(_)
                        | Transaction::Open
                        | Transaction::Failed => None,
                    };
                    return self.begin_on(lease, pool, Some(preamble)).await;
                }
                Err(error) => last = Error::Pool(error),
            }
        }
        Err(last.into())
    }

    /// Brings a fresh backend to where the session is: its settings, its open transaction.
    async fn begin_on(
        &mut self,
        lease: Lease,
        pool: &Pool,
        movable: Option<Option<Preamble>>,
    ) -> Result<(), Stopped> {
        self.cancel.attach(Arc::clone(&lease.cancel));
        let shard = pool.shard().clone();
        let mut wait = false;
        let attachment = Attachment { lease, shard, movable, unsynced: false };
        let attachment = self.attachment.insert(attachment);
        let settings = self.settings.committed();
        if *attachment.lease.settings != **settings {
            wire::frontend::query(&mut self.outbound, settings.establish().as_bytes());
            self.expected.drop_answer(Answer::Ready);
            attachment.lease.settings = Arc::clone(settings);
            wait = true;
        }
        if let Transaction::Pending(preamble) = &self.transaction {
            wire::frontend::query(&mut self.outbound, preamble.sql().as_bytes());
            self.expected.drop_answer(Answer::Ready);
            // A lone BEGIN cannot fail and need not be waited for.
            wait = wait || !preamble.is_bare();
            self.transaction = Transaction::Open;
        }
        if wait {
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits for the answers to the router's own messages; an error among them is the client's.
    async fn settle(&mut self) -> Result<(), Stopped> {
        let seen = self.exchange().await?;
        if !seen.own_error {
            return Ok(());
        }
        // The settings or the transaction are not what the statement relies on: it must not run.
        let open = seen.status.is_some_and(|status| status != b'I');
        self.transaction = if open { Transaction::Failed } else { Transaction::Idle };
        if !open {
            self.close_backend();
        }
        Err(Stopped::Answered)
    }

    /// Leaves a backend on which nothing has happened that another one could not repeat.
    async fn move_away(&mut self) -> Result<(), Stopped> {
        let Some(attachment) = &mut self.attachment else { return Ok(()) };
        if attachment.unsynced {
            wire::frontend::sync(&mut self.outbound);
            self.expected.drop_answer(Answer::Ready);
            attachment.unsynced = false;
        }
        let preamble = attachment.movable.take().flatten();
        if preamble.is_some() {
            wire::frontend::query(&mut self.outbound, b"ROLLBACK");
            self.expected.drop_answer(Answer::Ready);
        }
        let seen = self.exchange().await?;
        if seen.error || seen.status != Some(b'I') {
            self.close_backend();
            return Err(Stopped::Answered);
        }
        self.release();
        if let Some(preamble) = preamble {
            self.transaction = Transaction::Pending(preamble);
        }
        Ok(())
    }

    /// Sends what is waiting and relays until every answer has come.
    pub(super) async fn exchange(&mut self) -> Result<super::expect::Seen, Stopped> {
        let Some(attachment) = &mut self.attachment else {
            while let Some(frames) = self.expected.next_local() {
                self.client.outbound.extend_from_slice(&frames);
            }
            return Ok(self.expected.take_seen());
        };
        let lease = &mut attachment.lease;
        let relayed =
            exchange(&mut self.client, lease, &mut self.outbound, &mut self.expected).await;
        if let Err(error) = relayed {
            return Err(self.lost(error));
        }
        let seen = self.expected.take_seen();
        for id in &seen.unprepared {
            lease.prepared.pop(id);
            if lease.unnamed == Some(*id) {
                lease.unnamed = None;
            }
        }
        if seen.close_skipped {
            // It still holds a statement that its list no longer has.
            lease.forbid_reuse();
        }
        Ok(seen)
    }

    /// The backend or the client went away in the middle of an exchange.
    fn lost(&mut self, error: RelayError) -> Stopped {
        let shard = self.attachment.as_ref().map(|attachment| attachment.shard.clone());
        let in_block = matches!(self.transaction, Transaction::Open | Transaction::Failed);
        let ending = self.expected.ends_transaction();
        self.close_backend();
        self.outbound.clear();
        self.expected = super::Expectations::default();
        match (error, shard) {
            (RelayError::Client(error), _) => Stopped::Ended(error.into()),
            (RelayError::Backend(_) | RelayError::Protocol(_), Some(shard)) => {
                // Inside a block nothing is committed before COMMIT is sent.
                let certain = in_block && !ending;
                Stopped::Ended(Ended::Broken(if certain {
                    Error::BackendLost { shard }
                } else {
                    Error::OutcomeUnknown { shard }
                }))
            }
            (RelayError::Backend(_) | RelayError::Protocol(_), None) => {
                Stopped::Ended(Ended::Broken(Error::NoShard))
            }
        }
    }
}
