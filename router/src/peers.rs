//! The routers of a system, each under a number of its own, so that a cancel request that reaches
//! one of them can go to the one whose session it means. Carries no cancel requests itself. The
//! record also acknowledges to the managers which topology this router has applied.
//!
//! A router's record lives by a lease: it is gone a while after its router.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use platform::Shutdown;
use platform::telemetry::error_chain;
use tokio::sync::watch;
use topology::records::{self, Incarnation, RouterRecord};
use topology::store::{Committed, Compare, Error, LeaseId, Op, Revision, Store, Txn};
use topology::{Epoch, keys};

/// How long a record outlives its router.
const LEASE_TTL: Duration = Duration::from_secs(15);

/// How often the lease is renewed, and how long is waited after a failure.
const RENEWAL: Duration = Duration::from_secs(4);

/// How long is waited after the record could not be written anew.
const REWRITING: Duration = Duration::from_millis(50);

/// Most numbers that are tried at once; far more than it takes while some are free.
const MAX_CLAIMS: usize = 64;

/// A router's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterId(u16);

impl RouterId {
    /// Bits of the process id in a cancel key that hold the number. It is never zero, so that no
    /// process id is.
    const BITS: u32 = 12;

    /// Bits of the process id that a router chooses for each session; the sign stays clear.
    const SESSION_BITS: u32 = 31 - Self::BITS;

    fn random() -> Self {
        loop {
            let number = rand::random::<u16>() >> (u16::BITS - Self::BITS);
            if number > 0 {
                return Self(number);
            }
        }
    }

    /// The process id of one of this router's sessions.
    #[must_use]
    pub fn process_id(self, session: u32) -> i32 {
        let session = session & ((1 << Self::SESSION_BITS) - 1);
        let bits = u32::from(self.0) << Self::SESSION_BITS | session;
        i32::try_from(bits).unwrap_or(i32::MAX)
    }

    /// The router that gave a process id; none for one that no router gives.
    #[must_use]
    pub fn of_process_id(process_id: i32) -> Option<Self> {
        let bits = u32::try_from(process_id).ok()? >> Self::SESSION_BITS;
        u16::try_from(bits).ok().filter(|id| *id > 0).map(Self)
    }
}

impl std::fmt::Display for RouterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// This router among the others; cheap to clone.
#[derive(Debug, Clone)]
pub struct Peers {
    store: Arc<dyn Store>,
    id: Arc<AtomicU16>,
    address: String,
    incarnation: Incarnation,
    /// The topology by which statements are begun at the least, which the record tells.
    applied: watch::Receiver<Epoch>,
}

/// What the record says, and under what it was written.
#[derive(Debug)]
struct Told {
    lease: LeaseId,
    registered: Revision,
    applied: Epoch,
}

