//! What a token says. Claims that are not named here are passed over.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Rejected, now};
use crate::access::{KEY_ACTOR, Role};

/// Longest subject, in bytes: it stands in logs and in the audit log.
const MAX_SUBJECT_BYTES: usize = 256;

/// Longest id of a token, in bytes: it is a part of a key in etcd when it is revoked.
const MAX_ID_BYTES: usize = 128;

/// Most names in one claim.
const MAX_NAMES: usize = 256;

/// A claim that is a name or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Names {
    /// One.
    One(String),
    /// Any number.
    Many(Vec<String>),
}

impl Names {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Claims {
    /// Who calls.
    pub sub: String,
    /// Until when the token is valid, in seconds since 1970.
    pub exp: u64,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<Names>,
    /// When it was made, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// Its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// What the caller may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Names>,
    /// The same, as others spell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Names>,
    /// The table groups that the caller may touch; all without this claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// The login that it goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The version that the account had.
    #[serde(default, rename = "ver", skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// `refresh` for a token that is only good for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_use: Option<String>,
}

impl Claims {
    /// What [`Self::token_use`] says of a refresh token.
    pub const REFRESH: &str = "refresh";

    /// Claims of `sub` for `ttl` from now.
    #[must_use]
    pub fn new(sub: &str, ttl: Duration) -> Self {
        let now = now();
        Self {
            sub: sub.to_owned(),
            exp: now.saturating_add(ttl.as_secs()),
            iat: Some(now),
            ..Self::default()
        }
    }

    /// Whether the token is only good for others.
    #[must_use]
    pub fn is_refresh(&self) -> bool {
        self.token_use.as_deref() == Some(Self::REFRESH)
    }

    /// The roles that mean something here.
    #[must_use]
    pub fn known_roles(&self) -> BTreeSet<Role> {
        let named = [&self.role, &self.roles].into_iter().flatten();
        named
            .flat_map(Names::as_slice)
            .filter_map(|word| Role::of(word))
            .collect()
    }

    pub(super) fn check(&self) -> Result<(), Rejected> {
        // Nobody calls themselves what the audit log calls the holder of a key.
        let is_subject = (1..=MAX_SUBJECT_BYTES).contains(&self.sub.len())
            && !self.sub.contains(char::is_control)
            && !self.sub.starts_with(KEY_ACTOR);
        let named = [&self.role, &self.roles].into_iter().flatten();
        let are_few = named
            .map(Names::as_slice)
            .all(|names| names.len() <= MAX_NAMES)
            && self
                .groups
                .as_ref()
                .is_none_or(|names| names.len() <= MAX_NAMES);
        let ids = [&self.jti, &self.sid];
        let are_ids = ids
            .into_iter()
            .flatten()
            .all(|id| (1..=MAX_ID_BYTES).contains(&id.len()));
        if is_subject && are_few && are_ids {
            Ok(())
        } else {
            Err(Rejected::Malformed)
        }
    }
}
