//! A shard that is registered with a list of servers: whichever takes writes is followed, without a
//! call of anybody.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::{Cluster, Postgres, http, wait};
use tokio::time::{Instant, sleep};

use super::load::Load;
use crate::suite::{Outcome, Suite, alone, same, told};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: whichever_server_of_a_list_takes_writes_is_followed).into()
}

/// A list that does not say which server is meant, and a promotion by us.
async fn refuses(cluster: &Cluster, list: &str) -> Outcome {
    let bad = json!({ "name": "bad", "primary_endpoint": list.replace("read-write", "any") });
    let url = cluster.manager(0)?.api("/shards");
    same!(http::post(&url, &bad).await?.status.as_u16(), 400);
    let promote = cluster.manager(0)?.api("/shards/shard-1/promote");
    same!(http::post(&promote, &json!({})).await?.status.as_u16(), 409);
    Ok(())
}

async fn whichever_server_of_a_list_takes_writes_is_followed() -> Outcome {
    let plan = Plan {
        shards: 0,
        spares: 1,
        routers: 2,
        manager_config: json!({ "shards": { "probe_interval": "500ms" } }),
        router_config: json!({ "sharding": { "connect_timeout": "2s" } }),
        ..Plan::default()
    };
    let mut cluster = Cluster::start(plan).await?;
    let mut first = cluster.spares.pop().context("a spare")?;
    let second = Postgres::replica_of(&first).await?;
    let (one, other) = (first.address().port, second.address().port);
    // The replica is listed first: who takes writes is asked, not assumed.
    let list =
        format!("postgres://127.0.0.1:{other},127.0.0.1:{one}/app?target_session_attrs=read-write");
    let shard = json!({ "name": "shard-1", "primary_endpoint": list });
    cluster.post_when_led("/shards", &shard).await?;
    cluster.settle().await?;
    let columns = "k bigint PRIMARY KEY, v bigint";
    cluster.create("led", columns, ("k", "bigint")).await?;
    let url = cluster.manager(0)?.api("/shards/shard-1");
    refuses(&cluster, &list).await?;
    for sql in [
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
        "SELECT pg_reload_conf()",
    ] {
        first.psql(sql).await?;
    }
    let load = Load::start(&cluster, 6)?;
    load.progress(50).await?;
    let broke = Instant::now();
    // As a tool that manages the servers would do it.
    first.kill().await?;
    // Who logs in meanwhile waits as those do who are in.
    let newcomer = cluster.router(1)?.psql("SELECT count(*) > 0 FROM led");
    let promoted = second.psql("SELECT pg_promote(true, 60)");
    let (newcomer, promoted) = tokio::join!(newcomer, promoted);
    promoted?;
    same!(newcomer?.trim(), "t");
    load.progress(20).await?;
    let took = broke.elapsed();
    wait::until("the record of the new timeline", wait::START, async || {
        let shard = http::get(&url).await?.expect(200)?;
        anyhow::ensure!(shard["timeline"] == json!(2), "{shard}");
        Ok(())
    })
    .await?;
    // The old one comes back as the primary that it was, which nobody has told.
    let back = load.now();
    first.restart().await?;
    sleep(Duration::from_secs(1)).await;
    let told = load.stop().await?;
    let rows = second
        .client()
        .await?
        .query("SELECT k FROM led", &[])
        .await?;
    let rows: std::collections::BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    let acknowledged = told.acknowledged();
    let lost: Vec<_> = acknowledged.difference(&rows).collect();
    told!(
        "list: {} acknowledged, {} lost, {} failed, {} of unknown outcome, recovered in {:.2} s",
        acknowledged.len(),
        lost.len(),
        told.failed,
        told.unknown,
        took.as_secs_f64()
    );
    anyhow::ensure!(lost.is_empty(), "lost: {lost:?}");
    anyhow::ensure!(!told.acknowledged_after(back).is_empty());
    Ok(())
}
