//! A store that can be exchanged under its user, whose watches lie and whose listings are late.
//! Real stores do none of it; a follower must not be led astray even so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;

use crate::store::{
    Batch, Committed, Entry, Error, LeaseId, Listing, MemoryStore, Revision, Store, Txn, Watch,
};

/// What happens to the next batch that is more than a progress report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchFault {
    /// It is left out.
    Drop,
    /// It comes twice.
    Duplicate,
    /// It comes after whatever comes next.
    Delay,
    /// It comes in two halves.
    Split,
    /// The watch ends.
    End,
    /// The watch ends for a compaction that was none.
    Compacted,
}

/// What happens to the next listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListFault {
    /// It is the one that was given out before.
    Stale,
    /// It has no answer.
    Unreachable,
}

#[derive(Debug, Default)]
struct Faults {
    watch: VecDeque<WatchFault>,
    list: VecDeque<ListFault>,
    given_out: Vec<(String, Listing)>,
}

#[derive(Debug, Clone)]
pub(super) struct Faulty {
    inner: Arc<Mutex<MemoryStore>>,
    faults: Arc<Mutex<Faults>>,
}

impl Faulty {
    pub(super) fn new(inner: MemoryStore) -> Self {
        Self {
            inner: Arc::new(Mutex::new(inner)),
            faults: Arc::default(),
        }
    }

    pub(super) fn fail_watch(&self, fault: WatchFault) {
        self.faults().watch.push_back(fault);
    }

    pub(super) fn fail_list(&self, fault: ListFault) {
        self.faults().list.push_back(fault);
    }

    pub(super) fn heal(&self) {
        *self.faults() = Faults::default();
    }

    /// Puts another store in the place of this one, as when etcd comes back with other data.
    pub(super) fn replace(&self, other: &MemoryStore) {
        let before = std::mem::replace(&mut *self.inner.lock().unwrap(), other.clone());
        before.drop_watches();
    }

    fn inner(&self) -> MemoryStore {
        self.inner.lock().unwrap().clone()
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }
}

#[async_trait]
impl Store for Faulty {
    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        let listing = self.inner().list(prefix).await?;
        let mut faults = self.faults();
        let before = faults
            .given_out
            .iter()
            .rev()
            .find(|(asked, _)| asked == prefix);
        let before = before.map(|(_, listing)| listing.clone());
        let answer = match faults.list.pop_front() {
            None => listing,
            Some(ListFault::Stale) => before.unwrap_or(listing),
            Some(ListFault::Unreachable) => return Err(Error::Unreachable("a fault".into())),
        };
        faults.given_out.push((prefix.to_owned(), answer.clone()));
        Ok(answer)
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, Error> {
        Ok(Box::new(FaultyWatch {
            inner: self.inner().watch(prefix, from).await?,
            faults: Arc::clone(&self.faults),
            ready: VecDeque::new(),
        }))
    }

    async fn read(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.inner().read(key).await
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        self.inner().commit(txn).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        self.inner().grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.inner().keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.inner().revoke(lease).await
    }
}

#[derive(Debug)]
struct FaultyWatch {
    inner: Box<dyn Watch>,
    faults: Arc<Mutex<Faults>>,
    ready: VecDeque<Batch>,
}

#[async_trait]
impl Watch for FaultyWatch {
    async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            let mut batch = self.inner.next().await?;
            if batch.events.is_empty() {
                return Ok(batch);
            }
            let fault = self.faults.lock().unwrap().watch.pop_front();
            match fault {
                None => return Ok(batch),
                Some(WatchFault::Drop) => {}
                Some(WatchFault::Duplicate) => self.ready.extend([batch.clone(), batch]),
                Some(WatchFault::Delay) => {
                    let next = self.inner.next().await?;
                    self.ready.extend([next, batch]);
                }
                Some(WatchFault::Split) => {
                    let revision = batch.revision;
                    let events = batch.events.split_off(batch.events.len() / 2);
                    self.ready.extend([batch, Batch { revision, events }]);
                }
                Some(WatchFault::End) => return Err(Error::Unreachable("a fault".into())),
                Some(WatchFault::Compacted) => {
                    let oldest = batch.revision;
                    return Err(Error::Compacted { oldest });
                }
            }
        }
    }
}
