//! What an operator does with jobs, whichever managers are there.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tests::http::Answer;
use tests::{Cluster, Manager, http, wait};
use tokio::time::{Instant, sleep};

/// How long a job may take on a busy machine, faults included.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long is waited before something is asked again.
pub(crate) const RETRY: Duration = Duration::from_millis(100);

/// A budget for tests that are not about the pause: a busy machine does not use it up.
pub(crate) const CALM_PAUSE_MS: u64 = 2_000;

/// The spare server as a shard to be.
pub(crate) fn third(cluster: &Cluster) -> anyhow::Result<Value> {
    let spare = cluster.spares.first().context("there is a spare server")?;
    Ok(json!({ "name": "shard-3", "primary_endpoint": spare.endpoint() }))
}

/// Vnodes that go from one shard to another.
pub(crate) fn some_vnodes(from: &str, to: &str, count: u32) -> Value {
    json!({ "from": from, "to": to, "count": count })
}

/// How long a manager may take to answer: one that was frozen meanwhile is not waited for.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Starts a job, on whichever manager answers, and gives its id.
pub(crate) async fn begin(cluster: &Cluster, path: &str, body: Value) -> anyhow::Result<String> {
    let before = ids(cluster).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match try_to_begin(cluster, path, body.clone(), &before).await {
            Ok(id) => return Ok(id),
            Err(error) => anyhow::ensure!(Instant::now() < deadline, "{path} not begun: {error:#}"),
        }
        sleep(RETRY).await;
    }
}

/// Asks once for a job; finds it if it was recorded without an answer, beside those of `before`.
pub(crate) async fn try_to_begin(
    cluster: &Cluster,
    path: &str,
    mut body: Value,
    before: &[String],
) -> anyhow::Result<String> {
    if body.get("max_pause_ms").is_none() {
        body["max_pause_ms"] = json!(CALM_PAUSE_MS);
    }
    let sent = send(cluster, &format!("/reshard/{path}"), &body).await;
    if let Ok(answer) = &sent
        && answer.status == 202
    {
        let id = answer.json()?["id"].as_str().map(str::to_owned);
        return id.context("a job has an id");
    }
    // The manager may have died between its record and its answer.
    let listed = listed(&read_once(cluster, "/reshard/jobs").await?);
    let new = listed.into_iter().find(|id| !before.contains(id));
    new.with_context(|| format!("{sent:?}"))
}

/// Asks a job for something, on whichever manager answers.
pub(crate) async fn ask(cluster: &Cluster, job: &str, request: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut is_again = false;
    while !try_to_ask(cluster, job, request, is_again).await? {
        is_again = true;
        anyhow::ensure!(Instant::now() < deadline, "no {request}");
        sleep(RETRY).await;
    }
    Ok(())
}

/// Asks once; whether it is recorded, by this or, if it `is_again`, an earlier asking.
pub(crate) async fn try_to_ask(
    cluster: &Cluster,
    job: &str,
    request: &str,
    is_again: bool,
) -> anyhow::Result<bool> {
    let path = format!("/reshard/jobs/{job}/{request}");
    match send(cluster, &path, &json!({})).await {
        Ok(answer) if answer.status == 200 => Ok(true),
        // An earlier one, whose answer was lost, has been recorded.
        Ok(answer) if answer.status == 409 && is_again => Ok(true),
        Ok(answer) if answer.status.is_client_error() => anyhow::bail!("{request}: {answer:?}"),
        Ok(_) | Err(_) => Ok(false),
    }
}

/// A job as any manager shows it.
pub(crate) async fn find(cluster: &Cluster, job: &str) -> anyhow::Result<Value> {
    read(cluster, &format!("/reshard/jobs/{job}")).await
}

/// As [`find`], asking once.
pub(crate) async fn try_to_find(cluster: &Cluster, job: &str) -> anyhow::Result<Value> {
    read_once(cluster, &format!("/reshard/jobs/{job}")).await
}

