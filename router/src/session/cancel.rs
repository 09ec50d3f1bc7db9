//! Cancel keys: which backend a client's CancelRequest means at this moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

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
    /// Set while the session stands in a line: whether it was called off.
    lined_up: Option<bool>,
    /// Set while the session waits for something else than a backend's answer.
    waiting: Option<oneshot::Sender<()>>,
}

/// What a cancel request is aimed at.
#[derive(Debug)]
pub enum Aim {
    /// This backend must be told.
    Backend(Arc<CancelTarget>),
    /// A session that waited, and has been told.
    Waiting,
}

/// A wait that a cancel request ends, while this lives.
#[derive(Debug)]
pub struct Wait {
    slot: Arc<Mutex<Slot>>,
    called_off: oneshot::Receiver<()>,
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

    /// Ends the wait of a key's session, or gives the backend that it holds now; the session is
    /// told not to reuse it.
    #[must_use]
    pub fn aim(&self, key: CancelKey) -> Option<Aim> {
        let slot = self.slot_of(key)?;
        let mut slot = locked(&slot);
        if let Some(waiting) = slot.waiting.take() {
            // It may have got what it waited for at this moment.
            let _told = waiting.send(());
            return Some(Aim::Waiting);
        }
        if let Some(called_off) = &mut slot.lined_up {
            *called_off = true;
            return Some(Aim::Waiting);
        }
        slot.aimed_at = slot.victim.is_some();
        slot.victim.clone().map(Aim::Backend)
    }

    /// The backend that a key's session holds now, if it is to be looked at only.
    #[must_use]
    pub fn held_by(&self, key: CancelKey) -> Option<Arc<CancelTarget>> {
        let slot = self.slot_of(key)?;
        locked(&slot).victim.clone()
    }

    fn slot_of(&self, key: CancelKey) -> Option<Arc<Mutex<Slot>>> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&key).cloned()
    }
}

fn locked(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wait {
    /// Returns when the client calls it off. Cancel-safe until then.
    pub async fn cancelled(&mut self) {
        if (&mut self.called_off).await.is_err() {
            // Another wait of the session has taken the place; nobody can call this one off.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        locked(&self.slot).waiting = None;
    }
}

impl Entry {
    /// The key for the client.
    #[must_use]
    pub fn key(&self) -> CancelKey {
        self.key
    }

    /// The session is about to wait, and can be told to stop.
    #[must_use]
    pub fn waits(&self) -> Wait {
        let (tell, called_off) = oneshot::channel();
        locked(&self.slot).waiting = Some(tell);
        Wait {
            slot: Arc::clone(&self.slot),
            called_off,
        }
    }

    /// The session stands in a line for a short time. It asks itself at the end whether it was
    /// called off.
    pub fn lines_up(&self) {
        locked(&self.slot).lined_up = Some(false);
    }

    /// Whether the session was called off while it stood in the line, which it has left.
    #[must_use]
    pub fn was_called_off(&self) -> bool {
        locked(&self.slot).lined_up.take() == Some(true)
    }

    /// The session has got a backend.
    pub fn attach(&self, victim: Arc<CancelTarget>) {
        *locked(&self.slot) = Slot {
            victim: Some(victim),
            ..Slot::default()
        };
    }

    /// The session gives its backend up. False when a cancel was aimed at it: then it must be
    /// closed, not lent on.
    #[must_use]
    pub fn detach(&self) -> bool {
        !std::mem::take(&mut *locked(&self.slot)).aimed_at
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_wait_is_called_off_once_and_only_while_it_lasts() {
        let registry = Registry::default();
        let entry = registry.register(RouterId::of_process_id(i32::MAX).unwrap());
        assert!(registry.aim(entry.key()).is_none());
        let mut wait = entry.waits();
        assert!(wait.cancelled().now_or_never().is_none());
        assert!(matches!(registry.aim(entry.key()), Some(Aim::Waiting)));
        assert!(wait.cancelled().now_or_never().is_some());
        assert!(registry.aim(entry.key()).is_none());
        drop(wait);
        drop(entry.waits());
        assert!(registry.aim(entry.key()).is_none());
    }
}
