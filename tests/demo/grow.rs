//! The main thing: a shard is added while writers write, with what an operator would type, and what
//! became of it is measured.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use serde_json::Value;
use tests::http;
use tokio::time::{Instant, sleep};

use crate::check;
use crate::system::{ADDED, FIRST, System};
use crate::writers::{Ledger, Writers};
use crate::{Progress, say};

/// What the comparison of the very rows that changed their owner is called.
const EXACT: &str = "at the cutover";

/// Adds the third server as a shard, with `quiet` time of writing before and after.
pub(crate) async fn add_a_shard(
    system: &System,
    progress: &Progress,
    quiet: Duration,
) -> anyhow::Result<()> {
    let spare = system.shards.get(FIRST.len()).context("a server is left")?;
    let target = format!("{ADDED}={}", spare.endpoint());
    let writers = Writers::start(system);
    sleep(quiet).await;
    progress.done(&format!(
        "8 writers have had {} writes acknowledged through both routers, and go on",
        writers.acknowledged()
    ));
    system.shardctl_shown(&["ring", "show"]).await?;
    system
        .shardctl_shown(&["plan", "add-shard", &target])
        .await?;
    let begin = Instant::now();
    system
        .shardctl_shown(&["reshard", "add-shard", &target, "--wait"])
        .await?;
    let moved = Instant::now();
    sleep(quiet).await;
    let jobs = system.shardctl_json(&["reshard", "list"]).await?;
    let id = jobs["jobs"][0]["id"].as_str().context("a job is listed")?;
    system
        .shardctl_shown(&["reshard", "finish", id, "--wait"])
        .await?;
    let finished = Instant::now();
    let ledger = writers.stop().await?;
    system.shardctl_shown(&["ring", "show"]).await?;
    let job = system.shardctl_json(&["reshard", "status", id]).await?;
    say("");
    let found = check::nothing_is_lost(system, &ledger).await?;
    progress.done(&format!(
        "{ADDED} has its part, and no write is lost or there twice: {} rows were read on the shards",
        found.rows
    ));
    tell_of_job(system, &job).await?;
    tell_of_writes(&ledger, (begin, moved, finished));
    Ok(())
}

/// What the job has measured; fails if it was not as promised.
async fn tell_of_job(system: &System, job: &Value) -> anyhow::Result<()> {
    let rows = job["keys_migrated"].as_u64().context("rows are counted")?;
    let copying = time_of_copying(system, job).await?.as_secs_f64();
    let rate = rows as f64 / copying.max(0.001);
    row("rows moved", &format!("{rows}"));
    row(
        "rate",
        &format!("{rate:.0} rows/s: {copying:.1} s to copy, indexes included"),
    );
    let limit = job["max_pause_ms"]
        .as_f64()
        .context("a pause has a limit")?;
    let legs = job["legs"].as_array().context("a job has legs")?;
    let (mut pauses, mut verified) = (Vec::new(), 0);
    for leg in legs {
        let source = leg["source_shard"].as_str().unwrap_or_default();
        let pause = leg["pause_ms"].as_f64();
        let pause = pause.with_context(|| format!("a leg was not cut over: {leg}"))?;
        // A machine with other things to do may take longer to write the flip: no row is wrong then.
        let over = if pause > limit {
            " (over the limit)"
        } else {
            ""
        };
        pauses.push(format!("{source} {pause:.1} ms{over}"));
        let certificates = leg["certificates"].as_array().into_iter().flatten();
        let mut exact = certificates.filter(|one| one["instant"] == EXACT);
        let exact = exact.next_back();
        let exact = exact.with_context(|| format!("a leg was not compared: {leg}"))?;
        anyhow::ensure!(exact["equal"] == true, "the sides differed: {exact}");
        verified += exact["rows"].as_u64().unwrap_or_default();
    }
    row(
        "pause",
        &format!(
            "{}, from hold to flip; limit {limit:.0} ms, {} cutovers tried for {} legs",
            pauses.join(", "),
            job["attempts"],
            legs.len()
        ),
    );
    row(
        "verified",
        &format!("{verified} rows, as they were at the cutover, equal on both sides"),
    );
    Ok(())
}

/// From the record of the copy to the record of its end, over all legs, by the audit log.
async fn time_of_copying(system: &System, job: &Value) -> anyhow::Result<Duration> {
    let manager = system.managers.first().context("managers run")?;
    let url = manager.api("/audit?limit=1000");
    let log = http::get(&url).await?.expect(200)?;
    let id = job["id"].as_str().unwrap_or_default();
    let entries = log["entries"].as_array().context("a list of entries")?;
    let mut entries: Vec<&Value> = entries.iter().collect();
    entries.sort_by_key(|entry| entry["sequence"].as_u64());
    let (mut total, mut since) = (Duration::ZERO, None);
    for entry in entries {
        let is_ours = entry["target"].as_str().is_some_and(|t| t.starts_with(id));
        match entry["action"].as_str() {
            Some("copy_leg") if is_ours => since = Some(time_of(entry)?),
            Some("follow_leg") if is_ours => {
                let begin = since.take().context("a copy that ends has begun")?;
                total += time_of(entry)?.duration_since(begin)?;
            }
            _ => {}
        }
    }
    Ok(total)
}

fn time_of(entry: &Value) -> anyhow::Result<SystemTime> {
    let text = entry["at"].as_str().context("an entry has a time")?;
    Ok(humantime::parse_rfc3339(text)?)
}

fn tell_of_writes(ledger: &Ledger, (begin, moved, finished): (Instant, Instant, Instant)) {
    let within = |from: Option<Instant>, to: Instant| {
        let writes = ledger.writes.iter();
        let of = writes.filter(|(at, _)| from.is_none_or(|from| *at >= from) && *at < to);
        let mut times: Vec<Duration> = of.map(|(_, time)| *time).collect();
        times.sort_unstable();
        times
    };
    let during = within(Some(begin), moved);
    row(
        "writes",
        &format!(
            "{} acknowledged: {} while rows moved, {} while what was left behind was removed; \
             {} were told to be tried again",
            ledger.writes.len(),
            during.len(),
            within(Some(moved), finished).len(),
            ledger.repetitions
        ),
    );
    row(
        "latency",
        &format!("{} before", spread(&within(None, begin))),
    );
    row("", &format!("{} while rows moved", spread(&during)));
    row("lost", "0");
    row("twice", "0");
}

/// Of sorted times.
fn spread(times: &[Duration]) -> String {
    let at = |percent: usize| {
        let time = times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
        time.copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    format!(
        "p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        at(50),
        at(99),
        at(100)
    )
}

fn row(name: &str, text: &str) {
    say(&format!("            {name:10} {text}"));
}
