//! Statements that a shard refused because their rows are being moved to another one.
//!
//! The shards' guards are what keeps writes from being lost; routers are only kind to clients: what
//! was refused before a byte of its answer was the client's, and has committed nothing, is run
//! again once it can be elsewhere. What cannot be taken back ends in 40001.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use platform::Shutdown;
use tokio::sync::watch;
use tokio::time::Instant;
use topology::{Epoch, Snapshot};
use wire::SqlState;
use wire::backend::Report;

mod metrics;
mod said;

pub use said::{Said, said};

use crate::hold::Limits;
use metrics::Metrics;

/// Why a statement was not run, or has had no effect.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A guard has refused it. Whoever can have it run again has [`Moving::wait`] say when.
    #[error("a key of the statement is being moved to another shard: nothing was written")]
    Moved {
        /// The guard's own SQLSTATE, for metrics.
        code: &'static str,
    },
    /// The topology changed after it was routed; it was sent to no shard. As [`Error::Moved`].
    #[error("a key of the statement has been moved to another shard: nothing was written")]
    Outdated,
    /// It was refused for as long as it may wait.
    #[error(
        "a key of the statement is being moved to another shard, and was for {waited:?}: nothing \
         was written"
    )]
    TooLong {
        /// How long.
        waited: Duration,
    },
    /// As many wait as may.
    #[error(
        "a key of the statement is being moved to another shard, and too many wait for that: \
         nothing was written"
    )]
    TooMany,
    /// What it does is not possible while rows are being moved: the guard's own words.
    #[error("{message}")]
    Busy {
        /// Its message.
        message: String,
        /// Its DETAIL.
        detail: Option<String>,
        /// Its HINT.
        hint: Option<String>,
    },
    /// A guard said what only a manager should hear.
    #[error("the shard refused the statement for a reason of its own: {message}")]
    Internal {
        /// Its message.
        message: String,
    },
}

impl Error {
    /// The SQLSTATE. Applications that retry transactions do so at 40001.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Moved { .. } | Self::Outdated | Self::TooLong { .. } | Self::TooMany => "40001",
            Self::Busy { .. } => "55006",
            Self::Internal { .. } => "XX000",
        }
    }

    /// What the guard said besides.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Busy { detail, .. } => detail.as_deref(),
            Self::Moved { .. }
            | Self::Outdated
            | Self::TooLong { .. }
            | Self::TooMany
            | Self::Internal { .. } => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Moved { .. } | Self::Outdated | Self::TooLong { .. } | Self::TooMany => {
                Some("run the transaction again")
            }
            Self::Busy { hint, .. } => hint.as_deref(),
            Self::Internal { .. } => None,
        }
    }

    /// It as an ErrorResponse.
    #[must_use]
    pub fn frame(&self) -> Bytes {
        let code = SqlState::parse(self.sqlstate().as_bytes()).unwrap_or(SqlState::INTERNAL_ERROR);
        let mut report = Report::error(code, self.to_string());
        if let Some(detail) = self.detail() {
            report = report.detail(detail.to_owned());
        }
        if let Some(hint) = self.hint() {
            report = report.hint(hint.to_owned());
        }
        let mut out = BytesMut::new();
        report.encode(&mut out);
        out.freeze()
    }

    /// Whether the statement may be run again as it is.
    #[must_use]
    pub fn may_be_repeated(&self) -> bool {
        match self {
            Self::Moved { .. } | Self::Outdated => true,
            Self::TooLong { .. } | Self::TooMany | Self::Busy { .. } | Self::Internal { .. } => {
                false
            }
        }
    }
}

/// The first pause before a statement is tried again without news of the topology, and the
/// longest: each is as long as all before it.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// How long after the last sign of a move statements are still kept to be run again.
const QUIET: Duration = Duration::from_secs(60);

/// What this router knows of rows that are being moved. Clones share it.
#[derive(Debug, Clone)]
pub struct Moving(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    /// The newest topology that statements can be routed by.
    published: watch::Sender<Epoch>,
    metrics: Metrics,
    shutdown: Shutdown,
    /// Whether statements are worth being kept, to be run again.
    likely: AtomicBool,
    sign: watch::Sender<Sign>,
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
}

/// The last sign of a move.
#[derive(Debug, Clone, Copy)]
struct Sign {
    at: Instant,
    /// Whether the topology shows a hold.
    held: bool,
}

