//! Passwords of accounts: hashed with argon2id, a few at a time, so that logins do not take the
//! processors away from everything else; and checked in the same time whether or not there is an
//! account.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use platform::Secret;
use tokio::sync::Semaphore;

/// Fewest characters of a new password (NIST SP 800-63B).
const MIN_CHARS: usize = 8;

/// Longest password, in bytes.
const MAX_BYTES: usize = 256;

/// Hashes that are made at a time.
const AT_A_TIME: usize = 2;

/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(3);

/// Memory of a hash in KiB, passes over it, and lanes: what OWASP asks for at least.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

/// Why a password is not hashed or not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It may not be one.
    #[error("must have at least {MIN_CHARS} characters and at most {MAX_BYTES} bytes")]
    Unusable,
    /// Others are in the way.
    #[error("too many passwords are being checked: try again")]
    Busy,
    /// The library refuses.
    #[error("a password could not be hashed")]
    Internal,
}

/// Hashes and checks passwords.
#[derive(Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// Stands in for the hash of an account that does not exist.
    nobodys: Arc<str>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

impl Passwords {
    /// With a stand-in that no password fits.
    #[must_use]
    pub fn new() -> Self {
        let random: [u8; 16] = rand::random();
        // Of no use to anybody, and so not worth a failure: without it unknown names are told
        // apart by their time, nothing more.
        let nobodys = hash(&Secret::new(format!("{random:?}"))).unwrap_or_default();
        Self {
            turns: Arc::new(Semaphore::new(AT_A_TIME)),
            nobodys: nobodys.into(),
        }
    }

    /// The hash of a new password.
    ///
    /// # Errors
    /// When it may not be one, or others are in the way.
    pub async fn hash(&self, password: Secret) -> Result<String, Error> {
        let text = password.expose();
        if text.chars().count() < MIN_CHARS || text.len() > MAX_BYTES {
            return Err(Error::Unusable);
        }
        self.in_turn(move || hash(&password)).await?
    }

    /// Whether a password fits a hash; without a hash it takes as long and does not.
    ///
    /// # Errors
    /// When others are in the way.
    pub async fn fits(&self, password: Secret, known: Option<String>) -> Result<bool, Error> {
        if password.expose().len() > MAX_BYTES {
            // Such a password has no account.
            return Ok(false);
        }
        let nobodys = Arc::clone(&self.nobodys);
        let checked = self.in_turn(move || {
            let fits = fits(&password, known.as_deref().unwrap_or(&nobodys));
            known.is_some() && fits
        });
        checked.await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| Error::Busy)?.map_err(|_| Error::Busy)?;
        // The turn ends with the work, even when nobody waits for it any more.
        let task = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        task.await.map_err(|_| Error::Internal)
    }
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|_| Error::Internal)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &Secret) -> Result<String, Error> {
    let salt: [u8; 16] = rand::random();
    let salt = SaltString::encode_b64(&salt).map_err(|_| Error::Internal)?;
    let hash = argon2()?.hash_password(password.expose().as_bytes(), &salt);
    Ok(hash.map_err(|_| Error::Internal)?.to_string())
}

fn fits(password: &Secret, hash: &str) -> bool {
    let (Ok(argon2), Ok(hash)) = (argon2(), PasswordHash::new(hash)) else {
        return false;
    };
    argon2
        .verify_password(password.expose().as_bytes(), &hash)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_alone() {
        let passwords = Passwords::new();
        let hash = passwords.hash(Secret::new("correct horse")).await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        let fits = async |password: &str, hash: Option<&str>| {
            let password = Secret::new(password);
            passwords
                .fits(password, hash.map(str::to_owned))
                .await
                .unwrap()
        };
        assert!(fits("correct horse", Some(&hash)).await);
        assert!(!fits("Correct horse", Some(&hash)).await);
        assert!(!fits("correct horse", None).await);
        assert!(!fits("correct horse", Some("no hash")).await);
        assert!(!fits(&"x".repeat(MAX_BYTES + 1), Some(&hash)).await);
    }

    #[tokio::test]
    async fn a_new_password_is_neither_short_nor_endless() {
        let passwords = Passwords::new();
        for password in ["", "1234567", &"x".repeat(MAX_BYTES + 1)] {
            let refused = passwords.hash(Secret::new(password)).await;
            assert_eq!(refused, Err(Error::Unusable), "{password}");
        }
    }
}
