//! Short reads of several clients stand in one line on a backend: each reads its own answer, and
//! nobody waits long for a stranger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::pg::Address;
use tests::random::Random;
use tests::raw::{Message, Raw, bind, cancel, close, describe, execute, parse, query, sync, tags};
use tests::{Cluster, wait};
use tokio::time::{Instant, sleep, timeout};

use super::{column, sqlstate, status};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        clients_that_share_a_backend_read_their_own_answers,
        nobody_waits_behind_a_stranger_that_waits,
        a_transaction_gets_a_backend_beside_those_who_share,
        a_backend_that_ends_fails_nobody_but_those_whose_turn_it_was,
        operators_replace_and_pause_backends_that_are_shared,
        a_batch_that_becomes_a_transaction_is_shared_with_nobody,
        an_unnamed_statement_outlives_its_shared_read,
        nothing_is_shared_where_that_is_switched_off,
    )
    .into()
}

const KEYS: i64 = 500;

/// Requests after which enough of them have shared a backend.
const ENOUGH: f64 = 200.0;

/// As long as one client may take for what takes milliseconds.
const LONG: Duration = Duration::from_secs(60);

/// One shard with so many backends, and two tables in which each row says its key.
async fn ground(backends: u32, shares: bool) -> anyhow::Result<Cluster> {
    ground_of(1, backends, shares).await
}

async fn ground_of(shards: usize, backends: u32, shares: bool) -> anyhow::Result<Cluster> {
    let router_config = json!({
        "pgwire": { "threads": 1, "share_backends": shares },
        "sharding": { "max_connections": backends },
    });
    let cluster = Cluster::start(Plan {
        shards,
        router_config,
        ..Plan::default()
    })
    .await?;
    for table in ["shared", "locked"] {
        let columns = "k bigint PRIMARY KEY, v text, at timestamptz";
        cluster.create(table, columns, ("k", "bigint")).await?;
        let rows: Vec<String> = (1..=KEYS)
            .map(|k| format!("({k}, 'row {k}', '2026-01-01 00:00:00+00')"))
            .collect();
        let rows = format!("INSERT INTO {table} (k, v, at) VALUES {}", rows.join(", "));
        cluster
            .router(0)?
            .client()
            .await?
            .batch_execute(&rows)
            .await?;
    }
    Ok(cluster)
}

/// How many reads left a line with this outcome.
async fn left_line(cluster: &Cluster, outcome: &str) -> anyhow::Result<f64> {
    let metrics = cluster.router(0)?.program.metrics().await?;
    let start = format!("shard_shared_queries_total{{outcome=\"{outcome}\"");
    let lines = metrics.lines().filter(|line| line.starts_with(&start));
    let values = lines.map(|line| {
        let value = line.rsplit(' ').next().context("a line without a value")?;
        Ok(value.parse::<f64>()?)
    });
    values.sum()
}

/// A client that reads rows in one way.
struct Reader {
    raw: Raw,
    random: Random,
    way: Way,
}

/// How a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Simple,
    Unnamed,
    Named,
    /// As `Simple`, in another time zone.
    Elsewhere,
    /// What fails.
    Failing,
}

impl Way {
    const ALL: [Self; 5] = [
        Self::Simple,
        Self::Unnamed,
        Self::Named,
        Self::Elsewhere,
        Self::Failing,
    ];
}

const BY_KEY: &str = "SELECT v, at FROM shared WHERE k = $1";

impl Reader {
    async fn connect(address: &Address, number: usize) -> anyhow::Result<Self> {
        let mut raw = Raw::connect(address).await?;
        let way = Way::ALL.get(number % Way::ALL.len());
        let way = *way.context("no way")?;
        match way {
            Way::Named => {
                let prepare = [parse("by_key", BY_KEY, &[20]), sync()].concat();
                same!(tags(&raw.exchange(&prepare).await?), "1Z");
            }
            Way::Elsewhere => {
                raw.query("SET TimeZone = 'Asia/Tokyo'").await?;
            }
            Way::Simple | Way::Unnamed | Way::Failing => {}
        }
        let random = Random::new(number as u64);
        Ok(Self { raw, random, way })
    }

    fn key(&mut self) -> i64 {
        1 + i64::try_from(self.random.below(usize::try_from(KEYS).unwrap_or(1))).unwrap_or(0)
    }

    fn request(&self, key: i64) -> Vec<u8> {
        let text = key.to_string();
        let values = [Some(text.as_bytes())];
        let run = [execute("", 0), sync()].concat();
        match self.way {
            Way::Simple | Way::Elsewhere => {
                query(&format!("SELECT v, at FROM shared WHERE k = {key}"))
            }
            Way::Failing => query(&format!(
                "SELECT 1 / (k - {key}) FROM shared WHERE k = {key}"
            )),
            Way::Unnamed => {
                let asked = [parse("", BY_KEY, &[20]), bind("", "", false, &values)];
                [asked.concat(), describe(b'P', ""), run].concat()
            }
            Way::Named => [bind("", "by_key", false, &values), run].concat(),
        }
    }

