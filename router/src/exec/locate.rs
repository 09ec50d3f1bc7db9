//! Which shard owns a key that a client names, outside of any statement.

use topology::key::InvalidKey;
use topology::{Epoch, GroupName, Key, KeyType, ShardId, Snapshot, Token, hash};

use crate::error::Error;
use crate::route::Refusal;

/// The group that applies when none is named.
pub const DEFAULT_GROUP: &str = "default";

/// Where a key lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The type as which the key was read.
    pub key_type: KeyType,
    /// The shard.
    pub shard: ShardId,
    /// The key's token.
    pub token: Token,
    /// The vnode's own token.
    pub vnode: Token,
    /// The epoch of the topology that says so.
    pub epoch: Epoch,
}

/// Finds the owner of a key given in its text form.
///
/// # Errors
/// The group is not known, the text is no key of its type, or the ring is empty.
pub fn locate(snapshot: &Snapshot, group: Option<&str>, key: &str) -> Result<Located, Error> {
    let key_type = key_type_of(snapshot, group)?;
    let key = read_key(key_type, key)?;
    let vnode = snapshot.owner_of(&key).ok_or(Error::NoShard)?;
    let shard = snapshot.shard(vnode.owner).ok_or(Error::NoShard)?;
    Ok(Located {
        key_type,
        shard: shard.id.clone(),
        token: hash::token_of(&key),
        vnode: vnode.token,
        epoch: snapshot.epoch(),
    })
}

/// The key type of a group; of the default group where none is named.
///
/// # Errors
/// There is no such group.
pub fn key_type_of(snapshot: &Snapshot, group: Option<&str>) -> Result<KeyType, Error> {
    let name = group.unwrap_or(DEFAULT_GROUP);
    let known = GroupName::try_new(name)
        .ok()
        .and_then(|name| snapshot.group(&name));
    known
        .map(|group| group.key_type)
        .ok_or_else(|| Error::UnknownGroup {
            name: name.chars().take(64).collect(),
        })
}

/// Reads a key's text form.
///
/// # Errors
/// What PostgreSQL would say of the same text.
pub fn read_key(key_type: KeyType, text: &str) -> Result<Key<'_>, Refusal> {
    Key::from_text(key_type, text.as_bytes()).map_err(|invalid| Refusal {
        sqlstate: sqlstate_of(&invalid),
        message: format!("shard key: {invalid}"),
        hint: None,
    })
}

fn sqlstate_of(invalid: &InvalidKey) -> &'static str {
    match invalid {
        InvalidKey::UnknownType { .. } => "42704",
        InvalidKey::Syntax { .. } => "22P02",
        InvalidKey::OutOfRange { .. } => "22003",
        InvalidKey::TooLong { .. } => "54000",
        InvalidKey::NotUtf8 => "22021",
        InvalidKey::BinaryLength { .. } => "22P03",
    }
}
