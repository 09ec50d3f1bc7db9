//! What a command does to a user of the Postgres front. Users are no part of the topology, so that
//! they are decided on by themselves.

use std::time::SystemTime;

use serde_json::{Value, json};
use topology::records::{User, encode};
use topology::store::Op;
use topology::{UserName, Verifier, keys};

use super::{MAX_USERS, Rejection, below};

#[cfg(test)]
mod tests;

/// A change of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The user.
    pub name: UserName,
    /// What is to become of it.
    pub action: Action,
}

/// What is done to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Lets a new user in.
    Create {
        /// Checks the password.
        verifier: Verifier,
        /// Whether it may log in.
        enabled: bool,
    },
    /// Changes what is given.
    Alter {
        /// Checks the new password.
        verifier: Option<Verifier>,
        /// Whether it may log in.
        enabled: Option<bool>,
    },
    /// Forgets the user.
    Delete,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The write of the record.
    pub op: Op,
    /// The user afterwards; none when it is gone.
    pub user: Option<User>,
    /// What is done, for the audit log.
    pub action: &'static str,
    /// With which particulars; nothing of a password but that it changed.
    pub detail: Value,
}

/// Decides a command on the record that there is, beside `count` users in all.
///
/// # Errors
/// [`Rejection`] when the user is there already, or is not, or there are too many.
pub fn decide(
    present: Option<User>,
    count: usize,
    command: &Command,
    now: SystemTime,
) -> Result<Change, Rejection> {
    let name = &command.name;
    let unknown = || Rejection::UnknownUser { name: name.clone() };
    match (&command.action, present) {
        (Action::Create { .. }, Some(_)) => Err(Rejection::UserExists { name: name.clone() }),
        (Action::Create { verifier, enabled }, None) => {
            below(count, MAX_USERS, "users")?;
            let user = User {
                name: name.clone(),
                verifier: verifier.clone(),
                enabled: *enabled,
                version: 1,
                created_at: now,
                updated_at: now,
            };
            Ok(written(user, "create_user", json!({ "enabled": enabled })))
        }
        (Action::Alter { verifier, enabled }, present) => {
            let before = present.ok_or_else(unknown)?;
            let detail = json!({
                "password_changed": verifier.is_some(),
                "enabled": enabled.unwrap_or(before.enabled),
                "was_enabled": before.enabled,
            });
            let user = User {
                verifier: verifier.clone().unwrap_or(before.verifier),
                enabled: enabled.unwrap_or(before.enabled),
                version: before.version + 1,
                updated_at: now,
                ..before
            };
            Ok(written(user, "alter_user", detail))
        }
        (Action::Delete, present) => {
            let before = present.ok_or_else(unknown)?;
            Ok(Change {
                op: Op::delete(keys::user(name)),
                user: None,
                action: "delete_user",
                detail: json!({ "was_enabled": before.enabled }),
            })
        }
    }
}

fn written(user: User, action: &'static str, detail: Value) -> Change {
    Change {
        op: Op::put(keys::user(&user.name), encode(&user)),
        user: Some(user),
        action,
        detail,
    }
}
