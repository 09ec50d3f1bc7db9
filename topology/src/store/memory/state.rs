//! The memory store's state: keys at revisions, their history and leases. Pure: time is passed in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::CommitFault;
use crate::store::{Batch, Committed, Compare, Entry, Error, Event, LeaseId, Op, Revision, Txn};

#[derive(Debug)]
struct Value {
    bytes: Bytes,
    create_revision: Revision,
    mod_revision: Revision,
    lease: Option<LeaseId>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    expires_at: Instant,
}

#[derive(Debug)]
pub(super) struct State {
    revision: Revision,
    /// Changes before this revision are forgotten.
    oldest: Revision,
    keys: BTreeMap<String, Value>,
    leases: BTreeMap<i64, Lease>,
    granted: i64,
    history: VecDeque<Batch>,
    pub(super) watch_generation: u64,
    pub(super) reachable: bool,
    pub(super) faults: VecDeque<CommitFault>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            // An empty etcd is at revision 1.
            revision: Revision(1),
            oldest: Revision(1),
            keys: BTreeMap::new(),
            leases: BTreeMap::new(),
            granted: 0,
            history: VecDeque::new(),
            watch_generation: 0,
            reachable: true,
            faults: VecDeque::new(),
        }
    }
}

impl State {
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn read(&self, key: &str) -> Option<Entry> {
        self.keys.get(key).map(|value| entry(key, value))
    }

    pub(super) fn list(&self, prefix: &str) -> Vec<Entry> {
        let from = self.keys.range(prefix.to_owned()..);
        from.take_while(|(key, _)| key.starts_with(prefix))
            .map(|(k, v)| entry(k, v))
            .collect()
    }

    pub(super) fn commit(&mut self, txn: Txn) -> Result<Committed, Error> {
        txn.check_limits()?;
        check_keys(&txn.ops)?;
        if !txn.compares.iter().all(|compare| self.holds(compare)) {
            return Ok(Committed::Refused);
        }
        self.check_leases(&txn.ops)?;
        let mut events = Vec::with_capacity(txn.ops.len());
        for op in txn.ops {
            match op {
                Op::Put { key, value, lease } => events.push(self.put(key, value, lease)),
                Op::Delete { key } => events.extend(self.delete(key)),
            }
        }
        self.record(events);
        Ok(Committed::Applied(self.revision))
    }

    fn check_leases(&self, ops: &[Op]) -> Result<(), Error> {
        let leases = ops.iter().filter_map(|op| match op {
            Op::Put { lease, .. } => *lease,
            Op::Delete { .. } => None,
        });
        for lease in leases {
            if !self.leases.contains_key(&lease.0) {
                return Err(Error::LeaseExpired);
            }
        }
        Ok(())
    }

    fn holds(&self, compare: &Compare) -> bool {
        let (found, wanted) = match compare {
            Compare::CreateRevision(key, wanted) => {
                let value = self.keys.get(key);
                (value.map(|value| value.create_revision), wanted)
            }
            Compare::ModRevision(key, wanted) => {
                let value = self.keys.get(key);
                (value.map(|value| value.mod_revision), wanted)
            }
        };
        found.unwrap_or_default() == *wanted
    }

    fn put(&mut self, key: String, bytes: Bytes, lease: Option<LeaseId>) -> Event {
        let mod_revision = Revision(self.revision.0 + 1);
        let create_revision = self
            .keys
            .get(&key)
            .map_or(mod_revision, |old| old.create_revision);
        let value = Value {
            bytes,
            create_revision,
            mod_revision,
            lease,
        };
        let event = Event::Put(entry(&key, &value));
        self.keys.insert(key, value);
        event
    }

    fn delete(&mut self, key: String) -> Option<Event> {
        self.keys.remove(&key).map(|_| Event::Delete { key })
    }

    /// Changes that happened together get one revision; no change gets none.
    fn record(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.revision = Revision(self.revision.0 + 1);
            self.history.push_back(Batch {
                revision: self.revision,
                events,
            });
        }
    }

    pub(super) fn compact(&mut self, revision: Revision) {
        self.oldest = self.oldest.max(revision.min(self.revision));
        let oldest = self.oldest;
        self.history.retain(|batch| batch.revision >= oldest);
    }

    /// The first batch at or after `from` that touches the prefix.
    pub(super) fn next_batch(&self, prefix: &str, from: Revision) -> Result<Option<Batch>, Error> {
        if from < self.oldest {
            return Err(Error::Compacted {
                oldest: self.oldest,
            });
        }
        let later = self.history.iter().filter(|batch| batch.revision >= from);
        let mut touching = later.filter_map(|batch| {
            let under = |event: &&Event| event.key().starts_with(prefix);
            let events: Vec<_> = batch.events.iter().filter(under).cloned().collect();
            (!events.is_empty()).then_some(Batch {
                revision: batch.revision,
                events,
            })
        });
        Ok(touching.next())
    }

    pub(super) fn drop_watches(&mut self) {
        self.watch_generation += 1;
    }

    pub(super) fn grant(&mut self, ttl: Duration, now: Instant) -> LeaseId {
        self.granted += 1;
        // Whole seconds, at least one, as in etcd.
        let ttl = Duration::from_secs(ttl.as_secs().max(1));
        self.leases.insert(
            self.granted,
            Lease {
                ttl,
                expires_at: now + ttl,
            },
        );
        LeaseId(self.granted)
    }

    pub(super) fn keep_alive(&mut self, lease: LeaseId, now: Instant) -> Result<(), Error> {
        let lease = self.leases.get_mut(&lease.0).ok_or(Error::LeaseExpired)?;
        lease.expires_at = now + lease.ttl;
        Ok(())
    }

    pub(super) fn revoke(&mut self, lease: LeaseId) {
        if self.leases.remove(&lease.0).is_none() {
            return;
        }
        let bound = |value: &Value| value.lease == Some(lease);
        let keys: Vec<_> = self
            .keys
            .iter()
            .filter(|(_, value)| bound(value))
            .map(|(k, _)| k.clone())
            .collect();
        let events = keys
            .into_iter()
            .filter_map(|key| self.delete(key))
            .collect();
        self.record(events);
    }

    /// Ends the leases whose time has come; says whether there were any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let mut due: Vec<_> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.expires_at <= now)
            .collect();
        due.sort_by_key(|(_, lease)| lease.expires_at);
        let due: Vec<_> = due.into_iter().map(|(id, _)| LeaseId(*id)).collect();
        for lease in &due {
            self.revoke(*lease);
        }
        !due.is_empty()
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.expires_at).min()
    }
}

/// etcd refuses two writes of one key, whether or not the conditions hold.
fn check_keys(ops: &[Op]) -> Result<(), Error> {
    for (at, op) in ops.iter().enumerate() {
        let mut others = ops.iter().enumerate().filter(|(other, _)| *other != at);
        let written = matches!(op, Op::Put { .. });
        if written && others.any(|(_, other)| other.key() == op.key()) {
            let text = format!("duplicate key {:?} given in txn request", op.key());
            return Err(Error::Denied(text));
        }
    }
    Ok(())
}

fn entry(key: &str, value: &Value) -> Entry {
    Entry {
        key: key.to_owned(),
        value: value.bytes.clone(),
        create_revision: value.create_revision,
        mod_revision: value.mod_revision,
    }
}
