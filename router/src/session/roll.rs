//! Who is connected: each client with what does not change while it is, for the console. What it
//! does at the moment is asked where it is known anyway.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::cancel::{CancelKey, Registry};
use crate::console;

/// All clients.
#[derive(Debug, Clone, Default)]
pub struct Roll(Arc<Mutex<Clients>>);

#[derive(Debug, Default)]
struct Clients {
    next: u64,
    by_number: BTreeMap<u64, Arc<Listed>>,
}

/// What a client says of itself.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) user: String,
    pub(super) database: String,
    pub(super) application: String,
    pub(super) peer: Option<SocketAddr>,
    pub(super) encrypted: bool,
}

#[derive(Debug)]
struct Listed {
    number: u64,
    visitor: Visitor,
    key: CancelKey,
    connected: SystemTime,
    began: Instant,
    /// Microseconds from `began` to the last request, plus one; 0 for never.
    requested: AtomicU64,
    waiting: Mutex<Option<Instant>>,
}

impl Listed {
    fn requested(&self) -> Option<SystemTime> {
        let after = self.requested.load(Ordering::Relaxed).checked_sub(1)?;
        self.connected.checked_add(Duration::from_micros(after))
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's entry, removed when it is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    roll: Roll,
    listed: Arc<Listed>,
}

/// A client that waits for a backend, while this lives.
#[derive(Debug)]
pub(super) struct Waiting(Arc<Listed>);

impl Roll {
    /// Lists a client; its cancel key tells which backend it holds.
    pub(super) fn enter(&self, visitor: Visitor, key: CancelKey) -> Entry {
        let mut clients = self.clients();
        let number = clients.next;
        clients.next += 1;
        let listed = Arc::new(Listed {
            number,
            visitor,
            key,
            connected: SystemTime::now(),
            began: Instant::now(),
            requested: AtomicU64::new(0),
            waiting: Mutex::default(),
        });
        clients.by_number.insert(number, Arc::clone(&listed));
        Entry {
            roll: self.clone(),
            listed,
        }
    }

    /// All clients as they stand.
    pub(super) fn list(&self, sessions: &Registry) -> Vec<console::Client> {
        let listed: Vec<Arc<Listed>> = self.clients().by_number.values().cloned().collect();
        let client = |listed: Arc<Listed>| {
            let waiting = *listed.waiting();
            let visitor = listed.visitor.clone();
            console::Client {
                id: listed.number,
                user: visitor.user,
                database: visitor.database,
                application: visitor.application,
                peer: visitor.peer,
                encrypted: visitor.encrypted,
                connected: listed.connected,
                requested: listed.requested(),
                waiting: waiting.map(|since| since.elapsed()),
                held: sessions.held_by(listed.key),
            }
        };
        listed.into_iter().map(client).collect()
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// A request of the client is sent to a shard.
    pub(super) fn requests(&self, at: Instant) {
        let after = at.saturating_duration_since(self.listed.began).as_micros();
        let after = u64::try_from(after).unwrap_or(u64::MAX - 1);
        self.listed.requested.store(after + 1, Ordering::Relaxed);
    }

    /// The client is about to wait for a backend. Only called where it has to, so that those who
    /// need not wait do not pay for it.
    pub(super) fn waits(&self) -> Waiting {
        *self.listed.waiting() = Some(Instant::now());
        Waiting(Arc::clone(&self.listed))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        *self.0.waiting() = None;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut clients = self.roll.clients();
        clients.by_number.remove(&self.listed.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_listed_while_it_lives_and_shown_as_waiting_while_it_waits() {
        let (roll, sessions) = (Roll::default(), Registry::default());
        let session = sessions.register(crate::peers::RouterId::of_process_id(i32::MAX).unwrap());
        let visitor = Visitor {
            user: "alice".to_owned(),
            database: "app".to_owned(),
            application: String::new(),
            peer: None,
            encrypted: false,
        };
        let entry = roll.enter(visitor, session.key());
        let waiting = entry.waits();
        assert!(roll.list(&sessions)[0].waiting.is_some());
        assert_eq!(roll.list(&sessions)[0].requested, None);
        entry.requests(Instant::now());
        assert!(roll.list(&sessions)[0].requested.is_some());
        drop(waiting);
        assert!(roll.list(&sessions)[0].waiting.is_none());
        drop(entry);
        assert!(roll.list(&sessions).is_empty());
    }
}
