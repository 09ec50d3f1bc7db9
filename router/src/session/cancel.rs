//! Cancel keys: which backend a client's CancelRequest means at this moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::peers::RouterId;
use crate::pool::CancelTarget;

/// The key that a client was given at login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CancelKey {
    /// Stands in for a process id, and tells the router that gave it.
    pub process_id: i32,
    /// Random.
    pub secret: [u8; 4],
}

/// What a session shows of itself to cancel requests.
#[derive(Debug, Default)]
struct Slot {
    victim: Option<Arc<CancelTarget>>,
    /// A request was sent to the present victim: it must not be lent to anybody else, whom a late
    /// cancel would hit.
    aimed_at: bool,
}

/// All live sessions by their key.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Mutex<HashMap<CancelKey, Arc<Mutex<Slot>>>>>);

/// A session's entry, removed when it is dropped.
#[derive(Debug)]
pub struct Entry {
    registry: Registry,
    key: CancelKey,
    slot: Arc<Mutex<Slot>>,
}

impl Registry {
    /// Gives a session its key.
    #[must_use]
    pub fn register(&self, router: RouterId) -> Entry {
        let slot = Arc::new(Mutex::new(Slot::default()));
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = loop {
            let key = CancelKey {
                process_id: router.process_id(rand::random()),
                secret: rand::random(),
            };
            if !sessions.contains_key(&key) {
                break key;
            }
        };
        sessions.insert(key, Arc::clone(&slot));
        Entry {
            registry: self.clone(),
            key,
            slot,
        }
    }

    /// The backend that a key's session holds now; the session is told not to reuse it.
    #[must_use]
    pub fn aim(&self, key: CancelKey) -> Option<Arc<CancelTarget>> {
        let slot = {
            let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(sessions.get(&key)?)
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.aimed_at = slot.victim.is_some();
        slot.victim.clone()
    }
}

impl Registry {
    /// The backend that a key's session holds now, if it is to be looked at only.
    #[must_use]
    pub fn held_by(&self, key: CancelKey) -> Option<Arc<CancelTarget>> {
        let slot = {
            let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(sessions.get(&key)?)
        };
        let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.victim.clone()
    }
}

impl Entry {
    /// The key for the client.
    #[must_use]
    pub fn key(&self) -> CancelKey {
        self.key
    }

    /// The session has got a backend.
    pub fn attach(&self, victim: Arc<CancelTarget>) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = Slot {
            victim: Some(victim),
            aimed_at: false,
        };
    }

    /// The session gives its backend up. False when a cancel was aimed at it: then it must be
    /// closed, not lent on.
    #[must_use]
    pub fn detach(&self) -> bool {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        !std::mem::take(&mut *slot).aimed_at
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut sessions = self
            .registry
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sessions.remove(&self.key);
    }
}
