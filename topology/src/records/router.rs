//! What a router says of itself, under its lease.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Epoch, ids::InvalidId};

/// One run of a router's process: two runs are never the same, even under one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl From<Incarnation> for String {
    fn from(incarnation: Incarnation) -> Self {
        incarnation.to_string()
    }
}

impl TryFrom<String> for Incarnation {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let number = u64::from_str_radix(&text, 16).ok();
        let number = number.filter(|_| text.len() == 16 && text.bytes().all(digit));
        let rule = "it is 16 lower-case hexadecimal digits";
        let number = number.ok_or_else(|| InvalidId::new("incarnation", &text, rule))?;
        Ok(Self(number))
    }
}

/// A live router: its record is gone a while after its process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterRecord {
    /// `host:port` of its Postgres front.
    pub address: String,
    /// Which run of its process it is.
    pub incarnation: Incarnation,
    /// It begins no statement by a topology older than this (docs/moving-keys.md). It is written anew only after changes that move keys or are about
    /// to, so that it may lag behind what the router serves, and never the other way round.
    pub applied_epoch: Epoch,
    /// The release that it is.
    pub version: String,
}
