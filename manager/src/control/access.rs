//! What a command does to accounts of the control plane, to API keys and to revocations. None of
//! them is a part of the topology.

use std::time::{Duration, SystemTime};

use platform::Kind;
use platform::access::Role;
use serde_json::{Value, json};
use topology::access::{Account, AccountName, ApiKey, Floor, Revoked, Rights, Setup, millis};
use topology::records::{Digest, encode};
use topology::{GroupName, keys};

use crate::error::Code;

#[cfg(test)]
mod tests;

/// Most accounts.
pub const MAX_ACCOUNTS: usize = 1_000;
/// Most API keys; each router holds all of them.
pub const MAX_KEYS: usize = 10_000;

/// The rule that a command breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The first administrator was created already.
    #[error("the first administrator was created already: log in")]
    SetUp,
    /// The account is there.
    #[error("account {name} exists already")]
    AccountExists {
        /// Its name.
        name: AccountName,
    },
    /// It is not.
    #[error("account {name} does not exist")]
    UnknownAccount {
        /// Its name.
        name: AccountName,
    },
    /// Nobody could manage accounts any more.
    #[error("account {name} is the last administrator that may log in")]
    LastAdmin {
        /// Its name.
        name: AccountName,
    },
    /// No such key.
    #[error("API key {id} does not exist")]
    UnknownKey {
        /// Its id.
        id: String,
    },
    /// A limit of this release.
    #[error("there are {limit} {what} already, which is the limit")]
    LimitReached {
        /// What there is too much of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// A refresh token is used a second time.
    #[error("the token has been revoked")]
    Used,
}

impl Rejection {
    /// What sort of error this is to a client.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::AccountExists { .. } => Code::AlreadyExists,
            Self::SetUp | Self::LastAdmin { .. } => Code::Kind(Kind::Conflict),
            Self::UnknownAccount { .. } | Self::UnknownKey { .. } => Code::Kind(Kind::NotFound),
            Self::LimitReached { .. } => Code::Kind(Kind::Exhausted),
            Self::Used => Code::Kind(Kind::Unauthenticated),
        }
    }
}

/// A change of who may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Creates the first administrator.
    Setup {
        /// Its name.
        name: AccountName,
        /// The hash of its password.
        password_hash: String,
    },
    /// Creates an account.
    Create {
        /// Its name.
        name: AccountName,
        /// The hash of its password.
        password_hash: String,
        /// What it may do.
        rights: Rights,
        /// Whether it may log in.
        enabled: bool,
    },
    /// Changes what is given.
    Alter {
        /// The account.
        name: AccountName,
        /// What of it.
        change: AccountChange,
        /// How long a token may live that was given before.
        outlived: Duration,
    },
    /// Forgets an account.
    Delete {
        /// The account.
        name: AccountName,
        /// As in [`Command::Alter`].
        outlived: Duration,
    },
    /// Keeps a key.
    CreateKey(ApiKey),
    /// Forgets it.
    RevokeKey {
        /// Its id.
        id: String,
    },
    /// Changes nothing: that somebody logged in goes on record.
    LogIn {
        /// Who.
        name: AccountName,
        /// The session.
        session: String,
    },
    /// Uses a refresh token up.
    Refresh {
        /// Whose.
        subject: String,
        /// The token.
        id: String,
        /// How long it would have been good.
        rest: Duration,
    },
    /// Ends a session one of whose refresh tokens is used again: one of two has stolen it.
    Reused {
        /// Whose.
        subject: String,
        /// Which.
        session: String,
        /// How long its tokens would have been good.
        rest: Duration,
    },
    /// Ends a session, or a token that has none.
    LogOut {
        /// Whose.
        subject: String,
        /// Which.
        id: String,
        /// How long its tokens would have been good.
        rest: Duration,
    },
}

/// What is to become of an account; none leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountChange {
    /// The hash of its new password.
    pub password_hash: Option<String>,
    /// Its roles.
    pub roles: Option<std::collections::BTreeSet<Role>>,
    /// Its groups; some none is all.
    pub groups: Option<Option<std::collections::BTreeSet<GroupName>>>,
    /// Whether it may log in.
    pub enabled: Option<bool>,
}

