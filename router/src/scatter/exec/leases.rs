//! A backend of each shard, on loan for one query.
//!
//! Borrowed for one statement they are outside of any transaction, and given back idle. Those that
//! a session lends are within its own, and come back to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use platform::TaskGroup;
use platform::trace::Span;
use tokio::time::Instant;
use topology::{ShardId, ShardIndex};
use wire::backend::{TransactionStatus, ready_for_query, tag};

use super::Failure;
use super::lent::Returns;
use crate::error::Error;
use crate::exec::cancel;
use crate::exec::conversation::{self, Lost, Message};
use crate::moving;
use crate::pool::metrics::{Outcome, Route};
use crate::pool::settings::Settings;
use crate::pool::traced;
use crate::pool::{Lease, Pool};
use crate::route::Refusal;

/// Longest row, and longest message of any kind, that is taken into memory.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// How many rows are rather read to their end than stopped.
pub(super) const FEW_ROWS: u64 = 1000;

/// How long shards may take to come to an end by themselves before they are stopped.
const PATIENCE: Duration = Duration::from_millis(20);

/// Backends in the order of their shards' ids.
#[derive(Debug)]
pub struct Leases {
    pub(super) members: Vec<Member>,
    /// How long a shard may take over what it can do at once.
    pub(super) grace: Duration,
    /// Until when answers are waited for, and how long that was.
    pub(super) until: Option<(Instant, Duration)>,
    /// Whether what is left is little, and is read to its end.
    pub(super) patient: bool,
    /// Where they go back to, if they are within a session's transaction.
    pub(super) returns: Option<Returns>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) shard: ShardId,
    pub(super) index: ShardIndex,
    /// None once the backend is given back or lost.
    pub(super) lease: Option<Lease>,
    /// Whether it owes a ReadyForQuery.
    pub(super) busy: bool,
    pub(super) started: Instant,
    pub(super) span: Option<Span>,
    pub(super) failed: bool,
    /// A message that was looked at before its time.
    pub(super) peeked: Option<Message>,
    /// Where it goes back to, if it is within a session's transaction.
    pub(super) returns: Option<Returns>,
    /// Whether it has a savepoint to go back to.
    pub(super) guarded: bool,
}

impl Leases {
    /// Backends that are idle, of these shards in the order of their ids, so that two queries never
    /// wait for each other; `borrow` borrows one.
    ///
    /// # Errors
    /// A shard has none.
    pub async fn borrow<'p>(
        pools: impl IntoIterator<Item = (ShardIndex, &'p Pool)>,
        settings: &Arc<Settings>,
        grace: Duration,
        borrow: impl AsyncFn(&Pool) -> Result<Lease, Error>,
    ) -> Result<Self, Failure> {
        let mut members = Vec::new();
        for (index, pool) in pools {
            let lease = borrow(pool).await?;
            members.push(Member {
                shard: pool.shard().clone(),
                index,
                lease: Some(lease),
                busy: false,
                started: Instant::now(),
                span: None,
                failed: false,
                peeked: None,
                returns: None,
                guarded: false,
            });
        }
        if members.is_empty() {
            return Err(Error::NoShard.into());
        }
        let mut leases = Self {
            members,
            grace,
            until: None,
            patient: false,
            returns: None,
        };
        leases.establish(settings).await?;
        Ok(leases)
    }

