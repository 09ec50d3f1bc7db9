//! Each kind of plan under load.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;
use tests::Cluster;
use tests::cluster::Plan;
use tokio::time::sleep;

use super::job::{ask, begin, third, until};
use super::load::{self, Load};
use super::remains;
use crate::suite::{Outcome, Suite, alone, same};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_shard_is_added_while_writers_write,
        a_split_is_rolled_back_while_writers_write,
    )
    .into()
}

async fn start() -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan {
        shards: 2,
        spares: 1,
        routers: 2,
        ..Plan::default()
    })
    .await?;
    load::prepare(&cluster).await?;
    Ok(cluster)
}

async fn a_shard_is_added_while_writers_write() -> Outcome {
    let cluster = start().await?;
    let load = Load::start(&cluster, 8);
    sleep(Duration::from_millis(500)).await;
    let body = json!({ "shard": third(&cluster)? });
    let job = begin(&cluster, "add-shard", body).await?;
    let done = until(&cluster, &job, "completed").await?;
    sleep(Duration::from_millis(500)).await;
    let ledger = load.stop().await?;
    crate::suite::told!(
        "add-shard: {} writes, errors {:?}, pause {} ms, {}",
        ledger.writes(),
        ledger.errors,
        done["pause_ms"],
        done["attempts"],
    );
    ledger.check(&cluster).await?;
    same!(ledger.other_errors(), Vec::new());
    ask(&cluster, &job, "finish").await?;
    until(&cluster, &job, "completed").await?;
    ledger.check(&cluster).await?;
    remains::none(&cluster).await
}

async fn a_split_is_rolled_back_while_writers_write() -> Outcome {
    let cluster = start().await?;
    let load = Load::start(&cluster, 8);
    let body = json!({
        "source_shard_id": "shard-1",
        "target_shards": [{ "id": "shard-2" }, third(&cluster)?],
    });
    let job = begin(&cluster, "split", body).await?;
    until(&cluster, &job, "completed").await?;
    sleep(Duration::from_millis(500)).await;
    ask(&cluster, &job, "rollback").await?;
    until(&cluster, &job, "rolled_back").await?;
    sleep(Duration::from_millis(300)).await;
    let ledger = load.stop().await?;
    crate::suite::told!(
        "rollback: {} writes, errors {:?}",
        ledger.writes(),
        ledger.errors
    );
    ledger.check(&cluster).await?;
    same!(ledger.other_errors(), Vec::new());
    remains::none(&cluster).await
}
