//! Writers of every kind against fences: in the order of the log, no commit of a moving row comes
//! after a fence.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use manager::reshard::guard::fence;
use manager::reshard::guard::install::{self, Initial};
use manager::reshard::guard::{Error, Patience, sql};
use manager::reshard::ids::LegId;
use manager::reshard::session::Class;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use topology::Epoch;

use crate::setup::{Server, TERM, guarded, half, leg};

const FENCES: u64 = 60;
const WRITERS: u64 = 8;
const ROWS: u64 = 1000;

/// A small generator, so that a writer's course depends on its number only.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }

    async fn pause(&mut self, most_ms: u64) {
        sleep(Duration::from_micros(self.roll(most_ms * 1000))).await;
    }
}

async fn write(client: &Client, dice: &mut Dice, name: &str) -> Result<(), tokio_postgres::Error> {
    let (k, other) = (dice.roll(ROWS), dice.roll(ROWS));
    let update = |k: u64| format!("UPDATE t SET v = v + 1 WHERE k = {k}");
    match dice.roll(8) {
        0 => client.batch_execute(&update(k)).await,
        1 => {
            client.batch_execute("BEGIN").await?;
            client.batch_execute(&update(k)).await?;
            dice.pause(4).await;
            client.batch_execute(&update(other)).await?;
            client.batch_execute("COMMIT").await
        }
        2 => {
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t";
            client.batch_execute(begin).await?;
            dice.pause(10).await;
            client.batch_execute(&update(k)).await?;
            client.batch_execute("COMMIT").await
        }
        3 => {
            let begin =
                format!("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT v FROM t WHERE k = {other}");
            client.batch_execute(&begin).await?;
            dice.pause(10).await;
            client.batch_execute(&update(k)).await?;
            client.batch_execute("COMMIT").await
        }
        4 => {
            let gid = format!("{name}_{}", dice.roll(u64::MAX >> 33));
            client.batch_execute("BEGIN").await?;
            client.batch_execute(&update(k)).await?;
            client
                .batch_execute(&format!("PREPARE TRANSACTION '{gid}'"))
                .await?;
            dice.pause(6).await;
            client
                .batch_execute(&format!("COMMIT PREPARED '{gid}'"))
                .await
        }
        5 => {
            let sql =
                format!("INSERT INTO t VALUES ({k}, 1) ON CONFLICT (k) DO UPDATE SET v = t.v + 1");
            client.batch_execute(&sql).await
        }
        6 => {
            let sql = format!("UPDATE t SET v = v + 1 WHERE k BETWEEN {k} AND {k} + 20");
            client.batch_execute(&sql).await
        }
        _ => {
            // What was refused is rolled back alone, and the transaction goes on.
            client.batch_execute("BEGIN; SAVEPOINT a").await?;
            if client.batch_execute(&update(k)).await.is_err() {
                client.batch_execute("ROLLBACK TO a").await?;
            }
            dice.pause(8).await;
            client.batch_execute(&update(other)).await?;
            client.batch_execute("COMMIT").await
        }
    }
}

async fn writer(
    server: &Server,
    number: u64,
    stop: &AtomicBool,
    commits: &AtomicU64,
) -> BTreeMap<String, u64> {
    let client = server.postgres.client().await.unwrap();
    let mut dice = Dice(number + 1);
    let mut refusals = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        match write(&client, &mut dice, &format!("w{number}")).await {
            Ok(()) => {
                commits.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let code = error.code().map(|code| code.code().to_owned());
                *refusals.entry(code.unwrap_or_default()).or_default() += 1;
                client.batch_execute("ROLLBACK").await.unwrap();
            }
        }
    }
    refusals
}

/// Closes and opens the fence again and again; how long each took, and how many ran out of time.
async fn fences(server: &Server, leg: &LegId) -> (Vec<Duration>, u64) {
    let mut session = server.session(leg).await;
    let guarded = guarded(leg);
    let (mut dice, mut took, mut late) = (Dice(99), Vec::new(), 0);
    for epoch in 1..=FENCES {
        sleep(Duration::from_millis(20 + dice.roll(30))).await;
        loop {
            let start = Instant::now();
            let budget = Duration::from_millis(100);
            let fenced = fence::fence(&mut session, TERM, &guarded, Epoch(epoch), budget);
            match fenced.await {
                Ok(_) => {
                    took.push(start.elapsed());
                    break;
                }
                Err(error @ Error::Session(_)) if error.class() == Class::Retryable => late += 1,
                Err(error) => panic!("{error:?}"),
            }
        }
        sleep(Duration::from_millis(30)).await;
        let mark = "SELECT pg_logical_emit_message(true, 'opens', '')";
        session.batch_execute(mark).await.unwrap();
        fence::open(&mut session, TERM, leg).await.unwrap();
    }
    (took, late)
}

