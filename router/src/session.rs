//! One client of the Postgres front, from its first message to its last.
//!
//! Split by protocol flow: [`login`] brings it in, [`simple`] and [`extended`] carry its two query
//! protocols, [`attach`] gives it a backend for a transaction, [`relay`] moves the bytes between.
//! What is decided without IO is in [`state`], [`expect`] and [`crate::route`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use platform::rates::Tries;
use platform::{Shutdown, trace};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::frontend::tag;
use wire::limits::MAX_SMALL_MESSAGE_BYTES;

use crate::audit::Inbox;
use crate::auth::Users;
use crate::cache::Planned;
use crate::console::Reload;
use crate::core::Core;
use crate::error::Error;
use crate::metrics::Connected;
use crate::pool::settings::Startups;
use crate::query::{Reach, Statement};

mod again;
mod answers;
mod attach;
mod bound;
mod by_sql;
pub mod cancel;
mod client;
mod control;
mod converting;
mod copy;
mod copying;
mod cursors;
mod effects;
mod encryption;
mod exchange;
mod expect;
mod explaining;
mod extended;
mod form;
mod forward;
mod function_call;
mod greeting;
mod hints;
mod hold;
mod housekeeping;
mod lobby;
mod local;
mod login;
mod naming;
mod notifiers;
mod operator;
mod patience;
mod prepared;
mod pulling;
mod relay;
mod release;
mod replica;
mod roll;
mod scatter;
mod script;
mod several;
mod shape;
mod sharding;
mod sharing;
mod shortcut;
mod simple;
mod state;
mod traced;
mod waiting;
mod withheld;

pub use forward::Forwarder;
pub use lobby::{Lobby, Visit};
pub use login::{Admitted, LoginError, log_in};
pub use notifiers::Notifiers;
pub use operator::Operator;
pub use prepared::Statements;
pub use roll::Roll;

use attach::Attachment;
use bound::{Bound, News};
use client::{Client, ClientError, Frame};
use effects::Effect;
use expect::Expectations;
use extended::{Batch, Portals, Unparsed};
use patience::Clock;
use prepared::Prepared;
use several::Company;
use shortcut::Begun;
use state::{SessionSettings, Transaction};

/// Why a session ends before its client says so.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The client is gone or broke the protocol.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The shard is gone in the middle of an answer that the client has seen a part of.
    #[error("{0}")]
    Broken(Error),
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Self {
        Self::Client(ClientError::Io(error))
    }
}

/// What all sessions of the Postgres front share.
#[derive(Debug)]
pub struct Front {
    pub core: Arc<Core>,
    pub users: Arc<Users>,
    pub statements: Statements,
    /// What sessions began with.
    pub startups: Startups,
    pub sessions: cancel::Registry,
    pub roll: Roll,
    /// Who sends notifications by a connection of its own.
    pub notifiers: Notifiers,
    pub reload: Reload,
    pub forwarder: Forwarder,
    /// One for each session that may be.
    pub slots: Arc<Semaphore>,
    /// Who has not logged in yet.
    pub lobby: Lobby,
    /// Logins that failed, by address and user.
    pub tries: Tries,
    /// Where it goes on record who is let in, and who is not.
    pub audit: Inbox,
}

impl Front {
    /// Places for this many sessions.
    #[must_use]
    pub fn slots(sessions: u32) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(
            usize::try_from(sessions).unwrap_or(Semaphore::MAX_PERMITS),
        ))
    }
}

/// Things of a session by the names that its own client gives them.
type ByName<T> = HashMap<Bytes, T, foldhash::fast::RandomState>;

