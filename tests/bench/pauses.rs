//! What clients feel of cutovers: vnodes go from one shard to the other and back, again and again,
//! while writers write at a steady pace. Other keys' latency with jobs is set beside theirs
//! without, and moving keys' beside the pauses that the managers record.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tests::cluster::{Cluster, Plan, owner};
use tests::http;
use tests::pg::Address;
use tests::random::Random;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use topology::Key;

use crate::Progress;
use crate::arguments::Arguments;

const KEYS: i64 = 100_000;
const WRITERS: u64 = 8;
/// Between two writes of one writer: as many a second as leave the machine half idle.
const PACE: Duration = Duration::from_millis(8);
/// Writing without a job, before each of them.
const QUIET: Duration = Duration::from_millis(1_500);
const VNODES: u32 = 64;
const PATIENCE: Duration = Duration::from_secs(60);

/// What was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pauses {
    /// From hold to flip, as recorded.
    pub(crate) recorded: Vec<Duration>,
    /// How many cutovers were tried for them.
    pub(crate) attempts: u64,
    /// Keys that never moved, while no job ran.
    pub(crate) others_quiet: Vec<Duration>,
    /// The same keys while one ran.
    pub(crate) others_moving: Vec<Duration>,
    /// Keys that moved, while no job ran.
    pub(crate) movers_quiet: Vec<Duration>,
    /// The longest write on a key that moved, of each job.
    pub(crate) longest: Vec<Duration>,
    /// Writes that were told to be tried again (40001).
    pub(crate) repetitions: u64,
}

/// One write: its key, when it began, and how long it took.
type Write = (i64, Instant, Duration);

/// Moves vnodes there and back until there were as many cutovers as are asked for.
pub(crate) async fn measure(arguments: &Arguments, progress: &Progress) -> anyhow::Result<Pauses> {
    let cluster = start().await?;
    progress.done("two shards and two routers for cutovers");
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for (number, router) in (1..=WRITERS).zip(cluster.routers.iter().cycle()) {
        writers.spawn(write(router.address(), number, Arc::clone(&stop)));
    }
    let mut pauses = Pauses::default();
    let (mut jobs, mut moved) = (Vec::new(), HashSet::new());
    while pauses.recorded.len() < arguments.cutovers {
        sleep(QUIET).await;
        let before = cluster.snapshot().await?;
        let since = Instant::now();
        let order = json!({ "from": "shard-1", "to": "shard-2", "count": VNODES });
        let job = post(&cluster, "/reshard/move", &order, 202).await?;
        let job = job["id"].as_str().context("a job has an id")?.to_owned();
        let there = until(&cluster, &job, "completed").await?;
        let after = cluster.snapshot().await?;
        for key in 1..=KEYS {
            if owner(&before, &Key::Bigint(key)) != owner(&after, &Key::Bigint(key)) {
                moved.insert(key);
            }
        }
        post(
            &cluster,
            &format!("/reshard/jobs/{job}/rollback"),
            &json!({}),
            200,
        )
        .await?;
        let back = until(&cluster, &job, "rolled_back").await?;
        jobs.push((since, Instant::now()));
        pauses.attempts += back["attempts"].as_u64().unwrap_or_default();
        for found in [there, back] {
            let millis = found["legs"][0]["pause_ms"].as_f64();
            let millis = millis.context("a cutover has a pause")?;
            pauses.recorded.push(Duration::from_secs_f64(millis / 1e3));
        }
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(written) = writers.join_next().await {
        let (writes, repetitions) = written??;
        pauses.repetitions += repetitions;
        pauses.sort_in(&writes, &jobs, &moved);
    }
    progress.done(&format!("{} cutovers", pauses.recorded.len()));
    Ok(pauses)
}

impl Pauses {
    fn sort_in(&mut self, writes: &[Write], jobs: &[(Instant, Instant)], moved: &HashSet<i64>) {
        self.longest.resize(jobs.len(), Duration::ZERO);
        for (key, at, took) in writes {
            let job = jobs.iter().position(|(from, to)| from <= at && at < to);
            let longest = job.and_then(|job| self.longest.get_mut(job));
            match (moved.contains(key), longest) {
                (false, Some(_)) => self.others_moving.push(*took),
                (false, None) => self.others_quiet.push(*took),
                (true, Some(longest)) => *longest = (*took).max(*longest),
                (true, None) => self.movers_quiet.push(*took),
            }
        }
    }
}

/// The value below which `percent` of all are, none of none.
pub(crate) fn percentile(values: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = sorted.len().checked_sub(1)? * percent / 100;
    sorted.get(at).copied()
}

async fn start() -> anyhow::Result<Cluster> {
    let plan = Plan {
        shards: 2,
        routers: 2,
        ..Plan::default()
    };
    let cluster = Cluster::start(plan).await?;
    let columns = "k bigint PRIMARY KEY, v bigint NOT NULL";
    cluster.create("counters", columns, ("k", "bigint")).await?;
    let snapshot = cluster.snapshot().await?;
    for (number, server) in cluster.shards.iter().enumerate() {
        let id = format!("shard-{}", number + 1);
        let here = (1..=KEYS).filter(|key| owner(&snapshot, &Key::Bigint(*key)) == Some(&id));
        let list: Vec<String> = here.map(|key| key.to_string()).collect();
        let sql = format!(
            "INSERT INTO counters SELECT k, 0 FROM unnest('{{{}}}'::bigint[]) k; ANALYZE counters",
            list.join(",")
        );
        server.client().await?.batch_execute(&sql).await?;
    }
    Ok(cluster)
}

/// Raises counters of random keys, one at each tick.
async fn write(
    router: Address,
    number: u64,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<(Vec<Write>, u64)> {
    let client = router.client().await?;
    let update = "UPDATE counters SET v = v + 1 WHERE k = $1";
    let update = client.prepare(update).await?;
    let mut random = Random::new(number);
    let (mut writes, mut repetitions) = (Vec::new(), 0);
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let key = i64::try_from(random.number() % KEYS.cast_unsigned())? + 1;
        let begun = Instant::now();
        loop {
            match client.execute(&update, &[&key]).await {
                Ok(_) => break,
                Err(error) if error.code().is_some_and(|code| code.code() == "40001") => {
                    repetitions += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        writes.push((key, begun, begun.elapsed()));
    }
    Ok((writes, repetitions))
}

async fn post(cluster: &Cluster, path: &str, body: &Value, status: u16) -> anyhow::Result<Value> {
    let url = cluster.manager(0)?.api(path);
    http::post(&url, body).await?.expect(status)
}

async fn until(cluster: &Cluster, job: &str, status: &str) -> anyhow::Result<Value> {
    let url = cluster.manager(0)?.api(&format!("/reshard/jobs/{job}"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = http::get(&url).await?.expect(200)?;
        if found["status"] == json!(status) && found["settled"] == json!(true) {
            return Ok(found);
        }
        anyhow::ensure!(Instant::now() < deadline, "not {status} in time: {found:#}");
        sleep(Duration::from_millis(50)).await;
    }
}
