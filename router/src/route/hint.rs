//! Pure: reads hints at this snapshot. A hint never changes what a statement means: the keys that
//! it shows must agree.

use std::fmt;

use topology::{GroupName, Key, KeyType, ShardId, ShardIndex, Snapshot};

use super::{Plan, Refusal};
use crate::query::Hints;

/// The group by whose key type a hint is read that nothing depends on.
const DEFAULT_GROUP: &str = "default";

/// Where a client wants a statement to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint<'a> {
    /// The key that the statement works on.
    pub key: Option<Key<'a>>,
    /// The shard that it runs on.
    pub shard: Option<ShardIndex>,
}

/// Who gave a hint. A comment goes before a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A comment of the statement.
    Comment,
    /// A setting of the session.
    Setting,
    /// A field of an API request.
    Request,
}

impl Origin {
    /// What the client calls its hint at a key.
    #[must_use]
    pub fn key_name(self) -> &'static str {
        match self {
            Self::Comment => "hint shard_key",
            Self::Setting => "setting sharding.key",
            Self::Request => "shard key",
        }
    }

    /// What the client calls its hint at a shard.
    #[must_use]
    pub fn shard_name(self) -> &'static str {
        match self {
            Self::Comment => "hint shard",
            Self::Setting => "setting sharding.shard",
            Self::Request => "shard",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Comment => "comment",
            Self::Setting => "setting",
            Self::Request => "request",
        })
    }
}

impl<'a> Hint<'a> {
    /// Reads hints for a statement with this plan.
    ///
    /// # Errors
    /// The key is none of the type of the statement's tables, or there is no such shard.
    pub fn read(
        hints: &'a Hints,
        origin: Origin,
        plan: &Plan,
        snapshot: &Snapshot,
    ) -> Result<Self, Refusal> {
        let key = match &hints.shard_key {
            Some(text) => read_key(text, origin, plan, snapshot)?,
            None => None,
        };
        let shard = match &hints.shard {
            Some(id) => Some(find(id, snapshot).ok_or_else(|| {
                let named = origin.shard_name();
                Refusal::hint_shard(named, id)
            })?),
            None => None,
        };
        Ok(Self { key, shard })
    }
}

fn read_key<'a>(
    text: &'a str,
    origin: Origin,
    plan: &Plan,
    snapshot: &Snapshot,
) -> Result<Option<Key<'a>>, Refusal> {
    let read = |key_type| Key::from_text(key_type, text.as_bytes());
    match plan {
        Plan::Key { key_type, .. } | Plan::NeedsHint { key_type, .. } => read(*key_type)
            .map(Some)
            .map_err(|error| Refusal::hint_key(origin.key_name(), &error)),
        // Nothing depends on the key, and it may be meant as one of any group.
        Plan::Any { .. } | Plan::Catalog | Plan::Home(_) | Plan::Bound(_) => {
            Ok(default_type(snapshot).and_then(|key_type| read(key_type).ok()))
        }
        Plan::Everywhere
        | Plan::NeedsColumns { .. }
        | Plan::NeedsViews { .. }
        | Plan::Refused(_) => Ok(None),
    }
}

fn default_type(snapshot: &Snapshot) -> Option<KeyType> {
    let name = GroupName::try_new(DEFAULT_GROUP).ok()?;
    snapshot.group(&name).map(|group| group.key_type)
}

fn find(id: &str, snapshot: &Snapshot) -> Option<ShardIndex> {
    snapshot.index_of(&ShardId::try_new(id).ok()?)
}
