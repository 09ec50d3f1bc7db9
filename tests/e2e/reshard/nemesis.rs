//! Faults of all parts while rows move: nothing is lost, and the job ends by itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::Cluster;
use tests::cluster::{Plan, owner};
use tests::raw::Raw;
use tests::wait;
use tokio::time::{Instant, sleep};
use topology::Key;

use super::ground::{Case, End, Ground};
use super::job::{ask, begin, begin_and_pause, find, is_at, until, until_phase};
use super::ledger::Ledger;
use super::load::{self, KEYS, Load};
use super::remains;
use crate::suite::{Outcome, Suite, alone, long, same};

mod direct;
mod random;

use direct::Direct;
use random::torture_by_faults_at_random;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = Vec::from(alone!(suite:
        a_router_sleeps_through_the_flip,
        a_manager_sleeps_through_its_lease_within_the_cutover,
        a_client_goes_past_the_routers,
        a_transaction_that_is_open_across_the_cutover_goes_on_or_is_told_to_try_again,
    ));
    trials.extend(long!(suite:
        the_store_dies_during_the_copy,
        the_source_dies_while_it_is_followed,
        the_target_dies_before_the_flip,
        a_long_transaction_defers_the_cutover_and_stalls_nobody,
        torture_by_faults_at_random,
    ));
    trials
}

async fn start() -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan {
        routers: 2,
        // A busy machine is not one of the faults.
        manager_config: json!({ "leader": { "lease_ttl": "5s" } }),
        ..Plan::default()
    })
    .await?;
    load::prepare(&cluster).await?;
    Ok(cluster)
}

fn gentle(cluster: &Cluster) -> Load {
    Load::paced(cluster, 6, Duration::from_millis(3))
}

/// Half of what a shard has moves away: the order, keys that move, and keys that stay.
struct Half {
    order: Value,
    moving: Vec<i64>,
    staying: Vec<i64>,
}

async fn half(cluster: &Cluster, from: &str, to: &str) -> anyhow::Result<Half> {
    let snapshot = cluster.snapshot().await?;
    let vnode = |key: i64| snapshot.owner_of(&Key::Bigint(key));
    let of_from = |key: &i64| owner(&snapshot, &Key::Bigint(*key)).is_some_and(|id| id == from);
    let tokens: BTreeSet<u32> = (1..=KEYS)
        .filter(of_from)
        .filter_map(|key| Some(vnode(key)?.token.0))
        .collect();
    let tokens: BTreeSet<u32> = tokens.into_iter().step_by(2).collect();
    let moves = |key: &i64| vnode(*key).is_some_and(|vnode| tokens.contains(&vnode.token.0));
    let (moving, staying) = (1..=KEYS).filter(of_from).partition(moves);
    let order = json!({ "from": from, "to": to, "vnodes": tokens });
    Ok(Half {
        order,
        moving,
        staying,
    })
}

/// The end of every test: the job is finished, nothing is lost, nothing is left.
async fn finish(cluster: &Cluster, job: &str, ledger: &Ledger) -> Outcome {
    ledger.check(cluster).await?;
    ask(cluster, job, "finish").await?;
    until(cluster, job, "completed").await?;
    ledger.check(cluster).await?;
    remains::none(cluster).await
}

/// What shards refused of a router's statements since rows began to move.
async fn refusals(cluster: &Cluster, router: usize) -> anyhow::Result<u64> {
    let metrics = cluster.router(router)?.program.metrics().await?;
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("shard_move_refusals_total{"));
    lines
        .map(|line| {
            let (_, count) = line.rsplit_once(' ').context("a value")?;
            Ok(count.parse::<u64>()?)
        })
        .sum()
}

