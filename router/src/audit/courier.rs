//! Takes events to etcd, into a record of this run of the router, from which the leader moves them
//! to the audit log.
//!
//! Each of the two changes the record only as it has read it, so that no hand-over and no taking is
//! lost. Each hand-over has a number, which stays in the record when its events are taken: if an
//! answer of etcd is lost, the number says whether it is done. An event is so handed over once, or
//! waits here.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use platform::Shutdown;
use platform::telemetry::error_chain;
use tokio::time::{Instant, sleep};
use topology::keys;
use topology::records::{AuditInbox, DecodeError, Incarnation, RouterEvent, decode, encode};
use topology::store::{self, Committed, Compare, Op, Revision, Store, Txn};

use super::Inbox;

/// Between two hand-overs, and so what a router that is killed may lose of first events.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long the last hand-over may take, once the router is told to end.
const FAREWELL: Duration = Duration::from_secs(3);
const FAREWELL_PAUSE: Duration = Duration::from_millis(100);

/// Why a hand-over is not done, or not surely.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Record(#[from] DecodeError),
    #[error("the leader has not taken the last {0} events yet")]
    Full(usize),
    #[error("the leader took events in the same moment")]
    Overtaken,
}

/// What was taken out of the table and is not known to be in etcd.
#[derive(Debug)]
struct Parcel {
    number: u64,
    events: Vec<RouterEvent>,
}

impl Parcel {
    fn count(&self) -> u64 {
        self.events.iter().map(|event| event.count).sum()
    }
}

/// The task.
#[derive(Debug)]
pub struct Courier {
    inbox: Inbox,
    store: Arc<dyn Store>,
    key: String,
    router: String,
    /// Hand-overs that are done.
    handed_over: u64,
    held: Option<Parcel>,
    failing: bool,
}

impl Courier {
    /// Of a router's run, whose Postgres front is at `router`.
    #[must_use]
    pub fn new(
        inbox: Inbox,
        store: Arc<dyn Store>,
        (incarnation, router): (Incarnation, String),
    ) -> Self {
        Self {
            inbox,
            store,
            key: keys::audit_inbox(incarnation),
            router,
            handed_over: 0,
            held: None,
            failing: false,
        }
    }

    /// Hands over until the shutdown, and then what is left.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                () = sleep(INTERVAL) => {}
            }
            tokio::select! {
                biased; // What is cut off is held, and settled below.
                () = shutdown.requested() => break,
                () = self.hand_over(false) => {}
            }
        }
        let ends_at = Instant::now() + FAREWELL;
        while !self.hand_over_all(ends_at).await && Instant::now() < ends_at {
            sleep(FAREWELL_PAUSE).await;
        }
        if let Some(held) = &self.held {
            let count = held.count();
            tracing::error!(
                count,
                "events are lost to the audit log: etcd did not take them"
            );
        }
    }

    /// The last hand-over; whether nothing is left.
    async fn hand_over_all(&mut self, ends_at: Instant) -> bool {
        // One that never ends must not keep the process.
        let done = tokio::time::timeout_at(ends_at, self.hand_over(true)).await;
        done.is_ok() && self.held.is_none() && !self.load(true)
    }

    /// Takes from the table what is due, unless something is held; whether something is held now.
    fn load(&mut self, is_last: bool) -> bool {
        if self.held.is_none() {
            let events = self.inbox.take(AuditInbox::MAX_AT_ONCE, is_last);
            let number = self.handed_over + 1;
            self.held = (!events.is_empty()).then_some(Parcel { number, events });
        }
        self.held.is_some()
    }

    /// Hands over what is due. Cancel-safe: what is not done is held.
    async fn hand_over(&mut self, is_last: bool) {
        while self.load(is_last) {
            match self.deliver().await {
                Ok(()) => self.delivered(),
                // It is read again at once what there is now.
                Err(Error::Overtaken) => {}
                Err(error) => {
                    self.inbox.metrics().failures.inc();
                    if !self.failing {
                        let error = error_chain(&error);
                        tracing::warn!(error, "events for the audit log wait in this router");
                    }
                    self.failing = true;
                    return;
                }
            }
        }
    }

    fn delivered(&mut self) {
        if let Some(parcel) = self.held.take() {
            self.handed_over = parcel.number;
            self.inbox.metrics().handed_over.inc_by(parcel.count());
        }
        if std::mem::take(&mut self.failing) {
            tracing::info!("events for the audit log are in etcd again");
        }
    }

    /// Puts what is held into the record, unless it is there or was there.
    async fn deliver(&self) -> Result<(), Error> {
        let Some(parcel) = &self.held else {
            return Ok(());
        };
        let (mut record, seen) = self.read().await?;
        if record.number >= parcel.number {
            // An earlier sending, whose answer was lost.
            return Ok(());
        }
        record.add(parcel.events.clone());
        if record.events.len() > AuditInbox::MAX_EVENTS {
            return Err(Error::Full(record.events.len() - parcel.events.len()));
        }
        record.number = parcel.number;
        record.at = SystemTime::now();
        let txn = Txn {
            compares: vec![Compare::ModRevision(self.key.clone(), seen)],
            ops: vec![Op::put(&self.key, encode(&record))],
        };
        match self.store.commit(txn).await? {
            Committed::Applied(_) => Ok(()),
            Committed::Refused => Err(Error::Overtaken),
        }
    }

    /// What lies in the store, and at which revision; 0 where nothing does.
    async fn read(&self) -> Result<(AuditInbox, Revision), Error> {
        let Some(found) = self.store.read(&self.key).await? else {
            let nothing = AuditInbox {
                router: self.router.clone(),
                number: 0,
                at: SystemTime::UNIX_EPOCH,
                events: Vec::new(),
            };
            return Ok((nothing, Revision(0)));
        };
        Ok((decode(&self.key, &found.value)?, found.mod_revision))
    }
}

#[cfg(test)]
mod tests;
