//! Jobs that must not be done: nothing moves, the reason is told, and nothing stays behind.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::Cluster;
use tests::cluster::{Plan, dying_by};
use tests::folder::Folder;
use tests::wait;
use topology::ring::Vnode;
use topology::{Key, Snapshot};

use super::job::{begin, begin_and_pause, some_vnodes, until};
use super::load::{self, KEYS, Load};
use super::remains;
use crate::suite::{Outcome, Suite, alone, same};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_changed_row_on_the_mirror_fails_the_job,
        a_missing_row_on_the_mirror_fails_the_job,
        an_extra_row_on_the_mirror_fails_the_job,
        tables_that_cannot_be_moved_are_named_before_anything_is_done,
        a_difference_at_the_cutover_is_told_and_can_be_rolled_back,
    )
    .into()
}

async fn start() -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan {
        routers: 2,
        manager_config: json!({ "leader": { "lease_ttl": "5s" } }),
        ..Plan::default()
    })
    .await?;
    load::prepare(&cluster).await?;
    Ok(cluster)
}

async fn a_changed_row_on_the_mirror_fails_the_job() -> Outcome {
    tampering_is_found("UPDATE counters SET note = 'other' WHERE k = $KEY").await
}

async fn a_missing_row_on_the_mirror_fails_the_job() -> Outcome {
    tampering_is_found("DELETE FROM counters WHERE k = $KEY").await
}

async fn an_extra_row_on_the_mirror_fails_the_job() -> Outcome {
    tampering_is_found("INSERT INTO events (k, id) VALUES ($KEY, -1)").await
}

/// Changes the mirror before the comparison.
async fn tampering_is_found(sql: &str) -> Outcome {
    let cluster = start().await?;
    let before = cluster.snapshot().await?;
    let order = json!({ "from": "shard-1", "to": "shard-2", "vnodes": tokens(&before) });
    let key = (1..=KEYS)
        .find(|key| owner(&before, *key) == Some("shard-1"))
        .context("a key of shard-1")?;
    let job = begin_and_pause(&cluster, "move", order).await?;
    tamper(&cluster, &job, &sql.replace("$KEY", &key.to_string())).await?;
    // A write to the very row might heal it, or find it before the comparison does.
    super::job::ask(&cluster, &job, "resume").await?;
    let failed = until(&cluster, &job, "failed").await?;
    let error = failed["error_message"].as_str().unwrap_or_default();
    anyhow::ensure!(error.contains("differ"), "{failed:#}");
    anyhow::ensure!(error.contains(&key.to_string()), "{failed:#}");
    nothing_came_of_it(&cluster, &before).await
}

/// Between the comparison before the hold and the cutover nobody looks; the comparison of the very
/// rows that changed their owner finds it, and the way back stays open.
async fn a_difference_at_the_cutover_is_told_and_can_be_rolled_back() -> Outcome {
    let folder = Folder::shared()?;
    let failpoints = folder.fresh("failpoints");
    std::fs::write(&failpoints, "freeze after:verify")?;
    let cluster = Cluster::start(Plan {
        manager_config: json!({ "leader": { "lease_ttl": "20s" } }),
        manager_environment: dying_by(&failpoints),
        ..Plan::default()
    })
    .await?;
    load::prepare(&cluster).await?;
    let before = cluster.snapshot().await?;
    let order = json!({ "from": "shard-1", "to": "shard-2", "vnodes": tokens(&before) });
    let key = (1..=KEYS)
        .find(|key| owner(&before, *key) == Some("shard-1"))
        .context("a key of shard-1")?;
    let load = Load::start(&cluster, 2);
    let job = begin(&cluster, "move", order).await?;
    let manager = cluster.managers.first().context("there is a manager")?;
    wait::until("frozen", wait::START, async || {
        anyhow::ensure!(manager.0.is_paused(), "the manager runs");
        Ok(())
    })
    .await?;
    tamper(
        &cluster,
        &job,
        &format!("DELETE FROM counters WHERE k = {key}"),
    )
    .await?;
    manager.0.resume()?;
    let moved = until(&cluster, &job, "completed").await?;
    // It is compared in the background.
    let told = wait::until("told", wait::START, async || {
        let found = super::job::find(&cluster, &job).await?;
        let error = found["legs"][0]["error"].as_str().unwrap_or_default();
        anyhow::ensure!(error.contains(&format!("({key})")), "{found:#}");
        Ok(found)
    })
    .await?;
    same!(told["legs"][0]["phase"], json!("mirroring"));
    anyhow::ensure!(moved["attempts"].as_u64() >= Some(1), "{moved:#}");
    let finish = super::job::try_to_ask(&cluster, &job, "finish", false).await;
    let refused = finish.err().context("finish is accepted")?.to_string();
    anyhow::ensure!(refused.contains("roll"), "{refused}");
    super::job::ask(&cluster, &job, "rollback").await?;
    until(&cluster, &job, "rolled_back").await?;
    let ledger = load.stop().await?;
    same!(ledger.other_errors(), Vec::new());
    nothing_came_of_it(&cluster, &before).await
}