/// What the store holds, as far as a command has to know.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Whether the first administrator was created.
    pub is_set_up: bool,
    /// All accounts.
    pub accounts: Vec<Account>,
    /// The keys' ids.
    pub keys: Vec<String>,
    /// Whether the token that is to be used up is revoked.
    pub is_revoked: bool,
}

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// For ever.
    Put(String, Vec<u8>),
    /// For a time.
    PutFor(String, Vec<u8>, Duration),
    /// No more.
    Delete(String),
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The records.
    pub writes: Vec<Write>,
    /// Records that must not be there yet.
    pub absent: Vec<String>,
    /// The account afterwards.
    pub account: Option<Account>,
    /// What is done, for the audit log.
    pub action: &'static str,
    /// To what.
    pub target: String,
    /// With which particulars.
    pub detail: Value,
}

impl Change {
    fn new(action: &'static str, target: impl Into<String>, detail: Value) -> Self {
        Self {
            writes: Vec::new(),
            absent: Vec::new(),
            account: None,
            action,
            target: target.into(),
            detail,
        }
    }
}

/// Decides a command on what there is.
///
/// # Errors
/// [`Rejection`] says which rule the command breaks.
pub fn decide(state: &State, command: &Command, now: SystemTime) -> Result<Change, Rejection> {
    match command {
        Command::Setup {
            name,
            password_hash,
        } => set_up(state, name, password_hash, now),
        Command::Create {
            name,
            password_hash,
            rights,
            enabled,
        } => {
            let account = new_account(name, password_hash, rights.clone(), now);
            let account = Account {
                enabled: *enabled,
                ..account
            };
            create(state, account)
        }
        Command::Alter {
            name,
            change,
            outlived,
        } => alter(state, name, change, (*outlived, now)),
        Command::Delete { name, outlived } => delete(state, name, (*outlived, now)),
        Command::CreateKey(key) => create_key(state, key),
        Command::RevokeKey { id } => {
            if !state.keys.contains(id) {
                return Err(Rejection::UnknownKey { id: id.clone() });
            }
            let mut change = Change::new("revoke_api_key", id, json!({}));
            change.writes = vec![Write::Delete(keys::api_key(id))];
            Ok(change)
        }
        Command::LogIn { name, session } => Ok(Change::new(
            "login",
            name.to_string(),
            json!({ "session": session }),
        )),
        Command::Refresh { subject, id, rest } => {
            if state.is_revoked {
                return Err(Rejection::Used);
            }
            let mut change = revoke(("refresh_token", subject), id, *rest);
            change.absent = vec![keys::revoked_token(id)];
            Ok(change)
        }
        Command::Reused {
            subject,
            session,
            rest,
        } => Ok(revoke(("refresh_token_reused", subject), session, *rest)),
        Command::LogOut { subject, id, rest } => Ok(revoke(("logout", subject), id, *rest)),
    }
}

fn new_account(
    name: &AccountName,
    password_hash: &str,
    rights: Rights,
    now: SystemTime,
) -> Account {
    Account {
        name: name.clone(),
        password_hash: password_hash.to_owned(),
        rights,
        enabled: true,
        version: millis(now),
        created_at: now,
        updated_at: now,
    }
}

fn set_up(
    state: &State,
    name: &AccountName,
    password_hash: &str,
    now: SystemTime,
) -> Result<Change, Rejection> {
    if state.is_set_up {
        return Err(Rejection::SetUp);
    }
    let rights = Rights {
        roles: [Role::Admin].into(),
        groups: None,
    };
    let account = new_account(name, password_hash, rights, now);
    let mut change = create(state, account)?;
    let record = Setup {
        by: name.clone(),
        at: now,
    };
    let marker = keys::AUTH_SETUP.to_owned();
    change
        .writes
        .push(Write::Put(marker.clone(), encode(&record)));
    change.absent.push(marker);
    change.action = "setup";
    Ok(change)
}

fn create(state: &State, account: Account) -> Result<Change, Rejection> {
    if find(state, &account.name).is_some() {
        return Err(Rejection::AccountExists { name: account.name });
    }
    below(state.accounts.len(), MAX_ACCOUNTS, "accounts")?;
    let detail = detail_of(&account);
    let mut change = Change::new("create_account", account.name.to_string(), detail);
    let key = keys::account(&account.name);
    change.writes = vec![Write::Put(key.clone(), encode(&account))];
    change.absent = vec![key];
    change.account = Some(account);
    Ok(change)
}