/// A session that has logged in.
#[derive(Debug)]
pub struct Session {
    front: Arc<Front>,
    client: Client,
    cancel: cancel::Entry,
    transaction: Transaction,
    settings: SessionSettings,
    /// The client's prepared statements by its own names; the unnamed one has the empty name.
    statements: ByName<Arc<Prepared>>,
    /// The unnamed one, where it was answered the short way and not asked for since.
    unparsed: Option<Unparsed>,
    attachment: Option<Attachment>,
    /// The connection that the session keeps, once it has left something with it.
    bound: Option<Box<Bound>>,
    /// The other shards of a transaction that has gone on on another one.
    company: Option<Box<Company>>,
    /// Bytes for the backend.
    outbound: BytesMut,
    expected: Expectations,
    flight: Flight,
    /// By which topology the statement was routed that was refused last.
    routed: topology::Epoch,
    batch: Batch,
    /// Whether a statement is run that stands in a query string with others.
    scripted: bool,
    /// Whether a batch or a string has lost what it had done, so that nothing of it goes on alone.
    torn: bool,
    /// The trace of the batch, where it is traced.
    trace: Option<Box<trace::Span>>,
    /// How long the present request has taken shards, at most.
    took: Duration,
    /// Whether the transaction has changed the schema of the one shard that it is on.
    reshaped: bool,
    /// What a batch sent to a shard last.
    asked: Option<Arc<Prepared>>,
    portals: Portals,
    clock: Clock,
    /// Entered only where something is logged.
    span: tracing::Span,
    listed: roll::Entry,
    _connected: Connected,
    _slot: OwnedSemaphorePermit,
}

/// What is being sent to the backend, until its ReadyForQuery.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about what was sent"
)]
struct Flight {
    /// Whether any of it may write.
    writes: bool,
    /// Whether the statement that is about to be sent may.
    now_writes: bool,
    /// Whether it may commit: a COMMIT, or whatever stands outside of a transaction block.
    ends: bool,
    /// What each statement will have done to the session.
    effects: Vec<Effect>,
    /// What has to hold still when it is written.
    routed: Option<again::Routed>,
    /// What brought it to its shard.
    route: crate::pool::metrics::Route,
    /// Whether it takes from the backend what the router has left with it.
    strips: bool,
    /// Whether it has a statement prepared or described, which may fail.
    prepares: bool,
    /// Whether it was sent away from a line, and is not to join another one.
    was_sent_away: bool,
    /// What is asked, where it may share its backend with strangers.
    shares: Option<Arc<Planned>>,
}

/// The name of a portal that there never is.
const POISON: &[u8] = b"refused by the router";

/// Appends a message that fails whatever the backend's state is.
fn poison(out: &mut BytesMut) -> Result<(), wire::EncodeError> {
    wire::frontend::encode::execute(out, POISON, 1)
}

impl Flight {
    /// A statement is about to be sent that calls something.
    fn note_calls(&mut self, statement: &Statement) {
        let mut calls = statement.functions.iter();
        self.strips |= calls.any(|call| call.reach == Reach::Strips);
    }

    /// A statement is about to be sent that may write, or does not.
    fn note_writes(&mut self, writes: bool) {
        self.writes |= writes;
        self.now_writes = writes;
    }
}

impl Session {
    /// Serves the client until it leaves, breaks the protocol, or the router shuts down between
    /// two of its transactions.
    ///
    /// # Errors
    /// [`Ended`] when the client did not leave by itself.
    pub async fn run(mut self: Box<Self>, shutdown: Shutdown) -> Result<(), Ended> {
        match self.serve(shutdown).await {
            Err(Ended::Broken(error)) => {
                self.span.in_scope(
                    || tracing::warn!(%error, "closing a session in the middle of an answer"),
                );
                Err(Ended::Broken(error))
            }
            Err(Ended::Client(ClientError::Protocol(text))) => {
                self.fatal(&Error::Protocol(text)).await
            }
            ended => ended,
        }
    }

