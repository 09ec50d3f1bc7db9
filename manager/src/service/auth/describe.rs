//! Accounts, keys and callers as messages of the API.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use platform::access::{Identity, Role, Scope};
use proto::manager::v1;
use topology::access::{Account, ApiKey, Rights};

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

fn words<'a>(roles: impl IntoIterator<Item = &'a Role>) -> Vec<String> {
    let roles = roles.into_iter();
    roles.map(|role| role.as_str().to_owned()).collect()
}

fn groups(rights: &Rights) -> Option<v1::Groups> {
    let names = rights.group_names()?;
    Some(v1::Groups { names })
}

pub(super) fn account(account: &Account) -> v1::Account {
    v1::Account {
        name: account.name.to_string(),
        roles: words(&account.rights.roles),
        groups: groups(&account.rights),
        enabled: account.enabled,
        version: account.version,
        created_at: time(account.created_at),
        updated_at: time(account.updated_at),
    }
}

pub(super) fn api_key(key: &ApiKey) -> v1::ApiKey {
    let expires_at = key.expires_at.map(|end| {
        let end = UNIX_EPOCH.checked_add(Duration::from_secs(end));
        time(end.unwrap_or(UNIX_EPOCH))
    });
    v1::ApiKey {
        id: key.id.clone(),
        name: key.name.clone(),
        roles: words(&key.rights.roles),
        groups: groups(&key.rights),
        created_by: key.created_by.clone(),
        created_at: time(key.created_at),
        expires_at,
    }
}

pub(super) fn identity(identity: &Identity) -> v1::WhoAmIResponse {
    let groups = match &identity.scope {
        Scope::All => None,
        Scope::Only(names) => Some(v1::Groups {
            names: names.iter().cloned().collect(),
        }),
    };
    v1::WhoAmIResponse {
        name: identity.actor.clone(),
        roles: words(&identity.roles),
        groups,
    }
}
