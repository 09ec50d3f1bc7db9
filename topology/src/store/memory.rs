//! A store in memory with etcd's semantics, for tests: revisions, leases, history, compaction, and
//! faults on demand. Not for production: nothing survives the process and nothing is shared.
//!
//! Time is tokio's, so leases obey a paused clock. No task runs in the background: leases expire
//! when somebody looks, and an open watch looks by itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Batch, Committed, Entry, Error, LeaseId, Listing, Revision, Store, Txn, Watch};
use state::State;

mod state;

/// How often an idle watch reports progress.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// What goes wrong with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// The request never leaves: certainly not applied.
    Unreachable,
    /// The request is lost on its way: not applied, but the caller cannot know.
    LostRequest,
    /// The answer is lost: applied, but the caller cannot know.
    LostAnswer,
}

/// The store; clones share one state.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    /// Wakes the open watches after each change.
    changed: watch::Sender<()>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Arc::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state().revision()
    }

    /// Forgets the history before `revision`, as etcd's compaction does.
    pub fn compact(&self, revision: Revision) {
        self.state().compact(revision);
        self.wake();
    }

    /// Ends every open watch with an error, as a lost connection does.
    pub fn drop_watches(&self) {
        self.state().drop_watches();
        self.wake();
    }

    /// Cuts the store off, ending all watches, or connects it again. Leases go on expiring.
    pub fn set_reachable(&self, reachable: bool) {
        let mut state = self.state();
        state.reachable = reachable;
        if !reachable {
            state.drop_watches();
        }
        drop(state);
        self.wake();
    }

    /// Lets the next commit fail; several faults are used up one a commit, in order.
    pub fn fail_next_commit(&self, fault: CommitFault) {
        self.state().faults.push_back(fault);
    }

    /// The state with its expired leases ended.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.expire(Instant::now()) {
            self.wake();
        }
        state
    }

    fn reach(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state();
        if state.reachable {
            Ok(state)
        } else {
            Err(Error::Unreachable("cut off".into()))
        }
    }

    fn wake(&self) {
        self.changed.send_replace(());
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn read(&self, key: &str) -> Result<Option<Entry>, Error> {
        Ok(self.reach()?.read(key))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        let state = self.reach()?;
        Ok(Listing {
            entries: state.list(prefix),
            revision: state.revision(),
        })
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        let mut state = self.reach()?;
        let lost = || Error::OutcomeUnknown("a fault was asked for".into());
        let answer = match state.faults.pop_front() {
            None => state.commit(txn),
            Some(CommitFault::Unreachable) => {
                Err(Error::Unreachable("a fault was asked for".into()))
            }
            Some(CommitFault::LostRequest) => Err(lost()),
            Some(CommitFault::LostAnswer) => state.commit(txn).and(Err(lost())),
        };
        drop(state);
        self.wake();
        answer
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, Error> {
        let generation = self.reach()?.watch_generation;
        Ok(Box::new(MemoryWatch {
            store: self.clone(),
            changes: self.changed.subscribe(),
            prefix: prefix.to_owned(),
            // 0 is "from the beginning", which an empty store puts at 1.
            next: from.max(Revision(1)),
            generation,
            progress_at: Instant::now() + PROGRESS_INTERVAL,
        }))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        Ok(self.reach()?.grant(ttl, Instant::now()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.reach()?.keep_alive(lease, Instant::now())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.reach()?.revoke(lease);
        self.wake();
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryWatch {
    store: MemoryStore,
    changes: watch::Receiver<()>,
    prefix: String,
    next: Revision,
    generation: u64,
    progress_at: Instant,
}

#[derive(Debug)]
enum Look {
    Report(Batch),
    AgainAt(Instant),
}

impl MemoryWatch {
    fn look(&mut self) -> Result<Look, Error> {
        // Read before the state, so that a change in between is not slept through.
        self.changes.mark_unchanged();
        let state = self.store.state();
        if state.watch_generation != self.generation {
            return Err(Error::Unreachable("the watch was dropped".into()));
        }
        let now = Instant::now();
        let found = match state.next_batch(&self.prefix, self.next)? {
            None if now < self.progress_at => {
                let expiry = state.next_expiry().unwrap_or(self.progress_at);
                return Ok(Look::AgainAt(expiry.min(self.progress_at)));
            }
            None => Batch {
                revision: state.revision(),
                events: Vec::new(),
            },
            Some(batch) => batch,
        };
        self.next = self.next.max(Revision(found.revision.0 + 1));
        self.progress_at = now + PROGRESS_INTERVAL;
        Ok(Look::Report(found))
    }
}

#[async_trait]
impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            match self.look()? {
                Look::Report(batch) => return Ok(batch),
                // The sender lives in `self.store`: a change or the time is all that can come.
                Look::AgainAt(time) => {
                    let _changed = tokio::time::timeout_at(time, self.changes.changed()).await;
                }
            }
        }
    }
}
