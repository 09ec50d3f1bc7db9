//! SHOW SHARDS and SHOW RING.

use topology::{ShardState, Token};

use super::Value;
use crate::view::Serving;

pub(super) fn shards(serving: &Serving) -> Vec<Vec<Value>> {
    let snapshot = &serving.snapshot;
    let vnodes = snapshot.ring().vnodes();
    let row = |shard: &topology::Shard| {
        let index = snapshot.index_of(&shard.id);
        let owned = vnodes.iter().filter(|vnode| Some(vnode.owner) == index);
        let share = index.map(|index| snapshot.ring().share(index) * 100.0);
        let replicas: Vec<String> = shard.replicas.iter().map(ToString::to_string).collect();
        let paused = serving
            .all()
            .iter()
            .any(|pool| *pool.shard() == shard.id && pool.is_paused());
        let state = match shard.state {
            ShardState::Active => "active",
            ShardState::Draining => "draining",
            ShardState::Inactive => "inactive",
        };
        vec![
            shard.id.as_str().into(),
            shard.name.as_str().into(),
            state.into(),
            shard.primary_endpoint.to_string().into(),
            replicas.join(",").into(),
            shard.weight.into(),
            owned.count().into(),
            share.map(|share| format!("{share:.1}%")).into(),
            paused.into(),
            snapshot.epoch().0.into(),
        ]
    };
    snapshot.shards().iter().map(row).collect()
}

/// Each vnode with the tokens that it owns: those after the vnode before it, up to its own.
pub(super) fn ring(serving: &Serving) -> Vec<Vec<Value>> {
    let snapshot = &serving.snapshot;
    let vnodes = snapshot.ring().vnodes();
    let mut before: Option<Token> = vnodes.last().map(|vnode| vnode.token);
    let mut rows = Vec::with_capacity(vnodes.len());
    for vnode in vnodes {
        let owner = snapshot.shard(vnode.owner);
        rows.push(vec![
            vnode.token.to_string().into(),
            before.map(|token| token.to_string()).into(),
            vnode.token.to_string().into(),
            owner.map(|shard| shard.id.as_str()).into(),
            snapshot.epoch().0.into(),
        ]);
        before = Some(vnode.token);
    }
    rows
}
