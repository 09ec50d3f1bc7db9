//! What a token says. Claims that are not named here are passed over.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Rejected, now};
use crate::access::{KEY_ACTOR, PROVIDER_ACTOR, Role};

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

/// A time as tokens have it: seconds since 1970, which need not be whole (RFC 7519, section 2).
#[derive(Deserialize)]
#[serde(untagged)]
enum NumericDate {
    Whole(u64),
    Parts(f64),
}

impl NumericDate {
    fn seconds<E: serde::de::Error>(self) -> Result<u64, E> {
        match self {
            Self::Whole(seconds) => Ok(seconds),
            Self::Parts(seconds) => Duration::try_from_secs_f64(seconds)
                .map(|time| time.as_secs())
                .map_err(|_| E::custom("a time must be seconds since 1970")),
        }
    }
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    NumericDate::deserialize(from)?.seconds()
}

fn perhaps_seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let date = Option::<NumericDate>::deserialize(from)?;
    date.map(NumericDate::seconds).transpose()
}

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Claims {
    /// Who calls.
    pub sub: String,
    /// Until when the token is valid, in seconds since 1970.
    #[serde(deserialize_with = "seconds")]
    pub exp: u64,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Whom it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<Names>,
    /// When it was made, in seconds since 1970.
    #[serde(
        default,
        deserialize_with = "perhaps_seconds",
        skip_serializing_if = "Option::is_none"
    )]
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

    /// The claims of a token that an identity provider made. Whoever is called there as somebody is
    /// called here is not the same, and neither are ids of tokens: both get a prefix that ours never
    /// have. What only we say of a token is not theirs to say.
    pub(super) fn of_a_provider(self) -> Self {
        let named = |text: String| format!("{PROVIDER_ACTOR}{text}");
        Self {
            sub: named(self.sub),
            jti: self.jti.map(named),
            sid: None,
            version: None,
            token_use: None,
            ..self
        }
    }

    pub(super) fn check(&self) -> Result<(), Rejected> {
        // Nobody calls themselves what the audit log calls the holder of a key, or somebody whom
        // another one vouches for.
        let is_subject = (1..=MAX_SUBJECT_BYTES).contains(&self.sub.len())
            && !self.sub.contains(char::is_control)
            && !self.sub.starts_with(KEY_ACTOR)
            && !self.sub.starts_with(PROVIDER_ACTOR);
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
