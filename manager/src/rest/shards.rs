//! `/shards`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode};
use platform::http_error::{Json, Path};
use proto::manager::v1;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::error::Error;
use crate::service::Service;

/// A shard to be, as a client writes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewShard {
    name: String,
    primary_endpoint: String,
    #[serde(default)]
    replicas: Vec<String>,
    vnode_count: Option<u32>,
    weight: Option<u32>,
}

impl NewShard {
    pub(super) fn message(self, idempotency_key: String) -> Result<v1::CreateShardRequest, Error> {
        Ok(v1::CreateShardRequest {
            name: self.name,
            primary_endpoint: self.primary_endpoint,
            replicas: self.replicas,
            vnode_count: given("vnode_count", self.vnode_count)?,
            weight: given("weight", self.weight)?,
            idempotency_key,
        })
    }
}

/// A shard.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Shard {
    id: String,
    name: String,
    primary_endpoint: String,
    replicas: Vec<String>,
    status: String,
    version: u64,
    vnode_count: u32,
    owned_vnodes: u32,
    weight: u32,
    created_at: String,
    updated_at: String,
    promoting: bool,
    timeline: Option<u32>,
    system_identifier: Option<String>,
    /// Only of one shard by itself, once it was probed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    servers: Vec<super::failover::Server>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Shards {
    shards: Vec<Shard>,
}

impl From<v1::Shard> for Shard {
    fn from(shard: v1::Shard) -> Self {
        Self {
            id: shard.id,
            name: shard.name,
            primary_endpoint: shard.primary_endpoint,
            replicas: shard.replicas,
            status: shard.status,
            version: shard.version,
            vnode_count: shard.vnode_count,
            owned_vnodes: shard.owned_vnodes,
            weight: shard.weight,
            created_at: shard.created_at,
            updated_at: shard.updated_at,
            promoting: shard.promoting,
            timeline: Some(shard.timeline).filter(|timeline| *timeline > 0),
            system_identifier: Some(shard.system_identifier).filter(|text| !text.is_empty()),
            servers: shard.servers.into_iter().map(Into::into).collect(),
        }
    }
}

pub(super) async fn list(State(service): State<Service>) -> Result<Json<Shards>, Error> {
    let shards = service.list_shards()?.shards;
    let shards = shards.into_iter().map(Shard::from).collect();
    Ok(Json(Shards { shards }))
}

pub(super) async fn find(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Json<Shard>, Error> {
    let found = service.find_shard(&v1::GetShardRequest { id })?;
    one(found.shard)
}

pub(super) async fn create(
    State(service): State<Service>,
    caller: Caller,
    headers: HeaderMap,
    Json(new): Json<NewShard>,
) -> Result<Response, Error> {
    let request = new.message(idempotency_key(&headers)?)?;
    let created = service.create_shard(&caller, request).await?;
    Ok((StatusCode::CREATED, one(created.message.shard)?).into_response())
}

pub(super) async fn delete(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let request = v1::DeleteShardRequest { id };
    service.delete_shard(&caller, request).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn one(shard: Option<v1::Shard>) -> Result<Json<Shard>, Error> {
    let shard = shard.ok_or(Error::Internal("an answer about a shard has none"))?;
    Ok(Json(shard.into()))
}

/// The gRPC form writes 0 for an absent number; here a 0 is a number, and a wrong one.
fn given(field: &'static str, number: Option<u32>) -> Result<u32, Error> {
    match number {
        Some(0) => Err(Error::invalid(field, "must be at least 1")),
        number => Ok(number.unwrap_or(0)),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<String, Error> {
    let text = headers.get("idempotency-key").map(HeaderValue::to_str);
    let text = text.transpose();
    let text = text.map_err(|_| Error::invalid("idempotency-key", "must be visible ASCII"))?;
    Ok(text.unwrap_or_default().to_owned())
}