/// Does something on the mirror behind everybody's back, as only the job itself may.
async fn tamper(cluster: &Cluster, job: &str, sql: &str) -> Outcome {
    let mirror = cluster.shard("shard-2")?.client().await?;
    let bypass = format!("SET session_replication_role = replica; SET vg.apply = '{job}_0'");
    mirror.batch_execute(&bypass).await?;
    Ok(mirror.batch_execute(sql).await?)
}

/// All vnodes of `shard-1`.
fn tokens(snapshot: &Snapshot) -> Vec<u32> {
    let is_there = |vnode: &&Vnode| {
        let shard = snapshot.shard(vnode.owner);
        shard.is_some_and(|shard| shard.id.as_str() == "shard-1")
    };
    let vnodes = snapshot.ring().vnodes().iter().filter(is_there);
    vnodes.map(|vnode| vnode.token.0).collect()
}

fn owner(snapshot: &Snapshot, key: i64) -> Option<&str> {
    tests::cluster::owner(snapshot, &Key::Bigint(key))
}

/// The ring is as it was, and no shard has anything of a job.
async fn nothing_came_of_it(cluster: &Cluster, before: &Snapshot) -> Outcome {
    let after = cluster.snapshot().await?;
    same!(after.ring(), before.ring());
    remains::none(cluster).await
}

async fn tables_that_cannot_be_moved_are_named_before_anything_is_done() -> Outcome {
    let cluster = start().await?;
    let before = cluster.snapshot().await?;
    let script = "CREATE TABLE no_primary_key (k bigint NOT NULL); \
                  CREATE UNLOGGED TABLE forgetful (k bigint PRIMARY KEY); \
                  CREATE TABLE named (k text PRIMARY KEY); \
                  CREATE TABLE pointing (k bigint PRIMARY KEY, name text REFERENCES named)";
    for server in &cluster.shards {
        server.psql(script).await?;
    }
    let tables = [
        ("no_primary_key", "bigint", "default"),
        ("forgetful", "bigint", "default"),
        ("named", "text", "text"),
        ("pointing", "bigint", "default"),
    ];
    for (name, key_type, group) in tables {
        let body = json!({ "name": name, "shard_key": "k", "key_type": key_type, "group": group });
        cluster.post_when_led("/tables", &body).await?;
    }
    let job = begin(&cluster, "move", some_vnodes("shard-1", "shard-2", 8)).await?;
    let failed = until(&cluster, &job, "failed").await?;
    let error = failed["error_message"].as_str().unwrap_or_default();
    for table in ["no_primary_key", "forgetful", "pointing"] {
        anyhow::ensure!(error.contains(table), "{table} is not named: {failed:#}");
    }
    same!(failed["settled"], Value::Bool(true));
    nothing_came_of_it(&cluster, &before).await
}
