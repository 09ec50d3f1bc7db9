//! A promotion while rows move, and while a transaction on several shards is in doubt.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::{Cluster, Postgres, http, wait};

use super::load::{Load, Told};
use crate::reshard::job;
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_job_whose_source_is_promoted_fails_and_loses_no_row,
        rows_whose_new_owner_is_promoted_stay_there,
        rows_whose_former_owner_is_promoted_can_go_back,
        a_transaction_in_doubt_is_ended_on_the_new_primary,
    )
    .into()
}

/// Two shards, one of them with a replica.
async fn prepare(replicated: &str) -> anyhow::Result<(Cluster, Postgres)> {
    let plan = Plan {
        shards: 0,
        spares: 2,
        ..Plan::default()
    };
    let mut cluster = Cluster::start(plan).await?;
    cluster.shards = std::mem::take(&mut cluster.spares);
    let replica = Postgres::replica_of(cluster.shard(replicated)?).await?;
    for name in ["shard-1", "shard-2"] {
        let is_replicated = name == replicated;
        let replicas: Vec<String> = is_replicated
            .then(|| replica.endpoint())
            .into_iter()
            .collect();
        let endpoint = cluster.shard(name)?.endpoint();
        let shard = json!({ "name": name, "primary_endpoint": endpoint, "replicas": replicas });
        cluster.post_when_led("/shards", &shard).await?;
    }
    cluster.settle().await?;
    let columns = "k bigint PRIMARY KEY, v bigint";
    cluster.create("led", columns, ("k", "bigint")).await?;
    Ok((cluster, replica))
}

async fn promote(cluster: &Cluster, shard: &str) -> anyhow::Result<()> {
    let url = cluster.manager(0)?.api(&format!("/shards/{shard}/promote"));
    http::post(&url, &json!({})).await?.expect(200).map(drop)
}

