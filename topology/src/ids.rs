//! Newtypes for every id and every number with a meaning of its own.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a valid id or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {rule}")]
pub struct InvalidId {
    /// Which kind of id was read, e.g. `shard id`.
    pub what: &'static str,
    /// The text that was refused, at most 128 characters of it.
    pub value: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl InvalidId {
    pub(crate) fn new(what: &'static str, value: &str, rule: &'static str) -> Self {
        Self {
            what,
            value: value.chars().take(128).collect(),
            rule,
        }
    }
}

/// A position on the ring: the murmur3 x86_32 hash of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Token(pub u32);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The version of the topology; grows by one with each control write (I2).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one. The last one of all, which no manager lives to write but any hand
    /// can, is followed by itself.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A leader's tenure: the etcd create revision of its leader key, so it only grows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Term(pub u64);

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A shard's id: lower-case letters, digits and inner hyphens, at most 63 characters, so that it
/// is at home in a metric label, a host name and an etcd key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShardId(Arc<str>);

impl ShardId {
    /// Most characters in an id (a DNS label).
    pub const MAX_CHARS: usize = 63;

    /// Checks and wraps an id.
    ///
    /// # Errors
    /// [`InvalidId`] names the rule that the text breaks.
    pub fn try_new(text: &str) -> Result<Self, InvalidId> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let edges = !text.starts_with('-') && !text.ends_with('-');
        if text.is_empty() || text.len() > Self::MAX_CHARS || !text.bytes().all(inner) || !edges {
            return Err(InvalidId::new(
                "shard id",
                text,
                "use 1 to 63 lower-case letters, digits and inner hyphens",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A table group's name: the same alphabet as a shard id, and underscores.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(Arc<str>);

impl GroupName {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// [`InvalidId`] names the rule that the text breaks.
    pub fn try_new(text: &str) -> Result<Self, InvalidId> {
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if text.is_empty() || text.len() > 63 || !text.bytes().all(allowed) {
            return Err(InvalidId::new(
                "group name",
                text,
                "use 1 to 63 lower-case letters, digits, hyphens and underscores",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a user of the Postgres front, as a client sends it: any text that PostgreSQL would
/// take for a role, without control characters, since it is shown in logs and tables.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(Arc<str>);

impl UserName {
    /// Most bytes in a name (PostgreSQL's NAMEDATALEN - 1).
    pub const MAX_BYTES: usize = 63;

    /// Checks and wraps a name.
    ///
    /// # Errors
    /// [`InvalidId`] names the rule that the text breaks.
    pub fn try_new(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() || text.len() > Self::MAX_BYTES || text.contains(char::is_control) {
            return Err(InvalidId::new(
                "user name",
                text,
                "use 1 to 63 bytes, none of them a control character",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_newtype {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::try_new(&text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}
text_newtype!(ShardId);
text_newtype!(GroupName);
text_newtype!(UserName);

/// A table's schema-qualified name, as PostgreSQL stores it (already case-folded).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    schema: Box<str>,
    name: Box<str>,
}

impl TableName {
    /// PostgreSQL's NAMEDATALEN - 1.
    pub const MAX_IDENTIFIER_BYTES: usize = 63;

    /// Checks and wraps the two parts, each an identifier as PostgreSQL stores it.
    ///
    /// # Errors
    /// [`InvalidId`] when a part is empty, longer than 63 bytes or holds a NUL.
    pub fn try_from_parts(schema: &str, name: &str) -> Result<Self, InvalidId> {
        for part in [schema, name] {
            if part.is_empty() || part.len() > Self::MAX_IDENTIFIER_BYTES || part.contains('\0') {
                return Err(InvalidId::new(
                    "table name",
                    part,
                    "each part is an identifier of 1 to 63 bytes",
                ));
            }
        }
        Ok(Self {
            schema: schema.into(),
            name: name.into(),
        })
    }

    /// The schema, e.g. `public`.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The table's own name, e.g. `orders`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}
