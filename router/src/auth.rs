//! Who a client of the Postgres front is: users of the configuration and of etcd, and
//! SCRAM-SHA-256.
//!
//! Knows no session; the exchange is pure, its bytes are carried by [`crate::session`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use topology::records::User as Record;
use topology::verifier::{ITERATIONS, PREFIX};
use topology::{UserName, Verifier};

use crate::config::User;

pub mod follower;
pub mod scram;

#[cfg(test)]
mod tests;

/// How long a login waits for the users of etcd when the router has just started.
const FIRST_READING: Duration = Duration::from_secs(2);

/// What salts that nobody has chosen are made from.
type Seed = [u8; 32];

/// Users of the configuration, with what their passwords are checked by.
#[derive(Debug)]
pub struct Configured {
    users: Vec<User>,
    verifiers: HashMap<String, Verifier>,
}

/// Users in etcd, by name.
type Stored = HashMap<UserName, Record>;

/// The users that may log in. Those of the configuration come before those in etcd.
#[derive(Debug)]
pub struct Users {
    configured: ArcSwap<Configured>,
    stored: ArcSwap<Stored>,
    /// Stands in for a salt, so that a stranger cannot tell who exists. Random until etcd is read.
    seed: ArcSwap<Seed>,
    /// Whether etcd was ever read.
    read: watch::Sender<bool>,
}

impl Users {
    /// Derives the verifiers of the configured users. Slow on purpose: PBKDF2 for each password
    /// that is not a verifier already.
    ///
    /// # Errors
    /// The name of the user whose password cannot be used, and why.
    pub fn try_new(users: &[User]) -> Result<Self, String> {
        let seed: Seed = rand::random();
        Ok(Self {
            configured: ArcSwap::from_pointee(Configured::derive(users.to_vec(), &seed)?),
            stored: ArcSwap::default(),
            seed: ArcSwap::from_pointee(seed),
            read: watch::Sender::new(false),
        })
    }

    /// Derives the verifiers of configured users that are read anew, for [`Self::configure`].
    /// Slow, as [`Self::try_new`].
    ///
    /// # Errors
    /// As [`Self::try_new`].
    pub fn derive(&self, users: Vec<User>) -> Result<Configured, String> {
        Configured::derive(users, &self.seed.load())
    }

    /// Puts newly read users of the configuration in force.
    pub fn configure(&self, users: Configured) {
        self.configured.store(Arc::new(users));
    }

    /// Makes salts up from another seed. Slow, as [`Self::try_new`].
    fn reseed(&self, seed: Seed) {
        self.seed.store(Arc::new(seed));
        loop {
            let present = self.configured.load_full();
            // They could be used before, and a salt changes nothing about that.
            let Ok(derived) = Configured::derive(present.users.clone(), &seed) else {
                return;
            };
            // Users that were read anew meanwhile are not replaced by older ones.
            let found = self
                .configured
                .compare_and_swap(&present, Arc::new(derived));
            if Arc::ptr_eq(&found, &present) {
                return;
            }
        }
    }

    /// The verifier of a user, or one that nobody's password fits. The second value says whether
    /// the user may log in; one that may not has the salt that it always had.
    #[must_use]
    pub fn verifier(&self, name: &str) -> (Verifier, bool) {
        if let Some(verifier) = self.configured.load().verifiers.get(name) {
            return (verifier.clone(), true);
        }
        let stored = self.stored.load();
        match UserName::try_new(name).ok().and_then(|n| stored.get(&n)) {
            Some(user) => (user.verifier.clone(), user.enabled),
            None => (Verifier::decoy(&self.seed.load(), name), false),
        }
    }

    /// Whether a user is disabled, however it would show who it is. Who is in no list is not: where
    /// passwords are not asked for, the certificate or the network says who may come.
    #[must_use]
    pub fn is_disabled(&self, name: &str) -> bool {
        if self.configured.load().verifiers.contains_key(name) {
            return false;
        }
        let stored = self.stored.load();
        let user = UserName::try_new(name).ok().and_then(|n| stored.get(&n));
        user.is_some_and(|user| !user.enabled)
    }

    /// Waits until etcd was read, but not for long: whoever is in the configuration can log in
    /// without it. Waits for everybody alike, so that a stranger cannot tell who is.
    pub async fn first_reading(&self) {
        let mut read = self.read.subscribe();
        let reading = read.wait_for(|read| *read);
        let _whatever = tokio::time::timeout(FIRST_READING, reading).await;
    }

    /// Waits until etcd was read. Cancel-safe.
    pub async fn read(&self) {
        let mut read = self.read.subscribe();
        // The sender is in `self`: this cannot end in an error.
        let _read = read.wait_for(|read| *read).await;
    }

    fn publish(&self, stored: Stored) {
        self.stored.store(Arc::new(stored));
        self.read.send_replace(true);
    }
}

impl Configured {
    fn derive(users: Vec<User>, seed: &Seed) -> Result<Self, String> {
        let mut verifiers = HashMap::with_capacity(users.len());
        for user in &users {
            let secret = user.password.expose();
            let verifier = if secret.starts_with(PREFIX) {
                Verifier::parse(secret).map_err(|rule| format!("user {:?}: {rule}", user.name))?
            } else {
                // A salt that changes with each start would tell that the user exists.
                let salt = Verifier::made_up_salt(seed, &user.name);
                Verifier::derive(secret, &salt, ITERATIONS)
            };
            verifiers.insert(user.name.clone(), verifier);
        }
        Ok(Self { users, verifiers })
    }
}
