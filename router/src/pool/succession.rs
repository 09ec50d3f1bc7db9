//! What happens to a pool when its shard's primary is, or is about to be, another server: its
//! connections are cut, and whoever wants a backend waits for the next primary for a while.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use topology::{Lineage, Shard};

use super::{Error, Lease, Pool};

/// Between two attempts to reach a server that may be succeeded.
const RETRY: Duration = Duration::from_millis(200);

/// What is known of a primary beyond its address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Succession {
    /// What the primary is at the least: one of before a promotion is not used.
    pub(super) lineage: Option<Lineage>,
    /// The promotion that is under way: the primary is sent nothing.
    promotion: Option<String>,
    /// Whether there is a server that could take its place.
    has_heirs: bool,
}

impl Succession {
    /// What the topology says of a shard.
    #[must_use]
    pub fn of(shard: &Shard) -> Self {
        Self {
            lineage: shard.lineage.clone(),
            promotion: shard.promotion.as_ref().map(|it| it.id.clone()),
            has_heirs: !shard.replicas.is_empty() || shard.primary_endpoint.is_list(),
        }
    }

    pub(super) fn is_barred(&self) -> bool {
        self.promotion.is_some()
    }

    pub(super) fn has_heirs(&self) -> bool {
        self.has_heirs
    }
}

impl Pool {
    /// Whether it is the pool of this shard's primary as the topology has it.
    #[must_use]
    pub fn serves(&self, shard: &Shard) -> bool {
        let of = &self.shared.succession;
        let now = Succession::of(shard);
        self.is_of(&shard.id, &shard.primary_endpoint)
            && of.lineage == now.lineage
            && of.promotion == now.promotion
            && of.has_heirs == now.has_heirs
    }

    /// Whether the shard's record says that this pool's server is the primary no longer, or may
    /// not be it in a moment.
    #[must_use]
    pub fn is_succeeded(&self, shard: &Shard) -> bool {
        let known = &self.shared.succession.lineage;
        let is_here = shard.primary_endpoint == *self.endpoint();
        match (&shard.promotion, &shard.lineage) {
            (Some(_), _) => true,
            // That it is known now what it is does not make it another one.
            (None, Some(_)) if known.is_none() && is_here => false,
            (None, Some(now)) => known.as_ref() != Some(now) || !is_here,
            (None, None) => false,
        }
    }

    /// Closes every connection at once, in use or not, so that nothing more is heard of the server:
    /// a commit that it might still tell of is not passed on. Whoever waits is to ask anew.
    pub fn cut(&self) {
        let shared = &self.shared;
        shared.cut.store(true, Ordering::SeqCst);
        shared.gate.retire();
        shared.connector.roster().outdate();
        for backend in shared.connector.roster().list() {
            backend.shut();
        }
        self.tidy();
    }

    /// Whether its connections were cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.shared.cut.load(Ordering::SeqCst)
    }

    /// Whether nothing may be sent to its server, since a replica is being promoted.
    #[must_use]
    pub fn is_barred(&self) -> bool {
        self.shared.succession.is_barred()
    }

    /// Whether [`Self::checkout`] would wait for another primary after this error.
    #[must_use]
    pub fn outlasts(&self, error: &Error) -> bool {
        let succession = &self.shared.succession;
        matches!(error, Error::Unreachable { .. })
            && (succession.has_heirs() || succession.is_barred())
            && !self.shared.config.failover_wait.is_zero()
    }

    /// Borrows a backend. Where a server that cannot be reached may be succeeded by another one,
    /// waits for that for a while.
    ///
    /// # Errors
    /// As [`Self::checkout_once`].
    pub async fn checkout(&self) -> Result<Lease, Error> {
        match self.checkout_once().await {
            Err(error) if self.outlasts(&error) => Box::pin(self.outlast(error)).await,
            done => done,
        }
    }

    async fn outlast(&self, mut error: Error) -> Result<Lease, Error> {
        let shared = &self.shared;
        let deadline = Instant::now() + shared.config.failover_wait;
        let _waiting = shared.metrics.outlasts();
        while Instant::now() < deadline {
            let again = deadline.min(Instant::now() + RETRY);
            tokio::select! {
                biased;
                () = shared.gate.retired() => {
                    return Err(Error::Retired { shard: shared.shard.clone() });
                }
                () = tokio::time::sleep_until(again) => {}
            }
            match self.checkout_once().await {
                Err(again) if self.outlasts(&again) => error = again,
                done => return done,
            }
        }
        Err(error)
    }
}
