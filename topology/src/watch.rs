//! Follows the topology in the store and publishes it, one snapshot an epoch.
//!
//! Whatever goes wrong (a lost connection, a compaction, a record that cannot be read, epochs that
//! do not follow each other) the last good snapshot stays published, and the follower comes back
//! to the store until it can go on. It never publishes an epoch below the one it published before.

use std::sync::Arc;
use std::time::Duration;

use platform::Shutdown;
use tokio::time::{Instant, sleep};

use crate::keys;
use crate::parts::{Applied, InvalidEntry, Parts};
use crate::records::{Head, decode};
use crate::snapshot::{InvalidTopology, Snapshot};
use crate::store::{Batch, Listing, Revision, Store};
use crate::{Epoch, store};

pub use backoff::Backoff;
pub use load::{LoadError, Loaded, load};
pub use view::{Freshness, View};

mod backoff;
pub mod grants;
mod load;
pub mod metrics;
mod view;

#[cfg(test)]
mod tests;

/// Why the follower has to come back to the store.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Entry(#[from] InvalidEntry),
    #[error("revision {} is not a topology", revision.0)]
    Invalid {
        revision: Revision,
        source: InvalidTopology,
    },
    #[error("revision {} changes the topology without a new head", revision.0)]
    NoHead { revision: Revision },
    #[error("epoch {found} follows epoch {last}")]
    Gap { last: Epoch, found: Epoch },
    #[error("the store is at epoch {found}, but epoch {published} was published before")]
    WentBack { published: Epoch, found: Epoch },
    #[error("the store holds another topology at epoch {epoch} than the one published before")]
    Rewritten { epoch: Epoch },
}

/// What was read last, and where in the store's history that is.
#[derive(Debug)]
struct Model {
    parts: Parts,
    epoch: Epoch,
    /// The head and when it was last written; none before the first control write.
    head: Option<(Head, Revision)>,
}

/// Reads the store and publishes; its other end is a [`View`].
#[derive(Debug)]
pub struct Follower {
    store: Arc<dyn Store>,
    backoff: Backoff,
    view: View,
    /// None until the first load, and after anything that makes it doubtful.
    model: Option<Model>,
}

