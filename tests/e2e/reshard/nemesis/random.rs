//! Faults of every part, one after the other and two at a time, as chance has it, while rows move
//! to and fro. The seed is told, so that a run can be made again: `TORTURE_SEED`, `TORTURE_SECONDS`.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tests::cluster::Plan;
use tests::random::Random;
use tests::{Cluster, wait};
use tokio::time::{Instant, sleep};

use crate::reshard::job::{ask, is_at, some_vnodes, try_to_ask, try_to_begin, try_to_find};
use crate::reshard::load::{self, Load};
use crate::reshard::remains;
use crate::suite::{Outcome, told};
use crate::transactions::bank::{self, Tellers};
use crate::transactions::nothing_is_prepared;

const SECONDS: u64 = 120;

/// How long a part sleeps at most, in milliseconds: longer than any lease.
const LONGEST_SLEEP: usize = 8_000;

/// Recovery of what a dead router left, and a job's steps that are tried again.
const HEALED: Duration = Duration::from_secs(90);

/// A part that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Router(usize),
    Manager(usize),
    Store,
    Shard(usize),
}

const PARTS: [Part; 7] = [
    Part::Router(0),
    Part::Router(1),
    Part::Manager(0),
    Part::Manager(1),
    Part::Store,
    Part::Shard(0),
    Part::Shard(1),
];

/// What happens to it.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// It is frozen for so many milliseconds.
    Sleeps(u64),
    /// It is killed, and started again after so many milliseconds.
    Dies(u64),
    /// A shard loses some of its clients' backends.
    LosesBackends,
}

/// Another number each time.
fn of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| u64::from(since.subsec_nanos()))
}

fn number_of(text: &str, default: u64) -> u64 {
    let set = std::env::var(text).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(default)
}

pub(super) async fn torture_by_faults_at_random() -> Outcome {
    let seed = number_of("TORTURE_SEED", of_now());
    let lasts = Duration::from_secs(number_of("TORTURE_SECONDS", SECONDS));
    told!("faults at random: TORTURE_SEED={seed}");
    let mut random = Random::new(seed);
    let mut cluster = Cluster::start(Plan {
        routers: 2,
        managers: 2,
        manager_config: json!({ "leader": { "lease_ttl": "5s" } }),
        ..Plan::default()
    })
    .await?;
    load::prepare(&cluster).await?;
    bank::open(&cluster).await?;
    let load = Load::paced(&cluster, 6, Duration::from_millis(2));
    let addresses = cluster.routers.iter().cycle().take(4);
    let addresses = addresses.map(tests::Router::address);
    let tellers = Tellers::start(addresses, &Arc::new(AtomicI64::new(1)));
    let (mut job, mut ended, mut faults) = (None, 0, 0);
    let end = Instant::now() + lasts;
    while Instant::now() < end {
        job = go_on(&cluster, job, &mut random, &mut ended).await;
        let milliseconds = u64::try_from(random.below(1_500))?;
        sleep(Duration::from_millis(milliseconds)).await;
        let (part, fault) = choose(&mut random);
        let other = random.chance(40).then(|| choose(&mut random));
        faults += strike(
            &mut cluster,
            (part, fault),
            other.filter(|(of, _)| *of != part),
        )
        .await?;
    }
    if let Some(job) = job {
        wait::until("end of the job", HEALED, async || {
            let found = try_to_find(&cluster, &job).await?;
            anyhow::ensure!(found["settled"] == json!(true), "{found:#}");
            Ok(())
        })
        .await?;
        let found = try_to_find(&cluster, &job).await?;
        if is_at(&found, "completed").unwrap_or(false) && found["finished"] != json!(true) {
            ask(&cluster, &job, "finish").await.ok();
        }
    }
    sleep(Duration::from_secs(2)).await;
    let (ledger, transfers) = (load.stop().await?, tellers.stop().await?);
    told!(
        "faults at random: {faults} faults, {ended} jobs ended before, {} writes, errors {:?}",
        ledger.writes(),
        ledger.errors
    );
    wait::until("recovery", HEALED, async || {
        nothing_is_prepared(&cluster).await
    })
    .await?;
    ledger.check(&cluster).await?;
    bank::check(&cluster, &transfers, ended).await?;
    wait::until("end of all that jobs make", HEALED, async || {
        remains::none(&cluster).await
    })
    .await?;
    ledger.check(&cluster).await
}

