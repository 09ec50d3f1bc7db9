//! The tokens that a context keeps: the one in force is renewed before it ends, by the refresh
//! token of its login. A refresh token is good once, and its second use ends the session; so one
//! process at a time renews, under a lock on a file beside the contexts.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::manager::v1 as pb;
use tokio::sync::Mutex;

use crate::client::{Ask, Bearer, Managers};
use crate::context::{self, Context, Contexts, Place};
use crate::error::Error;

/// A token that ends sooner is renewed first: a request may take its time, and clocks differ.
const MARGIN: Duration = Duration::from_secs(45);

/// The tokens of a login.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    /// For requests.
    pub access: String,
    /// For the next pair.
    pub refresh: String,
    /// When the first one ends, in seconds since 1970.
    pub ends_at: u64,
}

impl Tokens {
    /// Those that a manager has just given.
    #[must_use]
    pub fn given(tokens: &pb::Tokens) -> Self {
        Self {
            access: tokens.access_token.clone(),
            refresh: tokens.refresh_token.clone(),
            ends_at: now().saturating_add(tokens.expires_in),
        }
    }

    /// Those that a context keeps; none where one of them is missing.
    #[must_use]
    pub fn of(context: &Context) -> Option<Self> {
        Some(Self {
            access: context.token.clone()?,
            refresh: context.refresh_token.clone()?,
            ends_at: context.token_ends_at?,
        })
    }

    fn is_good_at(&self, now: u64) -> bool {
        now.saturating_add(MARGIN.as_secs()) < self.ends_at
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(***)")
    }
}

/// Keeps a token in force; shared by all that ask managers.
#[derive(Debug)]
pub struct Renewal {
    place: Place,
    tokens: Mutex<Tokens>,
}

impl Renewal {
    /// Renews the tokens of a context.
    #[must_use]
    pub fn new(place: Place, tokens: Tokens) -> Self {
        Self {
            place,
            tokens: Mutex::new(tokens),
        }
    }

    /// A token that is good for a while, renewed if need be.
    ///
    /// # Errors
    /// When the session has ended, no manager answers, or the file cannot be written.
    pub(crate) async fn token(&self, managers: &Managers) -> Result<String, Error> {
        let mut tokens = self.tokens.lock().await;
        if !tokens.is_good_at(now()) {
            *tokens = self.renewed(managers).await?;
        }
        Ok(tokens.access.clone())
    }

    async fn renewed(&self, managers: &Managers) -> Result<Tokens, Error> {
        let _lock = self.lock()?;
        // Another process may have been faster.
        let all = Contexts::load(&self.place.path)?;
        let kept = Tokens::of(all.find(&self.place.name)?);
        let kept = match kept {
            Some(kept) if kept.is_good_at(now()) => return Ok(kept),
            Some(kept) => kept,
            None => return Err(self.missing()),
        };
        // As a change: it is sent once, whatever becomes of its answer.
        let ask = Ask::change("renew the session", "login");
        let refresh_token = kept.refresh;
        let send = |mut services: crate::client::Services| {
            let refresh_token = refresh_token.clone();
            async move {
                let request = pb::RefreshRequest { refresh_token };
                services.auth.refresh(request).await
            }
        };
        let answer = managers.ask_as(&Bearer::nobody(), &ask, send).await?;
        let tokens = answer.tokens.ok_or_else(|| Error::BadAnswer {
            action: ask.action.clone(),
            missing: "tokens",
        })?;
        let tokens = Tokens::given(&tokens);
        context::keep_tokens(&self.place, Some(&tokens))?;
        Ok(tokens)
    }

    /// Somebody has logged out meanwhile.
    fn missing(&self) -> Error {
        Error::BadConfig {
            path: self.place.path.display().to_string(),
            reason: format!("context {:?} keeps no session any more", self.place.name),
        }
    }

    /// Held until the file is closed.
    fn lock(&self) -> Result<File, Error> {
        let path = self.place.path.with_extension("lock");
        let open = || {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(false).mode(0o600);
            let file = options.open(&path)?;
            file.lock()?;
            Ok(file)
        };
        open().map_err(|error: std::io::Error| Error::BadConfig {
            path: path.display().to_string(),
            reason: error.to_string(),
        })
    }
}

fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_before_it_ends() {
        let tokens = Tokens {
            access: "a".to_owned(),
            refresh: "r".to_owned(),
            ends_at: 1_000,
        };
        assert!(tokens.is_good_at(900));
        assert!(!tokens.is_good_at(960));
        assert!(!tokens.is_good_at(1_100));
    }
}