    /// Whether this is the right answer for a key.
    fn check(&self, key: i64, answer: &[Message]) -> Outcome {
        same!(status(answer)?, 'I');
        let (expected, zone) = match self.way {
            Way::Failing => {
                same!(tags(answer), "TEZ");
                same!(sqlstate(answer).as_deref(), Some("22012"));
                return Ok(());
            }
            Way::Simple => ("TDCZ", "2026-01-01 00:00:00+00"),
            Way::Elsewhere => ("TDCZ", "2026-01-01 09:00:00+09"),
            Way::Unnamed => ("12TDCZ", "2026-01-01 00:00:00+00"),
            Way::Named => ("2DCZ", "2026-01-01 00:00:00+00"),
        };
        same!(
            tags(answer),
            expected,
            "{:?} of {key}: {answer:?}",
            self.way
        );
        same!(column(answer)?, [format!("row {key}")]);
        let row = answer.iter().find(|message| message.tag == b'D');
        let values = row.context("no row")?.values()?;
        let at = values.get(1).cloned().flatten().unwrap_or_default();
        same!(String::from_utf8(at)?, zone);
        Ok(())
    }

    async fn read(&mut self) -> Outcome {
        let key = self.key();
        let answer = self.raw.exchange(&self.request(key)).await?;
        self.check(key, &answer)
    }
}

async fn readers(cluster: &Cluster, count: usize) -> anyhow::Result<Vec<Reader>> {
    let address = cluster.router(0)?.address();
    try_join_all((0..count).map(|number| Reader::connect(&address, number))).await
}

/// Has all of them read so many rows, at once.
async fn read(readers: &mut [Reader], rows: usize) -> Outcome {
    let reads = readers.iter_mut().map(async |reader| {
        for _ in 0..rows {
            reader.read().await?;
        }
        anyhow::Ok(())
    });
    try_join_all(reads).await.map(drop)
}

/// Has all of them read until so many reads more have shared a backend.
async fn read_until_shared(cluster: &Cluster, readers: &mut [Reader], more: f64) -> Outcome {
    let (begin, before) = (Instant::now(), left_line(cluster, "answered").await?);
    while left_line(cluster, "answered").await? < before + more {
        // On a machine that is busy otherwise little is known to be short.
        anyhow::ensure!(begin.elapsed() < 4 * LONG, "hardly anything is shared");
        read(readers, 50).await?;
    }
    Ok(())
}

/// Has all of them read as long as something else goes on.
async fn read_meanwhile<T>(
    readers: &mut [Reader],
    other: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let done = AtomicBool::new(false);
    let reads = try_join_all(readers.iter_mut().map(async |reader| {
        while !done.load(Ordering::Relaxed) {
            reader.read().await?;
        }
        anyhow::Ok(())
    }));
    let other = async {
        let came = other.await;
        done.store(true, Ordering::Relaxed);
        came
    };
    let (_, came) = tokio::try_join!(reads, other)?;
    Ok(came)
}

async fn clients_that_share_a_backend_read_their_own_answers() -> Outcome {
    let cluster = ground(8, true).await?;
    let mut readers = readers(&cluster, 20).await?;
    read_until_shared(&cluster, &mut readers, 10.0 * ENOUGH).await?;
    // Whoever sends several batches at once reads them in order.
    let reader = readers.first_mut().context("no reader")?;
    for first in 1..100 {
        let keys = [first, first + 1, first + 2];
        let requests = keys.map(|key| reader.request(key)).concat();
        reader.raw.send(&requests).await?;
        for key in keys {
            let answer = reader.raw.until_ready().await?;
            reader.check(key, &answer)?;
        }
    }
    Ok(())
}

/// A client that reads rows of a table which somebody else has locked.
async fn blocked(address: &Address) -> anyhow::Result<Raw> {
    let mut raw = Raw::connect(address).await?;
    raw.send(&query("SELECT v FROM locked WHERE k = 7")).await?;
    Ok(raw)
}

