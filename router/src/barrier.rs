//! Which topology statements are begun by, so that the managers can be told when an older one is
//! no longer in use.
//!
//! A statement is routed by a snapshot, and some time later its bytes are written. In between a
//! newer snapshot may take keys away from the shard that was chosen. So the writer asks for a
//! [`Leave`] right before it writes and keeps it until the bytes are with the kernel. Raising the
//! barrier refuses leaves to whatever was routed before, and waits for those that were given: once
//! they are over, no statement is written by an older topology any more. That is what
//! `applied_epoch` of a router's record says. A backend that is idle begins it at once, one that
//! others stand in line for some milliseconds later (docs/decisions/0020).
//!
//! A leave costs one uncontended atomic operation: it is a hazard pointer of `arc_swap`, whose
//! writer finds all that are held when it swaps.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use platform::Shutdown;
use tokio::sync::watch;
use topology::Epoch;

/// Between two looks at leaves that are still held: they last as long as a write to a socket.
const RECHECK: Duration = Duration::from_micros(500);

/// The barrier of this router; clones are the same one.
#[derive(Debug, Clone)]
pub struct Barrier(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Whatever was routed by an older epoch must be routed anew.
    now: ArcSwap<Epoch>,
    /// Earlier values that leaves may still hold.
    before: Mutex<Vec<Arc<Epoch>>>,
    raised: watch::Sender<Epoch>,
    applied: watch::Sender<Epoch>,
}

/// The right to write the bytes of a statement now.
#[derive(Debug)]
pub struct Leave {
    _epoch: Guard<Arc<Epoch>>,
}

impl Default for Barrier {
    fn default() -> Self {
        Self(Arc::new(Shared {
            now: ArcSwap::from_pointee(Epoch::default()),
            before: Mutex::default(),
            raised: watch::Sender::new(Epoch::default()),
            applied: watch::Sender::new(Epoch::default()),
        }))
    }
}

impl Barrier {
    /// The right to begin a statement that was routed by the topology of this epoch; none when it
    /// must be routed anew.
    #[must_use]
    pub fn leave(&self, routed: Epoch) -> Option<Leave> {
        let epoch = self.0.now.load();
        (routed >= **epoch).then_some(Leave { _epoch: epoch })
    }

    /// Refuses leaves to what was routed before this epoch. Whoever is refused must find the
    /// epoch's topology in place.
    pub fn raise(&self, epoch: Epoch) {
        let mut before = self.before();
        before.push(self.0.now.swap(Arc::new(epoch)));
        drop(before);
        self.0.raised.send_replace(epoch);
    }

    /// The oldest topology that new statements may be routed by.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        **self.0.now.load()
    }

    /// The epoch before which no statement is begun any more.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Epoch> {
        self.0.applied.subscribe()
    }

    /// Follows [`Self::raise`] with [`Self::applied`] until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        let mut raised = self.0.raised.subscribe();
        tokio::select! {
            () = shutdown.requested() => {}
            () = async {
                loop {
                    let epoch = *raised.borrow_and_update();
                    self.settled().await;
                    self.0.applied.send_replace(epoch);
                    // The sender is in `self`.
                    let _changed = raised.changed().await;
                }
            } => {}
        }
    }

    /// Waits until no leave of before the last [`Self::raise`] is held.
    async fn settled(&self) {
        while !self.is_settled() {
            tokio::time::sleep(RECHECK).await;
        }
    }

    fn is_settled(&self) -> bool {
        let mut before = self.before();
        // The swap has turned every leave on it into a count of its own; new ones are not given.
        before.retain(|epoch| Arc::strong_count(epoch) > 1);
        before.is_empty()
    }

    fn before(&self) -> MutexGuard<'_, Vec<Arc<Epoch>>> {
        self.0.before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use platform::TaskGroup;

    use super::*;

    #[test]
    fn what_was_routed_before_the_barrier_is_refused() {
        let barrier = Barrier::default();
        assert!(barrier.leave(Epoch(0)).is_some());
        barrier.raise(Epoch(5));
        assert!(barrier.leave(Epoch(4)).is_none());
        assert!(barrier.leave(Epoch(5)).is_some());
        assert!(barrier.leave(Epoch(6)).is_some());
        assert_eq!(barrier.epoch(), Epoch(5));
    }

    #[tokio::test(start_paused = true)]
    async fn an_epoch_is_applied_once_the_last_leave_of_before_is_over() {
        let (barrier, tasks, shutdown) = (Barrier::default(), TaskGroup::new(), Shutdown::new());
        drop(tasks.spawn("barrier", barrier.clone().run(shutdown.clone())));
        let mut applied = barrier.applied();
        let stalled = barrier.leave(Epoch(0)).unwrap();
        barrier.raise(Epoch(7));
        // One of the new epoch is in nobody's way.
        let later = barrier.leave(Epoch(7)).unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(*applied.borrow_and_update(), Epoch(0));
        drop(stalled);
        applied.wait_for(|epoch| *epoch == Epoch(7)).await.unwrap();
        // Raised twice, it is applied once the last is; nobody needs the one between.
        barrier.raise(Epoch(8));
        barrier.raise(Epoch(9));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*applied.borrow(), Epoch(7));
        drop(later);
        applied.wait_for(|epoch| *epoch == Epoch(9)).await.unwrap();
        shutdown.request();
        tasks.wait(Duration::from_secs(5)).await.unwrap();
    }

    #[test]
    fn whatever_threads_do_no_write_follows_what_was_applied() {
        let barrier = Barrier::default();
        let applied = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let routed = barrier.epoch();
                        if let Some(_leave) = barrier.leave(routed) {
                            // Here the bytes are written.
                            assert!(applied.load(Ordering::SeqCst) <= routed.0);
                        }
                    }
                });
            }
            for epoch in 1..=200 {
                barrier.raise(Epoch(epoch));
                while !barrier.is_settled() {
                    std::thread::yield_now();
                }
                applied.store(epoch, Ordering::SeqCst);
            }
        });
    }
}
