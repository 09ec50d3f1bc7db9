//! The election: one manager leads, for as long as it can renew its lease.
//!
//! The leader's key is put if it is absent, under a lease; its create revision is the term. The
//! standing that is published here is only for serving: what fences a write is the term in its
//! transaction (I2), so that a leader that was frozen and believes in itself does no harm.

use std::sync::Arc;
use std::time::Duration;

use platform::Shutdown;
use platform::backoff::Backoff;
use platform::telemetry::error_chain;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use topology::records::{DecodeError, decode, encode};
use topology::store::{self, Committed, Compare, Entry, Event, LeaseId, Op, Revision, Store, Txn};
use topology::{Term, keys};

#[cfg(test)]
mod tests;

/// How a manager presents itself: the value of the leader's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Unique for each start of a process.
    pub id: String,
    /// `host:port` where the other managers reach it.
    pub grpc_address: String,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The manager.
    pub identity: Identity,
    /// Its term.
    pub term: Term,
}

/// What this manager is in the election.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Standing {
    /// Set at start, when a leader's key is gone, and by a leader that steps down; mutations are
    /// refused until somebody leads.
    #[default]
    Unled,
    /// Set when another manager's key is seen; mutations go to it. It may be out of date while
    /// the store is away, which the other manager then says.
    Following(Leader),
    /// Set when our key is written, until the lease cannot be renewed in time.
    Leading(Leader),
}

impl Standing {
    /// The leader, be it this manager or another one.
    #[must_use]
    pub fn leader(&self) -> Option<&Leader> {
        match self {
            Self::Unled => None,
            Self::Following(leader) | Self::Leading(leader) => Some(leader),
        }
    }

    /// Whether this manager leads.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        match self {
            Self::Leading(_) => true,
            Self::Unled | Self::Following(_) => false,
        }
    }
}

/// A handle to the present standing.
#[derive(Debug, Clone)]
pub struct View(watch::Receiver<Standing>);

impl View {
    /// A view that always shows one standing, for tests.
    #[must_use]
    pub fn fixed(standing: Standing) -> Self {
        Self(watch::Sender::new(standing).subscribe())
    }

    /// The present standing.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.0.borrow().clone()
    }

    /// Waits for another standing than was seen last through this handle; for ever once the
    /// candidate has ended. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Stands in every election; its other end is a [`View`].
#[derive(Debug)]
pub struct Candidate {
    store: Arc<dyn Store>,
    identity: Identity,
    ttl: Duration,
    standing: watch::Sender<Standing>,
}

/// A won election.
#[derive(Debug, Clone, Copy)]
struct Tenure {
    lease: LeaseId,
    term: Term,
    /// Until then nobody else can lead, by a clock that runs no slower than etcd's.
    certain_until: Instant,
}

/// Why a tenure ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Ended {
    #[error("the process is stopping")]
    Resigned,
    #[error("the lease was not renewed in time")]
    NotRenewed,
    #[error("the lease has expired")]
    Expired,
    #[error("the leader's key is gone or another manager's")]
    Superseded,
}