async fn nobody_waits_behind_a_stranger_that_waits() -> Outcome {
    let cluster = ground(8, true).await?;
    let address = cluster.router(0)?.address();
    let mut readers = readers(&cluster, 12).await?;
    // So that both forms are known to be short.
    let mut other = Raw::connect(&address).await?;
    for _ in 0..100 {
        other.query("SELECT v FROM locked WHERE k = 7").await?;
    }
    for round in 0..3 {
        read_until_shared(&cluster, &mut readers, ENOUGH).await?;
        let owner = cluster.shard("shard-1")?.client().await?;
        owner
            .batch_execute("BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
            .await?;
        let reads = read(&mut readers, 300);
        let (mut one, mut two, reads) = tokio::join!(
            async {
                sleep(Duration::from_millis(20)).await;
                blocked(&address).await
            },
            blocked(&address),
            timeout(LONG, reads),
        );
        reads.with_context(|| format!("round {round}: somebody waits for the lock"))??;
        let (one, two) = (one.as_mut(), two.as_mut());
        let (Ok(one), Ok(two)) = (one, two) else {
            anyhow::bail!("no session for the locked table");
        };
        let mut canceller = Raw::open(address.port).await?;
        canceller.send(&cancel(&one.cancel_key)).await?;
        let cancelled = timeout(LONG, one.until_ready()).await??;
        same!(sqlstate(&cancelled).as_deref(), Some("57014"));
        same!(
            column(&one.query("SELECT v FROM shared WHERE k = 9").await?)?,
            ["row 9"]
        );
        owner.batch_execute("COMMIT").await?;
        let answer = timeout(LONG, two.until_ready()).await??;
        same!(column(&answer)?, ["row 7"]);
    }
    Ok(())
}

async fn a_transaction_gets_a_backend_beside_those_who_share() -> Outcome {
    // Of two, one is always on loan to those who read, and often both.
    let cluster = ground(2, true).await?;
    let mut readers = readers(&cluster, 12).await?;
    read_until_shared(&cluster, &mut readers, ENOUGH).await?;
    let writes = async {
        let mut writer = Raw::connect(&cluster.router(0)?.address()).await?;
        for key in 1..=50 {
            let transaction = async {
                writer.query("BEGIN").await?;
                let sql = format!("UPDATE shared SET v = v WHERE k = {key}");
                same!(sqlstate(&writer.query(&sql).await?), None);
                same!(status(&writer.query("COMMIT").await?)?, 'I');
                Ok(())
            };
            timeout(LONG, transaction).await??;
        }
        Ok(())
    };
    read_meanwhile(&mut readers, writes).await
}

async fn a_backend_that_ends_fails_nobody_but_those_whose_turn_it_was() -> Outcome {
    let cluster = ground(8, true).await?;
    let mut readers = readers(&cluster, 20).await?;
    read_until_shared(&cluster, &mut readers, ENOUGH).await?;
    let done = AtomicBool::new(false);
    let reads = try_join_all(readers.iter_mut().map(async |reader| {
        let mut failed = 0_usize;
        while !done.load(Ordering::Relaxed) {
            let key = reader.key();
            let answer = reader.raw.exchange(&reader.request(key)).await?;
            match sqlstate(&answer).as_deref() {
                // It had the backend when that was ended.
                Some("57P01" | "08006" | "08000" | "08003") => failed += 1,
                _ => reader.check(key, &answer)?,
            }
        }
        anyhow::Ok(failed)
    }));
    let ends = async {
        let shard = cluster.shard("shard-1")?.client().await?;
        let mut ended = 0_usize;
        for _ in 0..30 {
            // The oldest statement is of one that is in use.
            let sql = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid \
                       FROM pg_stat_activity WHERE datname = current_database() \
                       AND query LIKE '%FROM shared%' AND pid <> pg_backend_pid() \
                       ORDER BY query_start LIMIT 2) AS oldest";
            let count: i64 = shard.query_one(sql, &[]).await?.get(0);
            ended += usize::try_from(count)?;
            sleep(Duration::from_millis(50)).await;
        }
        done.store(true, Ordering::Relaxed);
        anyhow::Ok(ended)
    };
    let (failed, ended) = tokio::try_join!(reads, ends)?;
    let failed: usize = failed.into_iter().sum();
    anyhow::ensure!(ended > 10, "only {ended} backends were ended");
    anyhow::ensure!(failed <= ended, "{failed} reads failed of {ended} backends");
    read(&mut readers, 20).await
}

async fn operators_replace_and_pause_backends_that_are_shared() -> Outcome {
    let cluster = ground(8, true).await?;
    let mut readers = readers(&cluster, 12).await?;
    read_until_shared(&cluster, &mut readers, ENOUGH).await?;
    let shard = cluster.shard("shard-1")?.client().await?;
    let pids = async || {
        let sql = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%FROM shared%' \
                   AND pid <> pg_backend_pid()";
        let rows = shard.query(sql, &[]).await?;
        anyhow::Ok(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>())
    };
    let operates = async {
        let address = Address {
            database: "sharding".to_owned(),
            ..cluster.router(0)?.address()
        };
        let mut console = Raw::connect(&address).await?;
        let before = pids().await?;
        anyhow::ensure!(!before.is_empty(), "nobody reads");
        same!(sqlstate(&console.query("RECONNECT").await?), None);
        wait::until("all backends are new", wait::SETTLE, async || {
            let now = pids().await?;
            let old = now.iter().filter(|pid| before.contains(pid)).count();
            anyhow::ensure!(old == 0, "{old} old ones");
            Ok(())
        })
        .await?;
        let paused = timeout(LONG, console.query("PAUSE")).await??;
        same!(sqlstate(&paused), None);
        same!(pids().await?, Vec::<i32>::new(), "idle, and closed");
        same!(sqlstate(&console.query("RESUME").await?), None);
        sleep(Duration::from_millis(200)).await;
        Ok(())
    };
    read_meanwhile(&mut readers, operates).await
}

