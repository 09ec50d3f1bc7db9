//! The versioned envelope of stored values: `{"v":1, ...}`, JSON, so that `etcdctl get` is legible.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a stored value could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not the record's shape.
    #[error("stored value of {key} is not readable")]
    Malformed {
        /// The etcd key.
        key: String,
        /// What the JSON reader says.
        #[source]
        source: serde_json::Error,
    },
    /// Written by a later release.
    #[error("stored value of {key} has version {version}, this release reads up to {max}")]
    UnknownVersion {
        /// The etcd key.
        key: String,
        /// The version found.
        version: u64,
        /// The newest version that this release reads.
        max: u64,
    },
}

/// The version written today.
const VERSION: u64 = 1;

/// A record as its stored bytes.
#[must_use]
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    #[derive(Serialize)]
    struct Envelope<'a, T> {
        v: u64,
        #[serde(flatten)]
        record: &'a T,
    }
    let envelope = Envelope { v: VERSION, record };
    serde_json::to_vec(&envelope).expect("records hold only maps with text keys")
}

/// The record in stored bytes; `key` is only for the error's text.
///
/// # Errors
/// [`DecodeError`] when the value is malformed or of a later version.
pub fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T, DecodeError> {
    #[derive(serde::Deserialize)]
    struct Version {
        v: u64,
    }
    let malformed = |source| DecodeError::Malformed {
        key: key.to_owned(),
        source,
    };
    let version: Version = serde_json::from_slice(bytes).map_err(malformed)?;
    if version.v != VERSION {
        let (version, max) = (version.v, VERSION);
        return Err(DecodeError::UnknownVersion {
            key: key.to_owned(),
            version,
            max,
        });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

/// Times as RFC 3339 text with milliseconds, in UTC.
pub(super) mod rfc3339 {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_rfc3339_millis(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)
    }
}
