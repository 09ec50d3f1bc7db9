//! One statement on one borrowed backend: what is waited for, for how long, and what becomes of
//! the backend when nobody waits any more.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use platform::TaskGroup;
use platform::trace::Span;
use tokio::time::Instant;
use topology::ShardId;
use wire::backend::{Diagnostic, TransactionStatus, ready_for_query, tag};

use crate::error::Error;
use crate::exec::cancel;
use crate::exec::conversation::{self, Lost, Message};
use crate::moving;
use crate::pool::Lease;
use crate::pool::metrics::{Outcome, Route};
use crate::pool::settings::Settings;
use crate::pool::traced;
use crate::slow;

/// Longest row, and longest message of any kind, that is taken into memory.
pub(super) const MAX_ROW_BYTES: usize = 64 << 20;

/// A backend that is running a statement. Dropped before the end, it stops the statement: the
/// backend stays out of the pool, and out of the shard's budget, until the shard knows.
#[derive(Debug)]
pub(super) struct Exchange {
    /// None once the backend is given back or lost.
    lease: Option<Lease>,
    shard: ShardId,
    tasks: TaskGroup,
    /// Whether the statement may change anything.
    writes: bool,
    /// What brought it to its shard.
    route: Route,
    /// Whether the shard has been told to commit what it does.
    committing: bool,
    /// The whole time that the shard may take, and what is left of it.
    limit: Duration,
    left: Duration,
    /// How long a shard may take over what it can do at once.
    grace: Duration,
    started: Instant,
    span: Option<Span>,
    slow: Duration,
    text: Option<Box<str>>,
    /// A message that was looked at before its time.
    peeked: Option<Message>,
}

/// What an [`Exchange`] is made of besides its backend.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) tasks: TaskGroup,
    pub(super) writes: bool,
    pub(super) route: Route,
    pub(super) limit: Duration,
    pub(super) grace: Duration,
    /// Over how long it is logged.
    pub(super) slow: Duration,
}

impl Exchange {
    pub(super) fn new(lease: Lease, shard: ShardId, terms: Terms) -> Self {
        let Terms {
            tasks,
            writes,
            route,
            limit,
            grace,
            slow,
        } = terms;
        let span = traced::request(&shard, route);
        Self {
            lease: Some(lease),
            shard,
            tasks,
            writes,
            route,
            committing: false,
            limit,
            left: limit,
            grace,
            started: Instant::now(),
            span,
            slow,
            text: None,
            peeked: None,
        }
    }

