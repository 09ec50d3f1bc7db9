//! What a caller may do: roles, what a route asks for, and who was let in. Pure; how a request
//! shows who sends it is in [`gate`], which keys are accepted and which tokens no longer are in
//! [`grants`].

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::bearer::Claims;

pub mod gate;
pub mod grants;
pub mod refused;

#[cfg(test)]
mod tests;

/// What the holder of an API key is called by: this and the key's id.
pub const KEY_ACTOR: &str = "key:";

/// What somebody is called by whose token an identity provider made: this and its subject. No
/// account's name has a colon.
pub const PROVIDER_ACTOR: &str = "idp:";

/// What somebody may do. There are two ladders, and a role of one gives nothing on the other.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees the control plane.
    Viewer,
    /// Changes what it controls, too.
    Operator,
    /// Decides who else may, too.
    Admin,
    /// Reads rows.
    Reader,
    /// Writes them, too.
    Writer,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [
        Self::Viewer,
        Self::Operator,
        Self::Admin,
        Self::Reader,
        Self::Writer,
    ];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Reader => "reader",
            Self::Writer => "writer",
        }
    }

    /// The role of a word; none for words of others.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// Whether whoever has this role may do what `needed` may.
    #[must_use]
    pub fn includes(self, needed: Self) -> bool {
        match needed {
            Self::Viewer => matches!(self, Self::Viewer | Self::Operator | Self::Admin),
            Self::Operator => matches!(self, Self::Operator | Self::Admin),
            Self::Admin => self == Self::Admin,
            Self::Reader => matches!(self, Self::Reader | Self::Writer),
            Self::Writer => self == Self::Writer,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a route asks of its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: whoever calls it proves who they are by it, or it tells nothing.
    Nothing,
    /// Any credential that is valid here.
    Identity,
    /// A role.
    Role(Role),
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nobody in particular"),
            Self::Identity => f.write_str("any role"),
            Self::Role(role) => write!(f, "role {role}"),
        }
    }
}

/// Which parts of the data a caller may touch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// All of them.
    #[default]
    All,
    /// Those named.
    Only(BTreeSet<String>),
}

impl Scope {
    /// The scope of a list of names; all without a list.
    #[must_use]
    pub fn of(names: Option<&[String]>) -> Self {
        names.map_or(Self::All, |names| {
            Self::Only(names.iter().cloned().collect())
        })
    }

    /// Whether it has a part.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }
}

/// By what a caller was known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A token.
    Token(Box<Claims>),
    /// An API key, by its id.
    Key(String),
}

/// Who was let in; found among a request's extensions, and among those of its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// As the audit log names them: the subject of a token, after `idp:` where an identity
    /// provider made it, or `key:` and the id of a key.
    pub actor: String,
    /// What they may do.
    pub roles: BTreeSet<Role>,
    /// With which parts of the data.
    pub scope: Scope,
    /// How they are known.
    pub credential: Credential,
}

impl Identity {
    /// What a token says.
    #[must_use]
    pub fn of_claims(claims: Claims) -> Self {
        Self {
            actor: claims.sub.clone(),
            roles: claims.known_roles(),
            scope: Scope::of(claims.groups.as_deref()),
            credential: Credential::Token(Box::new(claims)),
        }
    }

    /// Whether they have a role, or one that includes it.
    #[must_use]
    pub fn has(&self, needed: Role) -> bool {
        self.roles.iter().any(|role| role.includes(needed))
    }

    /// Whether they fulfil what a route asks for.
    #[must_use]
    pub fn fulfils(&self, need: Need) -> bool {
        match need {
            Need::Nothing | Need::Identity => true,
            Need::Role(role) => self.has(role),
        }
    }
}
