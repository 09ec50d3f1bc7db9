//! API keys: made, listed, revoked. A key is shown once, to who makes it.

use std::time::{Duration, SystemTime};

use platform::access::grants::{self, NewKey};
use platform::bearer;
use proto::manager::v1;
use topology::access::ApiKey;
use topology::keys;
use topology::records::decode;

use super::accounts::rights;
use super::{describe, unreadable};
use crate::caller::Caller;
use crate::control::access::{Command, key_record};
use crate::error::Error;
use crate::service::Service;

/// How long a key is good whose maker says nothing of it.
const DEFAULT_LIFETIME: Duration = Duration::from_hours(90 * 24);

/// The longest that a key may be good that ends by itself.
const MAX_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);

/// Most characters of a key's name.
const MAX_NAME_CHARS: usize = 128;

impl Service {
    /// Makes a key.
    ///
    /// # Errors
    /// When a field is wrong, or nobody leads.
    pub async fn create_key(
        &self,
        caller: &Caller,
        request: v1::CreateKeyRequest,
    ) -> Result<v1::CreateKeyResponse, Error> {
        let name = request.name.trim();
        let length = name.chars().count();
        if !(1..=MAX_NAME_CHARS).contains(&length) || name.contains(char::is_control) {
            let rule =
                format!("must be 1 to {MAX_NAME_CHARS} characters, none a control character");
            return Err(Error::invalid("name", rule));
        }
        let rights = rights(&request.roles, request.groups)?;
        let lifetime = request.expires_in.unwrap_or(DEFAULT_LIFETIME.as_secs());
        if lifetime > MAX_LIFETIME.as_secs() {
            return Err(Error::invalid(
                "expires_in",
                "must be at most ten years in seconds",
            ));
        }
        let expires_at = (lifetime > 0).then(|| bearer::now() + lifetime);
        let NewKey { id, key, hash } = NewKey::random();
        let made = key_record(
            (id.clone(), hash),
            name.to_owned(),
            rights,
            caller.author.actor.clone(),
            (SystemTime::now(), expires_at),
        );
        self.change_access(caller, Command::CreateKey(made.clone()))
            .await?;
        self.seen(|grants| grants.keys.contains_key(&id)).await;
        Ok(v1::CreateKeyResponse {
            api_key: Some(describe::api_key(&made)),
            key: key.expose().to_owned(),
        })
    }

    /// All keys, without what they are checked by, sorted by id.
    ///
    /// # Errors
    /// When the store or a record cannot be read.
    pub async fn list_keys(&self) -> Result<v1::ListKeysResponse, Error> {
        let listing = self
            .0
            .store
            .list(keys::API_KEYS)
            .await
            .map_err(unreadable)?;
        let entries = listing.entries.iter();
        let keys = entries.map(|entry| decode::<ApiKey>(&entry.key, &entry.value));
        let mut keys: Vec<ApiKey> = keys.collect::<Result<_, _>>()?;
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        let keys = keys.iter().map(describe::api_key).collect();
        Ok(v1::ListKeysResponse { keys })
    }

    /// Ends a key.
    ///
    /// # Errors
    /// When it is not there, or nobody leads.
    pub async fn revoke_key(
        &self,
        caller: &Caller,
        request: v1::RevokeKeyRequest,
    ) -> Result<v1::RevokeKeyResponse, Error> {
        // Who has only the key at hand may send that.
        let id = grants::id_of(&request.id).map_or(request.id.clone(), str::to_owned);
        self.change_access(caller, Command::RevokeKey { id: id.clone() })
            .await?;
        self.seen(|grants| !grants.keys.contains_key(&id)).await;
        Ok(v1::RevokeKeyResponse {})
    }
}
