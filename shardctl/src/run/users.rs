//! The commands about users of the routers' Postgres front.

use proto::manager::v1 as pb;

use super::{Outcome, Session, lacks};
use crate::args::Users;
use crate::client::Ask;
use crate::error::Error;
use crate::password::Password;
use crate::report;

impl Session {
    pub(super) async fn users(&self, command: Users) -> Result<Outcome, Error> {
        match command {
            Users::List => {
                let ask = Ask::read("list the users", "status");
                let answer = self.managers.ask(&ask, |mut services| async move {
                    services.users.list_users(pb::ListUsersRequest {}).await
                });
                Ok(self.done(&report::users::Users::from(answer.await?.users)))
            }
            Users::Create {
                name,
                disabled,
                from,
            } => {
                let (password, verifier) = Password::read(from.password_file.as_deref())?.fields();
                let request = pb::CreateUserRequest {
                    name,
                    password,
                    verifier,
                    enabled: Some(!disabled),
                };
                self.create_user(request).await
            }
            Users::Passwd { name, from } => {
                let ask = Ask::change(format!("change the password of {name:?}"), "users list");
                let (password, verifier) = Password::read(from.password_file.as_deref())?.fields();
                let request = pb::UpdateUserRequest {
                    name,
                    password,
                    verifier,
                    enabled: None,
                };
                self.update_user(&ask, request).await
            }
            Users::Enable { name } => self.allow(name, "enable", true).await,
            Users::Disable { name } => self.allow(name, "disable", false).await,
            Users::Delete { name } => {
                let ask = Ask::change(format!("delete user {name:?}"), "users list");
                let request = pb::DeleteUserRequest { name: name.clone() };
                let answer = self.managers.ask(&ask, |mut services| {
                    let request = request.clone();
                    async move { services.users.delete_user(request).await }
                });
                answer.await?;
                Ok(self.done(&report::removed::Removed::new("user", name)))
            }
        }
    }

    async fn create_user(&self, request: pb::CreateUserRequest) -> Result<Outcome, Error> {
        let ask = Ask::change(format!("create user {:?}", request.name), "users list");
        let answer = self.managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.users.create_user(request).await }
        });
        self.user(&ask, answer.await?.user)
    }

    async fn allow(&self, name: String, verb: &str, enabled: bool) -> Result<Outcome, Error> {
        let ask = Ask::change(format!("{verb} user {name:?}"), "users list");
        let request = pb::UpdateUserRequest {
            name,
            enabled: Some(enabled),
            ..pb::UpdateUserRequest::default()
        };
        self.update_user(&ask, request).await
    }

    async fn update_user(
        &self,
        ask: &Ask,
        request: pb::UpdateUserRequest,
    ) -> Result<Outcome, Error> {
        let answer = self.managers.ask(ask, |mut services| {
            let request = request.clone();
            async move { services.users.update_user(request).await }
        });
        self.user(ask, answer.await?.user)
    }

    fn user(&self, ask: &Ask, user: Option<pb::User>) -> Result<Outcome, Error> {
        let user = user.ok_or_else(|| lacks(ask, "user"))?;
        Ok(self.done(&report::users::User::from(user)))
    }
}
