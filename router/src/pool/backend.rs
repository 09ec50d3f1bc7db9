//! One server connection and what the router knows of its state. No protocol decisions here.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use lru::LruCache;
use topology::Endpoint;

use super::dial::Dialer;
use super::roster::Place;
use super::settings::Settings;
use crate::stream::{Moved, Stream};
use crate::threads;

/// A backend as a CancelRequest addresses it.
#[derive(Debug)]
pub struct CancelTarget {
    /// Its server.
    pub endpoint: Endpoint,
    /// How its server is connected to.
    pub dialer: Dialer,
    /// Its process id there.
    pub process_id: i32,
    /// Its secret there.
    pub secret: Bytes,
}

/// Bytes that were moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// To the shard.
    pub sent: u64,
    /// From the shard.
    pub received: u64,
}

impl Traffic {
    /// Counts what [`Stream::transfer`] did.
    pub fn count(&mut self, moved: Moved) {
        match moved {
            Moved::Out(bytes) => self.sent += bytes as u64,
            Moved::In(bytes) => self.received += bytes as u64,
        }
    }
}

/// The statements that a backend holds, by their id; those that are not used make room.
#[derive(Debug)]
pub struct Held(Mutex<LruCache<u64, ()>>);

impl Held {
    /// None yet, and never more than this.
    #[must_use]
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self(Mutex::new(LruCache::new(capacity)))
    }

    /// Whether a statement is among them; it counts as used.
    #[must_use]
    pub fn holds(&self, id: u64) -> bool {
        self.known().get(&id).is_some()
    }

    /// Adds a statement; gives the one that has to make room for it.
    #[must_use]
    pub fn add(&self, id: u64) -> Option<u64> {
        let pushed = self.known().push(id, ());
        pushed.map(|(gone, ())| gone).filter(|gone| *gone != id)
    }

    /// A statement is not held any more.
    pub fn remove(&self, id: u64) {
        self.known().pop(&id);
    }

    /// None is held any more.
    pub fn clear(&self) {
        self.known().clear();
    }

    fn known(&self) -> MutexGuard<'_, LruCache<u64, ()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to a shard that has logged in.
#[derive(Debug)]
pub struct Backend {
    /// The socket.
    pub stream: Stream,
    /// Bytes read and not yet handled.
    pub inbound: BytesMut,
    /// The settings in force on it.
    pub settings: Arc<Settings>,
    /// Statements prepared on it.
    pub prepared: Arc<Held>,
    /// The id of the unnamed statement it holds, if the router knows.
    pub unnamed: Option<u64>,
    /// How a CancelRequest reaches it.
    pub cancel: Arc<CancelTarget>,
    /// ParameterStatus of its start-up: name and value.
    pub statuses: Arc<[(Box<str>, Box<str>)]>,
    /// What was sent and received on it since the loan began.
    pub traffic: Traffic,
    /// Whether it may go back to the pool: only when idle and its settings are known (I6).
    pub(super) reusable: bool,
    /// Something happened on it that no later state can make good: it is closed after use.
    pub(super) spoiled: bool,
    /// The thread that listens to its socket.
    pub(super) home: usize,
    /// Its entry in the pool's list.
    pub(super) place: Option<Place>,
}

impl Backend {
    /// What the server reported of itself at the start.
    #[must_use]
    pub fn status(&self, name: &str) -> Option<&str> {
        let found = self.statuses.iter().find(|(own, _)| **own == *name);
        found.map(|(_, value)| &**value)
    }

    /// It is lent, and may only go back to the pool when its borrower says so.
    pub(super) fn begin_loan(&mut self) {
        self.reusable = false;
        if let Some(place) = &self.place {
            place.lent(true);
        }
    }

    /// It is idle, or about to be closed.
    pub(super) fn end_loan(&self) {
        if let Some(place) = &self.place {
            place.lent(false);
        }
    }

    /// The thread that listens to its socket.
    pub(super) fn home(&self) -> usize {
        self.home
    }

    /// Has the present thread listen to its socket; it must be idle. Where that cannot be, it stays
    /// where it is: each answer then wakes another thread.
    pub(super) fn settle(&mut self) {
        let here = threads::present();
        if self.home != here && here != 0 && self.stream.settle().is_ok() {
            self.home = here;
        }
    }

    /// Whether an operator wants it replaced.
    pub(super) fn is_outdated(&self) -> bool {
        self.place.as_ref().is_some_and(Place::is_outdated)
    }

    /// Whether the shard has closed the connection or said something nobody asked for while it
    /// was idle. Costs no system call when nothing has arrived.
    pub fn is_stale(&mut self) -> bool {
        !self.inbound.is_empty() || self.stream.has_news()
    }
}
