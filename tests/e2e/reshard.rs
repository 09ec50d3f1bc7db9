//! Rows move between shards while writers write: every acknowledged write is there exactly once.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::{Cluster, http};
use tokio::time::{Instant, sleep};

use crate::suite::{Outcome, Suite, alone, same};

mod load;

use load::{Ledger, Load};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_shard_is_added_while_writers_write,
        a_split_is_rolled_back_while_writers_write,
    )
    .into()
}

/// A pause that a busy machine keeps to: these tests are about what is written, not about when.
const PATIENT_MS: u32 = 5_000;

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

/// The spare server as a shard to be.
fn third(cluster: &Cluster) -> anyhow::Result<Value> {
    let spare = cluster.spares.first().context("there is a spare server")?;
    Ok(json!({ "name": "shard-3", "primary_endpoint": spare.endpoint() }))
}

async fn begin(cluster: &Cluster, path: &str, body: &Value) -> anyhow::Result<String> {
    let url = cluster.manager(0)?.api(&format!("/reshard/{path}"));
    let job = http::post(&url, body).await?.expect(202)?;
    Ok(job["id"].as_str().context("a job has an id")?.to_owned())
}

async fn ask(cluster: &Cluster, job: &str, request: &str) -> anyhow::Result<Value> {
    let url = cluster
        .manager(0)?
        .api(&format!("/reshard/jobs/{job}/{request}"));
    http::post(&url, &json!({})).await?.expect(200)
}

async fn find(cluster: &Cluster, job: &str) -> anyhow::Result<Value> {
    let url = cluster.manager(0)?.api(&format!("/reshard/jobs/{job}"));
    http::get(&url).await?.expect(200)
}

/// Waits until a job has a status and is settled.
async fn until(cluster: &Cluster, job: &str, status: &str) -> anyhow::Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = find(cluster, job).await?;
        let is_settled = found["settled"] == json!(true);
        if found["status"] == json!(status) && is_settled {
            return Ok(found);
        }
        anyhow::ensure!(
            found["status"] != json!("failed") || status == "failed",
            "{found:#}"
        );
        anyhow::ensure!(Instant::now() < deadline, "not {status} in time: {found:#}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn say(what: &str, ledger: &Ledger, job: &Value) {
    let line = format!(
        "{what}: {} writes, errors {:?}, {} cutovers tried, longest pause {} ms",
        ledger.writes(),
        ledger.errors,
        job["attempts"],
        job["longest_pause_ms"],
    );
    drop(writeln!(std::io::stdout(), "{line}"));
}

async fn a_shard_is_added_while_writers_write() -> Outcome {
    let cluster = start().await?;
    let load = Load::start(&cluster, 8);
    sleep(Duration::from_millis(500)).await;
    let body = json!({ "shard": third(&cluster)?, "max_pause_ms": PATIENT_MS });
    let job = begin(&cluster, "add-shard", &body).await?;
    let done = until(&cluster, &job, "completed").await?;
    sleep(Duration::from_millis(500)).await;
    let ledger = load.stop().await?;
    say("add-shard", &ledger, &done);
    ledger.check(&cluster).await?;
    same!(ledger.other_errors(), Vec::new());
    ask(&cluster, &job, "finish").await?;
    until(&cluster, &job, "completed").await?;
    ledger.check(&cluster).await?;
    Ok(())
}

async fn a_split_is_rolled_back_while_writers_write() -> Outcome {
    let cluster = start().await?;
    let load = Load::start(&cluster, 8);
    let body = json!({
        "source_shard_id": "shard-1",
        "target_shards": [{ "id": "shard-2" }, third(&cluster)?],
        "max_pause_ms": PATIENT_MS,
    });
    let job = begin(&cluster, "split", &body).await?;
    until(&cluster, &job, "completed").await?;
    sleep(Duration::from_millis(500)).await;
    ask(&cluster, &job, "rollback").await?;
    let done = until(&cluster, &job, "rolled_back").await?;
    sleep(Duration::from_millis(300)).await;
    let ledger = load.stop().await?;
    say("split and back", &ledger, &done);
    ledger.check(&cluster).await?;
    same!(ledger.other_errors(), Vec::new());
    Ok(())
}
