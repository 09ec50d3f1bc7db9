//! Accounts of the control plane. Records are read from the store each time: they are few, asked
//! for rarely, and so every manager shows what was just written.

use std::collections::BTreeSet;

use platform::access::Role;
use proto::manager::v1;
use topology::access::{Account, Rights};
use topology::records::decode;
use topology::{GroupName, keys};

use super::{account_name, describe, unreadable};
use crate::caller::Caller;
use crate::control::access::{AccountChange, Command};
use crate::error::Error;
use crate::service::Service;

/// Most groups that an account or a key is limited to.
const MAX_GROUPS: usize = 64;

impl Service {
    /// Creates an account.
    ///
    /// # Errors
    /// When a field is wrong, the account is there, or nobody leads.
    pub async fn create_account(
        &self,
        caller: &Caller,
        request: v1::CreateAccountRequest,
    ) -> Result<v1::CreateAccountResponse, Error> {
        let name = account_name("name", &request.name)?;
        let rights = rights(&request.roles, request.groups)?;
        let password_hash = self.hashed(request.password).await?;
        let command = Command::Create {
            name,
            password_hash,
            rights,
            enabled: request.enabled.unwrap_or(true),
        };
        let account = self.change_access(caller, command).await?;
        let account = account.as_ref().map(describe::account);
        Ok(v1::CreateAccountResponse { account })
    }

    /// All accounts, sorted by name.
    ///
    /// # Errors
    /// When the store or a record cannot be read.
    pub async fn list_accounts(&self) -> Result<v1::ListAccountsResponse, Error> {
        let listing = self
            .0
            .store
            .list(keys::ACCOUNTS)
            .await
            .map_err(unreadable)?;
        let entries = listing.entries.iter();
        let accounts = entries.map(|entry| decode::<Account>(&entry.key, &entry.value));
        let mut accounts: Vec<Account> = accounts.collect::<Result<_, _>>()?;
        accounts.sort_by(|a, b| a.name.cmp(&b.name));
        let accounts = accounts.iter().map(describe::account).collect();
        Ok(v1::ListAccountsResponse { accounts })
    }

    /// One account.
    ///
    /// # Errors
    /// When there is none of this name, or the store cannot be read.
    pub async fn find_account(
        &self,
        request: &v1::GetAccountRequest,
    ) -> Result<v1::GetAccountResponse, Error> {
        let name = account_name("name", &request.name)?;
        let account = self.account(&name).await?;
        let account = account.ok_or_else(|| Error::NotFound {
            what: format!("account {name}"),
        })?;
        let account = Some(describe::account(&account));
        Ok(v1::GetAccountResponse { account })
    }

    /// Changes an account; the tokens that it was given before are over.
    ///
    /// # Errors
    /// When a field is wrong or none is given, the account is not there or the last administrator,
    /// or nobody leads.
    pub async fn update_account(
        &self,
        caller: &Caller,
        request: v1::UpdateAccountRequest,
    ) -> Result<v1::UpdateAccountResponse, Error> {
        let name = account_name("name", &request.name)?;
        let groups = match (request.groups, request.all_groups) {
            (Some(_), true) => {
                return Err(Error::invalid(
                    "groups",
                    "is not for an account of all groups",
                ));
            }
            (Some(groups), false) => Some(group_names(Some(groups))?),
            (None, true) => Some(None),
            (None, false) => None,
        };
        let roles = (!request.roles.is_empty()).then(|| roles(&request.roles));
        let mut change = AccountChange {
            password_hash: None,
            roles: roles.transpose()?,
            groups,
            enabled: request.enabled,
        };
        if request.password.is_none() && change == AccountChange::default() {
            let rule = "or roles, groups, all_groups or enabled must be given";
            return Err(Error::invalid("password", rule));
        }
        if let Some(password) = request.password {
            change.password_hash = Some(self.hashed(password).await?);
        }
        let command = Command::Alter {
            name: name.clone(),
            change,
            outlived: self.longest_token(),
        };
        let account = self.change_access(caller, command).await?;
        let floor = account.as_ref().map_or(0, |account| account.version);
        self.seen(|grants| grants.floors.get(name.as_str()) >= Some(&floor))
            .await;
        let account = account.as_ref().map(describe::account);
        Ok(v1::UpdateAccountResponse { account })
    }

    /// Forgets an account; its tokens are over.
    ///
    /// # Errors
    /// When it is not there or the last administrator, or nobody leads.
    pub async fn delete_account(
        &self,
        caller: &Caller,
        request: &v1::DeleteAccountRequest,
    ) -> Result<v1::DeleteAccountResponse, Error> {
        let name = account_name("name", &request.name)?;
        let known = self.account(&name).await?;
        let version = known.map_or(0, |account| account.version);
        let command = Command::Delete {
            name: name.clone(),
            outlived: self.longest_token(),
        };
        self.change_access(caller, command).await?;
        self.seen(|grants| grants.floors.get(name.as_str()) > Some(&version))
            .await;
        Ok(v1::DeleteAccountResponse {})
    }

    fn longest_token(&self) -> std::time::Duration {
        let issuer = self.0.auth.issuer.as_ref();
        let lifetimes = crate::auth::issuer::Lifetimes::default();
        issuer.map_or(lifetimes.refresh, crate::auth::issuer::Issuer::longest)
    }
}

pub(super) fn rights(words: &[String], groups: Option<v1::Groups>) -> Result<Rights, Error> {
    Ok(Rights {
        roles: roles(words)?,
        groups: group_names(groups)?,
    })
}

fn roles(words: &[String]) -> Result<BTreeSet<Role>, Error> {
    let known = words.iter().map(|word| Role::of(word));
    let roles: Option<BTreeSet<Role>> = known.collect();
    let roles = roles.filter(|roles| !roles.is_empty());
    roles.ok_or_else(|| {
        let rule = "must hold at least one of viewer, operator, admin, reader, writer";
        Error::invalid("roles", rule)
    })
}

fn group_names(groups: Option<v1::Groups>) -> Result<Option<BTreeSet<GroupName>>, Error> {
    let Some(v1::Groups { names }) = groups else {
        return Ok(None);
    };
    if names.len() > MAX_GROUPS {
        let rule = format!("must be at most {MAX_GROUPS} names");
        return Err(Error::invalid("groups", rule));
    }
    let names = names.iter().map(|name| GroupName::try_new(name));
    let names: Result<BTreeSet<GroupName>, _> = names.collect();
    names
        .map(Some)
        .map_err(|invalid| Error::invalid("groups", invalid.to_string()))
}
