//! Registering and removing shards.

use std::time::SystemTime;

use serde_json::json;
use topology::records::{Shard, ShardState, ShardVnodes, encode};
use topology::ring::tokens_for;
use topology::store::Op;
use topology::{Endpoint, Epoch, Placement, Ring, ShardId, Snapshot, Token, keys};

use super::{Change, MAX_SHARDS, NewShard, Rejection, below, ring_holds_data, still_checked};

/// The id that a name gives: lower-case letters and digits, all else as single hyphens.
#[must_use]
pub fn slug(name: &str) -> Option<ShardId> {
    let mut text = String::with_capacity(name.len());
    for part in name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
    {
        if !text.is_empty() {
            text.push('-');
        }
        text.push_str(&part.to_ascii_lowercase());
    }
    ShardId::try_new(&text).ok()
}

pub(super) fn create(
    snapshot: &Snapshot,
    new: &NewShard,
    now: SystemTime,
) -> Result<Change, Rejection> {
    // Once rows may lie where the ring says, vnodes are moved by a plan and never just given.
    if ring_holds_data(snapshot) {
        return join(snapshot, new, now);
    }
    let id = usable_id(snapshot, new)?;
    let tokens = fresh_tokens(snapshot, &id, new.vnode_count)?;
    Ok(registered(&id, new, tokens, now))
}

/// Registers a shard without vnodes.
pub(super) fn join(
    snapshot: &Snapshot,
    new: &NewShard,
    now: SystemTime,
) -> Result<Change, Rejection> {
    let id = usable_id(snapshot, new)?;
    Ok(registered(&id, new, Vec::new(), now))
}

fn usable_id(snapshot: &Snapshot, new: &NewShard) -> Result<ShardId, Rejection> {
    let unusable = || Rejection::UnusableName {
        name: new.name.chars().take(128).collect(),
    };
    let id = slug(&new.name).ok_or_else(unusable)?;
    if snapshot.index_of(&id).is_some() {
        return Err(Rejection::ShardExists { id });
    }
    endpoints_are_free(snapshot, new)?;
    below(snapshot.shards().len(), MAX_SHARDS, "shards")?;
    Ok(id)
}

fn registered(id: &ShardId, new: &NewShard, tokens: Vec<Token>, now: SystemTime) -> Change {
    let shard = Shard {
        id: id.clone(),
        name: new.name.clone(),
        primary_endpoint: new.primary_endpoint.clone(),
        replicas: new.replicas.clone(),
        state: ShardState::Active,
        weight: new.weight,
        vnode_count: new.vnode_count,
        version: 1,
        created_at: now,
        updated_at: now,
        lineage: None,
        promotion: None,
    };
    let mut ops = vec![Op::put(keys::shard(id), encode(&shard))];
    let detail = json!({
        "name": new.name, "primary_endpoint": new.primary_endpoint, "replicas": new.replicas,
        "vnode_count": new.vnode_count, "weight": new.weight, "owned_vnodes": tokens.len(),
    });
    if !tokens.is_empty() {
        let vnodes = ShardVnodes {
            shard: id.clone(),
            tokens,
        };
        ops.push(Op::put(keys::ring(id), encode(&vnodes)));
    }
    Change {
        ops,
        action: "create_shard",
        target: id.to_string(),
        detail,
    }
}

pub(super) fn delete(
    snapshot: &Snapshot,
    id: &ShardId,
    checked_at: Epoch,
) -> Result<Change, Rejection> {
    may_be_removed(snapshot, id)?;
    still_checked(snapshot, checked_at)?;
    Ok(Change {
        // The ring record is empty or absent; an empty one must not outlive its shard.
        ops: vec![Op::delete(keys::shard(id)), Op::delete(keys::ring(id))],
        action: "delete_shard",
        target: id.to_string(),
        detail: json!({}),
    })
}

/// Whether the topology needs a shard no longer; what lies on it is not known here.
pub(crate) fn may_be_removed(snapshot: &Snapshot, id: &ShardId) -> Result<(), Rejection> {
    let unknown = || Rejection::UnknownShard { id: id.clone() };
    let index = snapshot.index_of(id).ok_or_else(unknown)?;
    let vnodes = snapshot.ring().vnodes().iter();
    let count = vnodes.filter(|vnode| vnode.owner == index).count();
    if count > 0 {
        let id = id.clone();
        return Err(Rejection::ShardOwnsVnodes { id, count });
    }
    let homed = snapshot.tables().find(|table| match &table.placement {
        Placement::Unsharded { shard_id } => shard_id == id,
        Placement::Sharded { .. } | Placement::Reference | Placement::View { .. } => false,
    });
    match homed {
        None => Ok(()),
        Some(table) => Err(Rejection::ShardIsHome {
            id: id.clone(),
            table: table.name.clone(),
        }),
    }
}

/// No endpoint twice in the request, and none that a shard has: two shards on one database would
/// each take the other's rows for their own.
fn endpoints_are_free(snapshot: &Snapshot, new: &NewShard) -> Result<(), Rejection> {
    let wanted: Vec<&Endpoint> = std::iter::once(&new.primary_endpoint)
        .chain(&new.replicas)
        .collect();
    for (at, endpoint) in wanted.iter().enumerate() {
        if wanted.iter().take(at).any(|other| other.overlaps(endpoint)) {
            let endpoint = (*endpoint).clone();
            return Err(Rejection::EndpointTwice { endpoint });
        }
        let has = |shard: &&Shard| {
            let has = |own: &Endpoint| own.overlaps(endpoint);
            has(&shard.primary_endpoint) || shard.replicas.iter().any(has)
        };
        if let Some(owner) = snapshot.shards().iter().find(has) {
            return Err(Rejection::EndpointTaken {
                endpoint: (*endpoint).clone(),
                shard: owner.id.clone(),
            });
        }
    }
    Ok(())
}

fn fresh_tokens(snapshot: &Snapshot, id: &ShardId, count: u32) -> Result<Vec<Token>, Rejection> {
    let present = snapshot.ring().vnodes();
    let wanted = usize::try_from(count).unwrap_or(usize::MAX);
    if present.len().saturating_add(wanted) > Ring::MAX_VNODES {
        let limit = Ring::MAX_VNODES;
        return Err(Rejection::LimitReached {
            what: "vnodes",
            limit,
        });
    }
    let taken = |token| {
        present
            .binary_search_by_key(&token, |vnode| vnode.token)
            .is_ok()
    };
    Ok(tokens_for(id, count, taken))
}