/// Waits until a job has a status and is settled.
pub(crate) async fn until(cluster: &Cluster, job: &str, status: &str) -> anyhow::Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = find(cluster, job).await?;
        if is_at(&found, status)? {
            return Ok(found);
        }
        anyhow::ensure!(Instant::now() < deadline, "not {status} in time: {found:#}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a job has a status and is settled.
pub(crate) fn is_at(found: &Value, status: &str) -> anyhow::Result<bool> {
    let is_failed = found["status"] == json!("failed");
    anyhow::ensure!(!is_failed || status == "failed", "{found:#}");
    Ok(found["status"] == json!(status) && found["settled"] == json!(true))
}

/// Waits until a leg of a job is in a phase.
pub(crate) async fn until_phase(cluster: &Cluster, job: &str, phase: &str) -> anyhow::Result<()> {
    until_leg(cluster, job, ("phase", phase)).await
}

/// Waits until a leg of a job does a step; that is shown once a second.
pub(crate) async fn until_step(cluster: &Cluster, job: &str, step: &str) -> anyhow::Result<()> {
    until_leg(cluster, job, ("step", step)).await
}

async fn until_leg(
    cluster: &Cluster,
    job: &str,
    (field, wanted): (&str, &str),
) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = find(cluster, job).await?;
        let mut legs = found["legs"].as_array().into_iter().flatten();
        if legs.any(|leg| leg[field] == json!(wanted)) {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "not at {wanted}: {found:#}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Starts a job that takes rows from the first shard, and stops it right before its cutover: rows
/// are copied and streams run. `resume` lets it go on.
pub(crate) async fn begin_and_pause(
    cluster: &Cluster,
    path: &str,
    body: Value,
) -> anyhow::Result<String> {
    // Its copy waits for whoever writes, and goes on in spite of a pause once it has begun.
    let source = cluster.shard("shard-1")?.client().await?;
    source.batch_execute("BEGIN; SELECT txid_current()").await?;
    let job = begin(cluster, path, body).await?;
    until_step(cluster, &job, "copy").await?;
    ask(cluster, &job, "pause").await?;
    source.batch_execute("COMMIT").await?;
    until_phase(cluster, &job, "following").await?;
    Ok(job)
}

/// The jobs that there are.
pub(crate) async fn ids(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    Ok(listed(&read(cluster, "/reshard/jobs").await?))
}

/// As [`ids`], asking once.
pub(crate) async fn try_ids(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    Ok(listed(&read_once(cluster, "/reshard/jobs").await?))
}

fn listed(all: &Value) -> Vec<String> {
    let jobs = all["jobs"].as_array().into_iter().flatten();
    jobs.filter_map(|job| job["id"].as_str().map(str::to_owned))
        .collect()
}

async fn read(cluster: &Cluster, path: &str) -> anyhow::Result<Value> {
    wait::until(path, PATIENCE, || read_once(cluster, path)).await
}

/// The first manager that runs and is not frozen answers.
async fn read_once(cluster: &Cluster, path: &str) -> anyhow::Result<Value> {
    let mut last = anyhow::anyhow!("no manager runs");
    for manager in running(cluster) {
        let url = manager.api(path);
        let asked = tokio::time::timeout(ANSWER_LIMIT, http::get(&url));
        match asked.await.unwrap_or_else(|late| Err(late.into())) {
            Ok(answer) => match answer.expect(200) {
                Ok(value) => return Ok(value),
                Err(error) => last = error,
            },
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn send(cluster: &Cluster, path: &str, body: &Value) -> anyhow::Result<Answer> {
    let mut last = Err(anyhow::anyhow!("no manager runs"));
    for manager in running(cluster) {
        let url = manager.api(path);
        let sent = http::post(&url, body);
        last = match tokio::time::timeout(ANSWER_LIMIT, sent).await {
            Ok(sent) => sent,
            Err(late) => Err(late.into()),
        };
        match &last {
            Ok(answer) if !answer.status.is_server_error() => break,
            Ok(_) | Err(_) => {}
        }
    }
    last
}

fn running(cluster: &Cluster) -> impl Iterator<Item = &Manager> {
    cluster
        .managers
        .iter()
        .filter(|manager| manager.0.id().is_ok() && !manager.0.is_paused())
}
