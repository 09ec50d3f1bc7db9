//! Registering and forgetting tables.

use serde_json::json;
use topology::records::{Table, encode};
use topology::store::Op;
use topology::{Epoch, GroupName, KeyType, Placement, Snapshot, TableName, keys};

use super::{Change, MAX_TABLES, NewPlacement, Rejection, below, group, still_checked};

pub(super) fn create(
    snapshot: &Snapshot,
    name: &TableName,
    placement: &NewPlacement,
) -> Result<Change, Rejection> {
    if !may_take(snapshot, name, placement) {
        return Err(Rejection::TableExists { name: name.clone() });
    }
    below(snapshot.tables().count(), MAX_TABLES, "tables")?;
    let mut ops = Vec::new();
    let stored = match placement {
        NewPlacement::Sharded {
            group,
            shard_key,
            key_type,
        } => {
            if snapshot.ring().vnodes().is_empty() {
                return Err(Rejection::EmptyRing);
            }
            ops.extend(ensure_group(snapshot, group, *key_type)?);
            Placement::Sharded {
                group: group.clone(),
                shard_key: shard_key.clone(),
            }
        }
        NewPlacement::Reference => Placement::Reference,
        NewPlacement::Unsharded { shard_id } => {
            if snapshot.index_of(shard_id).is_none() {
                let id = shard_id.clone();
                return Err(Rejection::UnknownShard { id });
            }
            Placement::Unsharded {
                shard_id: shard_id.clone(),
            }
        }
        NewPlacement::View { definition } => Placement::View {
            definition: definition.clone(),
        },
    };
    let table = Table {
        name: name.clone(),
        placement: stored,
    };
    ops.push(Op::put(keys::table(name), encode(&table)));
    Ok(Change {
        ops,
        action: "create_table",
        target: name.to_string(),
        detail: placement.detail(),
    })
}

/// Whether a name is free. A view has no rows that could be lost: another definition takes the place
/// of the one that is known.
fn may_take(snapshot: &Snapshot, name: &TableName, placement: &NewPlacement) -> bool {
    match (
        snapshot.table(name).map(|table| &table.placement),
        placement,
    ) {
        (None, _) | (Some(Placement::View { .. }), NewPlacement::View { .. }) => true,
        (Some(_), _) => false,
    }
}

pub(super) fn delete(
    snapshot: &Snapshot,
    name: &TableName,
    checked_at: Epoch,
) -> Result<Change, Rejection> {
    if snapshot.table(name).is_none() {
        return Err(Rejection::UnknownTable { name: name.clone() });
    }
    still_checked(snapshot, checked_at)?;
    Ok(Change {
        ops: vec![Op::delete(keys::table(name))],
        action: "delete_table",
        target: name.to_string(),
        detail: json!({}),
    })
}

/// The write that creates the group, if it is not there; the key types must agree if it is.
fn ensure_group(
    snapshot: &Snapshot,
    name: &GroupName,
    key_type: Option<KeyType>,
) -> Result<Option<Op>, Rejection> {
    match (snapshot.group(name), key_type) {
        (None, None) => Err(Rejection::UnknownGroup { name: name.clone() }),
        (None, Some(key_type)) => group::put(snapshot, name, key_type).map(Some),
        (Some(group), Some(wanted)) if group.key_type != wanted => Err(Rejection::KeyTypeDiffers {
            group: name.clone(),
            present: group.key_type,
            wanted,
        }),
        (Some(_), _) => Ok(None),
    }
}