async fn a_batch_that_becomes_a_transaction_is_shared_with_nobody() -> Outcome {
    let cluster = ground_of(2, 8, true).await?;
    let mut readers = readers(&cluster, 12).await?;
    read_until_shared(&cluster, &mut readers, ENOUGH).await?;
    let batches = async {
        let mut raw = Raw::connect(&cluster.router(0)?.address()).await?;
        // Everything is bound before the first is executed, and the read is bound last.
        let batch = [
            parse("everywhere", "UPDATE locked SET v = v", &[]),
            parse("begin", "BEGIN", &[]),
            parse("read", BY_KEY, &[20]),
            bind("one", "everywhere", false, &[]),
            bind("two", "begin", false, &[]),
            bind("", "read", false, &[Some(b"3")]),
            execute("", 0),
            execute("one", 0),
            execute("two", 0),
            sync(),
        ];
        let closed = ["everywhere", "begin", "read"].map(|name| close(b'S', name));
        for key in 1..=40 {
            raw.exchange(&batch.concat()).await?;
            for _ in 0..5 {
                let sql = format!("SELECT v FROM shared WHERE k = {key}");
                let answer = raw.query(&sql).await?;
                if sqlstate(&answer).is_none() {
                    same!(column(&answer)?, [format!("row {key}")]);
                }
            }
            same!(status(&raw.query("ROLLBACK").await?)?, 'I');
            let ended = [closed.concat(), sync()].concat();
            same!(tags(&raw.exchange(&ended).await?), "333Z");
        }
        Ok(())
    };
    read_meanwhile(&mut readers, batches).await
}

async fn an_unnamed_statement_outlives_its_shared_read() -> Outcome {
    let cluster = ground(8, true).await?;
    let mut readers = readers(&cluster, 12).await?;
    read_until_shared(&cluster, &mut readers, ENOUGH).await?;
    let asks = async {
        let mut raw = Raw::connect(&cluster.router(0)?.address()).await?;
        for key in 1..=100 {
            let text = key.to_string();
            let again = bind("", "", false, &[Some(text.as_bytes())]);
            let run = [execute("", 0), sync()].concat();
            let first = [parse("", BY_KEY, &[20]), again.clone()].concat();
            let first = [first, describe(b'P', ""), run.clone()].concat();
            let again = [again, run].concat();
            // Each by itself, and then both at once.
            same!(tags(&raw.exchange(&first).await?), "12TDCZ");
            let answer = raw.exchange(&again).await?;
            same!(tags(&answer), "2DCZ");
            same!(column(&answer)?, [format!("row {key}")]);
            let described = [describe(b'S', ""), sync()].concat();
            same!(tags(&raw.exchange(&described).await?), "tTZ");
            raw.send(&[first.clone(), again.clone()].concat()).await?;
            same!(tags(&raw.until_ready().await?), "12TDCZ");
            same!(tags(&raw.until_ready().await?), "2DCZ");
            same!(tags(&raw.exchange(&first).await?), "12TDCZ");
            // It ends with a simple query, and where the next one is not parsed.
            same!(
                column(&raw.query("SELECT v FROM shared WHERE k = 9").await?)?,
                ["row 9"]
            );
            let gone = raw.exchange(&again).await?;
            same!(sqlstate(&gone).as_deref(), Some("26000"));
            same!(tags(&raw.exchange(&first).await?), "12TDCZ");
            let wrong = parse("", "SELECT nothing FROM shared WHERE k = $1", &[20]);
            let wrong = [wrong, again.clone()].concat();
            let answer = raw.exchange(&wrong).await?;
            same!(sqlstate(&answer).as_deref(), Some("42703"));
            let gone = raw.exchange(&again).await?;
            same!(sqlstate(&gone).as_deref(), Some("26000"));
        }
        Ok(())
    };
    read_meanwhile(&mut readers, asks).await
}

async fn nothing_is_shared_where_that_is_switched_off() -> Outcome {
    let cluster = ground(4, false).await?;
    let mut readers = readers(&cluster, 10).await?;
    read(&mut readers, 100).await?;
    same!(left_line(&cluster, "answered").await?, 0.0);
    same!(left_line(&cluster, "sent_away").await?, 0.0);
    Ok(())
}
