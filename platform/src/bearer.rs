//! Bearer tokens: JWTs signed by us (HS256 and a shared secret, or the one before it) or by an
//! identity provider (RS256 or ES256 and its key set).
//!
//! Only whether a token is trusted, and what it says, is decided here.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};

use crate::{Kind, Secret};

mod claims;
mod key_set;
mod settings;

pub use claims::{Claims, Names};
pub use key_set::{InvalidKeySet, KeySet};
pub use settings::{KeySetSettings, Settings};

/// By how much clocks may differ unless the configuration says otherwise.
const LEEWAY: Duration = Duration::from_secs(30);

/// Whom our tokens are for, and who makes them, unless the configuration says otherwise.
pub const OURS: &str = "sharding";

/// A longer token is not parsed.
const MAX_TOKEN_BYTES: usize = 8 << 10;

/// Why a request has no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// There is no `authorization` header.
    #[error("a bearer token or an API key is needed")]
    Missing,
    /// The header does not hold `Bearer` and a token.
    #[error("the authorization header must hold \"Bearer\" and a token")]
    NotBearer,
    /// The token is no JWT, or does not say what it must.
    #[error("the token is malformed or lacks a claim")]
    Malformed,
    /// The token is signed with another key or algorithm, or meant for somebody else.
    #[error("the token is not valid here")]
    Untrusted,
    /// The time of the token or key is over, or has not begun.
    #[error("the token or key has expired or is not valid yet")]
    Expired,
    /// The token, its session or its account's earlier tokens were revoked.
    #[error("the token has been revoked")]
    Revoked,
    /// A refresh token was sent where an access token belongs.
    #[error("a refresh token is only good for a new access token")]
    OnlyRefresh,
    /// There is no such API key.
    #[error("the API key is not known")]
    UnknownKey,
    /// Revocations have not been read yet.
    #[error("who may call is not known yet: try again")]
    NotReady,
}

impl Rejected {
    /// The kind of a rejection.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Missing
            | Self::NotBearer
            | Self::Malformed
            | Self::Untrusted
            | Self::Expired
            | Self::Revoked
            | Self::OnlyRefresh
            | Self::UnknownKey => Kind::Unauthenticated,
            Self::NotReady => Kind::Unavailable,
        }
    }
}

/// The credential in the value of an `authorization` header.
///
/// # Errors
/// When there is none.
pub fn token_of(header_value: Option<&str>) -> Result<&str, Rejected> {
    let (scheme, token) = header_value
        .ok_or(Rejected::Missing)?
        .split_once(' ')
        .ok_or(Rejected::NotBearer)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Rejected::NotBearer);
    }
    Ok(token)
}

/// Checks tokens; clones share the key set.
#[derive(Clone)]
pub struct Verifier(Arc<Rules>);

struct Rules {
    /// The present secret, then the one before it.
    secrets: Vec<DecodingKey>,
    ours: Validation,
    theirs: Option<(KeySet, Validation)>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bearer::Verifier")
    }
}

impl Verifier {
    /// Accepts tokens signed with HS256 and this secret, and no others.
    #[must_use]
    pub fn hs256(secret: &Secret) -> Self {
        let settings = Settings {
            secrets: vec![secret.clone()],
            ..Settings::default()
        };
        Self::with(&settings, None)
    }

    /// Accepts what the settings say.
    ///
    /// # Errors
    /// When the key set cannot be read.
    pub fn try_new(settings: &Settings) -> Result<Self, InvalidKeySet> {
        let theirs = match &settings.key_set {
            None => None,
            Some(files) => Some(KeySet::load(files.path.clone())?),
        };
        Ok(Self::with(settings, theirs))
    }

    fn with(settings: &Settings, key_set: Option<KeySet>) -> Self {
        let leeway = settings.leeway;
        let ours = rules(
            Algorithm::HS256,
            (settings.issuer.as_deref(), settings.audience.as_deref()),
            leeway,
        );
        let theirs = key_set.zip(settings.key_set.as_ref());
        let theirs = theirs.map(|(keys, named)| {
            let who = (named.issuer.as_deref(), named.audience.as_deref());
            (keys, rules(Algorithm::RS256, who, leeway))
        });
        let secret = |secret: &Secret| DecodingKey::from_secret(secret.expose().as_bytes());
        Self(Arc::new(Rules {
            secrets: settings.secrets.iter().map(secret).collect(),
            ours,
            theirs,
        }))
    }

