//! The topology in the messages of the API.

use std::time::SystemTime;

use proto::manager::v1;
use topology::records::User;
use topology::{Group, Placement, Ring, Shard, ShardId, ShardIndex, ShardState, Snapshot, Table};

use crate::leader::Standing;
use crate::shards::health::Finding;
use crate::shards::rows;

pub(super) fn shards(snapshot: &Snapshot) -> Vec<v1::Shard> {
    let mut owned = vec![0_u32; snapshot.shards().len()];
    for vnode in snapshot.ring().vnodes() {
        if let Some(count) = place(vnode.owner).and_then(|at| owned.get_mut(at)) {
            *count += 1;
        }
    }
    let shards = snapshot.shards().iter().zip(owned);
    shards
        .map(|(record, owned)| describe_shard(record, owned))
        .collect()
}

pub(super) fn shard(snapshot: &Snapshot, id: &ShardId) -> Option<v1::Shard> {
    let index = snapshot.index_of(id)?;
    let vnodes = snapshot.ring().vnodes().iter();
    let owned = vnodes.filter(|vnode| vnode.owner == index).count();
    let owned = u32::try_from(owned).unwrap_or(u32::MAX);
    snapshot
        .shard(index)
        .map(|record| describe_shard(record, owned))
}

fn describe_shard(shard: &Shard, owned_vnodes: u32) -> v1::Shard {
    let time = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
    v1::Shard {
        id: shard.id.to_string(),
        name: shard.name.clone(),
        primary_endpoint: shard.primary_endpoint.to_string(),
        replicas: shard.replicas.iter().map(ToString::to_string).collect(),
        status: status(shard.state).to_owned(),
        version: shard.version,
        vnode_count: shard.vnode_count,
        created_at: time(shard.created_at),
        updated_at: time(shard.updated_at),
        owned_vnodes,
        weight: shard.weight,
        servers: Vec::new(),
        system_identifier: shard
            .lineage
            .as_ref()
            .map(|lineage| lineage.system.clone())
            .unwrap_or_default(),
        timeline: shard.lineage.as_ref().map_or(0, |it| it.timeline),
        promoting: shard.promotion.is_some(),
    }
}

pub(super) fn user(user: &User) -> v1::User {
    let time = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
    v1::User {
        name: user.name.to_string(),
        enabled: user.enabled,
        version: user.version,
        created_at: time(user.created_at),
        updated_at: time(user.updated_at),
    }
}

fn status(state: ShardState) -> &'static str {
    match state {
        ShardState::Active => "active",
        ShardState::Draining => "draining",
        ShardState::Inactive => "inactive",
    }
}

pub(super) fn groups(snapshot: &Snapshot) -> Vec<v1::Group> {
    let mut groups: Vec<_> = snapshot.groups().map(group).collect();
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    groups
}

pub(super) fn group(group: &Group) -> v1::Group {
    v1::Group {
        name: group.name.to_string(),
        key_type: group.key_type.to_string(),
    }
}

pub(super) fn tables(snapshot: &Snapshot) -> Vec<v1::Table> {
    let mut tables: Vec<_> = snapshot
        .tables()
        .map(|record| table(snapshot, record))
        .collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    tables
}

pub(super) fn table(snapshot: &Snapshot, table: &Table) -> v1::Table {
    let base = v1::Table {
        name: table.name.to_string(),
        ..v1::Table::default()
    };
    match &table.placement {
        Placement::Sharded { group, shard_key } => v1::Table {
            kind: "sharded".to_owned(),
            shard_key: shard_key.clone(),
            key_type: snapshot
                .group(group)
                .map(|group| group.key_type.to_string())
                .unwrap_or_default(),
            group: group.to_string(),
            ..base
        },
        Placement::Reference => v1::Table {
            kind: "reference".to_owned(),
            ..base
        },
        Placement::Unsharded { shard_id } => v1::Table {
            kind: "unsharded".to_owned(),
            shard_id: shard_id.to_string(),
            ..base
        },
        Placement::View { definition } => v1::Table {
            kind: "view".to_owned(),
            definition: definition.clone(),
            ..base
        },
    }
}

pub(super) fn ring(snapshot: &Snapshot) -> v1::GetRingResponse {
    let ring = snapshot.ring();
    let widths = widths(ring, snapshot.shards().len());
    let mut shares: Vec<_> = snapshot
        .shards()
        .iter()
        .zip(widths)
        .map(|(shard, width)| v1::RingShare {
            shard_id: shard.id.to_string(),
            tokens: Vec::new(),
            share: part_of_the_ring(width),
        })
        .collect();
    // In token order, so that each list comes out sorted.
    for vnode in ring.vnodes() {
        if let Some(share) = place(vnode.owner).and_then(|at| shares.get_mut(at)) {
            share.tokens.push(vnode.token.0);
        }
    }
    v1::GetRingResponse {
        epoch: snapshot.epoch().0,
        vnode_count: u32::try_from(ring.vnodes().len()).unwrap_or(u32::MAX),
        shares,
    }
}

/// How many tokens each shard owns, in one pass over the ring.
fn widths(ring: &Ring, shard_count: usize) -> Vec<u64> {
    let mut widths = vec![0_u64; shard_count];
    let Some(last) = ring.vnodes().last() else {
        return widths;
    };
    let mut before = last.token.0;
    for vnode in ring.vnodes() {
        let width = match vnode.token.0.wrapping_sub(before) {
            // A vnode whose predecessor is itself owns every token.
            0 => 1 << 32,
            width => u64::from(width),
        };
        before = vnode.token.0;
        if let Some(sum) = place(vnode.owner).and_then(|at| widths.get_mut(at)) {
            *sum += width;
        }
    }
    widths
}

fn part_of_the_ring(width: u64) -> f64 {
    let all_but_the_last = u32::try_from(width).unwrap_or(u32::MAX);
    f64::from(all_but_the_last) / f64::from(u32::MAX)
}

fn place(index: ShardIndex) -> Option<usize> {
    usize::try_from(index.0).ok()
}

pub(super) fn count(count: rows::Count) -> v1::RowCount {
    let (rows, error) = match count.rows {
        Ok(rows) => (rows, String::new()),
        Err(error) => (0, error),
    };
    v1::RowCount {
        table: count.table.to_string(),
        shard_id: count.shard.to_string(),
        rows,
        error,
    }
}

pub(super) fn health((shard, finding): (ShardId, Finding)) -> v1::ShardHealth {
    v1::ShardHealth {
        shard_id: shard.to_string(),
        healthy: finding.is_ok(),
        error: finding.err().unwrap_or_default(),
    }
}

/// What the standing says of the leader; the rest is for the caller to fill in.
pub(super) fn standing(standing: &Standing) -> v1::GetStatusResponse {
    let base = v1::GetStatusResponse {
        is_leader: standing.is_leading(),
        ..v1::GetStatusResponse::default()
    };
    match standing.leader() {
        None => base,
        Some(leader) => v1::GetStatusResponse {
            leader_id: leader.identity.id.clone(),
            leader_address: leader.identity.grpc_address.clone(),
            term: leader.term.0,
            ..base
        },
    }
}
