//! Creating table groups.

use serde_json::json;
use topology::records::{Group, encode};
use topology::store::Op;
use topology::{GroupName, KeyType, Snapshot, keys};

use super::{Change, MAX_GROUPS, Rejection, below};

pub(super) fn create(
    snapshot: &Snapshot,
    name: &GroupName,
    key_type: KeyType,
) -> Result<Change, Rejection> {
    if snapshot.group(name).is_some() {
        return Err(Rejection::GroupExists { name: name.clone() });
    }
    Ok(Change {
        ops: vec![put(snapshot, name, key_type)?],
        action: "create_group",
        target: name.to_string(),
        detail: json!({ "key_type": key_type }),
    })
}

/// The write of a new group.
pub(super) fn put(
    snapshot: &Snapshot,
    name: &GroupName,
    key_type: KeyType,
) -> Result<Op, Rejection> {
    below(snapshot.groups().count(), MAX_GROUPS, "groups")?;
    let group = Group {
        name: name.clone(),
        key_type,
    };
    Ok(Op::put(keys::group(name), encode(&group)))
}
