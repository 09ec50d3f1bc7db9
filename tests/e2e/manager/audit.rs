//! Every control write leaves an entry in the audit trail, in the same etcd transaction.

use std::sync::Arc;

use libtest_mimic::Trial;
use proto::manager::v1::CreateShardRequest;
use proto::manager::v1::shard_service_client::ShardServiceClient;
use serde_json::json;
use tests::{Etcd, http, wait};

use super::{list, managers, shard};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        every_write_leaves_an_audit_entry,
        a_refusal_is_on_record_once_whoever_refused,
    )
    .into()
}

/// A follower refuses what has no form, and passes on what the leader refuses.
async fn a_refusal_is_on_record_once_whoever_refused() -> Outcome {
    let cluster = managers(2, 1).await?;
    let body = shard("a", &cluster.spares[0].endpoint());
    cluster.post_when_led("/shards", &body).await?;
    let leader = super::leader(&cluster).await?;
    let follower = &cluster.managers[1 - leader];
    let nowhere = json!({ "name": "b", "primary_endpoint": "nowhere" });
    http::post(&follower.api("/shards"), &nowhere)
        .await?
        .expect(400)?;
    http::post(&follower.api("/shards"), &body)
        .await?
        .expect(409)?;
    let mut client = ShardServiceClient::connect(follower.0.grpc()).await?;
    let request = CreateShardRequest::default();
    anyhow::ensure!(
        client.create_shard(request).await.is_err(),
        "a shard without a name"
    );
    let request = CreateShardRequest {
        name: "a".to_owned(),
        primary_endpoint: cluster.spares[0].endpoint(),
        ..CreateShardRequest::default()
    };
    anyhow::ensure!(client.create_shard(request).await.is_err(), "a second time");
    let refusals = async || {
        let audit = http::get(&follower.api("/audit?result=refused")).await?;
        let audit = audit.expect(200)?;
        let entries = list(&audit, "entries")?;
        same!(entries.len(), 4, "entries of {audit}");
        anyhow::Ok(())
    };
    wait::until("four refusals", wait::SETTLE, refusals).await?;
    let checked = http::get(&follower.api("/audit/verify"))
        .await?
        .expect(200)?;
    same!(checked["is_intact"], json!(true), "{checked}");
    refusals().await
}

async fn every_write_leaves_an_audit_entry() -> Outcome {
    let cluster = managers(1, 2).await?;
    let manager = cluster.manager(0)?;
    cluster
        .post_when_led("/shards", &shard("a", &cluster.spares[0].endpoint()))
        .await?;
    let table = json!({ "name": "orders", "shard_key": "k", "key_type": "bigint" });
    http::post(&manager.api("/tables"), &table)
        .await?
        .expect(201)?;
    http::post(
        &manager.api("/shards"),
        &shard("b", &cluster.spares[1].endpoint()),
    )
    .await?
    .expect(201)?;
    // Refused: an entry of its own, at no epoch.
    http::post(&manager.api("/tables"), &table)
        .await?
        .expect(409)?;
    http::delete(&manager.api("/shards/b")).await?.expect(204)?;
    let audit = http::get(&manager.api("/audit?result=done")).await?;
    let audit = audit.expect(200)?;
    let entries = list(&audit, "entries")?;
    same!(entries.len(), 4, "entries of {audit}");
    for entry in entries {
        for field in ["action", "epoch", "hash", "previous"] {
            anyhow::ensure!(!entry[field].is_null(), "no {field} in {entry}");
        }
        // Each was written with the change that it tells of: one etcd revision, one epoch.
        let sequence = entry["sequence"].as_u64().unwrap_or_default();
        let key = format!("/sharding/v1/audit/{sequence:020}");
        let written = revisions(&cluster.etcd, &[&key])?;
        let revision = written.first().copied().unwrap_or_default();
        let head = ["/sharding/v1/topology/head", &format!("--rev={revision}")];
        same!(
            revisions(&cluster.etcd, &head)?,
            [revision],
            "the head at that revision"
        );
    }
    Ok(())
}

/// The revisions at which some keys were written last.
fn revisions(etcd: &Etcd, keys: &[&str]) -> anyhow::Result<Vec<u64>> {
    let shown = etcd.etcdctl(&[&["get", "-w", "fields"], keys].concat())?;
    let found = shown
        .lines()
        .filter_map(|line| line.strip_prefix("\"ModRevision\" : "));
    found.map(|revision| Ok(revision.parse()?)).collect()
}
