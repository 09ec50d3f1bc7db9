//! `/ring`, `/topology` and `/shard-for-key`.

use axum::extract::State;
use platform::http_error::{Json, Query};
use proto::manager::v1;
use serde::{Deserialize, Serialize};

use super::shards::Shard;
use super::tables::{Group, Table};
use crate::error::Error;
use crate::service::Service;

#[derive(Debug, Serialize)]
pub(super) struct Ring {
    epoch: u64,
    vnode_count: u32,
    shares: Vec<Share>,
}

/// One shard's part of the ring.
#[derive(Debug, Serialize)]
struct Share {
    shard_id: String,
    vnode_count: usize,
    share: f64,
    tokens: Vec<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct Topology {
    epoch: u64,
    shards: Vec<Shard>,
    groups: Vec<Group>,
    tables: Vec<Table>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyQuery {
    key: String,
    #[serde(default)]
    group: String,
}

/// Where a key lives.
#[derive(Debug, Serialize)]
pub(super) struct Place {
    shard_id: String,
    token: u32,
    vnode: u32,
    epoch: u64,
}

pub(super) async fn ring(State(service): State<Service>) -> Result<Json<Ring>, Error> {
    let ring = service.ring()?;
    let share = |share: v1::RingShare| Share {
        shard_id: share.shard_id,
        vnode_count: share.tokens.len(),
        share: share.share,
        tokens: share.tokens,
    };
    Ok(Json(Ring {
        epoch: ring.epoch,
        vnode_count: ring.vnode_count,
        shares: ring.shares.into_iter().map(share).collect(),
    }))
}

pub(super) async fn topology(State(service): State<Service>) -> Result<Json<Topology>, Error> {
    let topology = service.topology()?;
    Ok(Json(Topology {
        epoch: topology.epoch,
        shards: topology.shards.into_iter().map(Shard::from).collect(),
        groups: topology.groups.into_iter().map(Group::from).collect(),
        tables: topology.tables.into_iter().map(Table::from).collect(),
    }))
}

pub(super) async fn shard_for_key(
    State(service): State<Service>,
    Query(KeyQuery { key, group }): Query<KeyQuery>,
) -> Result<Json<Place>, Error> {
    let place = service.shard_for_key(&v1::ShardForKeyRequest { key, group })?;
    Ok(Json(Place {
        shard_id: place.shard_id,
        token: place.token,
        vnode: place.vnode,
        epoch: place.epoch,
    }))
}
