//! Logging in and out. Every manager does it itself: what is asked is in the store, and what is
//! written is decided by the transaction.

use std::sync::Arc;

use platform::Secret;
use platform::access::Credential;
use platform::bearer::{Claims, Rejected};
use proto::manager::v1;
use topology::access::{Account, AccountName};
use topology::records::decode;
use topology::watch::LoadError;
use topology::{Term, keys};
use uuid::Uuid;

use super::{CATCH_UP, Service};
use crate::auth::issuer::{Issuer, Pair};
use crate::auth::password;
use crate::caller::Caller;
use crate::commit::{self, AccessRequest};
use crate::control::access::Command;
use crate::error::Error;
use crate::leader::Standing;

mod accounts;
mod api_keys;
mod describe;

/// How often a write is begun again while others are always faster, as a running job may be.
const ROUNDS: u32 = 4;

impl Service {
    /// Creates the first administrator, once.
    ///
    /// # Errors
    /// When there was one, a field is wrong, or nobody leads.
    pub async fn setup(
        &self,
        caller: &Caller,
        request: v1::SetupRequest,
    ) -> Result<v1::SetupResponse, Error> {
        let issuer = self.issuer()?;
        let name = account_name("name", &request.name)?;
        let marker = self.0.store.read(keys::AUTH_SETUP).await;
        if marker.map_err(unreadable)?.is_some() {
            let setup = crate::control::access::Rejection::SetUp;
            return Err(commit::Error::Access(setup).into());
        }
        let password_hash = self.hashed(request.password).await?;
        let command = Command::Setup {
            name: name.clone(),
            password_hash,
        };
        let caller = caller.named(name.as_str());
        let made = self.change_access(&caller, command).await?;
        let account = made.ok_or(Error::Internal("a setup without an account"))?;
        let pair = issuer.issue(&account, &session());
        Ok(v1::SetupResponse {
            tokens: Some(tokens(issuer, pair)),
            account: Some(describe::account(&account)),
        })
    }

    /// Gives tokens for a name and a password. That it did goes on record first.
    ///
    /// # Errors
    /// When they do not fit, or nobody leads.
    pub async fn login(
        &self,
        caller: &Caller,
        request: v1::LoginRequest,
    ) -> Result<v1::LoginResponse, Error> {
        let issuer = self.issuer()?;
        let name = AccountName::try_new(&request.name).ok();
        let account = match &name {
            Some(name) => self.account(name).await?,
            None => None,
        };
        // A name that cannot be one takes as long as one that nobody has.
        let hash = account
            .as_ref()
            .map(|account| account.password_hash.clone());
        let password = Secret::new(request.password);
        let fits = self.0.auth.passwords.fits(password, hash).await;
        let fits = fits.map_err(|error| unhashed("password", error))?;
        let account = account.filter(|account| fits && account.enabled);
        let Some(account) = account else {
            return Err(Error::WrongPassword { name });
        };
        let session = session();
        let command = Command::LogIn {
            name: account.name.clone(),
            session: session.clone(),
        };
        let caller = caller.named(account.name.as_str());
        self.change_access(&caller, command).await?;
        let pair = issuer.issue(&account, &session);
        Ok(v1::LoginResponse {
            tokens: Some(tokens(issuer, pair)),
            account: Some(describe::account(&account)),
        })
    }

    /// Gives new tokens for a refresh token, which is good for that once: its second use ends the
    /// session, since one of the two who used it has no right to it.
    ///
    /// # Errors
    /// When it is not good, or nobody leads.
    pub async fn refresh(
        &self,
        caller: &Caller,
        request: &v1::RefreshRequest,
    ) -> Result<v1::RefreshResponse, Error> {
        let issuer = self.issuer()?;
        let claims = issuer.read(request.refresh_token.trim())?;
        let refreshed = self.exchanged(caller, &claims).await;
        if matches!(&refreshed, Err(error) if is_revoked(error)) {
            self.end_if_reused(caller, claims).await?;
        }
        refreshed
    }

    async fn exchanged(
        &self,
        caller: &Caller,
        claims: &Claims,
    ) -> Result<v1::RefreshResponse, Error> {
        let issuer = self.issuer()?;
        self.0.auth.grants.shared().load().check(claims)?;
        let name = AccountName::try_new(&claims.sub).map_err(|_| Rejected::Untrusted)?;
        let account = self.account(&name).await?;
        let is_same =
            |account: &Account| account.enabled && claims.version == Some(account.version);
        let account = account.filter(is_same).ok_or(Rejected::Revoked)?;
        let (Some(id), rest) = (claims.jti.clone(), issuer.rest(claims)) else {
            return Err(Rejected::Malformed.into());
        };
        let command = Command::Refresh {
            subject: claims.sub.clone(),
            id,
            rest,
        };
        let caller = caller.named(account.name.as_str());
        self.change_access(&caller, command).await?;
        let session = claims.sid.clone().unwrap_or_else(session);
        let pair = issuer.issue(&account, &session);
        Ok(v1::RefreshResponse {
            tokens: Some(tokens(issuer, pair)),
            account: Some(describe::account(&account)),
        })
    }

