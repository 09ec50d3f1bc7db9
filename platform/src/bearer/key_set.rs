//! The public keys of an identity provider, from a file in the form of RFC 7517, which is read
//! again when it changes.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize as _;
use tokio::time::sleep;

use crate::Shutdown;
use crate::telemetry::error_chain;

/// How often the file is looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// A longer file is not read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeySet {
    /// The file cannot be read.
    #[error("key set {} cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no key set.
    #[error("key set {} is malformed", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// None of its keys is one for RS256 or ES256.
    #[error("key set {} has no key for RS256 or ES256", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
    },
}

/// The keys as read last; clones share them.
#[derive(Clone)]
pub struct KeySet {
    path: Arc<PathBuf>,
    keys: Arc<ArcSwap<Vec<Key>>>,
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("KeySet").field(&self.path).finish()
    }
}

/// The file.
#[derive(serde::Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a file.
    ///
    /// # Errors
    /// When there are no keys in it.
    pub fn load(path: PathBuf) -> Result<Self, InvalidKeySet> {
        let keys = read(&path)?;
        Ok(Self {
            path: Arc::new(path),
            keys: Arc::new(ArcSwap::from_pointee(keys)),
        })
    }

    /// Reads the file again and again until the shutdown; a file that is no key set changes
    /// nothing.
    pub async fn follow(self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(RELOAD_INTERVAL) => {}
            }
            let path = Arc::clone(&self.path);
            let Ok(keys) = tokio::task::spawn_blocking(move || read(&path)).await else {
                continue;
            };
            match keys {
                Ok(keys) => self.keys.store(Arc::new(keys)),
                Err(error) => {
                    let error = error_chain(&error);
                    tracing::warn!(error, "key set not read again, keeping the keys read last");
                }
            }
        }
    }

    /// The key of an algorithm and an id. Without an id only a key that is the only one of its
    /// algorithm is meant.
    pub(super) fn find(&self, algorithm: Algorithm, id: Option<&str>) -> Option<DecodingKey> {
        let keys = self.keys.load();
        let mut fitting = keys
            .iter()
            .filter(|key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id));
        let found = fitting.next()?;
        fitting.next().is_none().then(|| found.key.clone())
    }
}

fn read(path: &Path) -> Result<Vec<Key>, InvalidKeySet> {
    let text = || {
        let mut text = Vec::new();
        let file = File::open(path)?;
        file.take(MAX_FILE_BYTES).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = text().map_err(|source| InvalidKeySet::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let set: Set = serde_json::from_slice(&text).map_err(|source| InvalidKeySet::Malformed {
        path: path.to_owned(),
        source,
    })?;
    // A key of a kind that is not known here does no harm to the others (RFC 7517, section 5).
    let known = set.keys.iter().filter_map(|key| Jwk::deserialize(key).ok());
    let keys: Vec<Key> = known.filter_map(|key| usable(&key)).collect();
    if keys.is_empty() {
        let path = path.to_owned();
        return Err(InvalidKeySet::Empty { path });
    }
    Ok(keys)
}

/// A key that signs tokens by an algorithm that is accepted.
fn usable(key: &Jwk) -> Option<Key> {
    let algorithm = match &key.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::EllipticCurve(_)
        | AlgorithmParameters::OctetKey(_)
        | AlgorithmParameters::OctetKeyPair(_)
        | AlgorithmParameters::Other(_)
        | _ => return None,
    };
    let is_for_signing = match &key.common.public_key_use {
        None | Some(PublicKeyUse::Signature) => true,
        Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)) => false,
    };
    let said = key.common.key_algorithm.map(|said| said.to_string());
    let is_for_this = said.is_none_or(|said| said == format!("{algorithm:?}"));
    if !is_for_signing || !is_for_this {
        return None;
    }
    Some(Key {
        id: key.common.key_id.clone(),
        algorithm,
        key: DecodingKey::from_jwk(key).ok()?,
    })
}
