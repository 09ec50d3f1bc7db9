//! Keeps the users of etcd as etcd has them. While it is away those that were read last stay.
//!
//! A record that cannot be read lets nobody in; the others are not affected by it.

use std::sync::Arc;

use platform::Shutdown;
use platform::backoff::Backoff;
use platform::telemetry::error_chain;
use tokio::time::sleep;
use topology::records::{LoginSeed, User as Record, decode, encode};
use topology::store::{Compare, Entry, Error, Event, Op, Revision, Store, Txn};
use topology::{UserName, keys};

use super::{Seed, Stored, Users};

/// Reads etcd into [`Users`].
#[derive(Debug)]
pub struct Follower {
    store: Arc<dyn Store>,
    users: Arc<Users>,
    /// Whether salts are those of all routers.
    is_seeded: bool,
}

impl Follower {
    /// A follower that has read nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, users: Arc<Users>) -> Self {
        Self {
            store,
            users,
            is_seeded: false,
        }
    }

    /// Follows the store until `shutdown`.
    pub async fn run(mut self, shutdown: Shutdown) {
        tokio::select! {
            biased;
            () = shutdown.requested() => {}
            () = self.follow_forever() => {}
        }
    }

    async fn follow_forever(&mut self) {
        let defaults = topology::watch::Backoff::default();
        let mut backoff = Backoff::new(defaults.initial, defaults.max);
        loop {
            let Err(error) = self.follow(&mut backoff).await;
            let delay = backoff.next_delay();
            let error = error_chain(&error);
            tracing::warn!(error, ?delay, "users in etcd lost, keeping those read last");
            sleep(delay).await;
        }
    }

    async fn follow(&mut self, backoff: &mut Backoff) -> Result<std::convert::Infallible, Error> {
        self.agree_on_salts().await?;
        let listing = self.store.list(keys::USERS).await?;
        let mut stored = Stored::with_capacity(listing.entries.len());
        for entry in &listing.entries {
            put(&mut stored, entry);
        }
        tracing::info!(users = stored.len(), "users read from etcd");
        self.users.publish(stored.clone());
        let next = Revision(listing.revision.0 + 1);
        let mut watch = self.store.watch(keys::USERS, next).await?;
        loop {
            let batch = watch.next().await?;
            backoff.reset();
            if batch.events.is_empty() {
                continue;
            }
            for event in &batch.events {
                apply(&mut stored, event);
            }
            tracing::info!(users = stored.len(), "users changed in etcd");
            self.users.publish(stored.clone());
        }
    }

    /// Takes the seed that all routers use over, once, and makes it up when there is none.
    async fn agree_on_salts(&mut self) -> Result<(), Error> {
        if self.is_seeded {
            return Ok(());
        }
        let own: Seed = **self.users.seed.load();
        let txn = Txn {
            compares: vec![Compare::CreateRevision(
                keys::LOGIN_SEED.to_owned(),
                Revision(0),
            )],
            ops: vec![Op::put(keys::LOGIN_SEED, encode(&LoginSeed { seed: own }))],
        };
        let _applied_or_refused = self.store.commit(txn).await?;
        let Some(entry) = self.store.read(keys::LOGIN_SEED).await? else {
            return Ok(());
        };
        match decode::<LoginSeed>(&entry.key, &entry.value) {
            Ok(LoginSeed { seed }) => {
                let users = Arc::clone(&self.users);
                let reseeding = tokio::task::spawn_blocking(move || users.reseed(seed));
                drop(reseeding.await);
            }
            Err(error) => tracing::error!(
                error = error_chain(&error),
                "salts differ from those of other routers"
            ),
        }
        self.is_seeded = true;
        Ok(())
    }
}

fn put(stored: &mut Stored, entry: &Entry) {
    let Some(name) = keys::user_of(&entry.key) else {
        tracing::error!(key = entry.key, "not a user's key");
        return;
    };
    let record = decode::<Record>(&entry.key, &entry.value);
    match record {
        Ok(record) if record.name == name => drop(stored.insert(name, record)),
        Ok(record) => misread(stored, &name, &format!("it is of user {}", record.name)),
        Err(error) => misread(stored, &name, &error_chain(&error)),
    }
}

/// Of what the record said before nothing is known to hold still.
fn misread(stored: &mut Stored, name: &UserName, error: &str) {
    tracing::error!(%name, error, "user not readable, and so not let in");
    stored.remove(name);
}

fn apply(stored: &mut Stored, event: &Event) {
    match event {
        Event::Put(entry) => put(stored, entry),
        Event::Delete { key } => {
            if let Some(name) = keys::user_of(key) {
                stored.remove(&name);
            }
        }
    }
}
