//! `/schema`.

use axum::extract::State;
use platform::http_error::Json;
use proto::manager::v1;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::error::Error;
use crate::service::Service;

/// Which shard is to be brought to which one's schema.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pair {
    from: String,
    to: String,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Diff {
    epoch: u64,
    shards: Vec<String>,
    objects: u64,
    is_equal: bool,
    differences: Vec<Difference>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Difference {
    kind: String,
    name: String,
    versions: Vec<Version>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Version {
    shards: Vec<String>,
    definition: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Repair {
    actions: Vec<Action>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Action {
    kind: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    statement: String,
    outcome: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

pub(super) async fn diff(State(service): State<Service>) -> Result<Json<Diff>, Error> {
    let diff = service.diff_schema().await?;
    let version = |version: v1::SchemaVersion| Version {
        shards: version.shard_ids,
        definition: version.definition,
    };
    let difference = |difference: v1::SchemaDifference| Difference {
        kind: difference.kind,
        name: difference.name,
        versions: difference.versions.into_iter().map(version).collect(),
    };
    Ok(Json(Diff {
        epoch: diff.epoch,
        shards: diff.shard_ids,
        objects: diff.objects,
        is_equal: diff.differences.is_empty(),
        differences: diff.differences.into_iter().map(difference).collect(),
        notes: diff.notes,
    }))
}

pub(super) async fn repair(
    State(service): State<Service>,
    caller: Caller,
    Json(pair): Json<Pair>,
) -> Result<Json<Repair>, Error> {
    let request = v1::RepairRequest {
        from: pair.from,
        to: pair.to,
        dry_run: pair.dry_run,
    };
    let done = service.repair_schema(&caller, request).await?.message;
    let action = |action: v1::SchemaAction| Action {
        kind: action.kind,
        name: action.name,
        statement: action.statement,
        outcome: action.outcome,
        reason: action.reason,
    };
    Ok(Json(Repair {
        actions: done.actions.into_iter().map(action).collect(),
    }))
}
