//! The published topology: what a request reads. Loading it takes no lock and waits for nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Epoch, Snapshot};

/// How near the published topology is to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Whether the store is being followed at this moment.
    pub connected: bool,
    /// How long ago the store last confirmed that the snapshot is its newest, or sent a newer
    /// one; none when it never was heard from.
    pub age: Option<Duration>,
}

/// A handle to the newest snapshot. Clones are cheap and see the same.
#[derive(Debug, Clone)]
pub struct View {
    shared: Arc<Shared>,
    seen: watch::Receiver<Published>,
    /// What [`Self::changed`] returned last.
    returned: Epoch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Published {
    epoch: Epoch,
    loaded: bool,
}

#[derive(Debug)]
struct Shared {
    snapshot: ArcSwap<Snapshot>,
    published: watch::Sender<Published>,
    connected: AtomicBool,
    started_at: Instant,
    /// Microseconds from `started_at` to the last confirmation, plus one; 0 for never.
    confirmed: AtomicU64,
}

impl View {
    pub(super) fn unloaded() -> Self {
        Self::holding(Snapshot::default(), false)
    }

    /// A view that always shows one snapshot and counts as connected, for tests.
    #[must_use]
    pub fn fixed(snapshot: Snapshot) -> Self {
        let view = Self::holding(snapshot, true);
        view.reached();
        view.heard(Instant::now());
        view
    }

    fn holding(snapshot: Snapshot, loaded: bool) -> Self {
        let returned = snapshot.epoch();
        let published = watch::Sender::new(Published {
            epoch: returned,
            loaded,
        });
        let seen = published.subscribe();
        let shared = Shared {
            snapshot: ArcSwap::from_pointee(snapshot),
            published,
            connected: AtomicBool::new(false),
            started_at: Instant::now(),
            confirmed: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
            seen,
            returned,
        }
    }

    /// The newest snapshot; the empty one at epoch 0 until the store was read for the first time.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// How near the snapshot is to the store.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        let connected = self.shared.connected.load(Ordering::Relaxed);
        Freshness {
            connected,
            age: self.last_confirmed().map(|at| at.elapsed()),
        }
    }

    /// When the store was last heard from.
    #[must_use]
    pub fn last_confirmed(&self) -> Option<Instant> {
        let after = self
            .shared
            .confirmed
            .load(Ordering::Relaxed)
            .checked_sub(1)?;
        Some(self.shared.started_at + Duration::from_micros(after))
    }

    /// Whether the store was ever read: an empty topology is then a fact and not a guess.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.seen.borrow().loaded
    }

    /// Waits until the store was read for the first time. Cancel-safe.
    pub async fn loaded(&self) {
        self.wait_until(|published| published.loaded).await;
    }

    /// Waits for an epoch above the one that this handle had when it was made or returned here
    /// before, and returns the newest. Waits on once the follower has ended. Cancel-safe.
    pub async fn changed(&mut self) -> Epoch {
        let before = self.returned;
        self.wait_until(|published| published.epoch > before).await;
        self.returned = self.seen.borrow().epoch;
        self.returned
    }

    /// Waits until `epoch` or a later one is published. Cancel-safe.
    pub async fn wait_for(&self, epoch: Epoch) -> Arc<Snapshot> {
        self.wait_until(|published| published.epoch >= epoch).await;
        self.snapshot()
    }

    async fn wait_until(&self, reached: impl Fn(&Published) -> bool) {
        let mut seen = self.seen.clone();
        // The sender is in `shared`, which `self` holds: this cannot end in an error.
        let _published = seen.wait_for(reached).await;
    }

    /// Publishes a snapshot unless it is older than the published one or the same; says whether.
    pub(super) fn publish(&self, snapshot: Snapshot) -> bool {
        let epoch = snapshot.epoch();
        let newer = epoch > self.shared.snapshot.load().epoch();
        if newer {
            self.shared.snapshot.store(Arc::new(snapshot));
        }
        // Whoever is woken finds the snapshot in place.
        self.shared.published.send_if_modified(|published| {
            let now = Published {
                epoch: epoch.max(published.epoch),
                loaded: true,
            };
            std::mem::replace(published, now) != now
        });
        newer
    }

    pub(super) fn reached(&self) {
        self.shared.connected.store(true, Ordering::Relaxed);
    }

    pub(super) fn lost(&self) {
        self.shared.connected.store(false, Ordering::Relaxed);
    }

    pub(super) fn heard(&self, at: Instant) {
        let after = at
            .saturating_duration_since(self.shared.started_at)
            .as_micros();
        let after = u64::try_from(after).unwrap_or(u64::MAX).saturating_add(1);
        self.shared.confirmed.fetch_max(after, Ordering::Relaxed);
    }
}