    /// Ends the session of a refresh token that was used before; one that was ended by a logout or
    /// with its account has nothing left to end.
    async fn end_if_reused(&self, caller: &Caller, claims: Claims) -> Result<(), Error> {
        let (Some(id), Some(session)) = (claims.jti, claims.sid) else {
            return Ok(());
        };
        let grants = self.0.auth.grants.shared();
        if grants.load().revoked.contains(&session) {
            return Ok(());
        }
        let used = self.0.store.read(&keys::revoked_token(&id)).await;
        if used.map_err(unreadable)?.is_none() {
            return Ok(());
        }
        let caller = caller.named(&claims.sub);
        tracing::warn!(
            account = claims.sub,
            session,
            "a refresh token was used twice: its session is ended"
        );
        let command = Command::Reused {
            subject: claims.sub,
            session: session.clone(),
            rest: self.issuer()?.longest(),
        };
        self.change_access(&caller, command).await?;
        self.seen(|grants| grants.revoked.contains(&session)).await;
        Ok(())
    }

    /// Ends the caller's session: none of its tokens is good any more.
    ///
    /// # Errors
    /// When the caller has none, or nobody leads.
    pub async fn logout(&self, caller: &Caller) -> Result<v1::LogoutResponse, Error> {
        let issuer = self.issuer()?;
        let no_session = |rule: &str| Err(Error::invalid("authorization", rule));
        let claims = match caller
            .identity
            .as_ref()
            .map(|identity| &identity.credential)
        {
            Some(Credential::Token(claims)) => claims,
            Some(Credential::Key(_)) => {
                return no_session("is an API key, which has no session: revoke it");
            }
            None => return no_session("must hold the token whose session is to end"),
        };
        let (id, rest) = match (&claims.sid, &claims.jti) {
            (Some(session), _) => (session, issuer.longest()),
            (None, Some(id)) => (id, issuer.rest(claims)),
            (None, None) => return no_session("is a token without an id: it ends by itself"),
        };
        let command = Command::LogOut {
            subject: claims.sub.clone(),
            id: id.clone(),
            rest,
        };
        self.change_access(caller, command).await?;
        self.seen(|grants| grants.revoked.contains(id)).await;
        Ok(v1::LogoutResponse {})
    }

    /// Who the caller is.
    ///
    /// # Errors
    /// Never at present.
    pub fn who_am_i(&self, caller: &Caller) -> Result<v1::WhoAmIResponse, Error> {
        let Some(identity) = &caller.identity else {
            let name = caller.author.actor.clone();
            return Ok(v1::WhoAmIResponse {
                name,
                ..v1::WhoAmIResponse::default()
            });
        };
        Ok(describe::identity(identity))
    }

    fn issuer(&self) -> Result<&Issuer, Error> {
        self.0.auth.issuer.as_ref().ok_or(Error::NoLogins)
    }

    async fn account(&self, name: &AccountName) -> Result<Option<Account>, Error> {
        let found = self.0.store.read(&keys::account(name)).await;
        let found = found.map_err(unreadable)?;
        let account = found.map(|entry| decode(&entry.key, &entry.value));
        Ok(account.transpose()?)
    }

    async fn hashed(&self, password: String) -> Result<String, Error> {
        let hash = self.0.auth.passwords.hash(Secret::new(password)).await;
        hash.map_err(|error| unhashed("password", error))
    }

    /// The term of whoever leads.
    fn present_term(&self) -> Result<Term, Error> {
        match self.0.leader.standing() {
            Standing::Leading(leader) | Standing::Following(leader) => Ok(leader.term),
            Standing::Unled => Err(Error::NoLeader),
        }
    }

    /// Writes a change of who may do what; goes on even when the caller goes away.
    async fn change_access(
        &self,
        caller: &Caller,
        command: Command,
    ) -> Result<Option<Account>, Error> {
        let request = AccessRequest {
            term: self.present_term()?,
            command,
            author: caller.author.clone(),
        };
        let writer = Arc::clone(&self.0.writer);
        let write = async move {
            let mut written = writer.write_access(&request).await;
            for _ in 1..ROUNDS {
                if !matches!(written, Err(commit::Error::Contended { .. })) {
                    break;
                }
                written = writer.write_access(&request).await;
            }
            written
        };
        let task = self.0.tasks.spawn("access write", write);
        let written = task.await;
        Ok(written.map_err(|_| Error::Internal("a write of who may do what panicked"))??)
    }

    /// Waits until this manager lets callers in as was just written.
    async fn seen(&self, is_wanted: impl Fn(&platform::access::grants::Grants) -> bool) {
        let seen = self.0.auth.grants.until(is_wanted);
        if tokio::time::timeout(CATCH_UP, seen).await.is_err() {
            tracing::warn!("written grants not seen yet");
        }
    }
}

/// Whether a token was refused that had been good.
fn is_revoked(error: &Error) -> bool {
    matches!(
        error,
        Error::Unidentified(Rejected::Revoked)
            | Error::Commit(commit::Error::Access(
                crate::control::access::Rejection::Used
            ))
    )
}

fn unreadable(error: topology::store::Error) -> Error {
    Error::Unreadable(LoadError::Store(error))
}

fn unhashed(field: &'static str, error: password::Error) -> Error {
    match error {
        password::Error::Unusable => Error::invalid(field, error.to_string()),
        password::Error::Busy => Error::Busy,
        password::Error::Internal => Error::Internal("a password could not be hashed"),
    }
}

fn account_name(field: &'static str, text: &str) -> Result<AccountName, Error> {
    AccountName::try_new(text).map_err(|invalid| Error::invalid(field, invalid.to_string()))
}

fn session() -> String {
    Uuid::new_v4().to_string()
}

fn tokens(issuer: &Issuer, pair: Pair) -> v1::Tokens {
    v1::Tokens {
        access_token: pair.access,
        expires_in: issuer.lifetimes.access.as_secs(),
        refresh_token: pair.refresh,
        refresh_expires_in: issuer.lifetimes.refresh.as_secs(),
    }
}
