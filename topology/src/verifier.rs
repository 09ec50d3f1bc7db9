//! What is stored of a password (RFC 5803): enough to check it by SCRAM-SHA-256, not enough to log
//! in with. In PostgreSQL's own text form, so that it can be taken from `pg_authid`.
//!
//! Pure: salts are handed in, and the exchange itself is the router's.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

#[cfg(test)]
mod tests;

/// PostgreSQL's own default (`scram_iterations`).
pub const ITERATIONS: u32 = 4096;

/// More would only keep the clients busy, which do the work.
const MAX_ITERATIONS: u32 = 10_000_000;

/// Far longer than the 16 bytes that PostgreSQL draws.
const MAX_SALT_BYTES: usize = 256;

/// What every verifier begins with.
pub const PREFIX: &str = "SCRAM-SHA-256$";

/// Checks a password without knowing it. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Box<[u8]>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

/// A text that is not a verifier; the text itself is nowhere in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a verifier has the form SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>")]
pub struct InvalidVerifier;

impl Verifier {
    /// The verifier of a password.
    #[must_use]
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let password = normalized(password);
        let mut salted = [0_u8; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, &mut salted);
        let client_key = hmac(&salted, b"Client Key");
        Self {
            iterations,
            salt: salt.into(),
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac(&salted, b"Server Key"),
        }
    }

    /// Reads PostgreSQL's form: `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`.
    ///
    /// # Errors
    /// [`InvalidVerifier`] when the text has another form.
    pub fn parse(text: &str) -> Result<Self, InvalidVerifier> {
        let read = || {
            let (head, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
            let (iterations, salt) = head.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            let key =
                |text: &str| -> Option<[u8; 32]> { BASE64.decode(text).ok()?.try_into().ok() };
            let iterations: u32 = iterations.parse().ok()?;
            let salt = BASE64.decode(salt).ok()?;
            let is_usable = (1..=MAX_ITERATIONS).contains(&iterations)
                && (1..=MAX_SALT_BYTES).contains(&salt.len());
            is_usable.then_some(Self {
                iterations,
                salt: salt.into(),
                stored_key: key(stored)?,
                server_key: key(server)?,
            })
        };
        read().ok_or(InvalidVerifier)
    }

    /// A verifier that no password fits, the same each time for one seed and name.
    #[must_use]
    pub fn decoy(seed: &[u8; 32], name: &str) -> Self {
        Self {
            iterations: ITERATIONS,
            salt: Self::made_up_salt(seed, name).into(),
            stored_key: hmac(seed, b"stored"),
            server_key: hmac(seed, b"server"),
        }
    }

    /// A salt that looks like a random one, and is always the same for a seed and a name.
    #[must_use]
    pub fn made_up_salt(seed: &[u8; 32], name: &str) -> [u8; 16] {
        let mut salt = [0; 16];
        let bytes = hmac(seed, name.as_bytes());
        for (byte, drawn) in salt.iter_mut().zip(bytes) {
            *byte = drawn;
        }
        salt
    }

    /// PostgreSQL's form, for the one place that stores it.
    #[must_use]
    pub fn expose(&self) -> String {
        let [salt, stored, server] =
            [&*self.salt, &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        format!("{PREFIX}{}:{salt}${stored}:{server}", self.iterations)
    }

    /// How often the hash is applied.
    #[must_use]
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// What is mixed into the password.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The hash of the key that a client proves to have.
    #[must_use]
    pub fn stored_key(&self) -> &[u8; 32] {
        &self.stored_key
    }

    /// The key that the server proves to have.
    #[must_use]
    pub fn server_key(&self) -> &[u8; 32] {
        &self.server_key
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(***)")
    }
}

impl Serialize for Verifier {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.expose())
    }
}

impl<'de> Deserialize<'de> for Verifier {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // Read in two steps, since an error of the reader would show a value of another type.
        let text = serde_json::Value::deserialize(from)?;
        let verifier = text.as_str().map(Self::parse);
        verifier
            .unwrap_or(Err(InvalidVerifier))
            .map_err(D::Error::custom)
    }
}

/// As clients prepare a password before they hash it. What SASLprep refuses is taken as it is, by
/// PostgreSQL and by its clients.
fn normalized(password: &str) -> Cow<'_, str> {
    stringprep::saslprep(password).unwrap_or(Cow::Borrowed(password))
}

/// HMAC with SHA-256.
#[must_use]
pub fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}
