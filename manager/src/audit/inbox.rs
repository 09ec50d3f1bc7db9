//! What routers have to say for the log: logins, and what they refused. A router cannot add to the
//! chain, which only managers do, under the leader's term. It leaves its events in etcd, in a
//! record of its own, and the leader moves them from there to the log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use platform::Shutdown;
use platform::telemetry::error_chain;
use tokio::time::{Instant, sleep};
use topology::records::{AuditInbox, Incarnation, decode};
use topology::store::{self, Entry, Store};
use topology::{Term, keys, routers};

use crate::commit::Writer;
use crate::leader::{self, Standing};

/// Between two looks at what routers have left.
const INTERVAL: Duration = Duration::from_secs(1);

/// Between two looks at inboxes that nobody needs any more.
const TIDYING: Duration = Duration::from_secs(600);

/// How long an empty inbox stays after its router has gone: a router that was cut off in the middle
/// of a hand-over reads there whether it was taken.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The task.
#[derive(Debug)]
pub struct Collector {
    store: Arc<dyn Store>,
    writer: Arc<Writer>,
    leader: leader::View,
    /// Inboxes with which something is wrong, which is said once.
    failing: BTreeSet<String>,
    tidied_at: Option<Instant>,
}

impl Collector {
    /// A task that does nothing until it runs.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, writer: Arc<Writer>, leader: leader::View) -> Self {
        Self {
            store,
            writer,
            leader,
            failing: BTreeSet::new(),
            tidied_at: None,
        }
    }

    /// Collects while this manager leads, until the shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut unread = false;
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                () = sleep(INTERVAL) => {}
            }
            let Standing::Leading(leader) = self.leader.standing() else {
                continue;
            };
            match self.round(leader.term, SystemTime::now()).await {
                Ok(()) => unread = false,
                Err(error) => {
                    if !unread {
                        let error = error_chain(&error);
                        tracing::warn!(
                            error,
                            "what routers have to say for the audit log is not read"
                        );
                    }
                    unread = true;
                }
            }
        }
    }

    /// Takes what there is, and removes what nobody needs.
    ///
    /// # Errors
    /// When it cannot be read what there is; then nothing was taken.
    pub async fn round(&mut self, term: Term, now: SystemTime) -> Result<(), store::Error> {
        let found = self.store.list(keys::AUDIT_INBOX).await?.entries;
        self.failing
            .retain(|key| found.iter().any(|entry| entry.key == *key));
        let mut empty = Vec::new();
        for entry in found {
            match decode::<AuditInbox>(&entry.key, &entry.value) {
                Ok(inbox) if inbox.events.is_empty() => empty.push((entry, inbox)),
                Ok(_) => self.take(term, &entry.key).await,
                Err(error) => self.say(&entry.key, &error),
            }
        }
        let is_due = |at: Instant| at.elapsed() >= TIDYING;
        if self.tidied_at.is_none_or(is_due) {
            self.tidied_at = Some(Instant::now());
            self.tidy(term, now, empty).await?;
        }
        Ok(())
    }

    async fn take(&mut self, term: Term, key: &str) {
        match self.writer.take_inbox(term, key).await {
            Ok(_) => {
                self.failing.remove(key);
            }
            Err(error) => self.say(key, &error),
        }
    }

    /// Whatever is wrong with one router's inbox does not keep those of others from the log.
    fn say(&mut self, key: &str, error: &dyn std::error::Error) {
        if self.failing.insert(key.to_owned()) {
            let error = error_chain(error);
            tracing::error!(
                key,
                error,
                "what a router has to say is not in the audit log yet"
            );
        }
    }

    async fn tidy(
        &self,
        term: Term,
        now: SystemTime,
        empty: Vec<(Entry, AuditInbox)>,
    ) -> Result<(), store::Error> {
        let is_old = |inbox: &AuditInbox| {
            let age = now.duration_since(inbox.at);
            age.is_ok_and(|age| age >= KEPT)
        };
        let old: Vec<Entry> = empty
            .into_iter()
            .filter(|(_, inbox)| is_old(inbox))
            .map(|(entry, _)| entry)
            .collect();
        if old.is_empty() {
            return Ok(());
        }
        let Ok(live) = routers::list(self.store.as_ref()).await else {
            return Ok(());
        };
        let lives = |incarnation: Incarnation| {
            let mut routers = live.all.iter();
            routers.any(|router| router.record.incarnation == incarnation)
        };
        for entry in old {
            if keys::audit_inbox_of(&entry.key).is_some_and(lives) {
                continue;
            }
            match self.writer.remove_inbox(term, &entry).await {
                Ok(removed) => {
                    tracing::debug!(key = entry.key, removed, "inbox of a router that has gone");
                }
                Err(error) => {
                    let error = error_chain(&error);
                    tracing::debug!(key = entry.key, error, "inbox not removed");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
