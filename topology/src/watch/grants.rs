//! Keeps API keys and revocations as etcd has them. While it is away those that were read last
//! stay.

use std::sync::Arc;

use arc_swap::ArcSwap;
use platform::Shutdown;
use platform::access::grants::Grants;
use platform::backoff::Backoff;
use platform::telemetry::error_chain;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::access::apply;
use crate::keys;
use crate::store::{Error, Event, Revision, Store};

/// Reads etcd into a [`View`].
#[derive(Debug)]
pub struct Follower {
    store: Arc<dyn Store>,
    grants: Arc<ArcSwap<Grants>>,
    changed: watch::Sender<()>,
}

/// The grants as read last; clones see the same.
#[derive(Debug, Clone)]
pub struct View {
    grants: Arc<ArcSwap<Grants>>,
    changed: watch::Receiver<()>,
}

impl View {
    /// What a gate looks at.
    #[must_use]
    pub fn shared(&self) -> Arc<ArcSwap<Grants>> {
        Arc::clone(&self.grants)
    }

    /// Waits until the grants are as wanted, or are followed no more.
    pub async fn until(&self, is_wanted: impl Fn(&Grants) -> bool) {
        let mut changed = self.changed.clone();
        while !is_wanted(&self.grants.load()) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Follower {
    /// A follower that has read nothing yet, and what it will read.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> (Self, View) {
        let grants = Arc::new(ArcSwap::from_pointee(Grants::default()));
        let (sender, changed) = watch::channel(());
        let view = View {
            grants: Arc::clone(&grants),
            changed,
        };
        let follower = Self {
            store,
            grants,
            changed: sender,
        };
        (follower, view)
    }

    /// Follows the store until `shutdown`.
    pub async fn run(self, shutdown: Shutdown) {
        tokio::select! {
            biased;
            () = shutdown.requested() => {}
            () = self.follow_forever() => {}
        }
    }

    async fn follow_forever(&self) {
        let defaults = crate::watch::Backoff::default();
        let mut backoff = Backoff::new(defaults.initial, defaults.max);
        loop {
            let Err(error) = self.follow(&mut backoff).await;
            let delay = backoff.next_delay();
            let error = error_chain(&error);
            tracing::warn!(
                error,
                ?delay,
                "grants in etcd lost, keeping those read last"
            );
            sleep(delay).await;
        }
    }

    async fn follow(&self, backoff: &mut Backoff) -> Result<std::convert::Infallible, Error> {
        let listing = self.store.list(keys::GRANTS).await?;
        let mut grants = Grants::none();
        for entry in &listing.entries {
            apply(&mut grants, &entry.key, Some(&entry.value));
        }
        tracing::info!(keys = grants.keys.len(), "grants read from etcd");
        self.publish(&grants);
        let next = Revision(listing.revision.0 + 1);
        let mut watch = self.store.watch(keys::GRANTS, next).await?;
        loop {
            let batch = watch.next().await?;
            backoff.reset();
            if batch.events.is_empty() {
                continue;
            }
            for event in &batch.events {
                match event {
                    Event::Put(entry) => apply(&mut grants, &entry.key, Some(&entry.value)),
                    Event::Delete { key } => apply(&mut grants, key, None),
                }
            }
            self.publish(&grants);
        }
    }

    fn publish(&self, grants: &Grants) {
        self.grants.store(Arc::new(grants.clone()));
        self.changed.send_replace(());
    }
}
