//! `/health` and `/version`.

use axum::extract::State;
use platform::http_error::Json;
use proto::manager::v1;
use serde::Serialize;
use utoipa::ToSchema;

use crate::service::Service;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Version {
    version: &'static str,
}

/// How this manager, its leader and the shards are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `healthy`, or `degraded` when anything below is not as it should be.
    status: &'static str,
    version: String,
    manager_id: String,
    is_leader: bool,
    leader: Option<Leader>,
    epoch: u64,
    store_connected: bool,
    shards: Vec<ShardHealth>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Leader {
    id: String,
    grpc_address: String,
    term: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct ShardHealth {
    shard_id: String,
    healthy: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
}

pub(super) async fn health(State(service): State<Service>) -> Json<Health> {
    Json(health_of(service.status(), service.is_store_connected()))
}

fn health_of(status: v1::GetStatusResponse, store_connected: bool) -> Health {
    let leader = (!status.leader_id.is_empty()).then_some(Leader {
        id: status.leader_id,
        grpc_address: status.leader_address,
        term: status.term,
    });
    let shards_are_well = status.shards.iter().all(|shard| shard.healthy);
    let is_healthy = store_connected && leader.is_some() && shards_are_well;
    let shard = |shard: v1::ShardHealth| ShardHealth {
        shard_id: shard.shard_id,
        healthy: shard.healthy,
        error: shard.error,
    };
    Health {
        status: if is_healthy { "healthy" } else { "degraded" },
        version: status.version,
        manager_id: status.manager_id,
        is_leader: status.is_leader,
        leader,
        epoch: status.epoch,
        store_connected,
        shards: status.shards.into_iter().map(shard).collect(),
    }
}

pub(super) async fn version() -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION"),
    })
}