impl Moving {
    /// Nothing is being moved as yet. Statements wait within the limits of held ones.
    ///
    /// # Errors
    /// When a metric's name is taken.
    pub fn register(
        limits: Limits,
        registry: &prometheus::Registry,
        shutdown: Shutdown,
    ) -> Result<Self, prometheus::Error> {
        let sign = Sign {
            at: Instant::now(),
            held: false,
        };
        Ok(Self(Arc::new(Shared {
            limits,
            published: watch::Sender::new(Epoch::default()),
            metrics: Metrics::register(registry)?,
            shutdown,
            likely: AtomicBool::new(false),
            sign: watch::Sender::new(sign),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
        })))
    }

    /// Whether a guard may refuse statements, as far as is known: while the topology shows a hold,
    /// one without ranges included, and a while after. What takes memory to be run again is kept
    /// only then.
    #[must_use]
    pub fn is_likely(&self) -> bool {
        self.0.likely.load(Ordering::Relaxed)
    }

    /// A newer topology is in force.
    pub fn publish(&self, snapshot: &Snapshot) {
        self.note(!snapshot.holds().is_empty());
        self.0.published.send_replace(snapshot.epoch());
    }

    fn note(&self, held: bool) {
        if held {
            self.0.likely.store(true, Ordering::Relaxed);
        }
        self.0.sign.send_modify(|sign| {
            if held || sign.held {
                sign.at = Instant::now();
            }
            sign.held = held;
        });
    }

    /// Forgets, until shutdown, moves of which there is no sign any more.
    pub async fn run(self, shutdown: Shutdown) {
        let mut signs = self.0.sign.subscribe();
        loop {
            let sign = *signs.borrow_and_update();
            let over = !sign.held && sign.at.elapsed() >= QUIET;
            if over {
                self.0.likely.store(false, Ordering::Relaxed);
            }
            let until = sign.at + QUIET;
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                // The sender is in `self`.
                _changed = signs.changed() => {}
                () = tokio::time::sleep_until(until), if !over && !sign.held => {}
            }
        }
    }

    /// A guard has refused a statement by this SQLSTATE; `taken_back` unless the client is told.
    pub fn refused(&self, code: &str, taken_back: bool) {
        self.0.metrics.refused(code);
        if !taken_back {
            self.0.metrics.given_up();
        }
        self.0.likely.store(true, Ordering::Relaxed);
        self.0.sign.send_modify(|sign| sign.at = Instant::now());
    }

    /// Waits until a statement that was refused, and takes so many bytes, is to be routed anew: as
    /// soon as there is a topology newer than the one of `routed`, or after a pause that grows with
    /// the time since it was refused first. Dropped, it gives its place up.
    ///
    /// # Errors
    /// The statement is not to be run.
    pub async fn wait(
        &self,
        routed: Epoch,
        bytes: usize,
        since: Instant,
    ) -> Result<(), crate::error::Error> {
        let waited = since.elapsed();
        let shared = &self.0;
        if waited >= shared.limits.max_wait {
            return Err(self.give_up(Error::TooLong { waited }));
        }
        let Some(_place) = self.place(bytes) else {
            // As many wait already as may: the client does, and comes back.
            return Err(self.give_up(Error::TooMany));
        };
        let pause = waited.clamp(PAUSES.0, PAUSES.1);
        let mut published = shared.published.subscribe();
        tokio::select! {
            biased;
            () = shared.shutdown.requested() => {
                shared.metrics.given_up();
                return Err(crate::error::Error::ShuttingDown);
            }
            _newer = published.wait_for(|epoch| *epoch > routed) => {}
            () = tokio::time::sleep(pause) => {}
        }
        shared.metrics.retried();
        Ok(())
    }

    fn give_up(&self, error: Error) -> crate::error::Error {
        self.0.metrics.given_up();
        error.into()
    }

    fn place(&self, bytes: usize) -> Option<Place<'_>> {
        let shared = &*self.0;
        let place = Place { shared, bytes };
        let count = shared.waiting.fetch_add(1, Ordering::Relaxed) + 1;
        let all = shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (count <= shared.limits.max_waiting && all <= shared.limits.max_bytes).then_some(place)
    }
}

/// What a statement that waits takes of the limits.
#[derive(Debug)]
struct Place<'a> {
    shared: &'a Shared,
    bytes: usize,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        let bytes = &self.shared.waiting_bytes;
        bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