/// Asks for the next thing of a job, or for another one, once: whoever is asked may be gone.
async fn go_on(
    cluster: &Cluster,
    job: Option<String>,
    random: &mut Random,
    ended: &mut usize,
) -> Option<String> {
    let Some(id) = job else {
        let (from, to) = *random.pick(&[("shard-1", "shard-2"), ("shard-2", "shard-1")]);
        let before = crate::reshard::job::try_ids(cluster).await.ok()?;
        let order = some_vnodes(from, to, 40);
        return try_to_begin(cluster, "move", order, &before).await.ok();
    };
    let Ok(found) = try_to_find(cluster, &id).await else {
        return Some(id);
    };
    let is = |status: &str| found["status"] == json!(status) && found["settled"] == json!(true);
    if is("completed") {
        let request = *random.pick(&["finish", "rollback"]);
        // A job that is finished already says so; another one is begun then.
        return match try_to_ask(cluster, &id, request, false).await {
            Ok(_) => Some(id),
            Err(_) => {
                *ended += 1;
                None
            }
        };
    }
    let is_over = is("failed") || is("cancelled") || is("rolled_back");
    *ended += usize::from(is_over);
    (!is_over).then_some(id)
}

fn choose(random: &mut Random) -> (Part, Fault) {
    let part = *random.pick(&PARTS);
    let fault = match (part, random.below(10)) {
        (Part::Shard(_), 0..=2) => Fault::LosesBackends,
        (_, 0..=6) => Fault::Sleeps(length(random)),
        (_, _) => Fault::Dies(length(random) / 4),
    };
    (part, fault)
}

/// Mostly short, sometimes longer than a lease.
fn length(random: &mut Random) -> u64 {
    let most = *random.pick(&[200, 1_500, 1_500, LONGEST_SLEEP]);
    u64::try_from(random.below(most)).unwrap_or(0)
}

/// Has a part fail, and another one in the middle of that; gives how many have failed.
async fn strike(
    cluster: &mut Cluster,
    (part, fault): (Part, Fault),
    other: Option<(Part, Fault)>,
) -> anyhow::Result<usize> {
    let length = match fault {
        Fault::Sleeps(length) => {
            pause(cluster, part)?;
            length
        }
        Fault::Dies(length) => {
            kill(cluster, part).await?;
            length
        }
        Fault::LosesBackends => {
            lose_backends(cluster, part).await?;
            return Ok(1);
        }
    };
    sleep(Duration::from_millis(length / 2)).await;
    let others = match other {
        Some(other) => Box::pin(strike(cluster, other, None)).await?,
        None => 0,
    };
    sleep(Duration::from_millis(length / 2)).await;
    match fault {
        Fault::Sleeps(_) => resume(cluster, part)?,
        Fault::Dies(_) | Fault::LosesBackends => start(cluster, part).await?,
    }
    Ok(1 + others)
}

fn pause(cluster: &Cluster, part: Part) -> anyhow::Result<()> {
    match part {
        Part::Router(at) => cluster.routers[at].program.pause(),
        Part::Manager(at) => cluster.managers[at].0.pause(),
        Part::Store => cluster.etcd.pause(),
        Part::Shard(at) => cluster.shards[at].pause(),
    }
}

fn resume(cluster: &Cluster, part: Part) -> anyhow::Result<()> {
    match part {
        Part::Router(at) => cluster.routers[at].program.resume(),
        Part::Manager(at) => cluster.managers[at].0.resume(),
        Part::Store => cluster.etcd.resume(),
        Part::Shard(at) => cluster.shards[at].resume(),
    }
}

async fn kill(cluster: &mut Cluster, part: Part) -> anyhow::Result<()> {
    match part {
        Part::Router(at) => cluster.routers[at].program.kill().await,
        Part::Manager(at) => cluster.managers[at].0.kill().await,
        Part::Store => cluster.etcd.kill().await,
        Part::Shard(at) => cluster.shards[at].kill().await,
    }
}

async fn start(cluster: &mut Cluster, part: Part) -> anyhow::Result<()> {
    match part {
        // It is ready once all that it depends on is.
        Part::Router(at) => cluster.routers[at].program.launch(),
        Part::Manager(at) => cluster.managers[at].0.launch(),
        Part::Store => cluster.etcd.restart().await,
        Part::Shard(at) => cluster.shards[at].restart().await,
    }
}

/// Ends every third session of clients, whatever it does at this moment.
async fn lose_backends(cluster: &Cluster, part: Part) -> anyhow::Result<()> {
    let Part::Shard(at) = part else {
        return Ok(());
    };
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND pid % 3 = 0";
    cluster.shards[at].psql(sql).await.map(drop)
}
