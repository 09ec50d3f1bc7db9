//! `/users`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use platform::Secret;
use platform::http_error::{Json, Path};
use proto::manager::v1;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::error::Error;
use crate::service::Service;

/// A user to be, as a client writes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    name: String,
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>)]
    verifier: Option<Secret>,
    enabled: Option<bool>,
}

/// What is to change of a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChange {
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>)]
    password: Option<Secret>,
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>)]
    verifier: Option<Secret>,
    enabled: Option<bool>,
}

/// A user as operators see it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct User {
    name: String,
    enabled: bool,
    version: u64,
    created_at: String,
    updated_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Users {
    users: Vec<User>,
}

impl From<v1::User> for User {
    fn from(user: v1::User) -> Self {
        Self {
            name: user.name,
            enabled: user.enabled,
            version: user.version,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// Reads a text whose value is in no error: what the JSON reader says of another type shows it.
pub(super) fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
    match serde_json::Value::deserialize(from)? {
        serde_json::Value::Null => Ok(None),
        serde_json::Value::String(text) => Ok(Some(Secret::new(text))),
        serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => Err(D::Error::custom("must be a string")),
    }
}

pub(super) fn exposed(secret: Option<Secret>) -> Option<String> {
    secret.map(|secret| secret.expose().to_owned())
}

pub(super) async fn list(State(service): State<Service>) -> Result<Json<Users>, Error> {
    let users = service.list_users().await?.users;
    let users = users.into_iter().map(User::from).collect();
    Ok(Json(Users { users }))
}

pub(super) async fn find(
    State(service): State<Service>,
    Path(name): Path<String>,
) -> Result<Json<User>, Error> {
    let found = service.find_user(&v1::GetUserRequest { name }).await?;
    shown(found.user).map(Json)
}

pub(super) async fn create(
    State(service): State<Service>,
    caller: Caller,
    Json(new): Json<NewUser>,
) -> Result<Response, Error> {
    let request = v1::CreateUserRequest {
        name: new.name,
        password: exposed(new.password),
        verifier: exposed(new.verifier),
        enabled: new.enabled,
    };
    let created = service.create_user(&caller, request).await?.message.user;
    Ok((StatusCode::CREATED, Json(shown(created)?)).into_response())
}

pub(super) async fn update(
    State(service): State<Service>,
    caller: Caller,
    Path(name): Path<String>,
    Json(change): Json<UserChange>,
) -> Result<Json<User>, Error> {
    let request = v1::UpdateUserRequest {
        name,
        password: exposed(change.password),
        verifier: exposed(change.verifier),
        enabled: change.enabled,
    };
    let updated = service.update_user(&caller, request).await?.message.user;
    shown(updated).map(Json)
}

pub(super) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Error> {
    let request = v1::DeleteUserRequest { name };
    service.delete_user(&caller, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(user: Option<v1::User>) -> Result<User, Error> {
    let user = user.ok_or(Error::Internal("an answer about a user has none"))?;
    Ok(User::from(user))
}