    /// The key set of the identity provider, to be kept up to date.
    #[must_use]
    pub fn key_set(&self) -> Option<KeySet> {
        self.0.theirs.as_ref().map(|(keys, _)| keys.clone())
    }

    /// Checks a token.
    ///
    /// # Errors
    /// Why it is not trusted.
    pub fn verify(&self, token: &str) -> Result<Claims, Rejected> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rejected::Malformed);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Rejected::Malformed)?;
        // What a token says must be understood, is not (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err(Rejected::Untrusted);
        }
        // The algorithm decides which keys are tried: a public key is never taken for a secret.
        let claims = match (header.alg, &self.0.theirs) {
            (Algorithm::HS256, _) => self.verify_ours(token)?,
            (algorithm @ (Algorithm::RS256 | Algorithm::ES256), Some((keys, rules))) => {
                let key = keys.find(algorithm, header.kid.as_deref());
                let rules = Validation {
                    algorithms: vec![algorithm],
                    ..rules.clone()
                };
                let claims = decode(token, &key.ok_or(Rejected::Untrusted)?, &rules)?;
                claims.check()?;
                return Ok(claims.of_a_provider());
            }
            _ => return Err(Rejected::Untrusted),
        };
        claims.check()?;
        Ok(claims)
    }

    /// Whether a token that was good is still, by its time.
    ///
    /// # Errors
    /// When its time is over.
    pub fn recheck(&self, claims: &Claims) -> Result<(), Rejected> {
        if claims.exp.saturating_add(self.0.ours.leeway) < now() {
            return Err(Rejected::Expired);
        }
        Ok(())
    }

    fn verify_ours(&self, token: &str) -> Result<Claims, Rejected> {
        let mut rejected = Rejected::Untrusted;
        for secret in &self.0.secrets {
            match decode(token, secret, &self.0.ours) {
                Ok(claims) => return Ok(claims),
                Err(Rejected::Untrusted) => {}
                Err(other) => rejected = other,
            }
        }
        Err(rejected)
    }
}

fn rules(
    algorithm: Algorithm,
    (issuer, audience): (Option<&str>, Option<&str>),
    leeway: Duration,
) -> Validation {
    let mut rules = Validation::new(algorithm);
    rules.required_spec_claims = HashSet::from(["exp", "sub"].map(str::to_owned));
    rules.validate_nbf = true;
    rules.leeway = leeway.as_secs();
    if let Some(issuer) = issuer {
        rules.set_issuer(&[issuer]);
        rules.required_spec_claims.insert("iss".to_owned());
    }
    // A token that names its audience must name us; only a configured one must be named.
    rules.set_audience(&[audience.unwrap_or(OURS)]);
    if audience.is_some() {
        rules.required_spec_claims.insert("aud".to_owned());
    }
    rules
}

fn decode(token: &str, key: &DecodingKey, rules: &Validation) -> Result<Claims, Rejected> {
    match jsonwebtoken::decode::<Claims>(token, key, rules) {
        Ok(token) => Ok(token.claims),
        Err(error) => Err(rejection(error.kind())),
    }
}

/// The library's errors are many and may grow; what is not known means that the token is not
/// trusted.
fn rejection(error: &ErrorKind) -> Rejected {
    match error {
        ErrorKind::ExpiredSignature | ErrorKind::ImmatureSignature => Rejected::Expired,
        ErrorKind::InvalidToken
        | ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_)
        | ErrorKind::Base64(_)
        | ErrorKind::Json(_)
        | ErrorKind::Utf8(_) => Rejected::Malformed,
        _ => Rejected::Untrusted,
    }
}

/// Signs claims with HS256.
#[must_use]
pub fn sign(secret: &Secret, claims: &Claims) -> String {
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
        .expect("HS256 signs any claims with any secret")
}

/// A token for `sub` with roles, valid for `ttl` from now: for programs that share the secret, and
/// for tests.
#[must_use]
pub fn sign_hs256(secret: &Secret, sub: &str, roles: &[&str], ttl: Duration) -> String {
    let roles: BTreeSet<String> = roles.iter().map(|role| (*role).to_owned()).collect();
    let roles = (!roles.is_empty()).then(|| Names::Many(roles.into_iter().collect()));
    let claims = Claims {
        roles,
        ..Claims::new(sub, ttl)
    };
    sign(secret, &claims)
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
