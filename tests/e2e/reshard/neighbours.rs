//! What jobs do to whoever lives beside them: replicas are waited for, disks are not filled, and
//! jobs on other shards run at the same time.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::{Cluster, Postgres, http};
use tokio::time::sleep;

use super::job::{begin, begin_and_pause, find, some_vnodes, until};
use super::load::{self, Load};
use super::remains;
use crate::suite::{Outcome, Suite, alone, same, told};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_copy_waits_for_a_replica_that_falls_behind,
        a_job_that_keeps_too_much_log_is_given_up,
        jobs_on_different_shards_run_at_the_same_time,
    )
    .into()
}

async fn start(shards: usize, resharding: Value) -> anyhow::Result<Cluster> {
    let plan = Plan {
        shards,
        manager_config: json!({ "resharding": resharding }),
        ..Plan::default()
    };
    let cluster = Cluster::start(plan).await?;
    load::prepare(&cluster).await?;
    Ok(cluster)
}

async fn a_copy_waits_for_a_replica_that_falls_behind() -> Outcome {
    let cluster = start(2, json!({ "max_replica_lag": "1s" })).await?;
    let source = cluster.shard("shard-1")?;
    let fill =
        "INSERT INTO events SELECT k, n, repeat('x', 1000) FROM counters, generate_series(1, 4) n";
    source.psql(fill).await?;
    let replica = Postgres::replica_of(source).await?;
    replica.psql("SELECT pg_wal_replay_pause()").await?;
    let mut order = some_vnodes("shard-1", "shard-2", 128);
    // All of it would take about six seconds.
    order["max_rows_per_second"] = json!(1_000);
    let job = begin(&cluster, "move", order).await?;
    let copied = async || {
        let found = find(&cluster, &job).await?;
        anyhow::Ok(found["keys_migrated"].as_u64().unwrap_or_default())
    };
    // It begins, and comes to rest.
    sleep(Duration::from_secs(5)).await;
    let before = copied().await?;
    sleep(Duration::from_secs(3)).await;
    let after = copied().await?;
    same!(after, before);
    same!(find(&cluster, &job).await?["status"], json!("precopy"));
    replica.psql("SELECT pg_wal_replay_resume()").await?;
    until(&cluster, &job, "completed").await?;
    anyhow::ensure!(copied().await? > before, "all was copied at once");
    Ok(())
}

async fn a_job_that_keeps_too_much_log_is_given_up() -> Outcome {
    let cluster = start(2, json!({ "max_wal_retained": "32MiB" })).await?;
    let load = Load::paced(&cluster, 4, Duration::from_millis(3));
    let order = some_vnodes("shard-1", "shard-2", 64);
    let job = begin_and_pause(&cluster, "move", order).await?;
    // Nothing can be applied any more, and much is written.
    let mirror = cluster.shard("shard-2")?.client().await?;
    mirror.batch_execute("BEGIN; LOCK TABLE counters").await?;
    let source = cluster.shard("shard-1")?;
    source.psql("UPDATE counters SET v = v").await?;
    let much = "SELECT count(pg_logical_emit_message(false, 'filler', repeat('x', 1000000))) \
                FROM generate_series(1, 64)";
    source.psql(much).await?;
    let slots = "SELECT count(*) FROM pg_replication_slots";
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while source.psql(slots).await?.trim() != "0" {
        anyhow::ensure!(tokio::time::Instant::now() < deadline, "the slot stays");
        sleep(Duration::from_millis(100)).await;
    }
    mirror.batch_execute("ROLLBACK").await?;
    let failed = until(&cluster, &job, "failed").await?;
    let error = failed["error_message"].as_str().unwrap_or_default();
    let names_the_cap = error.contains("max_wal_retained, 33554432");
    anyhow::ensure!(names_the_cap && error.contains("shard-1"), "{failed:#}");
    let ledger = load.stop().await?;
    same!(ledger.other_errors(), Vec::new());
    ledger.check(&cluster).await?;
    remains::none(&cluster).await
}

async fn jobs_on_different_shards_run_at_the_same_time() -> Outcome {
    let cluster = start(4, json!({})).await?;
    let load = Load::paced(&cluster, 8, Duration::from_millis(2));
    sleep(Duration::from_millis(300)).await;
    let first = some_vnodes("shard-1", "shard-2", 64);
    let first = begin_and_pause(&cluster, "move", first).await?;
    let second = begin(&cluster, "move", some_vnodes("shard-3", "shard-4", 64)).await?;
    let touching = some_vnodes("shard-2", "shard-3", 1);
    let url = cluster.manager(0)?.api("/reshard/move");
    let refused = http::post(&url, &touching).await?;
    same!(refused.status.as_u16(), 409, "{}", refused.body);
    anyhow::ensure!(
        refused.body.contains("in use by move job"),
        "{}",
        refused.body
    );
    // One is held by its operator, the other goes on beside it.
    until(&cluster, &second, "completed").await?;
    same!(find(&cluster, &first).await?["status"], json!("paused"));
    super::job::ask(&cluster, &first, "resume").await?;
    until(&cluster, &first, "completed").await?;
    for job in [&first, &second] {
        super::job::ask(&cluster, job, "rollback").await?;
    }
    for job in [&first, &second] {
        until(&cluster, job, "rolled_back").await?;
    }
    both_at_once(&cluster).await?;
    let ledger = load.stop().await?;
    told!("{} writes, errors {:?}", ledger.writes(), ledger.errors);
    ledger.check(&cluster).await?;
    same!(ledger.other_errors(), Vec::new());
    remains::none(&cluster).await
}

/// Two jobs from their begin to their end, each on shards of its own.
async fn both_at_once(cluster: &Cluster) -> Outcome {
    let mut jobs = Vec::new();
    for (from, to) in [("shard-1", "shard-2"), ("shard-3", "shard-4")] {
        jobs.push(begin(cluster, "move", some_vnodes(from, to, 64)).await?);
    }
    let mut times = Vec::new();
    for job in &jobs {
        let done = until(cluster, job, "completed").await?;
        let at = |field: &str| done[field].as_str().map(str::to_owned);
        times.push((at("started_at"), at("completed_at")));
    }
    // Of one form, so that they are in the order of time.
    let is_beside = matches!(times.as_slice(), [(Some(one), Some(end)), (Some(other), Some(last))]
        if one < last && other < end);
    anyhow::ensure!(is_beside, "one after another: {times:?}");
    for job in &jobs {
        super::job::ask(cluster, job, "finish").await?;
        until(cluster, job, "completed").await?;
    }
    Ok(())
}
