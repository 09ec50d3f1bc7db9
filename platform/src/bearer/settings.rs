//! Which tokens are trusted, as the configuration says: a part of section `security`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{Claims, LEEWAY, Names, OURS, sign};
use crate::Secret;
use crate::access::Role;
use crate::config::Section;

/// Shortest secret that HS256 is worth using with (RFC 7518, 3.2).
const MIN_SECRET_CHARS: usize = 32;

/// Longest difference of clocks that can be configured.
const MAX_LEEWAY: Duration = Duration::from_mins(5);

/// Which tokens are trusted.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Of HS256; the first one signs, the others are accepted too.
    pub secrets: Vec<Secret>,
    /// Who must have made a token of HS256; none is anybody.
    pub issuer: Option<String>,
    /// Whom it must be for. Without one, a token that names somebody must name
    /// [`super::OURS`].
    pub audience: Option<String>,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// The keys of an identity provider.
    pub key_set: Option<KeySetSettings>,
}

/// An identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetSettings {
    /// Where its public keys are.
    pub path: PathBuf,
    /// As [`Settings::issuer`], of its tokens.
    pub issuer: Option<String>,
    /// As [`Settings::audience`], of its tokens.
    pub audience: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            secrets: Vec::new(),
            issuer: None,
            audience: None,
            leeway: LEEWAY,
            key_set: None,
        }
    }
}

impl Settings {
    /// A token for a program that shares these settings, signed with the first of their secrets;
    /// none without one.
    #[must_use]
    pub fn sign(&self, sub: &str, role: Role, ttl: Duration) -> Option<String> {
        let or_ours = |name: &Option<String>| name.clone().unwrap_or_else(|| OURS.to_owned());
        let claims = Claims {
            iss: Some(or_ours(&self.issuer)),
            aud: Some(Names::One(or_ours(&self.audience))),
            role: Some(Names::One(role.as_str().to_owned())),
            ..Claims::new(sub, ttl)
        };
        Some(sign(self.secrets.first()?, &claims))
    }

    /// Reads the fields that begin with `jwt_` and `jwks_`, but for `jwt_secret` itself, which
    /// must be given where calls need a token.
    pub fn read(
        section: &mut Section,
        secret: Option<Secret>,
        env: &BTreeMap<String, String>,
        is_needed: bool,
    ) -> Self {
        let previous = section.secret("jwt_secret_previous");
        let from_env = || {
            let value = env.get("JWT_SECRET_PREVIOUS");
            value.filter(|value| !value.is_empty()).map(Secret::new)
        };
        let previous = previous.or_else(from_env);
        let is_short = |secret: &Secret| secret.expose().chars().count() < MIN_SECRET_CHARS;
        if is_needed && secret.as_ref().is_none_or(is_short) {
            let rule = "must have at least 32 characters with enable_rbac";
            section.violation("jwt_secret", rule);
        }
        if previous.as_ref().is_some_and(is_short) {
            section.violation("jwt_secret_previous", "must have at least 32 characters");
        }
        let leeway = section.duration("jwt_leeway", LEEWAY, true);
        if leeway > MAX_LEEWAY {
            section.violation("jwt_leeway", "must be at most 5m");
        }
        let issuer = named(section, "jwt_issuer");
        let audience = named(section, "jwt_audience");
        let path = named(section, "jwks_path").map(PathBuf::from);
        let (their_issuer, their_audience) = (
            named(section, "jwks_issuer"),
            named(section, "jwks_audience"),
        );
        if path.is_some() && their_issuer.is_none() {
            section.violation("jwks_issuer", "must be given with jwks_path");
        }
        Self {
            secrets: secret.into_iter().chain(previous).collect(),
            issuer,
            audience,
            leeway,
            key_set: path.map(|path| KeySetSettings {
                path,
                issuer: their_issuer,
                audience: their_audience,
            }),
        }
    }
}

fn named(section: &mut Section, name: &str) -> Option<String> {
    section.optional_text(name).filter(|text| !text.is_empty())
}
