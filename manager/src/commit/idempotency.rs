//! Idempotency keys: a record of the request that was made under a key, which a repeated request
//! finds. It is written with the change and goes with its lease.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use topology::{Epoch, keys};

use crate::control::NewShard;

/// How long a key is remembered.
pub(super) const TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// A client's name for one request and its repetitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Most characters of a key.
    pub const MAX_CHARS: usize = 128;

    /// A key of 1 to [`Self::MAX_CHARS`] visible ASCII characters.
    #[must_use]
    pub fn try_new(text: &str) -> Option<Self> {
        let valid = (1..=Self::MAX_CHARS).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        valid.then(|| Self(text.to_owned()))
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn stored(&self) -> String {
        keys::idempotency(&self.0)
    }
}

/// What was asked for under a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) shard: NewShard,
    pub(super) epoch: Epoch,
}
