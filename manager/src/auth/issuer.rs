//! Makes the tokens that a login gives: one for requests, which is short-lived, and one for the
//! next pair of tokens, which is good for that once.

use std::time::Duration;

use platform::Secret;
use platform::access::Role;
use platform::bearer::{self, Claims, Names, OURS, Settings, Verifier};
use topology::access::Account;
use uuid::Uuid;

/// How long tokens are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// For requests.
    pub access: Duration,
    /// For the next pair.
    pub refresh: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            access: Duration::from_mins(15),
            refresh: Duration::from_hours(12),
        }
    }
}

/// Makes tokens.
#[derive(Debug)]
pub struct Issuer {
    secret: Secret,
    issuer: String,
    audience: String,
    /// How long they are good.
    pub lifetimes: Lifetimes,
    /// How long a token may be accepted after its end.
    leeway: Duration,
    /// Reads refresh tokens.
    verifier: Verifier,
}

/// A pair of tokens.
#[derive(Debug)]
pub struct Pair {
    /// For requests.
    pub access: String,
    /// For the next pair.
    pub refresh: String,
}

impl Issuer {
    /// Signs as `settings` say tokens must be, with the first of their secrets; none without one.
    #[must_use]
    pub fn new(settings: &Settings, verifier: Verifier, lifetimes: Lifetimes) -> Option<Self> {
        let or_ours = |name: &Option<String>| name.clone().unwrap_or_else(|| OURS.to_owned());
        Some(Self {
            secret: settings.secrets.first()?.clone(),
            issuer: or_ours(&settings.issuer),
            audience: or_ours(&settings.audience),
            lifetimes,
            leeway: settings.leeway,
            verifier,
        })
    }

    /// Tokens of an account for a session.
    #[must_use]
    pub fn issue(&self, account: &Account, session: &str) -> Pair {
        let rights = &account.rights;
        let roles = rights.roles.iter().map(|role| role.as_str().to_owned());
        // The highest of the control plane, for readers that know of one role alone.
        let role = [Role::Admin, Role::Operator, Role::Viewer]
            .into_iter()
            .find(|role| rights.roles.contains(role));
        let access = Claims {
            role: role.map(|role| Names::One(role.as_str().to_owned())),
            roles: Some(Names::Many(roles.collect())),
            groups: rights.group_names(),
            ..self.claims(account, session, self.lifetimes.access)
        };
        let refresh = Claims {
            token_use: Some(Claims::REFRESH.to_owned()),
            ..self.claims(account, session, self.lifetimes.refresh)
        };
        Pair {
            access: bearer::sign(&self.secret, &access),
            refresh: bearer::sign(&self.secret, &refresh),
        }
    }

    fn claims(&self, account: &Account, session: &str, ttl: Duration) -> Claims {
        Claims {
            iss: Some(self.issuer.clone()),
            aud: Some(Names::One(self.audience.clone())),
            jti: Some(Uuid::new_v4().to_string()),
            sid: Some(session.to_owned()),
            version: Some(account.version),
            ..Claims::new(account.name.as_str(), ttl)
        }
    }

    /// What a token says, if it is one of ours that is still good for a new pair.
    ///
    /// # Errors
    /// Why it is not.
    pub fn read(&self, token: &str) -> Result<Claims, bearer::Rejected> {
        let claims = self.verifier.verify(token)?;
        if claims.is_refresh() && claims.version.is_some() && claims.jti.is_some() {
            Ok(claims)
        } else {
            Err(bearer::Rejected::Untrusted)
        }
    }

    /// The longest that any token may live that is given now.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.lifetimes.refresh.max(self.lifetimes.access) + self.leeway
    }

    /// How long a token may be accepted yet.
    #[must_use]
    pub fn rest(&self, claims: &Claims) -> Duration {
        Duration::from_secs(claims.exp.saturating_sub(bearer::now())) + self.leeway
    }
}
