//! `/auth`: accounts of the control plane, their sessions, and API keys.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use platform::Secret;
use platform::access::Role;
use platform::http_error::{Json, Path};
use proto::manager::v1;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::users::{exposed, secret};
use crate::caller::Caller;
use crate::error::Error;
use crate::service::Service;

/// A name with its password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    #[serde(alias = "username")]
    name: String,
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = String)]
    password: Option<Secret>,
}

/// A refresh token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Refresh {
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = String)]
    refresh_token: Option<Secret>,
}

/// What a login gives.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: String,
    refresh_expires_in: u64,
    account: Account,
}

/// An account as administrators see it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Account {
    name: String,
    roles: Vec<String>,
    /// The table groups that it may touch; null is all.
    groups: Option<Vec<String>>,
    enabled: bool,
    version: u64,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accounts {
    accounts: Vec<Account>,
}

/// An account to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    #[serde(alias = "username")]
    name: String,
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = String, min_length = 8, max_length = 256)]
    password: Option<Secret>,
    /// One role, or else several in `roles`.
    role: Option<Role>,
    #[serde(default)]
    roles: Vec<Role>,
    groups: Option<Vec<String>>,
    enabled: Option<bool>,
}

/// What is to change of an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountChange {
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>, min_length = 8, max_length = 256)]
    password: Option<Secret>,
    role: Option<Role>,
    #[serde(default)]
    roles: Vec<Role>,
    groups: Option<Vec<String>>,
    /// Lets it touch all groups again.
    #[serde(default)]
    all_groups: bool,
    enabled: Option<bool>,
}

/// Who the caller is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Me {
    name: String,
    roles: Vec<String>,
    groups: Option<Vec<String>>,
}

/// A key to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    name: String,
    role: Option<Role>,
    #[serde(default)]
    roles: Vec<Role>,
    groups: Option<Vec<String>>,
    /// Seconds; 90 days unless given; 0 is until it is revoked.
    expires_in: Option<u64>,
}

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApiKey {
    id: String,
    name: String,
    roles: Vec<String>,
    groups: Option<Vec<String>>,
    created_by: String,
    created_at: String,
    expires_at: Option<String>,
}

/// A key that was just made, with its secret.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeKey {
    #[serde(flatten)]
    about: ApiKey,
    key: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ApiKeys {
    keys: Vec<ApiKey>,
}

