//! Operations on users of the Postgres front. Records are read from the store each time: they are
//! few, asked for rarely, and so every manager shows what was just written.
//!
//! A password becomes a verifier in the manager that is asked, before anything is forwarded.

use std::sync::Arc;

use platform::Secret;
use proto::manager::v1;
use proto::manager::v1::user_service_client::UserServiceClient;
use topology::records::{User, decode};
use topology::verifier::{ITERATIONS, InvalidVerifier};
use topology::watch::LoadError;
use topology::{Term, UserName, Verifier, keys};

use super::{Duty, Service, describe};
use crate::caller::Caller;
use crate::commit::UserRequest;
use crate::control::user::{Action, Command};
use crate::error::Error;
use crate::forward::Answer;

/// Longest password: what PostgreSQL's own client takes.
const MAX_PASSWORD_BYTES: usize = 1024;

impl Service {
    /// Lets a new user in.
    ///
    /// # Errors
    /// When a field is wrong, the user is there, or nobody can do it.
    pub async fn create_user(
        &self,
        caller: &Caller,
        request: v1::CreateUserRequest,
    ) -> Result<Answer<v1::CreateUserResponse>, Error> {
        let name = user_name(&request.name)?;
        let verifier = verifier_of(request.password, request.verifier).await?;
        let verifier =
            verifier.ok_or_else(|| Error::invalid("password", "or verifier must be given"))?;
        let term = match self.duty(caller)? {
            Duty::Ours(term) => term,
            Duty::Theirs(leader) => {
                let request = v1::CreateUserRequest {
                    name: request.name,
                    password: None,
                    verifier: Some(verifier.expose()),
                    enabled: request.enabled,
                };
                let call = async |channel, request| {
                    UserServiceClient::new(channel).create_user(request).await
                };
                return self.0.forwarder.send(&leader, caller, request, call).await;
            }
        };
        let enabled = request.enabled.unwrap_or(true);
        let action = Action::Create { verifier, enabled };
        let written = self.write_user(term, caller, Command { name, action });
        let user = written.await?.as_ref().map(describe::user);
        Ok(self.answered(v1::CreateUserResponse { user }))
    }

    /// Changes a user's password, or whether it may log in.
    ///
    /// # Errors
    /// When a field is wrong or none is given, the user is not there, or nobody can do it.
    pub async fn update_user(
        &self,
        caller: &Caller,
        request: v1::UpdateUserRequest,
    ) -> Result<Answer<v1::UpdateUserResponse>, Error> {
        let name = user_name(&request.name)?;
        let verifier = verifier_of(request.password, request.verifier).await?;
        let enabled = request.enabled;
        if verifier.is_none() && enabled.is_none() {
            let rule = "or verifier or enabled must be given";
            return Err(Error::invalid("password", rule));
        }
        let term = match self.duty(caller)? {
            Duty::Ours(term) => term,
            Duty::Theirs(leader) => {
                let request = v1::UpdateUserRequest {
                    name: request.name,
                    password: None,
                    verifier: verifier.as_ref().map(Verifier::expose),
                    enabled,
                };
                let call = async |channel, request| {
                    UserServiceClient::new(channel).update_user(request).await
                };
                return self.0.forwarder.send(&leader, caller, request, call).await;
            }
        };
        let action = Action::Alter { verifier, enabled };
        let written = self.write_user(term, caller, Command { name, action });
        let user = written.await?.as_ref().map(describe::user);
        Ok(self.answered(v1::UpdateUserResponse { user }))
    }

    /// Forgets a user.
    ///
    /// # Errors
    /// When the user is not there, or nobody can do it.
    pub async fn delete_user(
        &self,
        caller: &Caller,
        request: v1::DeleteUserRequest,
    ) -> Result<Answer<v1::DeleteUserResponse>, Error> {
        let name = user_name(&request.name)?;
        let term = match self.duty(caller)? {
            Duty::Ours(term) => term,
            Duty::Theirs(leader) => {
                let call = async |channel, request| {
                    UserServiceClient::new(channel).delete_user(request).await
                };
                return self.0.forwarder.send(&leader, caller, request, call).await;
            }
        };
        let action = Action::Delete;
        self.write_user(term, caller, Command { name, action })
            .await?;
        Ok(self.answered(v1::DeleteUserResponse {}))
    }