    async fn serve(&mut self, shutdown: Shutdown) -> Result<(), Ended> {
        // One for the whole session: each new one takes a place in a list that all sessions share.
        let requested = shutdown.requested();
        tokio::pin!(requested);
        loop {
            let idle = self.is_idle();
            if idle {
                self.clock.stop();
            }
            let patience = self.clock.patience(idle);
            let frame = tokio::select! {
                // The client first: a statement that has arrived is still served.
                biased;
                frame = self.client.receive() => frame,
                news = Bound::news(&mut self.bound, idle) => match news {
                    News::Messages(messages) => {
                        self.client.outbound.extend_from_slice(&messages);
                        self.client.flush_now().await?;
                        continue;
                    }
                    News::Lost => {
                        self.say_lost();
                        self.client.flush_now().await?;
                        return Ok(());
                    }
                },
                () = &mut requested, if idle => {
                    self.say_goodbye().await?;
                    return Ok(());
                }
                error = patience.ends() => {
                    // A transaction is rolled back by its backend's end.
                    self.close_backend();
                    self.front.core.metrics.failed(&error);
                    self.fatal(&error).await?;
                    return Ok(());
                }
            };
            let Some(frame) = frame? else {
                return Ok(());
            };
            if !self.take_in_hand(frame).await? {
                return Ok(());
            }
        }
    }

    /// Handles a message and those that came with it; false when one was the last.
    async fn take_in_hand(&mut self, mut frame: Frame) -> Result<bool, Ended> {
        loop {
            let begun = self.begin(&frame).await?;
            if !matches!(begun, Begun::Answered) {
                // What a message needs while it is handled is kilobytes, which a client that waits
                // for its user does not hold.
                return Box::pin(self.handle_all(frame, begun)).await;
            }
            match self.client.buffered()? {
                Some(next) => frame = next,
                None => return Ok(true),
            }
        }
    }

    /// Whether the session holds nothing of a shard.
    fn is_idle(&self) -> bool {
        !self.transaction.is_block() && self.attachment.is_none()
    }

    /// As [`Self::take_in_hand`], by way of a message that has come so far.
    async fn handle_all(&mut self, mut frame: Frame, begun: Begun) -> Result<bool, Ended> {
        let mut begun = begun;
        loop {
            self.clock.start();
            let goes_on = if self.client.converts() {
                Box::pin(self.handle_converted(frame)).await?
            } else if trace::is_on() {
                Box::pin(self.handle_traced(frame)).await?
            } else {
                self.handle(frame, std::mem::take(&mut begun)).await?
            };
            if !goes_on {
                return Ok(false);
            }
            if self.client.converts() {
                Box::pin(self.settle_encoding()).await?;
            }
            if self.is_idle() {
                self.clock.stop();
            }
            match self.client.buffered()? {
                Some(next) => frame = next,
                None => return Ok(true),
            }
        }
    }

    /// Handles one message from where [`Self::begin`] has come to; false when it was the last one.
    async fn handle(&mut self, frame: Frame, begun: Begun) -> Result<bool, Ended> {
        let body_bytes = frame.body().len();
        if tag::SMALL.contains(frame.tag()) && body_bytes > MAX_SMALL_MESSAGE_BYTES {
            // A backend would close the connection over it.
            let text = format!("message of {body_bytes} bytes is too long for its type");
            self.fatal(&Error::Protocol(text)).await?;
            return Ok(false);
        }
        match frame.tag() {
            b'Q' => {
                self.simple_query(&frame, begun).await?;
                self.note_answered(&frame);
            }
            b'P' | b'B' | b'D' | b'E' | b'C' | b'H' => {
                self.extended_message(&frame, begun).await?;
            }
            b'S' => {
                self.extended_message(&frame, begun).await?;
                self.note_answered(&frame);
            }
            b'X' => return Ok(false),
            // Copy messages outside of a copy are ignored, as PostgreSQL ignores them.
            b'd' | b'c' | b'f' => {}
            b'F' => Box::pin(self.function_call(&frame)).await?,
            tag => {
                let text = format!("invalid frontend message type {tag}");
                self.fatal(&Error::Protocol(text)).await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tells the client why its session ends here.
    async fn fatal(&mut self, error: &Error) -> Result<(), Ended> {
        self.client.take_completions_back();
        local::fatal(&mut self.client.outbound, error);
        self.client.flush_now().await?;
        Ok(())
    }

    async fn say_goodbye(&mut self) -> Result<(), Ended> {
        self.fatal(&Error::ShuttingDown).await
    }
}