async fn rows(server: &Postgres) -> anyhow::Result<BTreeSet<i64>> {
    let client = server.client().await?;
    let rows = client.query("SELECT k FROM led", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn a_job_whose_source_is_promoted_fails_and_loses_no_row() -> Outcome {
    let (cluster, replica) = prepare("shard-1").await?;
    let load = Load::start(&cluster, 4)?;
    load.progress(100).await?;
    let some = job::some_vnodes("shard-1", "shard-2", 40);
    let id = job::begin_and_pause(&cluster, "move", some.clone()).await?;
    promote(&cluster, "shard-1").await?;
    job::ask(&cluster, &id, "resume").await?;
    let failed = job::until(&cluster, &id, "failed").await?;
    let reason = failed["error_message"].as_str().context("a reason")?;
    anyhow::ensure!(reason.contains("slot"), "{reason}");
    load.progress(50).await?;
    // Nothing of it is in the way of another one, from the new primary.
    let id = job::begin(&cluster, "move", some).await?;
    job::until(&cluster, &id, "completed").await?;
    job::ask(&cluster, &id, "finish").await?;
    until_over(&cluster, &id).await?;
    let told = load.stop().await?;
    all_is_there(&told, [&replica, cluster.shard("shard-2")?]).await
}

/// Every acknowledged row is on one of two servers, and none on both.
async fn all_is_there(told: &Told, servers: [&Postgres; 2]) -> Outcome {
    let (here, there) = (rows(servers[0]).await?, rows(servers[1]).await?);
    let twice: Vec<_> = here.intersection(&there).collect();
    anyhow::ensure!(twice.is_empty(), "on both shards: {twice:?}");
    let acknowledged = told.acknowledged();
    let lost: Vec<_> = acknowledged
        .iter()
        .filter(|id| !here.contains(id) && !there.contains(id))
        .collect();
    anyhow::ensure!(lost.is_empty(), "lost: {lost:?}");
    Ok(())
}

/// Waits until nothing is being done about a job any more, and it cannot be taken back.
async fn until_over(cluster: &Cluster, id: &str) -> Outcome {
    wait::until("the end of the job", wait::START, async || {
        let found = job::find(cluster, id).await?;
        anyhow::ensure!(found["reversible"] == json!(false) && found["settled"] == json!(true));
        Ok(())
    })
    .await
}

/// The slot of the way back was on the server that is no primary any more.
async fn rows_whose_new_owner_is_promoted_stay_there() -> Outcome {
    let (cluster, replica) = prepare("shard-2").await?;
    let load = Load::start(&cluster, 4)?;
    load.progress(100).await?;
    let some = job::some_vnodes("shard-1", "shard-2", 40);
    let id = job::begin(&cluster, "move", some).await?;
    job::until(&cluster, &id, "completed").await?;
    load.progress(50).await?;
    promote(&cluster, "shard-2").await?;
    wait::until("severed", wait::START * 2, async || {
        let found = job::find(&cluster, &id).await?;
        anyhow::ensure!(found["reversible"] == json!(false), "{found:#}");
        Ok(())
    })
    .await?;
    let found = job::find(&cluster, &id).await?;
    let reason = found["legs"][0]["error"].as_str().unwrap_or_default();
    anyhow::ensure!(reason.contains("slot"), "{found:#}");
    let refused = job::try_to_ask(&cluster, &id, "rollback", false).await;
    let refused = refused.err().context("a rollback is accepted")?.to_string();
    anyhow::ensure!(refused.contains("reverse streams have ended"), "{refused}");
    load.progress(50).await?;
    until_over(&cluster, &id).await?;
    let told = load.stop().await?;
    all_is_there(&told, [cluster.shard("shard-1")?, &replica]).await
}

/// What a replica has it has with the place in the stream that it belongs to.
async fn rows_whose_former_owner_is_promoted_can_go_back() -> Outcome {
    let (cluster, replica) = prepare("shard-1").await?;
    let load = Load::start(&cluster, 4)?;
    load.progress(100).await?;
    let some = job::some_vnodes("shard-1", "shard-2", 40);
    let id = job::begin(&cluster, "move", some).await?;
    job::until(&cluster, &id, "completed").await?;
    load.progress(50).await?;
    promote(&cluster, "shard-1").await?;
    load.progress(50).await?;
    job::ask(&cluster, &id, "rollback").await?;
    job::until(&cluster, &id, "rolled_back").await?;
    load.progress(50).await?;
    let told = load.stop().await?;
    all_is_there(&told, [&replica, cluster.shard("shard-2")?]).await
}

async fn a_transaction_in_doubt_is_ended_on_the_new_primary() -> Outcome {
    let (cluster, replica) = prepare("shard-1").await?;
    let key = cluster.key_on("shard-1", 1).await?;
    let anchor = cluster.shard("shard-2")?.client().await?;
    wait::until(
        "what transactions are decided by",
        wait::START,
        async || {
            anchor.simple_query("SELECT FROM vg.decision").await?;
            Ok(())
        },
    )
    .await?;
    // As a router leaves it that has died right after its anchor's commit.
    let global = "vg:00000000deadbeef:1:shard-2";
    let old = cluster.shard("shard-1")?.client().await?;
    old.batch_execute(&format!(
        "BEGIN; INSERT INTO led (k, v) VALUES ({key}, 7); PREPARE TRANSACTION '{global}:shard-1'"
    ))
    .await?;
    let decide = format!("SELECT vg.decide('{global}')");
    anchor.batch_execute(&decide).await?;
    promote(&cluster, "shard-1").await?;
    wait::until("recovery", wait::START * 3, async || {
        let left = replica
            .psql("SELECT count(*) FROM pg_prepared_xacts")
            .await?;
        anyhow::ensure!(left.trim() == "0", "{left}");
        Ok(())
    })
    .await?;
    let sql = format!("SELECT v FROM led WHERE k = {key}");
    let found = cluster
        .router(0)?
        .client()
        .await?
        .query_one(&sql, &[])
        .await?;
    same!(found.get::<_, i64>(0), 7);
    Ok(())
}
