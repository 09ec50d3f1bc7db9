//! A shard or the leading manager dies in the middle of traffic: clear errors for those concerned,
//! none for the others, and no acknowledged write is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use proto::router::v1::ExecuteRequest;
use proto::router::v1::router_service_client::RouterServiceClient;
use serde_json::json;
use tests::cluster::Plan;
use tests::pg::Address;
use tests::raw::{Message, Raw, query, tags};
use tests::{Cluster, http, wait};
use tokio::time::Instant;

use crate::suite::{Outcome, Suite, alone, same};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_dead_shard_fails_only_its_keys,
        a_frozen_shard_fails_only_its_keys,
        a_shard_that_dies_in_a_transaction_ends_it,
        no_acknowledged_write_is_lost_while_the_leader_dies,
        the_topology_changes_under_traffic,
    )
    .into()
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

async fn start(managers: usize) -> anyhow::Result<Cluster> {
    let router_config = json!({
        "sharding": { "connect_timeout": "2s", "checkout_timeout": "2s", "max_connections": 10 },
    });
    let cluster = Cluster::start(Plan {
        managers,
        router_config,
        ..Plan::default()
    })
    .await?;
    cluster
        .create("hit", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    Ok(cluster)
}

fn sqlstate(messages: &[Message]) -> Option<String> {
    messages.iter().find_map(Message::sqlstate)
}

/// Every front says that `shard-2` is away, within the time that connecting may take.
async fn is_away(cluster: &Cluster, key: i64) -> Outcome {
    let router = cluster.router(0)?;
    let sql = format!("SELECT k FROM hit WHERE k = {key}");
    // The first statements may find backends that died with the shard.
    let mut session = Raw::connect(&router.address()).await?;
    let begin = Instant::now();
    let answer = session.query(&sql).await?;
    let error = answer
        .iter()
        .find(|message| message.tag == b'E')
        .context("no error")?
        .fields();
    same!(
        error.get(&'C').map(String::as_str),
        Some("08006"),
        "{error:?}"
    );
    anyhow::ensure!(
        error.get(&'M').is_some_and(|text| text.contains("shard-2")),
        "{error:?}"
    );
    let body = json!({ "query": sql });
    let answer = router.execute(&body).await?.expect(503)?;
    same!(answer["error"]["code"], json!("unavailable"));
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    anyhow::ensure!(message.contains("shard-2"), "{message}");
    let mut client = RouterServiceClient::connect(router.program.grpc()).await?;
    let request = ExecuteRequest {
        query: sql,
        ..ExecuteRequest::default()
    };
    let status = client
        .execute(request)
        .await
        .err()
        .context("gRPC answered")?;
    same!(status.code(), tonic::Code::Unavailable, "{status:?}");
    let took = begin.elapsed();
    anyhow::ensure!(
        took < CONNECT_TIMEOUT * 3 + Duration::from_secs(3),
        "three fronts took {took:?}"
    );
    Ok(())
}

async fn works(session: &mut Raw, key: i64) -> Outcome {
    let answer = session
        .query(&format!("SELECT k FROM hit WHERE k = {key}"))
        .await?;
    same!(sqlstate(&answer), None, "{answer:?}");
    Ok(())
}

async fn a_dead_shard_fails_only_its_keys() -> Outcome {
    let mut cluster = start(1).await?;
    let (here, there) = (
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    );
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    works(&mut session, here).await?;
    works(&mut session, there).await?;
    cluster.shards[1].kill().await?;
    // A pooled backend's end may be noticed by a statement; the shard is named in any case.
    let mut first = Raw::connect(&cluster.router(0)?.address()).await?;
    let answer = first
        .query(&format!("SELECT k FROM hit WHERE k = {there}"))
        .await?;
    let code = sqlstate(&answer).unwrap_or_default();
    anyhow::ensure!(code.starts_with("08"), "{answer:?}");
    is_away(&cluster, there).await?;
    // The other shard's keys and the session itself go on.
    works(&mut session, here).await?;
    let unhealthy = "shard_health_status{shard_id=\"shard-2\"} 0";
    wait::until("the shard's health", wait::SETTLE, async || {
        let metrics = cluster.router(0)?.program.metrics().await?;
        anyhow::ensure!(metrics.contains(unhealthy), "{metrics}");
        Ok(())
    })
    .await?;
    cluster.shards[1].restart().await?;
    let address = cluster.router(0)?.address();
    wait::until("the shard's keys", wait::SETTLE, async || {
        works(&mut Raw::connect(&address).await?, there).await
    })
    .await?;
    works(&mut session, there).await?;
    works(&mut session, here).await
}

async fn a_frozen_shard_fails_only_its_keys() -> Outcome {
    let cluster = start(1).await?;
    let (here, there) = (
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    );
    cluster.shards[1].pause()?;
    // No backend was pooled yet for this shard's primary on this router but those of DDL.
    let address = cluster.router(0)?.address();
    let stuck = async {
        let mut session = Raw::connect(&address).await?;
        session
            .send(&query(&format!("SELECT k FROM hit WHERE k = {there}")))
            .await?;
        anyhow::Ok(session)
    };
    let mut stuck = stuck.await?;
    for _ in 0..20 {
        works(&mut Raw::connect(&address).await?, here).await?;
    }
    cluster.shards[1].resume()?;
    // Either the shard answered after the pause, or the router had given up on it.
    let answer = stuck.until_ready().await?;
    let code = sqlstate(&answer);
    anyhow::ensure!(
        code.is_none() || code.as_deref() == Some("08006"),
        "{answer:?}"
    );
    wait::until("the shard's keys", wait::SETTLE, async || {
        works(&mut Raw::connect(&address).await?, there).await
    })
    .await
}

async fn a_shard_that_dies_in_a_transaction_ends_it() -> Outcome {
    let mut cluster = start(1).await?;
    let there = cluster.key_on("shard-2", 1).await?;
    let address = cluster.router(0)?.address();
    let mut session = Raw::connect(&address).await?;
    session.query("BEGIN").await?;
    session
        .query(&format!("INSERT INTO hit (k) VALUES ({there})"))
        .await?;
    cluster.shards[1].kill().await?;
    let answer = session
        .query(&format!("SELECT k FROM hit WHERE k = {there}"))
        .await?;
    let code = sqlstate(&answer).context("no error")?;
    anyhow::ensure!(
        ["08006", "57P01", "57P02"].contains(&code.as_str()),
        "{answer:?}"
    );
    cluster.shards[1].restart().await?;
    wait::until("the shard's keys", wait::SETTLE, async || {
        works(&mut Raw::connect(&address).await?, there).await
    })
    .await?;
    same!(
        cluster.shards[1].psql("SELECT count(*) FROM hit").await?,
        "0"
    );
    Ok(())
}

/// Inserts keys until told to end; those that were acknowledged, and what went wrong.
async fn insert(address: &Address, first: i64, stop: &AtomicBool) -> anyhow::Result<Vec<i64>> {
    let mut session = Raw::connect(address).await?;
    let mut acknowledged = Vec::new();
    let mut key = first;
    while !stop.load(Ordering::Relaxed) {
        let answer = session
            .query(&format!("INSERT INTO hit (k) VALUES ({key})"))
            .await?;
        same!(tags(&answer), "CZ", "{answer:?}");
        acknowledged.push(key);
        key += 1;
    }
    Ok(acknowledged)
}

/// Runs `disturb` while two sessions write; then all that was acknowledged must be there.
async fn under_traffic(
    address: &Address,
    disturb: impl Future<Output = Outcome>,
) -> anyhow::Result<Vec<i64>> {
    let stop = AtomicBool::new(false);
    let disturbed = async {
        let outcome = disturb.await;
        stop.store(true, Ordering::Relaxed);
        outcome
    };
    let (one, two) = (
        insert(address, 0, &stop),
        insert(address, 10_000_000, &stop),
    );
    let (one, two, ()) = tokio::try_join!(one, two, disturbed)?;
    Ok([one, two].concat())
}

async fn all_are_there(cluster: &Cluster, keys: &[i64]) -> Outcome {
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    for key in keys.iter().step_by(keys.len() / 200 + 1) {
        let answer = session
            .query(&format!("SELECT k FROM hit WHERE k = {key}"))
            .await?;
        same!(tags(&answer), "TDCZ", "key {key}");
    }
    let mut count = 0;
    for shard in &cluster.shards {
        count += shard
            .psql("SELECT count(*) FROM hit")
            .await?
            .parse::<usize>()?;
    }
    same!(count, keys.len(), "rows on all shards");
    Ok(())
}

async fn no_acknowledged_write_is_lost_while_the_leader_dies() -> Outcome {
    let mut cluster = start(2).await?;
    let address = cluster.router(0)?.address();
    let mut managers = std::mem::take(&mut cluster.managers);
    let keys = under_traffic(&address, async {
        for round in 0..2 {
            // Whichever of them leads: each is killed once.
            managers[round].0.kill().await?;
            let url = managers[1 - round].api("/tables");
            let table =
                json!({ "name": format!("t{round}"), "shard_key": "k", "key_type": "bigint" });
            wait::until("a write of the other manager", wait::SETTLE, async || {
                http::post(&url, &table).await?.expect(201)
            })
            .await?;
            managers[round].0.start().await?;
        }
        Ok(())
    })
    .await?;
    cluster.managers = managers;
    anyhow::ensure!(keys.len() > 100, "only {} writes", keys.len());
    all_are_there(&cluster, &keys).await
}

async fn the_topology_changes_under_traffic() -> Outcome {
    let cluster = start(1).await?;
    let address = cluster.router(0)?.address();
    let keys = under_traffic(&address, async {
        for number in 0..30 {
            let table =
                json!({ "name": format!("t{number}"), "shard_key": "k", "key_type": "bigint" });
            http::post(&cluster.manager(0)?.api("/tables"), &table)
                .await?
                .expect(201)?;
        }
        cluster.settle().await
    })
    .await?;
    all_are_there(&cluster, &keys).await
}
