//! `/tables` and `/groups`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use platform::http_error::{Json, Path};
use proto::manager::v1;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::error::Error;
use crate::service::Service;

/// A table to be, as a client writes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTable {
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    shard_key: String,
    #[serde(default)]
    key_type: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    shard_id: String,
}

/// A registered table; only the fields of its kind are there.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Table {
    name: String,
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    shard_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    key_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    shard_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    definition: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tables {
    tables: Vec<Table>,
}

/// A table group, in both directions.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    name: String,
    key_type: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Groups {
    groups: Vec<Group>,
}

impl From<v1::Table> for Table {
    fn from(table: v1::Table) -> Self {
        Self {
            name: table.name,
            kind: table.kind,
            shard_key: table.shard_key,
            key_type: table.key_type,
            group: table.group,
            shard_id: table.shard_id,
            definition: table.definition,
        }
    }
}

impl From<v1::Group> for Group {
    fn from(group: v1::Group) -> Self {
        Self {
            name: group.name,
            key_type: group.key_type,
        }
    }
}

pub(super) async fn list(State(service): State<Service>) -> Result<Json<Tables>, Error> {
    let tables = service.list_tables()?.tables;
    let tables = tables.into_iter().map(Table::from).collect();
    Ok(Json(Tables { tables }))
}

pub(super) async fn find(
    State(service): State<Service>,
    Path(name): Path<String>,
) -> Result<Json<Table>, Error> {
    let table = service.find_table(&name)?;
    Ok(Json(table.into()))
}

pub(super) async fn create(
    State(service): State<Service>,
    caller: Caller,
    Json(new): Json<NewTable>,
) -> Result<Response, Error> {
    let request = v1::CreateTableRequest {
        name: new.name,
        kind: new.kind,
        shard_key: new.shard_key,
        key_type: new.key_type,
        group: new.group,
        shard_id: new.shard_id,
        // Routers register views: they have them from the shards.
        definition: String::new(),
    };
    let created = service.create_table(&caller, request).await?.message.table;
    let table = created.ok_or(Error::Internal("an answer about a table has none"))?;
    Ok((StatusCode::CREATED, Json(Table::from(table))).into_response())
}

pub(super) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Error> {
    let request = v1::DeleteTableRequest { name };
    service.delete_table(&caller, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn list_groups(State(service): State<Service>) -> Result<Json<Groups>, Error> {
    let groups = service.list_groups()?.groups;
    let groups = groups.into_iter().map(Group::from).collect();
    Ok(Json(Groups { groups }))
}

pub(super) async fn create_group(
    State(service): State<Service>,
    caller: Caller,
    Json(new): Json<Group>,
) -> Result<Response, Error> {
    let Group { name, key_type } = new;
    let request = v1::CreateGroupRequest { name, key_type };
    let created = service.create_group(&caller, request).await?.message.group;
    let group = created.ok_or(Error::Internal("an answer about a group has none"))?;
    Ok((StatusCode::CREATED, Json(Group::from(group))).into_response())
}