impl Candidate {
    /// A candidate that does nothing until it runs, and the view of its standing.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, identity: Identity, ttl: Duration) -> (Self, View) {
        let standing = watch::Sender::new(Standing::Unled);
        let view = View(standing.subscribe());
        let candidate = Self {
            store,
            identity,
            ttl,
            standing,
        };
        (candidate, view)
    }

    /// Stands in elections until `shutdown`, and resigns then.
    pub async fn run(self, shutdown: Shutdown) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        while !shutdown.is_requested() {
            let Err(error) = self.round(&shutdown, &mut backoff).await else {
                continue;
            };
            let error = error_chain(&error);
            tracing::warn!(error, attempt = backoff.attempt(), "election interrupted");
            tokio::select! {
                biased; // A process that ends waits for nothing.
                () = shutdown.requested() => {}
                () = sleep(backoff.next_delay()) => {}
            }
        }
        self.publish(Standing::Unled);
    }

    /// Follows the leader until it is gone, or becomes the leader until that ends.
    async fn round(&self, shutdown: &Shutdown, backoff: &mut Backoff) -> Result<(), store::Error> {
        let listing = self.store.list(keys::LEADER).await?;
        let held = listing
            .entries
            .iter()
            .find(|entry| entry.key == keys::LEADER);
        if let Some(held) = held {
            self.publish_following(held);
            backoff.reset();
            let next = Revision(listing.revision.0 + 1);
            return tokio::select! {
                biased; // A process that ends follows nobody.
                () = shutdown.requested() => Ok(()),
                ended = self.follow(next) => ended,
            };
        }
        self.publish(Standing::Unled);
        if let Some(tenure) = self.campaign().await? {
            backoff.reset();
            self.lead(tenure, shutdown).await;
        }
        Ok(())
    }

    /// Returns once the leader's key is gone.
    async fn follow(&self, from: Revision) -> Result<(), store::Error> {
        let mut watch = self.store.watch(keys::LEADER, from).await?;
        loop {
            for event in watch.next().await?.events {
                match event {
                    Event::Put(entry) if entry.key == keys::LEADER => {
                        self.publish_following(&entry);
                    }
                    Event::Delete { key } if key == keys::LEADER => {
                        self.publish(Standing::Unled);
                        return Ok(());
                    }
                    Event::Put(_) | Event::Delete { .. } => {}
                }
            }
        }
    }

    /// One attempt to become the leader; none when another one was faster.
    async fn campaign(&self) -> Result<Option<Tenure>, store::Error> {
        let asked_at = Instant::now();
        let lease = self.store.grant(self.ttl).await?;
        let txn = Txn {
            compares: vec![Compare::CreateRevision(
                keys::LEADER.to_owned(),
                Revision(0),
            )],
            ops: vec![Op::put_leased(keys::LEADER, encode(&self.identity), lease)],
        };
        match self.store.commit(txn).await {
            Ok(Committed::Applied(revision)) => Ok(Some(Tenure {
                lease,
                term: Term(revision.0),
                certain_until: asked_at + self.ttl,
            })),
            Ok(Committed::Refused) => {
                self.revoke(lease).await;
                Ok(None)
            }
            Err(error) => {
                // Perhaps the key was written. Without the lease it is gone, and if the request
                // is still under way it will be refused.
                self.revoke(lease).await;
                Err(error)
            }
        }
    }

    async fn lead(&self, mut tenure: Tenure, shutdown: &Shutdown) {
        let term = tenure.term;
        let identity = self.identity.clone();
        self.publish(Standing::Leading(Leader { identity, term }));
        tracing::info!(%term, "leading");
        let ended = loop {
            tokio::select! {
                biased; // To resign comes first, then to step down: neither waits for the store.
                () = shutdown.requested() => break Ended::Resigned,
                () = sleep_until(tenure.certain_until) => break Ended::NotRenewed,
                renewed = self.renew(&tenure) => match renewed {
                    Ok(certain_until) => tenure.certain_until = certain_until,
                    Err(ended) => break ended,
                },
            }
        };
        self.publish(Standing::Unled);
        match ended {
            Ended::Resigned => tracing::info!(%term, "resigned"),
            Ended::NotRenewed | Ended::Expired | Ended::Superseded => {
                tracing::warn!(%term, reason = %ended, "stepped down");
            }
        }
        self.revoke(tenure.lease).await;
    }

    /// Waits for its time, renews the lease, and makes sure that the key is still ours; until when
    /// that holds. Cancel-safe.
    async fn renew(&self, tenure: &Tenure) -> Result<Instant, Ended> {
        sleep(self.ttl / 3).await;
        let certain_until = loop {
            let asked_at = Instant::now();
            match self.store.keep_alive(tenure.lease).await {
                Ok(()) => break asked_at + self.ttl,
                Err(store::Error::LeaseExpired) => return Err(Ended::Expired),
                Err(error) => {
                    let error = error_chain(&error);
                    tracing::warn!(error, term = %tenure.term, "lease not renewed");
                    sleep(self.ttl / 10).await;
                }
            }
        };
        match self.store.read(keys::LEADER).await {
            Ok(Some(entry)) if entry.create_revision.0 == tenure.term.0 => Ok(certain_until),
            Ok(_) => Err(Ended::Superseded),
            // The lease is renewed; a key that was removed by hand is noticed next time.
            Err(_) => Ok(certain_until),
        }
    }

    /// Frees the key for the next leader, if the store can be asked; the lease expires anyway.
    async fn revoke(&self, lease: LeaseId) {
        match timeout(self.ttl, self.store.revoke(lease)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = error_chain(&error), "lease not revoked");
            }
            Err(_) => tracing::warn!("lease not revoked in time"),
        }
    }

    fn publish_following(&self, entry: &Entry) {
        match leader_of(entry) {
            Ok(leader) => self.publish(Standing::Following(leader)),
            Err(error) => {
                tracing::error!(error = error_chain(&error), "leader's record not readable");
                self.publish(Standing::Unled);
            }
        }
    }

    fn publish(&self, standing: Standing) {
        self.standing.send_if_modified(|present| {
            let changed = *present != standing;
            if let (true, Standing::Following(leader)) = (changed, &standing) {
                let Leader { identity, term } = leader;
                tracing::info!(leader = identity.id, %term, "following");
            }
            *present = standing;
            changed
        });
    }
}

fn leader_of(entry: &Entry) -> Result<Leader, DecodeError> {
    Ok(Leader {
        identity: decode(&entry.key, &entry.value)?,
        term: Term(entry.create_revision.0),
    })
}
