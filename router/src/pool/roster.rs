//! The backends of one pool, for an operator to look at: entered when they are connected, gone
//! when they are closed. Lending one costs a store into its own entry.

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use socket2::{SockRef, Socket};

use super::backend::{Backend, CancelTarget};

/// All backends of a pool.
#[derive(Debug, Clone, Default)]
pub(super) struct Roster(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether sockets are kept, to be shut from here.
    keeps: bool,
    /// Grows when all backends are to be replaced.
    generation: AtomicU64,
    logins: AtomicU64,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    by_number: BTreeMap<u64, Arc<Listed>>,
}

/// One backend.
#[derive(Debug)]
pub struct Listed {
    /// Its number, which no other backend of the pool has had.
    pub number: u64,
    /// How a session that holds it is found.
    pub cancel: Arc<CancelTarget>,
    /// The shard's side of the connection.
    pub peer: Option<SocketAddr>,
    /// The router's side.
    pub local: Option<SocketAddr>,
    /// When it was connected.
    pub connected: SystemTime,
    lent: AtomicBool,
    generation: u64,
    /// The socket once more, where it may have to be shut in the middle of a loan.
    socket: Option<Socket>,
}

impl Listed {
    /// Ends the connection, whoever uses it: nothing that the server still sends is read.
    pub(super) fn shut(&self) {
        if let Some(socket) = &self.socket {
            // It may be closed already.
            let _closed = socket.shutdown(Shutdown::Both);
        }
    }

    /// Whether somebody uses it.
    #[must_use]
    pub fn is_lent(&self) -> bool {
        self.lent.load(Ordering::Relaxed)
    }
}

fn doubled(backend: &Backend) -> Option<Socket> {
    SockRef::from(backend.stream.socket()).try_clone().ok()
}

/// A backend's entry, removed when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    roster: Roster,
    listed: Arc<Listed>,
}

impl Place {
    /// The backend is used, or not any more.
    pub(super) fn lent(&self, lent: bool) {
        self.listed.lent.store(lent, Ordering::Relaxed);
    }

    /// Whether it was connected before all were to be replaced.
    pub(super) fn is_outdated(&self) -> bool {
        self.roster.is_outdated(&self.listed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.roster.entries().by_number.remove(&self.listed.number);
    }
}

/// A login that is going on.
#[derive(Debug)]
pub(super) struct Login<'a>(&'a Shared);

impl Drop for Login<'_> {
    fn drop(&mut self) {
        self.0.logins.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Roster {
    /// An empty one, which keeps the sockets of its backends if they may have to be shut.
    pub(super) fn new(keeps: bool) -> Self {
        Self(Arc::new(Shared {
            keeps,
            ..Shared::default()
        }))
    }

    /// A login begins.
    pub(super) fn login(&self) -> Login<'_> {
        self.0.logins.fetch_add(1, Ordering::Relaxed);
        Login(&self.0)
    }

    /// How many logins are going on.
    pub(super) fn logins(&self) -> u64 {
        self.0.logins.load(Ordering::Relaxed)
    }

    /// What counts as new from now on.
    pub(super) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// Enters a backend that was begun to connect at this generation.
    pub(super) fn enter(&self, backend: &Backend, generation: u64) -> Place {
        let mut entries = self.entries();
        let number = entries.next;
        entries.next += 1;
        let listed = Arc::new(Listed {
            number,
            cancel: Arc::clone(&backend.cancel),
            peer: backend.stream.socket().peer_addr().ok(),
            local: backend.stream.socket().local_addr().ok(),
            connected: SystemTime::now(),
            lent: AtomicBool::new(false),
            generation,
            socket: self.0.keeps.then(|| doubled(backend)).flatten(),
        });
        entries.by_number.insert(number, Arc::clone(&listed));
        Place {
            roster: self.clone(),
            listed,
        }
    }

    /// Every backend from now on is outdated.
    pub(super) fn outdate(&self) {
        self.0.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a backend was connected before the last [`Self::outdate`].
    pub(super) fn is_outdated(&self, listed: &Listed) -> bool {
        listed.generation != self.0.generation.load(Ordering::Relaxed)
    }

    /// All backends, the oldest first.
    pub(super) fn list(&self) -> Vec<Arc<Listed>> {
        self.entries().by_number.values().cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