impl From<v1::Account> for Account {
    fn from(account: v1::Account) -> Self {
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

impl From<v1::ApiKey> for ApiKey {
    fn from(key: v1::ApiKey) -> Self {
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

pub(super) async fn setup(
    State(service): State<Service>,
    caller: Caller,
    Json(body): Json<Login>,
) -> Result<Response, Error> {
    let request = v1::SetupRequest {
        name: body.name,
        password: exposed(body.password).unwrap_or_default(),
    };
    let made = service.setup(&caller, request).await?;
    let session = session(made.tokens, made.account)?;
    Ok((StatusCode::CREATED, session).into_response())
}

pub(super) async fn login(
    State(service): State<Service>,
    caller: Caller,
    Json(body): Json<Login>,
) -> Result<Json<Session>, Error> {
    let request = v1::LoginRequest {
        name: body.name,
        password: exposed(body.password).unwrap_or_default(),
    };
    let made = service.login(&caller, request).await?;
    session(made.tokens, made.account)
}

pub(super) async fn refresh(
    State(service): State<Service>,
    caller: Caller,
    Json(body): Json<Refresh>,
) -> Result<Json<Session>, Error> {
    let request = v1::RefreshRequest {
        refresh_token: exposed(body.refresh_token).unwrap_or_default(),
    };
    let made = service.refresh(&caller, &request).await?;
    session(made.tokens, made.account)
}

fn session(
    tokens: Option<v1::Tokens>,
    account: Option<v1::Account>,
) -> Result<Json<Session>, Error> {
    let (Some(tokens), Some(account)) = (tokens, account) else {
        return Err(Error::Internal("an answer to a login has no tokens"));
    };
    Ok(Json(Session {
        access_token: tokens.access_token,
        token_type: "Bearer",
        expires_in: tokens.expires_in,
        refresh_token: tokens.refresh_token,
        refresh_expires_in: tokens.refresh_expires_in,
        account: account.into(),
    }))
}

pub(super) async fn logout(
    State(service): State<Service>,
    caller: Caller,
) -> Result<StatusCode, Error> {
    service.logout(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn me(State(service): State<Service>, caller: Caller) -> Result<Json<Me>, Error> {
    let me = service.who_am_i(&caller)?;
    Ok(Json(Me {
        name: me.name,
        roles: me.roles,
        groups: me.groups.map(|groups| groups.names),
    }))
}

fn words(role: Option<Role>, roles: Vec<Role>) -> Vec<String> {
    let all = role.into_iter().chain(roles);
    all.map(|role| role.as_str().to_owned()).collect()
}

fn groups(names: Option<Vec<String>>) -> Option<v1::Groups> {
    names.map(|names| v1::Groups { names })
}

pub(super) async fn list_accounts(State(service): State<Service>) -> Result<Json<Accounts>, Error> {
    let accounts = service.list_accounts().await?.accounts;
    let accounts = accounts.into_iter().map(Account::from).collect();
    Ok(Json(Accounts { accounts }))
}

pub(super) async fn find_account(
    State(service): State<Service>,
    Path(name): Path<String>,
) -> Result<Json<Account>, Error> {
    let request = v1::GetAccountRequest { name };
    shown(service.find_account(&request).await?.account)
}

pub(super) async fn create_account(
    State(service): State<Service>,
    caller: Caller,
    Json(new): Json<NewAccount>,
) -> Result<Response, Error> {
    let request = v1::CreateAccountRequest {
        name: new.name,
        password: exposed(new.password).unwrap_or_default(),
        roles: words(new.role, new.roles),
        groups: groups(new.groups),
        enabled: new.enabled,
    };
    let created = service.create_account(&caller, request).await?.account;
    Ok((StatusCode::CREATED, shown(created)?).into_response())
}

pub(super) async fn update_account(
    State(service): State<Service>,
    caller: Caller,
    Path(name): Path<String>,
    Json(change): Json<AccountChange>,
) -> Result<Json<Account>, Error> {
    let request = v1::UpdateAccountRequest {
        name,
        password: exposed(change.password),
        roles: words(change.role, change.roles),
        groups: groups(change.groups),
        all_groups: change.all_groups,
        enabled: change.enabled,
    };
    shown(service.update_account(&caller, request).await?.account)
}

pub(super) async fn delete_account(
    State(service): State<Service>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Error> {
    let request = v1::DeleteAccountRequest { name };
    service.delete_account(&caller, &request).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(account: Option<v1::Account>) -> Result<Json<Account>, Error> {
    let account = account.ok_or(Error::Internal("an answer about an account has none"))?;
    Ok(Json(account.into()))
}

pub(super) async fn list_keys(State(service): State<Service>) -> Result<Json<ApiKeys>, Error> {
    let keys = service.list_keys().await?.keys;
    let keys = keys.into_iter().map(ApiKey::from).collect();
    Ok(Json(ApiKeys { keys }))
}

pub(super) async fn create_key(
    State(service): State<Service>,
    caller: Caller,
    Json(new): Json<NewKey>,
) -> Result<Response, Error> {
    let request = v1::CreateKeyRequest {
        name: new.name,
        roles: words(new.role, new.roles),
        groups: groups(new.groups),
        expires_in: new.expires_in,
    };
    let made = service.create_key(&caller, request).await?;
    let about = made
        .api_key
        .ok_or(Error::Internal("an answer about a key has none"))?;
    let made = MadeKey {
        about: about.into(),
        key: made.key,
    };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

pub(super) async fn revoke_key(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let request = v1::RevokeKeyRequest { id };
    service.revoke_key(&caller, request).await?;
    Ok(StatusCode::NO_CONTENT)
}