    pub(super) fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// A statement with a comment that says within what it runs, for the shard's own log.
    pub(super) fn commented<'a>(&mut self, sql: &'a str) -> Cow<'a, str> {
        self.text = Some(sql.into());
        match &self.span {
            None => Cow::Borrowed(sql),
            // On a line of its own: the statement may end in a comment. Behind it: positions in
            // the shard's errors stay what they are.
            Some(span) => {
                let parent = span.here().traceparent();
                Cow::Owned(format!("{sql}\n/*traceparent='{parent}'*/"))
            }
        }
    }

    pub(super) fn writes(&self) -> bool {
        self.writes
    }

    /// Appends what brings the backend to these settings; false when it has them already.
    pub(super) fn establish(
        &mut self,
        settings: &Arc<Settings>,
        out: &mut BytesMut,
    ) -> Result<bool, Error> {
        let Some(lease) = &mut self.lease else {
            return Err(self.lost());
        };
        // The statement takes the place of whatever was prepared without a name.
        lease.unnamed = None;
        if *lease.settings == **settings {
            return Ok(false);
        }
        let sql = settings.establish();
        wire::frontend::encode::query(out, sql.as_bytes())
            .map_err(|error| Error::Protocol(error.to_string()))?;
        Ok(true)
    }

    /// Reads the answer to [`Self::establish`].
    pub(super) async fn established(&mut self, settings: &Arc<Settings>) -> Result<(), Error> {
        loop {
            let message = self.receive().await?;
            match message.tag() {
                tag::READY_FOR_QUERY => break,
                tag::ERROR_RESPONSE => return Err(self.surprise(&message)),
                _ => {}
            }
        }
        if let Some(lease) = &mut self.lease {
            lease.settings = Arc::clone(settings);
        }
        Ok(())
    }

    /// Sends messages; `commits` when a Sync is among them.
    pub(super) async fn send(&mut self, mut out: BytesMut, commits: bool) -> Result<(), Error> {
        self.committing = self.committing || commits;
        let Some(lease) = &mut self.lease else {
            return Err(self.lost());
        };
        let sent = tokio::time::timeout(self.left, conversation::send(lease, &mut out)).await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(lost)) => Err(self.lose(&lost)),
            Err(_) => {
                // Only a part may have been sent, so that the shard may wait for the rest.
                self.fail();
                Err(Error::Timeout(self.limit))
            }
        }
    }

    /// Whether the next message has arrived.
    pub(super) fn has_buffered(&self) -> bool {
        if self.peeked.is_some() {
            return true;
        }
        let lease = self.lease.as_ref();
        lease.is_some_and(|lease| conversation::has_buffered(lease, MAX_ROW_BYTES))
    }

    /// The next message. The time until it comes is the shard's; the time between two calls is
    /// not, so that a slow reader's statement does not time out.
    pub(super) async fn receive(&mut self) -> Result<Message, Error> {
        if let Some(message) = self.peeked.take() {
            return Ok(message);
        }
        let Some(lease) = &mut self.lease else {
            return Err(self.lost());
        };
        match conversation::buffered(lease, MAX_ROW_BYTES) {
            Ok(Some(message)) => return Ok(message),
            Ok(None) => {}
            Err(lost) => return Err(self.lose(&lost)),
        }
        let waiting = Instant::now();
        let received = conversation::receive(lease, MAX_ROW_BYTES);
        match tokio::time::timeout(self.left, received).await {
            Ok(Ok(message)) => {
                self.left = self.left.saturating_sub(waiting.elapsed());
                Ok(message)
            }
            Ok(Err(lost)) => Err(self.lose(&lost)),
            Err(_) => Err(self.time_out().await),
        }
    }

    /// Waits for the first that a statement which was told to run says, and keeps it to be received.
    ///
    /// # Errors
    /// It says an error: the statement is over.
    pub(super) async fn begun(&mut self) -> Result<(), Error> {
        loop {
            let message = self.receive().await?;
            match message.tag() {
                tag::BIND_COMPLETE | tag::NOTICE_RESPONSE => {}
                tag::ERROR_RESPONSE => return Err(self.fail_with(&message, false).await),
                _ => {
                    self.peeked = Some(message);
                    return Ok(());
                }
            }
        }
    }

    /// Reads up to the ReadyForQuery and gives the backend back, or says why not all is well.
    pub(super) async fn finish(&mut self) -> Result<(), Error> {
        let mut error = None;
        loop {
            let message = self.receive().await?;
            match message.tag() {
                tag::READY_FOR_QUERY => break self.give_back(&message, error.is_none()),
                tag::ERROR_RESPONSE => error = Some(shard_error(&message)),
                _ => {}
            }
        }
        error.map_or(Ok(()), Err)
    }

    /// Ends the statement after the error that `message` holds; with `sync` the shard is told to
    /// go on to its ReadyForQuery first.
    pub(super) async fn fail_with(&mut self, message: &Message, sync: bool) -> Error {
        let error = shard_error(message);
        if sync {
            let mut out = BytesMut::new();
            wire::frontend::encode::sync(&mut out);
            if self.send(out, false).await.is_err() {
                return error;
            }
        }
        self.committing = false;
        let settled = async {
            loop {
                let message = self.receive().await?;
                if message.tag() == tag::READY_FOR_QUERY {
                    return Ok::<_, Error>(message);
                }
            }
        };
        if let Ok(message) = settled.await {
            self.give_back(&message, false);
        }
        error
    }

    /// Gives the backend back before the statement was told to run.
    pub(super) async fn withdraw(&mut self) {
        let mut out = BytesMut::new();
        wire::frontend::encode::sync(&mut out);
        if self.send(out, false).await.is_ok() {
            // Whatever goes wrong here closes the backend and is not the client's business.
            drop(self.finish().await);
        }
    }

    /// Ends a conversation that can't be followed.
    pub(super) fn surprise(&mut self, message: &Message) -> Error {
        let shard = &self.shard;
        let tag = char::from(message.tag());
        tracing::error!(%shard, %tag, "shard sent an unexpected message");
        self.fail();
        if self.may_have_committed() {
            return self.lost();
        }
        Error::Shard {
            sqlstate: "XX000".to_owned(),
            message: format!("shard {} sent an unexpected message {tag:?}", self.shard),
            detail: None,
            hint: None,
        }
    }

    /// Returns the backend to its pool if it is idle (I6); every answer was read.
    fn give_back(&mut self, ready: &Message, succeeded: bool) {
        let Some(mut lease) = self.lease.take() else {
            return;
        };
        let outcome = if succeeded {
            Outcome::Success
        } else {
            Outcome::Error
        };
        let metrics = lease.metrics();
        let took = self.started.elapsed();
        metrics.answered(self.route, outcome, took);
        if took >= self.slow {
            let trace_id = self.span.as_ref().map(|span| span.here().trace_id());
            slow::tell(took, self.text.as_deref(), trace_id.as_deref());
        }
        traced::answered(self.span.take(), outcome);
        if ready_for_query(ready.body()) == Ok(TransactionStatus::Idle) {
            conversation::shrink(&mut lease);
            lease.give_back();
        }
    }

    /// The time is over. The cancel's own effect is awaited, so that an application is told that
    /// nothing happened only when nothing did.
    async fn time_out(&mut self) -> Error {
        let Some(lease) = &self.lease else {
            return self.lost();
        };
        let (target, grace) = (Arc::clone(&lease.cancel), self.grace);
        let ended = cancel::until(self.ended_with_error(), &target, grace);
        let ended = tokio::time::timeout(grace, ended).await;
        let undone = matches!(ended, Ok(Ok(true)));
        if let Some(lease) = self.lease.take() {
            let metrics = lease.metrics();
            metrics.answered(self.route, Outcome::Error, self.started.elapsed());
            traced::answered(self.span.take(), Outcome::Error);
        }
        if undone || !self.may_have_committed() {
            Error::Timeout(self.limit)
        } else {
            let shard = self.shard.clone();
            Error::OutcomeUnknown { shard }
        }
    }

    async fn ended_with_error(&mut self) -> Result<bool, Lost> {
        let mut failed = false;
        while let Some(lease) = &mut self.lease {
            let message = conversation::receive(lease, MAX_ROW_BYTES).await?;
            match message.tag() {
                tag::ERROR_RESPONSE => failed = true,
                tag::READY_FOR_QUERY => return Ok(failed),
                _ => {}
            }
            // Before a Sync the shard says no more after its error.
            if failed && !self.committing {
                return Ok(true);
            }
        }
        Ok(failed)
    }

    fn may_have_committed(&self) -> bool {
        self.writes && self.committing
    }

    fn lose(&mut self, lost: &Lost) -> Error {
        let shard = &self.shard;
        tracing::warn!(%shard, error = %lost, "shard lost in the middle of a statement");
        self.fail();
        if let Lost::Frame(wire::FrameError::TooLong { body_bytes, .. }) = lost {
            return Error::Refused(crate::route::Refusal {
                sqlstate: "54000",
                message: format!(
                    "a row of {body_bytes} bytes is longer than the limit of {MAX_ROW_BYTES}"
                ),
                hint: Some("use the Postgres front, or read the value in parts".to_owned()),
            });
        }
        self.lost()
    }

    fn lost(&self) -> Error {
        let shard = self.shard.clone();
        if self.may_have_committed() {
            Error::OutcomeUnknown { shard }
        } else {
            Error::BackendLost { shard }
        }
    }

    /// The statement is over and the backend of no further use.
    fn fail(&mut self) {
        if let Some(lease) = self.lease.take() {
            let metrics = lease.metrics();
            metrics.answered(self.route, Outcome::Error, self.started.elapsed());
            traced::answered(self.span.take(), Outcome::Error);
            self.stop(lease);
        }
    }

    fn stop(&self, lease: Lease) {
        // Without a runtime the process is ending, and the shard sees its connection closed.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let grace = self.grace;
        drop(self.tasks.spawn("cancel", cancel::stop(lease, grace)));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.fail();
    }
}

/// A shard's error for those who do not get its bytes.
pub(super) fn shard_error(message: &Message) -> Error {
    error_of(message.body())
}

/// A shard's error from the body of its ErrorResponse.
#[must_use]
pub fn error_of(body: &[u8]) -> Error {
    if let Some(said) = moving::said(body) {
        return Error::Moving(said.error());
    }
    let Ok(fields) = Diagnostic::decode_error(body) else {
        return Error::Protocol("a shard sent an error that can't be read".to_owned());
    };
    let text = |field: Option<wire::Text<'_>>| field.map(|text| text.to_lossy().into_owned());
    Error::Shard {
        sqlstate: fields
            .code()
            .map_or_else(|| "XX000".to_owned(), |code| code.to_string()),
        message: text(fields.message()).unwrap_or_default(),
        detail: text(fields.detail()),
        hint: text(fields.hint()),
    }
}
