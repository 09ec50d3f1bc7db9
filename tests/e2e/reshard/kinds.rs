//! Each kind of plan under load.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::{Cluster, http};
use tokio::time::sleep;
use topology::ShardId;

use super::job::{ask, begin, some_vnodes, third, until};
use super::load::{self, Load};
use super::remains;
use crate::suite::{Outcome, Suite, alone, long, same, told};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = Vec::from(alone!(suite:
        rows_move_to_shards_that_come_and_from_those_that_go,
        shards_are_split_rebalanced_and_merged_under_load,
    ));
    trials.extend(long!(suite: torture_by_many_cutovers_tells_their_pauses));
    trials
}

async fn start(spares: usize) -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan {
        shards: 2,
        spares,
        routers: 2,
        ..Plan::default()
    })
    .await?;
    load::prepare(&cluster).await?;
    Ok(cluster)
}

/// One job under load, from its begin to its end.
async fn run(cluster: &Cluster, path: &str, body: Value, end: &str) -> anyhow::Result<Value> {
    let load = Load::paced(cluster, 8, Duration::from_millis(2));
    sleep(Duration::from_millis(300)).await;
    let job = begin(cluster, path, body).await?;
    let done = until(cluster, &job, "completed").await?;
    sleep(Duration::from_millis(300)).await;
    ask(cluster, &job, end).await?;
    let status = if end == "finish" {
        "completed"
    } else {
        "rolled_back"
    };
    until(cluster, &job, status).await?;
    let ledger = load.stop().await?;
    told!(
        "{path}, {end}: {} writes, errors {:?}, longest {} ms, pauses {} ms in {} attempts",
        ledger.writes(),
        ledger.errors,
        ledger.longest().as_millis(),
        done["pause_ms"],
        done["attempts"],
    );
    ledger.check(cluster).await?;
    same!(ledger.other_errors(), Vec::new());
    remains::none(cluster).await?;
    load::reset(cluster).await?;
    Ok(done)
}

/// What the manager says a shard is.
async fn status(cluster: &Cluster, shard: &str) -> anyhow::Result<Value> {
    let url = cluster.manager(0)?.api(&format!("/shards/{shard}"));
    Ok(http::get(&url).await?.expect(200)?["status"].clone())
}

async fn rows_move_to_shards_that_come_and_from_those_that_go() -> Outcome {
    let cluster = start(1).await?;
    let third = third(&cluster)?;
    let split = json!({
        "source_shard_id": "shard-1",
        "target_shards": [{ "id": "shard-2" }, third],
    });
    run(&cluster, "split", split, "rollback").await?;
    let added = json!({ "shard": "shard-3" });
    run(&cluster, "add-shard", added, "finish").await?;
    let url = cluster.manager(0)?.api("/shards/shard-3");
    let refused = http::delete(&url).await?;
    let says = refused
        .body
        .contains("a shard is removed only once it owns none");
    anyhow::ensure!(refused.status == 409 && says, "{}", refused.body);
    let drained = json!({ "shard_id": "shard-3" });
    run(&cluster, "drain", drained, "finish").await?;
    // It is given nothing unless somebody says so.
    same!(status(&cluster, "shard-3").await?, json!("inactive"));
    let some = some_vnodes("shard-1", "shard-3", 40);
    run(&cluster, "move", some, "finish").await?;
    same!(status(&cluster, "shard-3").await?, json!("active"));
    Ok(())
}

async fn shards_are_split_rebalanced_and_merged_under_load() -> Outcome {
    let cluster = start(1).await?;
    let split = json!({
        "source_shard_id": "shard-1",
        "target_shards": [{ "id": "shard-1" }, third(&cluster)?],
    });
    run(&cluster, "split", split, "finish").await?;
    run(&cluster, "rebalance", json!({}), "finish").await?;
    let all = json!({
        "source_shard_ids": ["shard-1", "shard-3"],
        "target_shard": { "id": "shard-2" },
    });
    run(&cluster, "merge", all, "finish").await?;
    let after = cluster.snapshot().await?;
    let mut vnodes = after.ring().vnodes().iter();
    let second = after.index_of(&ShardId::try_new("shard-2")?);
    anyhow::ensure!(
        vnodes.all(|vnode| Some(vnode.owner) == second),
        "not merged"
    );
    // Nothing of it is left there: what has no vnodes may go.
    let url = cluster.manager(0)?.api("/shards/shard-3");
    http::delete(&url).await?.expect(204)?;
    same!(http::get(&url).await?.status.as_u16(), 404);
    Ok(())
}

/// How many cutovers there are, each one in the budget that jobs have if they say nothing.
const CUTOVERS: usize = 40;

async fn torture_by_many_cutovers_tells_their_pauses() -> Outcome {
    let cluster = start(0).await?;
    let mut pauses = Vec::new();
    let mut attempts = 0;
    for number in 0..CUTOVERS / 2 {
        let (from, to) = if number % 2 == 0 {
            ("shard-1", "shard-2")
        } else {
            ("shard-2", "shard-1")
        };
        let mut order = some_vnodes(from, to, 64);
        order["max_pause_ms"] = json!(100);
        let load = Load::paced(&cluster, 8, Duration::from_millis(2));
        let job = begin(&cluster, "move", order).await?;
        let there = until(&cluster, &job, "completed").await?;
        ask(&cluster, &job, "rollback").await?;
        let back = until(&cluster, &job, "rolled_back").await?;
        let ledger = load.stop().await?;
        ledger.check(&cluster).await?;
        same!(ledger.other_errors(), Vec::new());
        load::reset(&cluster).await?;
        for found in [there, back] {
            pauses.extend(found["legs"][0]["pause_ms"].as_f64());
            attempts += found["attempts"].as_u64().unwrap_or_default();
        }
    }
    pauses.sort_by(f64::total_cmp);
    let at = |part: usize| pauses.get((pauses.len() - 1) * part / 100);
    told!(
        "{} cutovers, {attempts} attempts: pause p50 {:?}, p99 {:?}, max {:?} ms",
        pauses.len(),
        at(50),
        at(99),
        at(100),
    );
    same!(pauses.len(), CUTOVERS);
    anyhow::ensure!(at(100).is_some_and(|pause| *pause <= 110.0), "{pauses:?}");
    Ok(())
}
