//! API keys that are accepted, and tokens that no longer are: what somebody else keeps up to date
//! and the gate looks at. The form of a key is here too.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Credential, Identity, KEY_ACTOR, Role, Scope};
use crate::Secret;
use crate::bearer::{Claims, Rejected};

/// What every API key begins with, so that one that was published is found.
pub const PREFIX: &str = "shk_";

/// Characters of a key's id.
const ID_CHARS: usize = 16;

/// Characters of a key's secret part.
const SECRET_CHARS: usize = 64;

/// A key's sha256: what is kept of it.
pub type KeyHash = [u8; 32];

/// A key that was made: shown once.
#[derive(Debug)]
pub struct NewKey {
    /// Its public part.
    pub id: String,
    /// The whole key.
    pub key: Secret,
    /// What is kept.
    pub hash: KeyHash,
}

impl NewKey {
    /// A random key.
    #[must_use]
    pub fn random() -> Self {
        let (id, secret): ([u8; 8], [u8; 32]) = (rand::random(), rand::random());
        let id = hex(&id);
        let key = format!("{PREFIX}{id}_{}", hex(&secret));
        let hash = hash_of(&key);
        Self {
            id,
            key: Secret::new(key),
            hash,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes all that is written");
    }
    text
}

/// What is kept of a key.
#[must_use]
pub fn hash_of(key: &str) -> KeyHash {
    Sha256::digest(key.as_bytes()).into()
}

/// The id in a key; none for what has not the form of one.
#[must_use]
pub fn id_of(key: &str) -> Option<&str> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has_form = id.len() == ID_CHARS && secret.len() == SECRET_CHARS;
    (has_form && is_hex(id) && is_hex(secret)).then_some(id)
}

/// A key as the gate knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its hash.
    pub hash: KeyHash,
    /// What its holder may do.
    pub roles: BTreeSet<Role>,
    /// With what.
    pub scope: Scope,
    /// Until when, in seconds since 1970; none is for ever.
    pub expires_at: Option<u64>,
}

impl Key {
    fn check_time(&self) -> Result<(), Rejected> {
        if self.expires_at.is_some_and(|end| end <= now()) {
            return Err(Rejected::Expired);
        }
        Ok(())
    }
}

/// Keys and revocations at a moment.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// Whether they have been read: before that nobody is let in.
    pub is_loaded: bool,
    /// The keys by their ids.
    pub keys: HashMap<String, Key>,
    /// Ids of tokens and of sessions that are over.
    pub revoked: HashSet<String>,
    /// For each account the version that its tokens must have at least.
    pub floors: HashMap<String, u64>,
}

impl Grants {
    /// Grants without a key or a revocation.
    #[must_use]
    pub fn none() -> Self {
        Self {
            is_loaded: true,
            ..Self::default()
        }
    }

    /// Checks a token that is valid by itself.
    ///
    /// # Errors
    /// When it, its session or its account's version was revoked.
    pub fn check(&self, claims: &Claims) -> Result<(), Rejected> {
        if !self.is_loaded {
            return Err(Rejected::NotReady);
        }
        let ids = [&claims.jti, &claims.sid];
        let is_revoked = ids
            .into_iter()
            .flatten()
            .any(|id| self.revoked.contains(id));
        let is_outdated = claims.version.is_some_and(|version| {
            let floor = self.floors.get(&claims.sub);
            floor.is_some_and(|floor| version < *floor)
        });
        if is_revoked || is_outdated {
            Err(Rejected::Revoked)
        } else {
            Ok(())
        }
    }

    /// Checks the key of somebody who was let in by it.
    ///
    /// # Errors
    /// When it was revoked, or its time is over.
    pub fn recheck(&self, id: &str) -> Result<(), Rejected> {
        self.keys.get(id).ok_or(Rejected::Revoked)?.check_time()
    }

    /// Who holds a key.
    ///
    /// # Errors
    /// When there is no such key, or its time is over. Which of an id and a secret is wrong is not
    /// told.
    pub fn holder(&self, key: &str) -> Result<Identity, Rejected> {
        if !self.is_loaded {
            return Err(Rejected::NotReady);
        }
        let given = hash_of(key);
        let id = id_of(key).ok_or(Rejected::UnknownKey)?;
        let known = self.keys.get(id).ok_or(Rejected::UnknownKey)?;
        if !bool::from(known.hash.ct_eq(&given)) {
            return Err(Rejected::UnknownKey);
        }
        known.check_time()?;
        Ok(Identity {
            actor: format!("{KEY_ACTOR}{id}"),
            roles: known.roles.clone(),
            scope: known.scope.clone(),
            credential: Credential::Key(id.to_owned()),
        })
    }
}

fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.unwrap_or_default().as_secs()
}
