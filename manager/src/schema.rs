//! Whether all shards have the same schema: what each has, how they differ, and the creation of
//! what one of them lacks. Nothing is ever dropped, and no row is touched.
//!
//! Compared is what a statement of the routers does on every shard: extensions, types, functions,
//! tables with all that belongs to them, views and privileges. Not compared are the tables that are
//! on one shard by intent, what belongs to a server (roles, databases), and what makes a shard this
//! very one: publications, subscriptions, event triggers.

use std::collections::BTreeMap;

use topology::ShardId;

mod compare;
mod inspect;
mod repair;

pub use compare::{Difference, Version, compare};
pub use inspect::{inspect, inspect_all};
pub use repair::{Action, Outcome, repair, steps};

/// A kind of object and its name, qualified and quoted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// `table`, `column`, `index` ...
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// An object of a shard's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The object that it is a part of, as [`Id`] shows it.
    pub parent: Option<String>,
    /// All that is compared.
    pub definition: String,
    /// What creates it; none when there is no such statement by itself.
    pub creation: Option<String>,
}

/// The schema of one shard.
pub type Objects = BTreeMap<Id, Object>;

/// The schemas of several.
pub type Schemas = BTreeMap<ShardId, Objects>;
