//! The commands about who may operate the system.

use proto::manager::v1 as pb;

use super::{Outcome, Session, lacks};
use crate::args::access::{Accounts, Keys, Login, Rights, Role};
use crate::client::Ask;
use crate::context;
use crate::error::Error;
use crate::password::Password;
use crate::renewal::Tokens;
use crate::report::access;
use crate::report::removed::Removed;
use crate::token;

impl Session {
    pub(super) async fn setup(&self, login: Login) -> Result<Outcome, Error> {
        let password = read(&login)?;
        let ask = Ask::change("create the first administrator", "login");
        let request = pb::SetupRequest {
            name: login.name,
            password,
        };
        let managers = self.managers.without_token();
        let answer = managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.auth.setup(request).await }
        });
        self.logged_in(&ask, answer.await?.tokens)
    }

    pub(super) async fn login(&self, login: Login) -> Result<Outcome, Error> {
        let password = read(&login)?;
        let ask = Ask::read("log in", "login");
        let request = pb::LoginRequest {
            name: login.name,
            password,
        };
        let managers = self.managers.without_token();
        let answer = managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.auth.login(request).await }
        });
        self.logged_in(&ask, answer.await?.tokens)
    }

    fn logged_in(&self, ask: &Ask, tokens: Option<pb::Tokens>) -> Result<Outcome, Error> {
        let tokens = tokens.ok_or_else(|| lacks(ask, "tokens"))?;
        match &self.token_file {
            None if self.context.is_some() => self.keep(&tokens),
            None => Ok(self.done(&access::Tokens::from(tokens))),
            Some(path) => {
                token::write(path, &tokens.access_token)?;
                Ok(self.done(&access::LoggedIn::new(path, tokens.expires_in)))
            }
        }
    }

    /// In the context, where no file was named.
    fn keep(&self, tokens: &pb::Tokens) -> Result<Outcome, Error> {
        let Some(place) = &self.context else {
            return Err(Error::NoCurrentContext);
        };
        context::keep_tokens(place, Some(&Tokens::given(tokens)))?;
        Ok(self.done(&access::LoggedIn::new(&place.path, tokens.expires_in)))
    }

    pub(super) async fn logout(&self) -> Result<Outcome, Error> {
        let ask = Ask::change("log out", "whoami");
        let answer = self.managers.ask(&ask, |mut services| async move {
            services.auth.logout(pb::LogoutRequest {}).await
        });
        answer.await?;
        if let Some(path) = &self.token_file {
            token::remove(path)?;
        } else if let Some(place) = &self.context {
            context::keep_tokens(place, None)?;
        }
        Ok(self.done(&Removed::new("session", "of this token".to_owned())))
    }

    pub(super) async fn who_am_i(&self) -> Result<Outcome, Error> {
        let ask = Ask::read("ask who this is", "login");
        let answer = self.managers.ask(&ask, |mut services| async move {
            services.auth.who_am_i(pb::WhoAmIRequest {}).await
        });
        Ok(self.done(&access::Me::from(answer.await?)))
    }

    pub(super) async fn accounts(&self, command: Accounts) -> Result<Outcome, Error> {
        match command {
            Accounts::List => {
                let ask = Ask::read("list the accounts", "status");
                let answer = self.managers.ask(&ask, |mut services| async move {
                    services
                        .auth
                        .list_accounts(pb::ListAccountsRequest {})
                        .await
                });
                Ok(self.done(&access::Accounts::from(answer.await?.accounts)))
            }
            Accounts::Create { name, rights, from } => {
                let (roles, groups) = fields(rights);
                let request = pb::CreateAccountRequest {
                    password: read(&Login {
                        name: name.clone(),
                        from,
                    })?,
                    name,
                    roles,
                    groups,
                    enabled: None,
                };
                self.create_account(request).await
            }
            Accounts::Passwd { name, from } => {
                let login = Login { name, from };
                let password = Some(read(&login)?);
                self.update_account(pb::UpdateAccountRequest {
                    name: login.name,
                    password,
                    ..pb::UpdateAccountRequest::default()
                })
                .await
            }
            Accounts::Grant { name, rights } => {
                let (roles, groups) = fields(rights);
                self.update_account(pb::UpdateAccountRequest {
                    name,
                    roles,
                    all_groups: groups.is_none(),
                    groups,
                    ..pb::UpdateAccountRequest::default()
                })
                .await
            }
            Accounts::Enable { name } => self.allow_account(name, true).await,
            Accounts::Disable { name } => self.allow_account(name, false).await,
            Accounts::Delete { name } => {
                let ask = Ask::change(format!("delete account {name:?}"), "accounts list");
                let request = pb::DeleteAccountRequest { name: name.clone() };
                let answer = self.managers.ask(&ask, |mut services| {
                    let request = request.clone();
                    async move { services.auth.delete_account(request).await }
                });
                answer.await?;
                Ok(self.done(&Removed::new("account", name)))
            }
        }
    }

    async fn create_account(&self, request: pb::CreateAccountRequest) -> Result<Outcome, Error> {
        let ask = Ask::change(
            format!("create account {:?}", request.name),
            "accounts list",
        );
        let answer = self.managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.auth.create_account(request).await }
        });
        let account = answer
            .await?
            .account
            .ok_or_else(|| lacks(&ask, "account"))?;
        Ok(self.done(&access::Account::from(account)))
    }

    async fn allow_account(&self, name: String, enabled: bool) -> Result<Outcome, Error> {
        self.update_account(pb::UpdateAccountRequest {
            name,
            enabled: Some(enabled),
            ..pb::UpdateAccountRequest::default()
        })
        .await
    }

    async fn update_account(&self, request: pb::UpdateAccountRequest) -> Result<Outcome, Error> {
        let ask = Ask::change(
            format!("change account {:?}", request.name),
            "accounts list",
        );
        let answer = self.managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.auth.update_account(request).await }
        });
        let account = answer
            .await?
            .account
            .ok_or_else(|| lacks(&ask, "account"))?;
        Ok(self.done(&access::Account::from(account)))
    }

    pub(super) async fn keys(&self, command: Keys) -> Result<Outcome, Error> {
        match command {
            Keys::List => {
                let ask = Ask::read("list the API keys", "status");
                let answer = self.managers.ask(&ask, |mut services| async move {
                    services.auth.list_keys(pb::ListKeysRequest {}).await
                });
                Ok(self.done(&access::Keys::from(answer.await?.keys)))
            }
            Keys::Create {
                name,
                rights,
                expires_in,
            } => {
                let ask = Ask::change(format!("make API key {name:?}"), "keys list");
                let (roles, groups) = fields(rights);
                let request = pb::CreateKeyRequest {
                    name,
                    roles,
                    groups,
                    expires_in: expires_in.map(|time| time.as_secs()),
                };
                let answer = self.managers.ask(&ask, |mut services| {
                    let request = request.clone();
                    async move { services.auth.create_key(request).await }
                });
                let made = answer.await?;
                let about = made.api_key.ok_or_else(|| lacks(&ask, "key"))?;
                Ok(self.done(&access::MadeKey::new(about, made.key)))
            }
            Keys::Revoke { id } => {
                let ask = Ask::change(format!("revoke API key {id:?}"), "keys list");
                let request = pb::RevokeKeyRequest { id: id.clone() };
                let answer = self.managers.ask(&ask, |mut services| {
                    let request = request.clone();
                    async move { services.auth.revoke_key(request).await }
                });
                answer.await?;
                Ok(self.done(&Removed::new("key", id)))
            }
        }
    }
}

/// What is read is a password even if it looks like a verifier, which accounts do not have.
fn read(login: &Login) -> Result<String, Error> {
    let (password, verifier) = Password::read(login.from.password_file.as_deref())?.fields();
    password.or(verifier).ok_or(Error::NoPassword)
}

fn fields(rights: Rights) -> (Vec<String>, Option<pb::Groups>) {
    let roles = rights.roles.into_iter().map(Role::word).collect();
    let names = rights.groups;
    let groups = (!names.is_empty()).then_some(pb::Groups { names });
    (roles, groups)
}