impl Follower {
    /// A follower that has read nothing yet, and the view that it publishes to: the empty
    /// topology at epoch 0 until then.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, backoff: Backoff) -> (Self, View) {
        let view = View::unloaded();
        (
            Self {
                store,
                backoff,
                view: view.clone(),
                model: None,
            },
            view,
        )
    }

    /// Follows the store until `shutdown`.
    pub async fn run(mut self, shutdown: Shutdown) {
        tokio::select! {
            // A process that ends waits for nothing.
            biased;
            () = shutdown.requested() => {}
            () = self.follow_forever() => {}
        }
        self.view.lost();
    }

    async fn follow_forever(&mut self) {
        let mut delays = self.backoff.delays();
        loop {
            let interruption = match self.follow(&mut delays).await {
                Ok(never) => match never {},
                Err(interruption) => interruption,
            };
            self.view.lost();
            let epoch = self.view.snapshot().epoch();
            let delay = delays.next_delay();
            log(&interruption, epoch, delay);
            sleep(delay).await;
        }
    }

    /// Catches up with the store and follows it until something is in the way.
    async fn follow(
        &mut self,
        delays: &mut platform::backoff::Backoff,
    ) -> Result<std::convert::Infallible, Interruption> {
        let revision = self.catch_up().await?;
        let mut watch = self
            .store
            .watch(keys::TOPOLOGY, Revision(revision.0 + 1))
            .await?;
        self.view.reached();
        loop {
            let batch = watch.next().await?;
            self.apply(batch)?;
            delays.reset();
            self.view.heard(Instant::now());
        }
    }

    /// Brings the model to the store's present revision: every change of the topology writes the
    /// head, so a head that is still the same means that there is nothing to load. In a store that
    /// was restored from a backup, another head may have the same revision, but not the same
    /// epoch and term.
    async fn catch_up(&mut self) -> Result<Revision, Interruption> {
        let asked_at = Instant::now();
        if let Some(model) = &self.model {
            let listing = self.store.list(keys::HEAD).await?;
            if head_of(&listing)? == model.head {
                self.view.heard(asked_at);
                return Ok(listing.revision);
            }
        }
        self.model = None;
        let loaded = load(self.store.as_ref()).await?;
        let revision = loaded.revision;
        let snapshot = loaded
            .snapshot()
            .map_err(|source| Interruption::Invalid { revision, source })?;
        let published = self.view.snapshot();
        let epoch = snapshot.epoch();
        // Either happens only when the store's data was replaced, e.g. from a backup, or changed
        // by hand.
        if epoch < published.epoch() {
            return Err(Interruption::WentBack {
                published: published.epoch(),
                found: epoch,
            });
        }
        if epoch == published.epoch() && snapshot != *published {
            return Err(Interruption::Rewritten { epoch });
        }
        self.publish(snapshot, revision);
        self.model = Some(Model {
            epoch,
            head: loaded.head.map(|head| (head, loaded.head_mod_revision)),
            parts: loaded.parts,
        });
        self.view.heard(asked_at);
        Ok(revision)
    }

    fn apply(&mut self, batch: Batch) -> Result<(), Interruption> {
        let Batch { revision, events } = batch;
        if events.is_empty() {
            return Ok(());
        }
        // Until the batch is applied whole, nothing can be built on the model.
        let Some(mut model) = self.model.take() else {
            return Err(Interruption::NoHead { revision });
        };
        let mut head: Option<Head> = None;
        for event in &events {
            match model.parts.apply(event)? {
                Applied::Part => {}
                Applied::Head(written) => head = Some(written),
                Applied::HeadRemoved => return Err(Interruption::NoHead { revision }),
            }
        }
        let head = head.ok_or(Interruption::NoHead { revision })?;
        let (last, found) = (model.epoch, head.epoch);
        if found != last.next() {
            return Err(Interruption::Gap { last, found });
        }
        model.epoch = found;
        model.head = Some((head, revision));
        let snapshot = Snapshot::try_new(model.epoch, model.parts.clone())
            .map_err(|source| Interruption::Invalid { revision, source })?;
        self.publish(snapshot, revision);
        self.model = Some(model);
        Ok(())
    }

    fn publish(&self, snapshot: Snapshot, revision: Revision) {
        let epoch = snapshot.epoch();
        if self.view.publish(snapshot) {
            tracing::info!(%epoch, revision = revision.0, "topology changed");
        }
    }
}

fn head_of(listing: &Listing) -> Result<Option<(Head, Revision)>, InvalidEntry> {
    let mut entries = listing.entries.iter();
    let Some(entry) = entries.find(|entry| entry.key == keys::HEAD) else {
        return Ok(None);
    };
    let head = decode(&entry.key, &entry.value)?;
    Ok(Some((head, entry.mod_revision)))
}

fn log(interruption: &Interruption, epoch: Epoch, delay: Duration) {
    let error = interruption as &dyn std::error::Error;
    match interruption {
        // Nobody has to act: etcd restarts, compacts and elects leaders.
        Interruption::Store(_) | Interruption::Load(LoadError::Store(_)) => {
            tracing::warn!(error, %epoch, ?delay, "topology store lost, serving the last epoch");
        }
        Interruption::Load(_)
        | Interruption::Entry(_)
        | Interruption::Invalid { .. }
        | Interruption::NoHead { .. }
        | Interruption::Gap { .. }
        | Interruption::WentBack { .. }
        | Interruption::Rewritten { .. } => {
            tracing::error!(error, %epoch, ?delay, "topology not usable, serving the last epoch");
        }
    }
}