/// Stops a router at a moment when it has no transaction open that has written: a cutover would
/// rightly wait for that.
async fn freeze_between_transactions(cluster: &Cluster, router: usize) -> Outcome {
    let question = "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL \
                    AND xact_start < now() - interval '300 ms' \
                    AND application_name NOT LIKE 'sharding-reshard%'";
    let deadline = Instant::now() + wait::START;
    loop {
        cluster.router(router)?.program.pause()?;
        // What the other routers do is over within a moment, what this one does stays.
        sleep(Duration::from_secs(1)).await;
        for _ in 0..20 {
            sleep(Duration::from_millis(20)).await;
            if cluster.shard("shard-1")?.psql(question).await?.trim() == "0" {
                return Ok(());
            }
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "the router always has a transaction open"
        );
        cluster.router(router)?.program.resume()?;
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for the end of a job while a router is frozen. What that had sent and a busy shard began
/// later may hold a transaction open, for which the job rightly waits: the router is frozen again
/// then, at another moment.
async fn complete_while_frozen(cluster: &Cluster, job: &str, router: usize) -> Outcome {
    let deadline = Instant::now() + 2 * wait::START;
    loop {
        let patience = Instant::now() + wait::SETTLE;
        while Instant::now() < patience {
            if is_at(&find(cluster, job).await?, "completed")? {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "the job waits for something else"
        );
        cluster.router(router)?.program.resume()?;
        sleep(Duration::from_millis(20)).await;
        freeze_between_transactions(cluster, router).await?;
    }
}

async fn a_router_sleeps_through_the_flip() -> Outcome {
    let cluster = start().await?;
    let load = Load::start(&cluster, 8);
    let half = half(&cluster, "shard-1", "shard-2").await?;
    let job = begin_and_pause(&cluster, "move", half.order).await?;
    freeze_between_transactions(&cluster, 1).await?;
    ask(&cluster, &job, "resume").await?;
    complete_while_frozen(&cluster, &job, 1).await?;
    // Its clients wait, with statements that it has read already or not.
    sleep(Duration::from_secs(1)).await;
    cluster.router(1)?.program.resume()?;
    sleep(Duration::from_secs(1)).await;
    let ledger = load.stop().await?;
    crate::suite::told!(
        "a frozen router: {} writes, refused {} of its statements, errors {:?}",
        ledger.writes(),
        refusals(&cluster, 1).await?,
        ledger.errors
    );
    same!(ledger.other_errors(), Vec::new());
    finish(&cluster, &job, &ledger).await
}

async fn a_manager_sleeps_through_its_lease_within_the_cutover() -> Outcome {
    let cases = [
        Case::early(&["freeze before:fence"]),
        Case::early(&["freeze before:record_mirroring"]),
        // The second one takes the cutover back while the first one was about to open.
        Case::early(&["freeze before:open"]),
        Case::new(End::Rollback, true, &["freeze after:record_opening"]),
    ];
    Ground::start(2).await?.run_all(&cases).await
}

async fn the_store_dies_during_the_copy() -> Outcome {
    let mut cluster = start().await?;
    let load = gentle(&cluster);
    let order = half(&cluster, "shard-1", "shard-2").await?.order;
    let job = begin(&cluster, "move", order).await?;
    until_phase(&cluster, &job, "copying").await?;
    cluster.etcd.kill().await?;
    sleep(Duration::from_secs(6)).await;
    cluster.etcd.restart().await?;
    until(&cluster, &job, "completed").await?;
    let ledger = load.stop().await?;
    same!(ledger.other_errors(), Vec::new());
    finish(&cluster, &job, &ledger).await
}

async fn the_source_dies_while_it_is_followed() -> Outcome {
    let mut cluster = start().await?;
    let load = gentle(&cluster);
    let order = half(&cluster, "shard-1", "shard-2").await?.order;
    let job = begin_and_pause(&cluster, "move", order).await?;
    for server in &mut cluster.shards[..1] {
        server.kill().await?;
        sleep(Duration::from_secs(1)).await;
        server.restart().await?;
    }
    ask(&cluster, &job, "resume").await?;
    until(&cluster, &job, "completed").await?;
    let ledger = load.stop().await?;
    crate::suite::told!(
        "a killed source: {} writes, errors {:?}",
        ledger.writes(),
        ledger.errors
    );
    finish(&cluster, &job, &ledger).await
}

async fn the_target_dies_before_the_flip() -> Outcome {
    let mut cluster = start().await?;
    let load = gentle(&cluster);
    let order = half(&cluster, "shard-1", "shard-2").await?.order;
    let job = begin_and_pause(&cluster, "move", order).await?;
    for server in &mut cluster.shards[1..] {
        server.kill().await?;
    }
    ask(&cluster, &job, "resume").await?;
    sleep(Duration::from_secs(2)).await;
    let found = find(&cluster, &job).await?;
    same!(found["legs"][0]["phase"], json!("following"), "{found:#}");
    for server in &mut cluster.shards[1..] {
        server.restart().await?;
    }
    until(&cluster, &job, "completed").await?;
    let ledger = load.stop().await?;
    crate::suite::told!(
        "a killed target: {} writes, errors {:?}",
        ledger.writes(),
        ledger.errors
    );
    finish(&cluster, &job, &ledger).await
}

async fn a_client_goes_past_the_routers() -> Outcome {
    let cluster = start().await?;
    let load = gentle(&cluster);
    let half = half(&cluster, "shard-1", "shard-2").await?;
    let direct = Direct::start(&cluster.shards[0], half.moving, half.staying);
    let job = begin(&cluster, "move", half.order).await?;
    until(&cluster, &job, "completed").await?;
    sleep(Duration::from_secs(1)).await;
    let bypassed = direct.stop().await?;
    let mut ledger = load.stop().await?;
    crate::suite::told!(
        "past the routers: {} written, refused {:?}",
        bypassed.acked.len(),
        bypassed.errors
    );
    anyhow::ensure!(
        bypassed.errors.contains_key("VG001"),
        "{:?}",
        bypassed.errors
    );
    let others = |code: &&String| !["VG001", "VG002"].contains(&code.as_str());
    same!(
        bypassed.errors.keys().filter(others).count(),
        0,
        "{:?}",
        bypassed.errors
    );
    same!(ledger.other_errors(), Vec::new());
    ledger.acknowledge(bypassed.acked);
    finish(&cluster, &job, &ledger).await
}

async fn a_long_transaction_defers_the_cutover_and_stalls_nobody() -> Outcome {
    let cluster = start().await?;
    let load = gentle(&cluster);
    let half = half(&cluster, "shard-1", "shard-2").await?;
    let key = *half.moving.first().context("a key moves")?;
    let job = begin_and_pause(&cluster, "move", half.order).await?;
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    session.query("BEGIN").await?;
    let note = format!("UPDATE counters SET note = 'long' WHERE k = {key}");
    same!(tests::raw::tags(&session.query(&note).await?), "CZ");
    // The row itself is locked: nobody else is to need it.
    ask(&cluster, &job, "resume").await?;
    sleep(Duration::from_secs(4)).await;
    let found = find(&cluster, &job).await?;
    same!(found["legs"][0]["phase"], json!("following"), "{found:#}");
    let done = session.query("COMMIT").await?;
    same!(tests::raw::tags(&done), "CZ", "{done:?}");
    until(&cluster, &job, "completed").await?;
    let ledger = load.stop().await?;
    same!(ledger.other_errors(), Vec::new());
    let longest = ledger.longest_but_of(key);
    crate::suite::told!("a long transaction: longest wait of others {longest:?}");
    anyhow::ensure!(
        longest < Duration::from_secs(3),
        "others waited {longest:?}"
    );
    let read = format!("SELECT note FROM counters WHERE k = {key}");
    same!(cluster.router(1)?.psql(&read).await?.trim(), "long");
    finish(&cluster, &job, &ledger).await
}

async fn a_transaction_that_is_open_across_the_cutover_goes_on_or_is_told_to_try_again() -> Outcome
{
    let cluster = start().await?;
    let load = gentle(&cluster);
    let half = half(&cluster, "shard-1", "shard-2").await?;
    let moves = *half.moving.first().context("a key moves")?;
    let stays = *half.staying.first().context("a key stays")?;
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    let job = begin_and_pause(&cluster, "move", half.order).await?;
    // It has only read so far: one that has written defers the comparison before the cutover,
    // whichever rows it wrote, until it ends.
    let read = |key: i64| format!("SELECT coalesce(note, '') FROM counters WHERE k = {key}");
    let note = format!("UPDATE counters SET note = 'across' WHERE k = {moves}");
    session.query("BEGIN").await?;
    same!(
        tests::raw::tags(&session.query(&read(stays)).await?),
        "TDCZ"
    );
    ask(&cluster, &job, "resume").await?;
    until(&cluster, &job, "completed").await?;
    // Its backend is on the source, where the row no longer is: it goes on where the row is, or
    // is told to begin anew.
    let answer = session.query(&note).await?;
    match answer.first().and_then(tests::raw::Message::sqlstate) {
        None => same!(tests::raw::tags(&session.query("COMMIT").await?), "CZ"),
        Some(code) => {
            same!(code, "40001");
            session.query("ROLLBACK").await?;
            for sql in ["BEGIN", &note, "COMMIT"] {
                same!(tests::raw::tags(&session.query(sql).await?), "CZ");
            }
        }
    }
    let ledger = load.stop().await?;
    same!(ledger.other_errors(), Vec::new());
    same!(
        cluster.router(1)?.psql(&read(moves)).await?.trim(),
        "across"
    );
    finish(&cluster, &job, &ledger).await
}