    /// All users, sorted by name.
    ///
    /// # Errors
    /// When the store or a record cannot be read.
    pub async fn list_users(&self) -> Result<v1::ListUsersResponse, Error> {
        let listing = self.0.store.list(keys::USERS).await.map_err(unreadable)?;
        let entries = listing.entries.iter();
        let users = entries.map(|entry| decode::<User>(&entry.key, &entry.value));
        let mut users: Vec<User> = users.collect::<Result<_, _>>()?;
        users.sort_by(|a, b| a.name.cmp(&b.name));
        let users = users.iter().map(describe::user).collect();
        Ok(v1::ListUsersResponse { users })
    }

    /// One user.
    ///
    /// # Errors
    /// When there is none of this name, or the store cannot be read.
    pub async fn find_user(
        &self,
        request: &v1::GetUserRequest,
    ) -> Result<v1::GetUserResponse, Error> {
        let name = user_name(&request.name)?;
        let found = self.0.store.read(&keys::user(&name)).await;
        let entry = found.map_err(unreadable)?.ok_or_else(|| Error::NotFound {
            what: format!("user {name}"),
        })?;
        let user: User = decode(&entry.key, &entry.value)?;
        let user = Some(describe::user(&user));
        Ok(v1::GetUserResponse { user })
    }

    async fn write_user(
        &self,
        term: Term,
        caller: &Caller,
        command: Command,
    ) -> Result<Option<User>, Error> {
        let request = UserRequest {
            term,
            command,
            author: caller.author.clone(),
        };
        let writer = Arc::clone(&self.0.writer);
        let write = async move { writer.write_user(&request).await };
        let task = self.0.tasks.spawn("user write", write);
        let written = task.await;
        Ok(written.map_err(|_| Error::Internal("a write of a user panicked"))??)
    }

    /// An answer that waits for no epoch, since none was made.
    fn answered<T>(&self, message: T) -> Answer<T> {
        let epoch = self.0.topology.snapshot().epoch();
        Answer { message, epoch }
    }
}

fn unreadable(error: topology::store::Error) -> Error {
    Error::Unreadable(LoadError::Store(error))
}

fn user_name(text: &str) -> Result<UserName, Error> {
    UserName::try_new(text).map_err(|invalid| Error::invalid("name", invalid.to_string()))
}

/// The verifier that a request gives, itself or as a password. No error shows either.
async fn verifier_of(
    password: Option<String>,
    verifier: Option<String>,
) -> Result<Option<Verifier>, Error> {
    let password = match (password, verifier) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Error::invalid(
                "verifier",
                "is not for a user with a password",
            ));
        }
        (None, Some(text)) => {
            let verifier = Verifier::parse(&text);
            let invalid = |error: InvalidVerifier| Error::invalid("verifier", error.to_string());
            return verifier.map(Some).map_err(invalid);
        }
        (Some(password), None) => Secret::new(password),
    };
    let is_usable = (1..=MAX_PASSWORD_BYTES).contains(&password.expose().len());
    if !is_usable || password.expose().contains('\0') {
        let rule = format!("must be from 1 to {MAX_PASSWORD_BYTES} bytes, none of them zero");
        return Err(Error::invalid("password", rule));
    }
    // Slow on purpose, so that it is not done where requests are served.
    let derived = tokio::task::spawn_blocking(move || {
        let salt: [u8; 16] = rand::random();
        Verifier::derive(password.expose(), &salt, ITERATIONS)
    });
    let verifier = derived.await;
    let verifier = verifier.map_err(|_| Error::Internal("a password could not be hashed"))?;
    Ok(Some(verifier))
}
