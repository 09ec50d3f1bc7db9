//! Who a client of the Postgres front is: users of the configuration and SCRAM-SHA-256.
//!
//! Knows no session; the exchange is pure, its bytes are carried by [`crate::session`].

use std::collections::HashMap;

use crate::config::User;

pub mod scram;

use scram::Verifier;

/// The users that may log in.
#[derive(Debug, Default)]
pub struct Users {
    verifiers: HashMap<String, Verifier>,
    /// Stands in for a user that does not exist, so that a stranger cannot tell.
    decoy_seed: [u8; 32],
}

impl Users {
    /// Derives the verifiers of the configured users. Slow on purpose: PBKDF2 for each password
    /// that is not a verifier already.
    ///
    /// # Errors
    /// The name of the user whose password cannot be used, and why.
    pub fn try_new(users: &[User]) -> Result<Self, String> {
        let mut verifiers = HashMap::with_capacity(users.len());
        for user in users {
            let secret = user.password.expose();
            let verifier = if secret.starts_with("SCRAM-SHA-256$") {
                Verifier::parse(secret)
            } else {
                Ok(Verifier::derive(
                    secret,
                    &rand::random::<[u8; 16]>(),
                    scram::ITERATIONS,
                ))
            };
            let verifier = verifier.map_err(|rule| format!("user {:?}: {rule}", user.name))?;
            verifiers.insert(user.name.clone(), verifier);
        }
        Ok(Self {
            verifiers,
            decoy_seed: rand::random(),
        })
    }

    /// The verifier of a user, or one that nobody's password fits. The second value says whether
    /// the user exists.
    #[must_use]
    pub fn verifier(&self, name: &str) -> (Verifier, bool) {
        match self.verifiers.get(name) {
            Some(verifier) => (verifier.clone(), true),
            None => (Verifier::decoy(&self.decoy_seed, name), false),
        }
    }
}
