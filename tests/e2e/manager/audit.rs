//! Every control write leaves an entry in the audit trail, in the same etcd transaction.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use tests::http;

use super::{list, managers, shard};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: every_write_leaves_an_audit_entry).into()
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
    // Refused: no entry.
    http::post(&manager.api("/tables"), &table)
        .await?
        .expect(409)?;
    http::delete(&manager.api("/shards/b")).await?.expect(204)?;
    let audit = http::get(&manager.api("/audit")).await?.expect(200)?;
    let entries = list(&audit, "entries")?;
    same!(entries.len(), 4, "entries of {audit}");
    for entry in entries {
        for field in ["action", "epoch"] {
            anyhow::ensure!(!entry[field].is_null(), "no {field} in {entry}");
        }
    }
    // Each entry was written with the change that it tells of: one etcd revision, one epoch.
    let stored = cluster
        .etcd
        .etcdctl(&["get", "--prefix", "/sharding/v1/", "-w", "fields"])?;
    let value = |block: &[&str], name: &str| -> Option<u64> {
        block.iter().find_map(|line| {
            line.strip_prefix(name)?
                .trim_start_matches([' ', ':'])
                .parse()
                .ok()
        })
    };
    let lines: Vec<&str> = stored.lines().collect();
    let blocks: Vec<&[&str]> = lines.split(|line| line.is_empty()).collect();
    let audits = blocks.iter().filter(|block| {
        block
            .iter()
            .any(|line| line.starts_with("\"Key\" : \"/sharding/v1/audit/"))
    });
    let revisions: Vec<u64> = audits
        .filter_map(|block| value(block, "\"ModRevision\""))
        .collect();
    same!(revisions.len(), 4, "stored entries in {stored}");
    for revision in revisions {
        let at = format!("--rev={revision}");
        let head =
            cluster
                .etcd
                .etcdctl(&["get", "/sharding/v1/topology/head", &at, "-w", "fields"])?;
        let head: Vec<&str> = head.lines().collect();
        same!(
            value(&head, "\"ModRevision\""),
            Some(revision),
            "the head at that revision"
        );
    }
    Ok(())
}
