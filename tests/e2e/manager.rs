//! The managers: their REST and gRPC faces, what they refuse, and how they share the work.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use proto::manager::v1::topology_service_client::TopologyServiceClient;
use proto::manager::v1::{GetStatusRequest, GetStatusResponse};
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::{Cluster, Manager, http, wait};

use crate::suite::{Suite, same};

mod audit;
mod grpc;
mod leader;
mod limits;
mod plans;
mod secrets;
mod shards;
mod tables;
mod tampering;
mod users;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    [
        leader::trials(suite),
        shards::trials(suite),
        tables::trials(suite),
        grpc::trials(suite),
        audit::trials(suite),
        tampering::trials(suite),
        limits::trials(suite),
        secrets::trials(suite),
        users::trials(suite),
        plans::trials(suite),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Managers alone, with servers to register.
async fn managers(count: usize, servers: usize) -> anyhow::Result<Cluster> {
    let plan = Plan {
        shards: 0,
        spares: servers,
        managers: count,
        routers: 0,
        ..Plan::default()
    };
    Cluster::start(plan).await
}

/// What a manager says of itself.
async fn status(manager: &Manager) -> anyhow::Result<GetStatusResponse> {
    let mut client = TopologyServiceClient::connect(manager.0.grpc()).await?;
    Ok(client.get_status(GetStatusRequest {}).await?.into_inner())
}

/// Waits until somebody leads; the number of the leader.
async fn leader(cluster: &Cluster) -> anyhow::Result<usize> {
    wait::until("a leader", wait::SETTLE, async || {
        for (number, manager) in cluster.managers.iter().enumerate() {
            if status(manager).await.is_ok_and(|status| status.is_leader) {
                return Ok(number);
            }
        }
        anyhow::bail!("nobody leads")
    })
    .await
}

async fn epoch(manager: &Manager) -> anyhow::Result<u64> {
    let topology = http::get(&manager.api("/topology")).await?.expect(200)?;
    topology["epoch"].as_u64().context("epoch is a number")
}

/// A list in an answer: the answer itself, or the field that is named as the list.
fn list<'a>(answer: &'a Value, name: &str) -> anyhow::Result<&'a Vec<Value>> {
    let list = answer.as_array().or_else(|| answer[name].as_array());
    list.with_context(|| format!("no list of {name} in {answer}"))
}

/// Checks that an answer is an error of this status in the one form that errors have.
fn is_error(answer: &http::Answer, status: u16, code: &str) -> anyhow::Result<String> {
    let body = answer.expect(status)?;
    same!(body["error"]["code"], json!(code), "{body}");
    let message = body["error"]["message"].as_str().unwrap_or_default();
    anyhow::ensure!(!message.is_empty(), "no message in {body}");
    Ok(message.to_owned())
}

fn shard(name: &str, endpoint: &str) -> Value {
    json!({ "name": name, "primary_endpoint": endpoint, "vnode_count": 64 })
}
