//! etcd goes away: routers serve on with what they know, writes of the topology are refused, and
//! everybody catches up when it is back.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::raw::Raw;
use tests::{Cluster, http, wait};

use crate::suite::{Outcome, Suite, alone, same};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        routers_serve_without_etcd_and_catch_up,
        a_frozen_etcd_stops_nobody,
        a_router_catches_up_over_a_compaction,
        programs_that_start_before_etcd_wait_for_it,
    )
    .into()
}

async fn start() -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan {
        managers: 2,
        ..Plan::default()
    })
    .await?;
    cluster
        .create("served", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    Ok(cluster)
}

/// Writes and reads back some keys of both shards, on old and new sessions.
async fn serves(cluster: &Cluster, session: &mut Raw, first: i64) -> Outcome {
    let mut fresh = Raw::connect(&cluster.router(0)?.address()).await?;
    for key in first..first + 20 {
        let done = fresh
            .query(&format!("INSERT INTO served (k) VALUES ({key})"))
            .await?;
        same!(tests::raw::tags(&done), "CZ", "{done:?}");
        let read = session
            .query(&format!("SELECT k FROM served WHERE k = {key}"))
            .await?;
        same!(tests::raw::tags(&read), "TDCZ", "{read:?}");
    }
    let body = json!({ "query": "SELECT k FROM served WHERE k = $1", "params": [first] });
    cluster.router(0)?.execute(&body).await?.expect(200)?;
    Ok(())
}

/// A write of the topology is refused as long as etcd is away, and soon.
async fn refuses_writes(cluster: &Cluster) -> Outcome {
    for manager in &cluster.managers {
        let table = json!({ "name": "late", "shard_key": "k", "key_type": "bigint" });
        let url = manager.api("/tables");
        let answer =
            tokio::time::timeout(Duration::from_secs(20), http::post(&url, &table)).await??;
        let status = answer.status.as_u16();
        anyhow::ensure!([500, 503, 504].contains(&status), "{answer:?}");
        anyhow::ensure!(answer.json()?["error"]["code"].is_string(), "{answer:?}");
        // Reads are served from memory.
        http::get(&manager.api("/shards")).await?.expect(200)?;
    }
    Ok(())
}

async fn catches_up(cluster: &Cluster) -> Outcome {
    let table = json!({ "name": "after", "shard_key": "k", "key_type": "bigint" });
    let url = cluster.manager(0)?.api("/tables");
    wait::until("a write", wait::START, async || {
        let answer = http::post(&url, &table).await?;
        // A first try whose answer was lost may have been applied.
        anyhow::ensure!([201, 409].contains(&answer.status.as_u16()), "{answer:?}");
        Ok(())
    })
    .await?;
    cluster.settle().await
}

async fn routers_serve_without_etcd_and_catch_up() -> Outcome {
    let mut cluster = start().await?;
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    serves(&cluster, &mut session, 0).await?;
    cluster.etcd.kill().await?;
    serves(&cluster, &mut session, 100).await?;
    refuses_writes(&cluster).await?;
    serves(&cluster, &mut session, 200).await?;
    cluster.etcd.restart().await?;
    catches_up(&cluster).await?;
    serves(&cluster, &mut session, 300).await
}

async fn a_frozen_etcd_stops_nobody() -> Outcome {
    let cluster = start().await?;
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    cluster.etcd.pause()?;
    serves(&cluster, &mut session, 0).await?;
    refuses_writes(&cluster).await?;
    cluster.etcd.resume()?;
    catches_up(&cluster).await?;
    serves(&cluster, &mut session, 100).await
}

async fn a_router_catches_up_over_a_compaction() -> Outcome {
    let cluster = start().await?;
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    cluster
        .router(0)?
        .program
        .signal(tests::process::Signal::Stop)?;
    for number in 0..5 {
        let table = json!({ "name": format!("t{number}"), "shard_key": "k", "key_type": "bigint" });
        http::post(&cluster.manager(0)?.api("/tables"), &table)
            .await?
            .expect(201)?;
    }
    let status = cluster
        .etcd
        .etcdctl(&["endpoint", "status", "-w", "json"])?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let revision = status[0]["Status"]["header"]["revision"].to_string();
    cluster.etcd.etcdctl(&["compact", &revision])?;
    cluster
        .router(0)?
        .program
        .signal(tests::process::Signal::Continue)?;
    cluster.settle().await?;
    serves(&cluster, &mut session, 0).await
}

async fn programs_that_start_before_etcd_wait_for_it() -> Outcome {
    let mut cluster = start().await?;
    cluster.etcd.kill().await?;
    cluster.routers[0].program.terminate().await?;
    cluster.managers[0].0.kill().await?;
    cluster.routers[0].program.launch()?;
    cluster.managers[0].0.launch()?;
    let ready = format!("{}/readyz", cluster.router(0)?.program.http());
    wait::until("the router's probes", wait::SETTLE, async || {
        same!(http::get(&ready).await?.status.as_u16(), 503);
        Ok(())
    })
    .await?;
    cluster.etcd.restart().await?;
    cluster.routers[0].program.ready().await?;
    cluster.managers[0].0.ready().await?;
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    serves(&cluster, &mut session, 0).await?;
    catches_up(&cluster).await
}
