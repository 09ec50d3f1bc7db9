//! The versioned envelope of stored values: `{"v":1, ...}`, JSON, so that `etcdctl get` is legible.
//!
//! Within a version, fields may be added that an older release may pass over: unknown ones are
//! ignored. Whatever changes the meaning of a record, or takes a field away, is a new version, and
//! an unknown version is refused.

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
    /// Written by another release.
    #[error("stored value of {key} has version {version}, this release reads version {VERSION}")]
    UnknownVersion {
        /// The etcd key.
        key: String,
        /// The version found.
        version: u64,
    },
}

/// The version that is written, and so far the only one.
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
    serde_json::to_vec(&envelope).expect("a record's fields have text names and JSON values")
}

/// The record in stored bytes; `key` is only for the error's text.
///
/// # Errors
/// [`DecodeError`] when the value is malformed or of another version.
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
        return Err(DecodeError::UnknownVersion {
            key: key.to_owned(),
            version: version.v,
        });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

/// Times as RFC 3339 text with milliseconds, in UTC. What is finer is cut off, and a time outside
/// the years 1970 to 9999, which RFC 3339 cannot say, becomes the nearest end.
pub(crate) mod rfc3339 {
    use std::time::{Duration, SystemTime};

    use serde::{Deserialize, Deserializer, Serializer};

    /// The last second of the year 9999.
    const LAST: Duration = Duration::from_secs(253_402_300_799);

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        let first = SystemTime::UNIX_EPOCH;
        let time = (*time).clamp(first, first + LAST);
        to.collect_str(&humantime::format_rfc3339_millis(time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)
    }
}

/// Thirty-two bytes as base64 text.
pub(super) mod base64_32 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let bytes = STANDARD.decode(text).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| serde::de::Error::custom("must be 32 bytes in base64"))
    }
}
