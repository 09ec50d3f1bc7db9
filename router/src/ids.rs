//! Unique ids: 64 bits, in the order of time, no two alike whichever routers make them.
//!
//! An id is, from the top: 41 bits of milliseconds since 2024, 10 bits of a node number, 12 bits of
//! a count. A router makes ids under a node number only for milliseconds that it has reserved in
//! etcd, by a transaction that fails if anybody else has reserved any there since. Whoever takes a
//! number over begins where the last reservation ended. So neither a clock that is wrong or goes
//! backwards, nor a router that is frozen, nor a lost lease, can bring an id back: clocks only
//! decide which number looks free and how close an id is to the time of day.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use platform::Shutdown;
use platform::telemetry::error_chain;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;
use topology::keys;
use topology::records::{self, DecodeError};
use topology::store::{self, Committed, Compare, Op, Outcome, Revision, Store, Txn};

/// 2024-01-01T00:00:00Z, from which ids count.
const EPOCH: Duration = Duration::from_secs(1_704_067_200);

const NODE_BITS: u32 = 10;
const COUNT_BITS: u32 = 12;

/// How many node numbers there are: routers that make ids within one reservation's time.
const NODES: u16 = 1 << NODE_BITS;

/// How much is reserved ahead, and so how long ids are made while etcd is away.
const AHEAD_MS: u64 = 60_000;

/// How often more is reserved, and how long is waited after a failure.
const RENEWAL: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(500);

/// How long a statement waits for a reservation.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most numbers that are tried at once.
const MAX_CLAIMS: usize = 64;

/// No ids can be made: etcd was away for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no ids are reserved in etcd for this router")]
pub struct Unavailable;

/// What is stored under a node number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Reservation {
    /// Who has it, made up anew for each claim.
    holder: u64,
    /// The first millisecond that is not reserved.
    until_ms: u64,
}

/// What a router may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    node: u16,
    /// The millisecond of the last id, and how many there are in it.
    at_ms: u64,
    count: u16,
    until_ms: u64,
}

impl Block {
    /// The next id, at `now_ms` or as soon after it as there is room; none when nothing is left.
    fn next(&mut self, now_ms: u64) -> Option<i64> {
        let (mut at_ms, mut count) = (self.at_ms.max(now_ms), 0);
        if at_ms == self.at_ms {
            count = self.count;
            if u32::from(count) >> COUNT_BITS > 0 {
                (at_ms, count) = (at_ms + 1, 0);
            }
        }
        if at_ms >= self.until_ms {
            return None;
        }
        (self.at_ms, self.count) = (at_ms, count + 1);
        let id = at_ms << (NODE_BITS + COUNT_BITS)
            | u64::from(self.node) << COUNT_BITS
            | u64::from(count);
        i64::try_from(id).ok()
    }
}

/// Makes ids.
#[derive(Debug)]
pub struct Ids {
    store: Arc<dyn Store>,
    block: Mutex<Option<Block>>,
    reserved: Notify,
}

