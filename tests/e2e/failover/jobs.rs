//! A promotion while rows move, and while a transaction on several shards is in doubt.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::{Cluster, Postgres, http, wait};

use super::load::Load;
use crate::reshard::job;
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_job_whose_source_is_promoted_fails_and_loses_no_row,
        a_transaction_in_doubt_is_ended_on_the_new_primary,
    )
    .into()
}

/// Two shards, the first with a replica.
async fn prepare() -> anyhow::Result<(Cluster, Postgres)> {
    let plan = Plan {
        shards: 0,
        spares: 2,
        ..Plan::default()
    };
    let mut cluster = Cluster::start(plan).await?;
    cluster.shards = std::mem::take(&mut cluster.spares);
    let replica = Postgres::replica_of(cluster.shard("shard-1")?).await?;
    for (name, replicas) in [("shard-1", vec![replica.endpoint()]), ("shard-2", vec![])] {
        let endpoint = cluster.shard(name)?.endpoint();
        let shard = json!({ "name": name, "primary_endpoint": endpoint, "replicas": replicas });
        cluster.post_when_led("/shards", &shard).await?;
    }
    cluster.settle().await?;
    let columns = "k bigint PRIMARY KEY, v bigint";
    cluster.create("led", columns, ("k", "bigint")).await?;
    Ok((cluster, replica))
}

async fn promote(cluster: &Cluster) -> anyhow::Result<()> {
    let url = cluster.manager(0)?.api("/shards/shard-1/promote");
    http::post(&url, &json!({})).await?.expect(200).map(drop)
}

async fn rows(server: &Postgres) -> anyhow::Result<BTreeSet<i64>> {
    let client = server.client().await?;
    let rows = client.query("SELECT k FROM led", &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn a_job_whose_source_is_promoted_fails_and_loses_no_row() -> Outcome {
    let (cluster, replica) = prepare().await?;
    let load = Load::start(&cluster, 4)?;
    load.progress(100).await?;
    let some = job::some_vnodes("shard-1", "shard-2", 40);
    let id = job::begin_and_pause(&cluster, "move", some.clone()).await?;
    promote(&cluster).await?;
    job::ask(&cluster, &id, "resume").await?;
    let failed = job::until(&cluster, &id, "failed").await?;
    let reason = failed["error_message"].as_str().context("a reason")?;
    anyhow::ensure!(reason.contains("slot"), "{reason}");
    load.progress(50).await?;
    // Nothing of it is in the way of another one, from the new primary.
    let id = job::begin(&cluster, "move", some).await?;
    job::until(&cluster, &id, "completed").await?;
    job::ask(&cluster, &id, "finish").await?;
    wait::until("the end of the job", wait::START, async || {
        let found = job::find(&cluster, &id).await?;
        anyhow::ensure!(found["reversible"] == json!(false) && found["settled"] == json!(true));
        Ok(())
    })
    .await?;
    let told = load.stop().await?;
    let (here, there) = (
        rows(&replica).await?,
        rows(cluster.shard("shard-2")?).await?,
    );
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

async fn a_transaction_in_doubt_is_ended_on_the_new_primary() -> Outcome {
    let (cluster, replica) = prepare().await?;
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
    promote(&cluster).await?;
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
