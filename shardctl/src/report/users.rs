//! Users of the routers' Postgres front: one, or all of them.

use proto::manager::v1 as pb;
use serde::Serialize;

use super::Report;
use crate::grid::Grid;

/// A user.
#[derive(Debug, Clone, Serialize)]
pub struct User {
    name: String,
    enabled: bool,
    version: u64,
    created_at: String,
    updated_at: String,
}

impl From<pb::User> for User {
    fn from(user: pb::User) -> Self {
        Self {
            name: user.name,
            enabled: user.enabled,
            version: user.version,
            created_at: user.created_at,
            updated_at: user.updated_at,
        }
    }
}

/// All users.
#[derive(Debug, Clone, Serialize)]
pub struct Users {
    users: Vec<User>,
}

impl From<Vec<pb::User>> for Users {
    fn from(users: Vec<pb::User>) -> Self {
        Self {
            users: users.into_iter().map(User::from).collect(),
        }
    }
}

impl Report for User {
    fn table(&self) -> String {
        grid([self])
    }
}

impl Report for Users {
    fn table(&self) -> String {
        grid(&self.users)
    }
}

fn grid<'a>(users: impl IntoIterator<Item = &'a User>) -> String {
    let mut grid = Grid::new(&["NAME", "LOGIN", "CREATED", "UPDATED"]);
    for user in users {
        let login = if user.enabled { "enabled" } else { "disabled" };
        grid.row([
            user.name.clone(),
            login.to_owned(),
            user.created_at.clone(),
            user.updated_at.clone(),
        ]);
    }
    grid.render()
}
