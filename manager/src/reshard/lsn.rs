//! A place in a server's write-ahead log.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a place in a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a place in a write-ahead log: two hexadecimal numbers with a slash between")]
pub struct InvalidLsn(String);

/// A byte position in the write-ahead log. Places of different servers are not comparable.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Lsn(pub u64);

impl Lsn {
    /// PostgreSQL's word for no place at all.
    pub const INVALID: Self = Self(0);

    /// The bytes from an earlier place to this one; 0 from a later one.
    #[must_use]
    pub fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = InvalidLsn;

    fn from_str(text: &str) -> Result<Self, InvalidLsn> {
        let half = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            u32::from_str_radix(digits, 16).ok().filter(|_| plain)
        };
        let halves = text.split_once('/');
        let halves = halves.and_then(|(high, low)| half(high).zip(half(low)));
        let (high, low) = halves.ok_or_else(|| InvalidLsn(text.chars().take(64).collect()))?;
        Ok(Self(u64::from(high) << 32 | u64::from(low)))
    }
}

impl TryFrom<String> for Lsn {
    type Error = InvalidLsn;

    fn try_from(text: String) -> Result<Self, InvalidLsn> {
        text.parse()
    }
}

impl From<Lsn> for String {
    fn from(lsn: Lsn) -> Self {
        lsn.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_postgres_writes_it() {
        for (text, value) in [
            ("0/0", 0),
            ("0/1529C50", 0x0152_9c50),
            ("1A/FFFFFFFF", 0x1a_ffff_ffff),
            ("FFFFFFFF/FFFFFFFF", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Lsn(value)));
            assert_eq!(Lsn(value).to_string(), text);
            let json = serde_json::to_string(&Lsn(value)).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Lsn>(&json).unwrap(), Lsn(value));
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "0", "0/", "/0", "+1/2", "1/2/3", "g/0", "100000000/0"] {
            assert!(text.parse::<Lsn>().is_err(), "{text}");
        }
    }
}