/// What the log says, and how clients were refused.
struct Outcome {
    summary: String,
    markers: u64,
    moving: u64,
    leaks: u64,
    refusals: BTreeMap<String, u64>,
}

/// Runs writers against fences; `change` makes another guard of the one that is installed.
async fn race(change: impl Fn(String) -> String) -> Outcome {
    let server = Server::start("a").await;
    let create = "CREATE TABLE t (k bigint PRIMARY KEY, v int DEFAULT 0); \
                  INSERT INTO t SELECT g FROM generate_series(0, 999) g";
    server.psql(create).await;
    let leg = leg();
    let mut session = server.leader(&leg).await;
    install::install(
        &mut session,
        TERM,
        &guarded(&leg),
        Initial::Open,
        Patience::default(),
    )
    .await
    .unwrap();
    let guard = guarded(&leg);
    let body = sql::guard_body(&leg, &guard.tables[0], &guard.bounds);
    let function = sql::guard_function(&leg, 0);
    let replace = sql::create_function(&function, "trigger", &change(body));
    session.batch_execute(&replace).await.unwrap();
    server
        .psql("SELECT pg_create_logical_replication_slot('race', 'test_decoding')")
        .await;
    let (stop, commits) = (AtomicBool::new(false), AtomicU64::new(0));
    let writers = (0..WRITERS).map(|number| writer(&server, number, &stop, &commits));
    let fencing = async {
        let result = fences(&server, &leg).await;
        stop.store(true, Ordering::Relaxed);
        result
    };
    let (refusals, (mut took, late)) =
        futures_util::join!(futures_util::future::join_all(writers), fencing);
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for (code, count) in refusals.into_iter().flatten() {
        *all.entry(code).or_default() += count;
    }
    let log = session
        .query(
            "SELECT data FROM pg_logical_slot_get_changes('race', NULL, NULL)",
            &[],
        )
        .await
        .unwrap();
    let (markers, moving, leaks) = replay(log.iter().map(|row| row.get(0)));
    took.sort();
    let commits = commits.into_inner();
    let summary = format!(
        "{markers} fences, {commits} commits, {moving} of moving rows, {leaks} after a fence; \
         refusals {all:?}; p50 {:?}, max {:?}, {late} out of time",
        took[took.len() / 2],
        took[took.len() - 1],
    );
    Outcome {
        summary,
        markers,
        moving,
        leaks,
        refusals: all,
    }
}

#[tokio::test]
async fn no_commit_of_a_moving_row_comes_after_a_fence() {
    let outcome = race(|body| body).await;
    println!("{}", outcome.summary);
    assert_eq!(outcome.leaks, 0);
    assert_eq!(outcome.markers, FENCES);
    let refusals = outcome.refusals;
    assert!(outcome.moving > 200 && refusals["VG001"] > 100);
    let expected = ["VG001", "VG002", "40001", "40P01"];
    let is_expected = |code: &String| expected.contains(&code.as_str());
    assert!(refusals.keys().all(is_expected), "{refusals:?}");
}

#[tokio::test]
async fn without_its_lock_the_guard_lets_commits_through_which_this_test_finds() {
    let outcome = race(|body| {
        let key = "pg_catalog.pg_try_advisory_xact_lock_shared(";
        assert!(body.contains(key));
        body.replace(key, "pg_catalog.int4lt(0 * ")
    })
    .await;
    println!("{}", outcome.summary);
    assert_eq!(outcome.markers, FENCES);
    assert!(outcome.leaks > 0, "no writer was late");
}

/// Follows the log: fences, transactions with moving rows, and those of them behind a fence.
fn replay<'a>(log: impl Iterator<Item = &'a str>) -> (u64, u64, u64) {
    let (bounds, mut is_closed) = (half().bounds(), false);
    let (mut markers, mut moving, mut leaks) = (0, 0, 0);
    let (mut moves, mut closes, mut opens) = (false, false, false);
    for line in log {
        if line.starts_with("BEGIN") {
            (moves, closes, opens) = (false, false, false);
        } else if line.contains("prefix: vg-fence") {
            closes = true;
        } else if line.contains("prefix: opens") {
            opens = true;
        } else if let Some((_, key)) = line.split_once("k[bigint]:") {
            let key = key.split(' ').next().unwrap().parse().unwrap();
            let token = topology::hash::token_of(&topology::Key::Bigint(key));
            moves |= bounds.contains(token);
        } else if line.starts_with("COMMIT") {
            moving += u64::from(moves);
            leaks += u64::from(moves && is_closed);
            markers += u64::from(closes);
            is_closed = (is_closed || closes) && !opens;
        }
    }
    (markers, moving, leaks)
}