impl Ids {
    /// Makes none until [`Self::run`] has reserved some.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            block: Mutex::default(),
            reserved: Notify::new(),
        }
    }

    /// So many ids, each greater than the one before.
    ///
    /// # Errors
    /// [`Unavailable`] when nothing is reserved within some seconds.
    pub async fn take(&self, count: u32) -> Result<Vec<i64>, Unavailable> {
        let deadline = Instant::now() + PATIENCE;
        let mut ids = Vec::new();
        while ids.len() < usize::try_from(count).unwrap_or(usize::MAX) {
            let reserved = self.reserved.notified();
            let next = self.lock().as_mut().and_then(|block| block.next(now_ms()));
            if let Some(id) = next {
                ids.push(id);
            } else if tokio::time::timeout_at(deadline, reserved).await.is_err() {
                return Err(Unavailable);
            }
        }
        Ok(ids)
    }

    /// Keeps ids reserved until shutdown.
    pub async fn run(&self, shutdown: Shutdown) {
        let mut held = None;
        let mut is_failing = false;
        while !shutdown.is_requested() {
            let kept = self.reserve(&mut held).await;
            let pause = match kept {
                Ok(()) => {
                    is_failing = false;
                    RENEWAL
                }
                Err(error) => {
                    if !is_failing {
                        let error = error_chain(&error);
                        tracing::warn!(error, "no more ids are reserved");
                    }
                    is_failing = true;
                    RETRY
                }
            };
            tokio::select! {
                () = shutdown.requested() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Reserves more under the number that is held, or under another one.
    async fn reserve(&self, held: &mut Option<Held>) -> Result<(), Error> {
        if let Some(mut known) = held.take()
            && self.renew(&mut known).await?
        {
            *held = Some(known);
            return Ok(());
        }
        // Where somebody else has it, what is left of the block is still ours alone.
        *held = Some(self.claim().await?);
        Ok(())
    }

    /// Whether the number is still held, and more reserved.
    async fn renew(&self, held: &mut Held) -> Result<bool, Error> {
        let last_ms = self.lock().map_or(0, |block| block.at_ms);
        let until_ms = (now_ms().max(last_ms) + AHEAD_MS).max(held.reservation.until_ms);
        let reservation = Reservation {
            until_ms,
            ..held.reservation
        };
        match self.put(held.node, reservation, held.seen).await? {
            None => Ok(false),
            Some(seen) => {
                *held = Held {
                    node: held.node,
                    reservation,
                    seen,
                };
                if let Some(block) = self.lock().as_mut() {
                    block.until_ms = until_ms;
                }
                self.reserved.notify_waiters();
                Ok(true)
            }
        }
    }

    /// Takes a number that nobody has, or whose reservation is over.
    async fn claim(&self) -> Result<Held, Error> {
        for _ in 0..MAX_CLAIMS {
            let node = rand::random::<u16>() % NODES;
            let key = keys::id_node(node);
            let entry = self.store.read(&key).await?;
            let (seen, from_ms) = match &entry {
                None => (Revision(0), 0),
                Some(entry) => {
                    let found = records::decode::<Reservation>(&entry.key, &entry.value)?;
                    (entry.mod_revision, found.until_ms)
                }
            };
            let now_ms = now_ms();
            if from_ms > now_ms {
                continue;
            }
            let reservation = Reservation {
                holder: rand::random(),
                until_ms: now_ms + AHEAD_MS,
            };
            if let Some(seen) = self.put(node, reservation, seen).await? {
                *self.lock() = Some(Block {
                    node,
                    at_ms: from_ms,
                    count: 0,
                    until_ms: reservation.until_ms,
                });
                self.reserved.notify_waiters();
                tracing::info!(node, "ids are reserved");
                return Ok(Held {
                    node,
                    reservation,
                    seen,
                });
            }
        }
        Err(Error::Crowded)
    }

    /// Writes a reservation if the record is the one that was seen; its new revision.
    async fn put(
        &self,
        node: u16,
        reservation: Reservation,
        seen: Revision,
    ) -> Result<Option<Revision>, Error> {
        let key = keys::id_node(node);
        let txn = Txn {
            compares: vec![Compare::ModRevision(key.clone(), seen)],
            ops: vec![Op::put(key.clone(), records::encode(&reservation))],
        };
        match self.store.commit(txn).await {
            Ok(Committed::Applied(revision)) => Ok(Some(revision)),
            Ok(Committed::Refused) => Ok(None),
            Err(error) if error.outcome() == Outcome::MaybeApplied => {
                let entry = self.store.read(&key).await?;
                let Some(entry) = entry else {
                    return Ok(None);
                };
                let found = records::decode::<Reservation>(&entry.key, &entry.value)?;
                Ok((found == reservation).then_some(entry.mod_revision))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Block>> {
        self.block.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number, and what is stored under it.
#[derive(Debug)]
struct Held {
    node: u16,
    reservation: Reservation,
    seen: Revision,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    #[error("no node number is free")]
    Crowded,
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since_1970.unwrap_or_default().saturating_sub(EPOCH);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use topology::store::MemoryStore;

    fn block(node: u16, at_ms: u64, until_ms: u64) -> Block {
        Block {
            node,
            at_ms,
            count: 0,
            until_ms,
        }
    }

    #[test]
    fn ids_grow_whatever_the_clock_does() {
        let mut block = block(1023, 5, 1_000);
        let mut last = 0;
        for now_ms in [5, 5, 7, 6, 2, 0, 900, 899].repeat(700) {
            let id = block.next(now_ms).unwrap();
            assert!(id > last, "at {now_ms}");
            last = id;
        }
    }

    #[test]
    fn a_full_millisecond_goes_on_in_the_next_and_ends_with_the_reservation() {
        let mut block = block(3, 10, 12);
        let ids: Vec<i64> = std::iter::from_fn(|| block.next(10)).collect();
        assert_eq!(ids.len(), 2 << COUNT_BITS);
        let unique: BTreeSet<&i64> = ids.iter().collect();
        assert_eq!(unique.len(), ids.len());
        assert_eq!(ids[0], 10 << 22 | 3 << 12);
        assert_eq!(ids[1 << COUNT_BITS], 11 << 22 | 3 << 12);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_number_over_begins_where_the_last_one_had_reserved() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let first = Ids::new(Arc::clone(&store));
        let mut held = Some(first.claim().await.unwrap());
        let node = held.as_ref().unwrap().node;
        let until_ms = held.as_ref().unwrap().reservation.until_ms;
        // Its clock says that the first one's reservation is long over.
        let taken = Reservation {
            holder: 1,
            until_ms: until_ms + 10,
        };
        let seen = held.as_ref().unwrap().seen;
        let second = Ids::new(Arc::clone(&store));
        second.put(node, taken, seen).await.unwrap().unwrap();
        // The first one keeps what it has reserved, gets no more under that number, and goes on
        // under another.
        assert!(!first.renew(held.as_mut().unwrap()).await.unwrap());
        assert_eq!(first.lock().unwrap().until_ms, until_ms);
        first.reserve(&mut held).await.unwrap();
        assert!(first.take(10).await.is_ok());
    }

    #[tokio::test]
    async fn ids_of_several_routers_are_unique() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut all = BTreeSet::new();
        for _ in 0..8 {
            let ids = Ids::new(Arc::clone(&store));
            ids.claim().await.unwrap();
            all.extend(ids.take(5_000).await.unwrap());
        }
        assert_eq!(all.len(), 40_000);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_reservation_there_are_none() {
        let ids = Ids::new(Arc::new(MemoryStore::new()));
        assert_eq!(ids.take(1).await, Err(Unavailable));
    }
}