fn alter(
    state: &State,
    name: &AccountName,
    wanted: &AccountChange,
    (outlived, now): (Duration, SystemTime),
) -> Result<Change, Rejection> {
    let before =
        find(state, name).ok_or_else(|| Rejection::UnknownAccount { name: name.clone() })?;
    let present = before.clone();
    let account = Account {
        password_hash: wanted
            .password_hash
            .clone()
            .unwrap_or(present.password_hash),
        rights: Rights {
            roles: wanted.roles.clone().unwrap_or(present.rights.roles),
            groups: wanted.groups.clone().unwrap_or(present.rights.groups),
        },
        enabled: wanted.enabled.unwrap_or(present.enabled),
        version: millis(now).max(present.version + 1),
        updated_at: now,
        name: present.name,
        created_at: present.created_at,
    };
    if manages(before) && !manages(&account) {
        not_the_last_admin(state, name)?;
    }
    let mut detail = detail_of(&account);
    detail["password_changed"] = json!(wanted.password_hash.is_some());
    let mut change = Change::new("alter_account", name.to_string(), detail);
    change.writes = vec![
        Write::Put(keys::account(name), encode(&account)),
        floor(name, account.version, outlived),
    ];
    change.account = Some(account);
    Ok(change)
}

fn delete(
    state: &State,
    name: &AccountName,
    (outlived, now): (Duration, SystemTime),
) -> Result<Change, Rejection> {
    let before =
        find(state, name).ok_or_else(|| Rejection::UnknownAccount { name: name.clone() })?;
    if manages(before) {
        not_the_last_admin(state, name)?;
    }
    let version = millis(now).max(before.version + 1);
    let mut change = Change::new("delete_account", name.to_string(), detail_of(before));
    change.writes = vec![
        Write::Delete(keys::account(name)),
        floor(name, version, outlived),
    ];
    Ok(change)
}

fn create_key(state: &State, key: &ApiKey) -> Result<Change, Rejection> {
    below(state.keys.len(), MAX_KEYS, "API keys")?;
    let detail = json!({
        "name": key.name, "roles": key.rights.roles, "groups": key.rights.groups,
        "expires_at": key.expires_at,
    });
    let mut change = Change::new("create_api_key", &key.id, detail);
    let record = keys::api_key(&key.id);
    change.writes = vec![Write::Put(record.clone(), encode(key))];
    change.absent = vec![record];
    Ok(change)
}

/// Tokens that were given before a version are over. The record is kept for as long as one of them
/// could live.
fn floor(name: &AccountName, version: u64, outlived: Duration) -> Write {
    let record = encode(&Floor { version });
    Write::PutFor(keys::revoked_account(name), record, outlived)
}

fn revoke((action, subject): (&'static str, &str), id: &str, rest: Duration) -> Change {
    let mut change = Change::new(action, subject, json!({ "ended": id }));
    let subject = subject.to_owned();
    let record = encode(&Revoked { subject });
    change.writes = vec![Write::PutFor(keys::revoked_token(id), record, rest)];
    change
}

fn find<'a>(state: &'a State, name: &AccountName) -> Option<&'a Account> {
    state.accounts.iter().find(|account| account.name == *name)
}

/// Whether an account can change who may do what.
fn manages(account: &Account) -> bool {
    account.enabled && account.rights.roles.contains(&Role::Admin)
}

fn not_the_last_admin(state: &State, name: &AccountName) -> Result<(), Rejection> {
    let mut others = state
        .accounts
        .iter()
        .filter(|account| account.name != *name);
    if others.any(manages) {
        Ok(())
    } else {
        Err(Rejection::LastAdmin { name: name.clone() })
    }
}

fn below(count: usize, limit: usize, what: &'static str) -> Result<(), Rejection> {
    if count < limit {
        Ok(())
    } else {
        Err(Rejection::LimitReached { what, limit })
    }
}

fn detail_of(account: &Account) -> Value {
    json!({
        "roles": account.rights.roles, "groups": account.rights.groups,
        "enabled": account.enabled,
    })
}

/// A key's record, without the key.
#[must_use]
pub fn key_record(
    (id, hash): (String, [u8; 32]),
    name: String,
    rights: Rights,
    created_by: String,
    (created_at, expires_at): (SystemTime, Option<u64>),
) -> ApiKey {
    ApiKey {
        id,
        name,
        hash: Digest::from(hash),
        rights,
        created_by,
        created_at,
        expires_at,
    }
}
