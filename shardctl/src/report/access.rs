//! Who may operate the system: accounts, sessions, API keys.

use std::path::Path;

use proto::manager::v1 as pb;
use serde::Serialize;

use super::Report;
use crate::grid::{Grid, printable};

/// What a login gives.
#[derive(Clone, Serialize)]
pub struct Tokens {
    access_token: String,
    expires_in: u64,
    refresh_token: String,
    refresh_expires_in: u64,
}

impl From<pb::Tokens> for Tokens {
    fn from(tokens: pb::Tokens) -> Self {
        Self {
            access_token: tokens.access_token,
            expires_in: tokens.expires_in,
            refresh_token: tokens.refresh_token,
            refresh_expires_in: tokens.refresh_expires_in,
        }
    }
}

impl Report for Tokens {
    fn table(&self) -> String {
        // Alone, so that a shell can take it as it is.
        format!("{}\n", self.access_token)
    }
}

/// Where the token was put.
#[derive(Debug, Clone, Serialize)]
pub struct LoggedIn {
    token_file: String,
    expires_in: u64,
}

impl LoggedIn {
    /// A login whose token is in a file.
    #[must_use]
    pub fn new(path: &Path, expires_in: u64) -> Self {
        Self {
            token_file: path.display().to_string(),
            expires_in,
        }
    }
}

impl Report for LoggedIn {
    fn table(&self) -> String {
        format!("logged in for {} s: {}\n", self.expires_in, self.token_file)
    }
}

/// Who the caller is.
#[derive(Debug, Clone, Serialize)]
pub struct Me {
    name: String,
    roles: Vec<String>,
    groups: Option<Vec<String>>,
}

impl From<pb::WhoAmIResponse> for Me {
    fn from(me: pb::WhoAmIResponse) -> Self {
        Self {
            name: me.name,
            roles: me.roles,
            groups: me.groups.map(|groups| groups.names),
        }
    }
}

impl Report for Me {
    fn table(&self) -> String {
        let mut grid = Grid::new(&["NAME", "ROLES", "GROUPS"]);
        grid.row([
            printable(&self.name).to_string(),
            self.roles.join(","),
            shown(self.groups.as_deref()),
        ]);
        grid.render()
    }
}

fn shown(groups: Option<&[String]>) -> String {
    groups.map_or_else(|| "all".to_owned(), |names| names.join(","))
}

/// An account.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    name: String,
    roles: Vec<String>,
    groups: Option<Vec<String>>,
    enabled: bool,
    version: u64,
    created_at: String,
    updated_at: String,
}

impl From<pb::Account> for Account {
    fn from(account: pb::Account) -> Self {
        Self {
            name: account.name,
            roles: account.roles,
            groups: account.groups.map(|groups| groups.names),
            enabled: account.enabled,
            version: account.version,
            created_at: account.created_at,
            updated_at: account.updated_at,
        }
    }
}

/// All accounts.
#[derive(Debug, Clone, Serialize)]
pub struct Accounts {
    accounts: Vec<Account>,
}

impl From<Vec<pb::Account>> for Accounts {
    fn from(accounts: Vec<pb::Account>) -> Self {
        let accounts = accounts.into_iter().map(Account::from).collect();
        Self { accounts }
    }
}

impl Report for Account {
    fn table(&self) -> String {
        accounts([self])
    }
}

impl Report for Accounts {
    fn table(&self) -> String {
        accounts(&self.accounts)
    }
}

fn accounts<'a>(accounts: impl IntoIterator<Item = &'a Account>) -> String {
    let mut grid = Grid::new(&["NAME", "ROLES", "GROUPS", "LOGIN", "UPDATED"]);
    for account in accounts {
        let login = if account.enabled {
            "enabled"
        } else {
            "disabled"
        };
        grid.row([
            account.name.clone(),
            account.roles.join(","),
            shown(account.groups.as_deref()),
            login.to_owned(),
            account.updated_at.clone(),
        ]);
    }
    grid.render()
}

/// An API key, without its secret.
#[derive(Debug, Clone, Serialize)]
pub struct Key {
    id: String,
    name: String,
    roles: Vec<String>,
    groups: Option<Vec<String>>,
    created_by: String,
    created_at: String,
    expires_at: Option<String>,
}

impl From<pb::ApiKey> for Key {
    fn from(key: pb::ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            roles: key.roles,
            groups: key.groups.map(|groups| groups.names),
            created_by: key.created_by,
            created_at: key.created_at,
            expires_at: key.expires_at,
        }
    }
}

/// All API keys.
#[derive(Debug, Clone, Serialize)]
pub struct Keys {
    keys: Vec<Key>,
}

impl From<Vec<pb::ApiKey>> for Keys {
    fn from(keys: Vec<pb::ApiKey>) -> Self {
        let keys = keys.into_iter().map(Key::from).collect();
        Self { keys }
    }
}

impl Report for Keys {
    fn table(&self) -> String {
        let head = ["ID", "NAME", "ROLES", "GROUPS", "BY", "EXPIRES"];
        let mut grid = Grid::new(&head);
        for key in &self.keys {
            grid.row([
                key.id.clone(),
                key.name.clone(),
                key.roles.join(","),
                shown(key.groups.as_deref()),
                key.created_by.clone(),
                key.expires_at.clone().unwrap_or_else(|| "never".to_owned()),
            ]);
        }
        grid.render()
    }
}

/// A key that was just made.
#[derive(Clone, Serialize)]
pub struct MadeKey {
    #[serde(flatten)]
    about: Key,
    key: String,
}

impl MadeKey {
    /// A key with its secret.
    #[must_use]
    pub fn new(about: pb::ApiKey, key: String) -> Self {
        let about = Key::from(about);
        Self { about, key }
    }
}

impl Report for MadeKey {
    fn table(&self) -> String {
        format!("{}\n", self.key)
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(***)")
    }
}

impl std::fmt::Debug for MadeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MadeKey").field(&self.about).finish()
    }
}
