//! CancelRequest: ends the statement that its session runs at that moment, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use tests::raw::{Raw, cancel, query};
use tests::{Cluster, wait};
use tokio::time::{Instant, sleep};
use tokio_postgres::NoTls;

use super::{column, refused, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        a_running_statement_is_cancelled,
        a_driver_cancels_its_statement,
        a_cancel_with_a_wrong_secret_does_nothing,
        a_cancel_between_statements_hits_nobody,
    )
    .into()
}

const LONG: Duration = Duration::from_secs(15);

/// Waits until a shard runs a statement with this text.
pub(super) async fn running(cluster: &Cluster, text: &str) -> Outcome {
    let shard = cluster.shard("shard-2")?.client().await?;
    let sql = format!(
        "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%{text}%' \
         AND pid <> pg_backend_pid()"
    );
    wait::until("start of the statement", wait::SETTLE, async || {
        Ok(shard.query_one(&sql, &[]).await.map(drop)?)
    })
    .await
}

/// A statement that sleeps on `shard-2`, in a table of its own.
pub(super) async fn sleeper(cluster: &Cluster, table: &str) -> anyhow::Result<String> {
    cluster
        .create(table, "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let key = cluster.key_on("shard-2", 1).await?;
    cluster
        .router(0)?
        .psql(&format!("INSERT INTO {table} (k) VALUES ({key})"))
        .await?;
    Ok(format!("SELECT pg_sleep(60) FROM {table} WHERE k = {key}"))
}

async fn a_running_statement_is_cancelled(cluster: &Cluster) -> Outcome {
    let sql = sleeper(cluster, "cancel_a").await?;
    let address = cluster.router(0)?.address();
    let mut session = Raw::connect(&address).await?;
    let begin = Instant::now();
    session.send(&query(&sql)).await?;
    running(cluster, "cancel_a").await?;
    let mut canceller = Raw::open(address.port).await?;
    canceller.send(&cancel(&session.cancel_key)).await?;
    same!(canceller.byte().await?, None, "a cancel is not answered");
    let answer = session.until_ready().await?;
    same!(sqlstate(&answer).as_deref(), Some("57014"));
    same!(status(&answer)?, 'I');
    anyhow::ensure!(
        begin.elapsed() < LONG,
        "cancelled after {:?}",
        begin.elapsed()
    );
    same!(column(&session.query("SELECT 1").await?)?, ["1"]);
    Ok(())
}

async fn a_driver_cancels_its_statement(cluster: &Cluster) -> Outcome {
    let sql = sleeper(cluster, "cancel_b").await?;
    let client = cluster.router(0)?.client().await?;
    let token = client.cancel_token();
    let (slept, cancelled) = tokio::join!(client.query(&sql, &[]), async {
        running(cluster, "cancel_b").await?;
        anyhow::Ok(token.cancel_query(NoTls).await?)
    });
    cancelled?;
    same!(refused(slept)?.code().code(), "57014");
    Ok(())
}

async fn a_cancel_with_a_wrong_secret_does_nothing(cluster: &Cluster) -> Outcome {
    let sql = sleeper(cluster, "cancel_c").await?.replace("60", "1");
    let address = cluster.router(0)?.address();
    let mut session = Raw::connect(&address).await?;
    session.send(&query(&sql)).await?;
    running(cluster, "cancel_c").await?;
    let mut key = session.cancel_key.clone();
    if let Some(last) = key.last_mut() {
        *last ^= 1;
    }
    let mut canceller = Raw::open(address.port).await?;
    canceller.send(&cancel(&key)).await?;
    same!(canceller.byte().await?, None);
    same!(sqlstate(&session.until_ready().await?), None);
    Ok(())
}

async fn a_cancel_between_statements_hits_nobody(cluster: &Cluster) -> Outcome {
    let sql = sleeper(cluster, "cancel_d").await?.replace("60", "0.3");
    let address = cluster.router(0)?.address();
    let (mut idle, mut busy) = (Raw::connect(&address).await?, Raw::connect(&address).await?);
    idle.query(&sql).await?;
    busy.send(&query(&sql)).await?;
    for _ in 0..5 {
        let mut canceller = Raw::open(address.port).await?;
        canceller.send(&cancel(&idle.cancel_key)).await?;
        sleep(Duration::from_millis(20)).await;
    }
    same!(
        sqlstate(&busy.until_ready().await?),
        None,
        "another session was hit"
    );
    same!(sqlstate(&idle.query(&sql).await?), None);
    Ok(())
}
