//! Who may operate the system, as it is stored: accounts of the control plane, API keys, and what
//! was revoked. Users of the Postgres front are another matter: [`crate::records::User`].
//!
//! Keys and revocations lie under one prefix, [`crate::keys::GRANTS`], which routers and managers
//! follow ([`Follower`]); accounts are read when somebody logs in.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use platform::access::grants::{self, Grants};
use platform::access::{Role, Scope};
use serde::{Deserialize, Serialize};

use crate::records::{Digest, rfc3339};
use crate::{GroupName, keys};

pub use crate::watch::grants::{Follower, View};

/// The name of an account of the control plane, such as `alice` or `alice@example.com`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(String);

/// Why a text is no account's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters, each an ASCII letter, a digit or one of . _ @ + -")]
pub struct InvalidAccountName;

impl AccountName {
    const MAX_CHARS: usize = 64;

    /// A name.
    ///
    /// # Errors
    /// When it is too long or has other characters.
    pub fn try_new(text: &str) -> Result<Self, InvalidAccountName> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
        let valid = (1..=Self::MAX_CHARS).contains(&text.len()) && text.bytes().all(is_allowed);
        valid
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidAccountName)
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for AccountName {
    type Error = InvalidAccountName;

    fn try_from(text: String) -> Result<Self, InvalidAccountName> {
        Self::try_new(&text)
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        name.0
    }
}

/// What an account or a key may do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rights {
    /// Its roles.
    pub roles: BTreeSet<Role>,
    /// The table groups that it may touch; all without this list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<BTreeSet<GroupName>>,
}

impl Rights {
    /// The groups' names as texts.
    #[must_use]
    pub fn group_names(&self) -> Option<Vec<String>> {
        let groups = self.groups.as_ref()?;
        Some(groups.iter().map(ToString::to_string).collect())
    }
}

/// An account of the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its name, the subject of its tokens.
    pub name: AccountName,
    /// The argon2id hash of its password, in PHC form.
    pub password_hash: String,
    /// What it may do.
    #[serde(flatten)]
    pub rights: Rights,
    /// Whether it may log in.
    pub enabled: bool,
    /// Grows with each change, and is greater than that of any earlier account of this name.
    pub version: u64,
    /// When it was created.
    #[serde(with = "rfc3339")]
    pub created_at: SystemTime,
    /// When it was last changed.
    #[serde(with = "rfc3339")]
    pub updated_at: SystemTime,
}

/// An API key. The key itself is nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its public part.
    pub id: String,
    /// What it is for, in its maker's words.
    pub name: String,
    /// Its sha256.
    pub hash: Digest,
    /// What its holder may do.
    #[serde(flatten)]
    pub rights: Rights,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created_at: SystemTime,
    /// Until when it is good, in seconds since 1970; none is until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// That the first administrator was created: written once, never removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The administrator.
    pub by: AccountName,
    /// When.
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
}

/// That a token or a session is over; gone with its lease once the token would have expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Whose it was.
    pub subject: String,
}

/// That tokens of an account before a version are over; gone as [`Revoked`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The oldest version whose tokens are good.
    pub version: u64,
}

/// Milliseconds since 1970: what versions of accounts count from.
#[must_use]
pub fn millis(at: SystemTime) -> u64 {
    let since_1970 = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

impl ApiKey {
    fn granted(&self) -> grants::Key {
        grants::Key {
            hash: self.hash.bytes(),
            roles: self.rights.roles.clone(),
            scope: Scope::of(self.rights.group_names().as_deref()),
            expires_at: self.expires_at,
        }
    }
}

/// Takes one record into the grants, or out of them.
pub(crate) fn apply(grants: &mut Grants, key: &str, value: Option<&[u8]>) {
    let unreadable = |error: &dyn fmt::Display| {
        tracing::error!(key, %error, "grant not readable");
    };
    if let Some(id) = key.strip_prefix(keys::API_KEYS) {
        // Of what the record said before nothing is known to hold still.
        grants.keys.remove(id);
        match value.map(|value| crate::records::decode::<ApiKey>(key, value)) {
            Some(Ok(record)) if record.id == id => {
                grants.keys.insert(id.to_owned(), record.granted());
            }
            Some(Ok(record)) => unreadable(&format!("it is of key {}", record.id)),
            Some(Err(error)) => unreadable(&error),
            None => {}
        }
    } else if let Some(id) = keys::revoked_token_of(key) {
        // That it is there says all.
        match value {
            Some(_) => grants.revoked.insert(id),
            None => grants.revoked.remove(&id),
        };
    } else if let Some(name) = key.strip_prefix(keys::REVOKED_ACCOUNTS) {
        let floor = match value.map(|value| crate::records::decode::<Floor>(key, value)) {
            None => {
                grants.floors.remove(name);
                return;
            }
            Some(Ok(Floor { version })) => version,
            Some(Err(error)) => {
                unreadable(&error);
                u64::MAX
            }
        };
        grants.floors.insert(name.to_owned(), floor);
    } else {
        unreadable(&"unknown kind");
    }
}
