//! Several threads of the Postgres front: sessions on each, and the backends that they share.

use std::sync::Arc;

use futures_util::future::try_join_all;
use libtest_mimic::Trial;
use serde_json::json;
use tests::Cluster;
use tests::cluster::Plan;
use tests::raw::{Raw, bind, execute, parse, sync, tags};

use super::status;
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        sessions_of_two_threads_share_few_backends,
    )
    .into()
}

const SESSIONS: i64 = 24;
const ROUNDS: i64 = 60;

/// Adds to a row of its own, by every protocol in turn, alone and in a transaction.
async fn work(cluster: &Cluster, key: i64) -> Outcome {
    let mut raw = Raw::connect(&cluster.router(0)?.address()).await?;
    raw.query(&format!("INSERT INTO counted (k, n) VALUES ({key}, 0)"))
        .await?;
    let update = "UPDATE counted SET n = n + 1 WHERE k = $1";
    same!(
        tags(
            &raw.exchange(&[parse("u", update, &[20]), sync()].concat())
                .await?
        ),
        "1Z"
    );
    let text = key.to_string();
    for round in 0..ROUNDS {
        let answer = match round % 3 {
            0 => {
                raw.query(&format!("UPDATE counted SET n = n + 1 WHERE k = {key}"))
                    .await?
            }
            1 => {
                let values = [Some(text.as_bytes())];
                let batch = [bind("", "u", false, &values), execute("", 0), sync()];
                raw.exchange(&batch.concat()).await?
            }
            _ => {
                raw.query("BEGIN").await?;
                raw.query(&format!("UPDATE counted SET n = n + 1 WHERE k = {key}"))
                    .await?;
                raw.query("COMMIT").await?
            }
        };
        same!(status(&answer)?, 'I', "{answer:?}");
        anyhow::ensure!(!tags(&answer).contains('E'), "{answer:?}");
    }
    Ok(())
}

async fn sessions_of_two_threads_share_few_backends() -> Outcome {
    let cluster = Cluster::start(Plan {
        shards: 2,
        router_config: json!({
            "pgwire": { "threads": 2 },
            "sharding": { "max_connections": 3, "checkout_timeout": "60s" },
        }),
        ..Plan::default()
    })
    .await?;
    cluster
        .create("counted", "k bigint PRIMARY KEY, n int", ("k", "bigint"))
        .await?;
    try_join_all((0..SESSIONS).map(|key| work(&cluster, key))).await?;
    let mut rows = 0;
    for shard in &cluster.shards {
        let wrong = format!("SELECT count(*) FROM counted WHERE n <> {ROUNDS}");
        same!(shard.psql(&wrong).await?, "0");
        rows += shard
            .psql("SELECT count(*) FROM counted")
            .await?
            .parse::<i64>()?;
        let backends = "SELECT count(*) <= 3 FROM pg_stat_activity \
                        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() \
                        AND query LIKE '%counted%'";
        same!(shard.psql(backends).await?, "t");
    }
    same!(rows, SESSIONS);
    Ok(())
}