    /// Brings all backends to the settings.
    async fn establish(&mut self, settings: &Arc<Settings>) -> Result<(), Failure> {
        let establishing = self.members.iter_mut().map(|one| one.establish(settings));
        for outcome in join_all(establishing).await {
            outcome?;
        }
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The shard of a member.
    pub(super) fn shard(&self, at: usize) -> Option<ShardIndex> {
        self.members.get(at).map(|member| member.index)
    }

    /// Sends messages that end in Sync to all.
    pub(super) async fn send_all(&mut self, bytes: &Bytes) -> Result<(), Failure> {
        let sent = self.members.iter_mut().map(|one| one.send(bytes.clone()));
        for outcome in join_all(sent).await {
            outcome?;
        }
        Ok(())
    }

    /// Sends messages that end in Sync to one.
    pub(super) async fn send(&mut self, at: usize, bytes: Bytes) -> Result<(), Failure> {
        let member = self.members.get_mut(at).ok_or(Error::NoShard)?;
        member.send(bytes).await
    }

    /// The next message of one. Cancel-safe.
    pub(super) async fn receive(&mut self, at: usize) -> Result<Message, Failure> {
        let until = self.until;
        let member = self.members.get_mut(at).ok_or(Error::NoShard)?;
        within(until, member.receive()).await
    }

    /// Waits until a message of one lies there; true for a row or the end of the answer, false for
    /// anything else. Cancel-safe.
    pub(super) async fn peek(&mut self, at: usize) -> Result<bool, Failure> {
        let until = self.until;
        let member = self.members.get_mut(at).ok_or(Error::NoShard)?;
        within(until, member.peek()).await
    }

    /// A message of one that has arrived.
    pub(super) fn buffered(&mut self, at: usize) -> Result<Option<Message>, Failure> {
        let member = self.members.get_mut(at).ok_or(Error::NoShard)?;
        member.buffered()
    }

    /// The next message of any of these, and whose it is. Cancel-safe.
    pub(super) async fn receive_any(&mut self, of: &[bool]) -> Result<(usize, Message), Failure> {
        let until = self.until;
        let members = self.members.iter_mut().enumerate();
        let wanted = members.filter(|(at, _)| of.get(*at).copied().unwrap_or(false));
        let waits = wanted.map(|(at, member)| {
            Box::pin(async move { member.receive().await.map(|message| (at, message)) })
        });
        let waits: Vec<_> = waits.collect();
        if waits.is_empty() {
            return Err(Error::NoShard.into());
        }
        within(until, async {
            futures_util::future::select_all(waits).await.0
        })
        .await
    }

    /// Whether something of any of them has arrived.
    pub(super) fn has_buffered(&self) -> bool {
        self.members.iter().any(|member| {
            let arrived = |lease| conversation::has_buffered(lease, MAX_MESSAGE_BYTES);
            member.peeked.is_some() || member.lease.as_ref().is_some_and(arrived)
        })
    }

    /// Reads what all still say, up to where each is idle.
    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        let until = self.until;
        let settled = self.members.iter_mut().map(Member::settle);
        within(until, async {
            for outcome in join_all(settled).await {
                outcome?;
            }
            Ok(())
        })
        .await
    }

    /// Reads what one still says, up to where it is idle.
    pub(super) async fn settle_one(&mut self, at: usize) -> Result<(), Failure> {
        let until = self.until;
        let member = self.members.get_mut(at).ok_or(Error::NoShard)?;
        within(until, member.settle()).await
    }

    /// Gives back all but the first, as far as they are idle.
    pub(super) fn give_back_others(&mut self) {
        if self.returns.is_some() {
            return;
        }
        for member in self.members.iter_mut().skip(1) {
            member.give_back();
        }
    }

    /// Gives all backends back; none is asked anything.
    pub async fn give_back(mut self) {
        self.wind_down().await;
    }

    /// Gives all backends back. Those that are not at the end of what they were asked are stopped:
    /// they are closed, since a cancel request may still be on its way to them.
    pub(super) async fn wind_down(&mut self) {
        let patience = if self.patient { self.grace } else { PATIENCE };
        let until = self.until;
        let is_lent = self.returns.is_some();
        let settled = join_all(self.members.iter_mut().map(Member::settle));
        // What is not settled in time is stopped below.
        if is_lent {
            // A transaction would not survive that.
            let _late = within(until, async { Ok(settled.await) }).await;
            self.release().await;
        } else {
            let _late = tokio::time::timeout(patience, settled).await;
        }
        for member in &mut self.members {
            member.give_back();
        }
        self.stop();
    }

    /// Has whatever is still running stopped, in a task of its own.
    fn stop(&mut self) {
        let running: Vec<Lease> = self
            .members
            .iter_mut()
            .filter_map(|it| it.lease.take())
            .collect();
        // Without a runtime the process is ending, and the shards see their connections closed.
        if running.is_empty() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let grace = self.grace;
        drop(TaskGroup::new().spawn("cancel", async move {
            join_all(running.into_iter().map(|lease| cancel::stop(lease, grace))).await;
        }));
    }
}

impl Drop for Leases {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.give_back();
        }
        self.stop();
    }
}

impl Member {
    async fn establish(&mut self, settings: &Arc<Settings>) -> Result<(), Failure> {
        let lost = self.lost();
        let Some(lease) = &mut self.lease else {
            return Err(lost.into());
        };
        // What is asked takes the place of whatever was prepared without a name.
        lease.unnamed = None;
        if *lease.settings == **settings {
            return Ok(());
        }
        let mut out = BytesMut::new();
        wire::frontend::encode::query(&mut out, settings.establish().as_bytes())?;
        self.busy = true;
        let mut error = None;
        if conversation::send(lease, &mut out).await.is_err() {
            self.lease = None;
            return Err(lost.into());
        }
        loop {
            let message = self.receive().await?;
            match message.tag() {
                tag::READY_FOR_QUERY => break,
                tag::ERROR_RESPONSE => error = Some(message.into_bytes()),
                _ => {}
            }
        }
        if let Some(error) = error {
            // Which settings are in force now is not known.
            self.lease = None;
            return Err(Failure::Shard(error));
        }
        if let Some(lease) = &mut self.lease {
            lease.settings = Arc::clone(settings);
        }
        Ok(())
    }