impl Peers {
    /// A router that the others reach at `address`, its Postgres front. Nobody knows of it until
    /// [`Self::run`] has told them.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, address: String, applied: watch::Receiver<Epoch>) -> Self {
        Self {
            store,
            id: Arc::new(AtomicU16::new(RouterId::random().0)),
            address,
            incarnation: Incarnation(rand::random()),
            applied,
        }
    }

    /// Which run of a router's process this is.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// This router's number. It changes when another router turns out to have it.
    #[must_use]
    pub fn id(&self) -> RouterId {
        RouterId(self.id.load(Ordering::Relaxed))
    }

    /// Where another router's Postgres front is; none when no live router has that number.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn address_of(&self, id: RouterId) -> Result<Option<String>, Error> {
        let Some(entry) = self.store.read(&keys::router(id.0)).await? else {
            return Ok(None);
        };
        let record = records::decode::<RouterRecord>(&entry.key, &entry.value);
        Ok(record.ok().map(|record| record.address))
    }

    /// Keeps this router known to the others until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut failing = false;
        while !shutdown.is_requested() {
            match self.stay_known(&shutdown, &mut failing).await {
                Ok(()) => return,
                Err(error) if failing => {
                    tracing::debug!(error = error_chain(&error), "still not known to the others");
                }
                Err(error) => {
                    failing = true;
                    let error = error_chain(&error);
                    tracing::warn!(
                        error,
                        "other routers cannot pass cancel requests on to this"
                    );
                }
            }
            pause(&shutdown).await;
        }
    }

    /// Registers, and stays registered until shutdown or until the lease is lost.
    async fn stay_known(&mut self, shutdown: &Shutdown, failing: &mut bool) -> Result<(), Error> {
        let lease = self.store.grant(LEASE_TTL).await?;
        let told = self.claim(lease).await?;
        tracing::info!(id = %self.id(), address = self.address, "known to the other routers");
        *failing = false;
        let store = Arc::clone(&self.store);
        // Neither waits for the other: the managers wait for what is told, and the lease does not.
        tokio::select! {
            biased;
            () = shutdown.requested() => store.revoke(lease).await,
            lost = self.tell(told) => Err(lost),
            lost = renew(store.as_ref(), lease) => Err(lost),
        }
    }

    /// Tells what is applied whenever it changes; returns once the lease is lost.
    async fn tell(&mut self, mut told: Told) -> Error {
        loop {
            if self.applied.changed().await.is_err() {
                // Nothing is applied any more: the router shuts down.
                std::future::pending::<()>().await;
            }
            loop {
                match self.rewrite(&mut told).await {
                    Ok(()) => break,
                    Err(Error::LeaseExpired) => return Error::LeaseExpired,
                    // It may have been written, and is written again.
                    Err(_) => tokio::time::sleep(REWRITING).await,
                }
            }
        }
    }

    /// Takes the number, or another one when it is taken.
    async fn claim(&mut self, lease: LeaseId) -> Result<Told, Error> {
        for _ in 0..MAX_CLAIMS {
            let applied = *self.applied.borrow_and_update();
            match self.put(lease, Revision(0), applied).await? {
                Committed::Applied(registered) => {
                    return Ok(Told {
                        lease,
                        registered,
                        applied,
                    });
                }
                // Sessions that were told the old number are still found by their whole key.
                Committed::Refused => self.id.store(RouterId::random().0, Ordering::Relaxed),
            }
        }
        Err(Error::Denied(
            "no number is free for this router".to_owned(),
        ))
    }

    /// Brings the record to what is applied now.
    async fn rewrite(&mut self, told: &mut Told) -> Result<(), Error> {
        let applied = *self.applied.borrow_and_update();
        if applied == told.applied {
            return Ok(());
        }
        match self.put(told.lease, told.registered, applied).await? {
            Committed::Applied(_) => {
                told.applied = applied;
                Ok(())
            }
            // The record is gone, and so is the lease.
            Committed::Refused => Err(Error::LeaseExpired),
        }
    }

    /// Writes the record if it was registered at this revision, 0 being never.
    async fn put(
        &self,
        lease: LeaseId,
        registered: Revision,
        applied: Epoch,
    ) -> Result<Committed, Error> {
        let record = records::encode(&RouterRecord {
            address: self.address.clone(),
            incarnation: self.incarnation,
            applied_epoch: applied,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        let key = keys::router(self.id().0);
        let txn = Txn {
            compares: vec![Compare::CreateRevision(key.clone(), registered)],
            ops: vec![Op::put_leased(key, record, lease)],
        };
        self.store.commit(txn).await
    }
}

/// Keeps a lease alive; returns once it is lost.
async fn renew(store: &dyn Store, lease: LeaseId) -> Error {
    loop {
        tokio::time::sleep(RENEWAL).await;
        // After any other error the lease may live: there is nothing better than to try again.
        if let Err(Error::LeaseExpired) = store.keep_alive(lease).await {
            return Error::LeaseExpired;
        }
    }
}

async fn pause(shutdown: &Shutdown) {
    tokio::select! {
        () = shutdown.requested() => {}
        () = tokio::time::sleep(RENEWAL) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::TaskGroup;
    use tokio::time::Instant;
    use topology::store::MemoryStore;

    #[test]
    fn a_process_id_leads_back_to_its_router() {
        for id in [1, 77, 4095] {
            for session in [0, 1, u32::MAX] {
                let process_id = RouterId(id).process_id(session);
                assert!(process_id > 0);
                assert_eq!(RouterId::of_process_id(process_id), Some(RouterId(id)));
            }
        }
        for process_id in [0, -1, i32::MIN, (1 << RouterId::SESSION_BITS) - 1] {
            assert_eq!(RouterId::of_process_id(process_id), None);
        }
        assert!((0..100_000).all(|_| (1..4096).contains(&RouterId::random().0)));
    }

    /// Waits until the only router has acknowledged an epoch.
    async fn acknowledged(store: &Arc<dyn Store>, epoch: Epoch) -> Incarnation {
        loop {
            let listed = topology::routers::list(store.as_ref()).await.unwrap();
            let [router] = listed.all.as_slice() else {
                panic!("one router: {listed:?}");
            };
            if router.record.applied_epoch == epoch {
                return router.record.incarnation;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn known(peers: &Peers, id: RouterId) -> bool {
        let found = async {
            loop {
                if let Ok(Some(address)) = peers.address_of(id).await {
                    return address;
                }
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), found).await;
        found.is_ok_and(|address| address == peers.address)
    }

    #[tokio::test(start_paused = true)]
    async fn a_router_is_known_while_it_lives() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (applying, applied) = watch::channel(Epoch(3));
        let peers = Peers::new(Arc::clone(&store), "router-a:6432".to_owned(), applied);
        let (tasks, shutdown) = (TaskGroup::new(), Shutdown::new());
        drop(tasks.spawn("peers", peers.clone().run(shutdown.clone())));
        assert!(known(&peers, peers.id()).await);
        assert_eq!(acknowledged(&store, Epoch(3)).await, peers.incarnation());
        tokio::time::sleep(LEASE_TTL * 3).await;
        assert!(known(&peers, peers.id()).await);
        // What is applied is told without waiting for the next renewal.
        let begin = Instant::now();
        for epoch in 4..9 {
            applying.send_replace(Epoch(epoch));
        }
        acknowledged(&store, Epoch(8)).await;
        assert!(begin.elapsed() < RENEWAL / 2);
        tokio::time::sleep(LEASE_TTL * 3).await;
        acknowledged(&store, Epoch(8)).await;
        shutdown.request();
        tasks.wait(Duration::from_secs(5)).await.unwrap();
        assert_eq!(peers.address_of(peers.id()).await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn two_routers_never_share_a_number() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (_applying, applied) = watch::channel(Epoch(0));
        let address = |name: &str| format!("router-{name}:6432");
        let mut first = Peers::new(Arc::clone(&store), address("a"), applied.clone());
        let mut second = Peers::new(Arc::clone(&store), address("b"), applied);
        second.id.store(first.id().0, Ordering::Relaxed);
        let lease = store.grant(LEASE_TTL).await.unwrap();
        first.claim(lease).await.unwrap();
        second.claim(lease).await.unwrap();
        assert_ne!(first.id(), second.id());
        assert!(known(&first, first.id()).await);
        assert!(known(&second, second.id()).await);
    }
}