    pub(super) async fn send(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let lost = self.lost();
        let lease = self.lease.as_mut().ok_or(lost.clone())?;
        self.busy = true;
        self.started = Instant::now();
        self.span = traced::request(&self.shard, Route::Scatter);
        let mut out = BytesMut::from(bytes);
        if conversation::send(lease, &mut out).await.is_err() {
            self.lease = None;
            return Err(lost.into());
        }
        Ok(())
    }

    async fn peek(&mut self) -> Result<bool, Failure> {
        if self.peeked.is_none() {
            let message = self.receive().await?;
            self.peeked = Some(message);
        }
        let tag = self.peeked.as_ref().map(Message::tag);
        Ok(matches!(
            tag,
            Some(tag::DATA_ROW | tag::COMMAND_COMPLETE | tag::COPY_DATA | tag::COPY_DONE)
        ))
    }

    async fn receive(&mut self) -> Result<Message, Failure> {
        if let Some(message) = self.peeked.take() {
            return Ok(message);
        }
        let lost = self.lost();
        let lease = self.lease.as_mut().ok_or(lost)?;
        match conversation::receive(lease, MAX_MESSAGE_BYTES).await {
            Ok(message) => Ok(self.note(message)),
            Err(error) => Err(self.lose(&error)),
        }
    }

    fn buffered(&mut self) -> Result<Option<Message>, Failure> {
        if let Some(message) = self.peeked.take() {
            return Ok(Some(message));
        }
        let lost = self.lost();
        let lease = self.lease.as_mut().ok_or(lost)?;
        match conversation::buffered(lease, MAX_MESSAGE_BYTES) {
            Ok(message) => Ok(message.map(|message| self.note(message))),
            Err(error) => Err(self.lose(&error)),
        }
    }

    /// Follows what a message says of the backend's state.
    fn note(&mut self, message: Message) -> Message {
        match message.tag() {
            tag::ERROR_RESPONSE => self.failed = true,
            tag::READY_FOR_QUERY => {
                self.busy = false;
                let idle = ready_for_query(message.body()) == Ok(TransactionStatus::Idle);
                if let Some(lease) = &mut self.lease {
                    let outcome = match self.failed {
                        true => Outcome::Error,
                        false => Outcome::Success,
                    };
                    let metrics = lease.metrics();
                    metrics.answered(Route::Scatter, outcome, self.started.elapsed());
                    traced::answered(self.span.take(), outcome);
                    if !idle && self.returns.is_none() {
                        lease.forbid_reuse();
                    }
                }
            }
            _ => {}
        }
        message
    }

    pub(super) async fn settle(&mut self) -> Result<(), Failure> {
        while self.busy && self.lease.is_some() {
            self.receive().await?;
        }
        self.failed = false;
        self.peeked = None;
        Ok(())
    }

    /// Returns the backend to its pool if it is idle (I6).
    fn give_back(&mut self) {
        if self.busy {
            return;
        }
        let Some(mut lease) = self.lease.take() else {
            return;
        };
        conversation::shrink(&mut lease);
        match &self.returns {
            Some(returns) => returns.put(self.shard.clone(), lease),
            None => lease.give_back(),
        }
    }

    fn lost(&self) -> Error {
        Error::BackendLost {
            shard: self.shard.clone(),
        }
    }

    fn lose(&mut self, lost: &Lost) -> Failure {
        let shard = &self.shard;
        tracing::warn!(%shard, error = %lost, "shard lost in the middle of a query over several");
        self.lease = None;
        if let Lost::Frame(wire::FrameError::TooLong { body_bytes, .. }) = lost {
            return Refusal {
                sqlstate: "54000",
                message: format!(
                    "a row of {body_bytes} bytes is longer than the limit of {MAX_MESSAGE_BYTES}"
                ),
                hint: Some("read the rows of one shard key at a time".to_owned()),
            }
            .into();
        }
        self.lost().into()
    }
}

/// A shard's error as a client reads it.
pub(super) fn for_clients(message: Message) -> Failure {
    match moving::said(message.body()) {
        Some(said) => Failure::Own(Error::Moving(said.error())),
        None => Failure::Shard(message.into_bytes()),
    }
}

async fn within<T>(
    until: Option<(Instant, Duration)>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match until {
        None => work.await,
        Some((at, limit)) => match tokio::time::timeout_at(at, work).await {
            Ok(done) => done,
            Err(_) => Err(Error::Timeout(limit).into()),
        },
    }
}
