//! Writers that keep a ledger: what was acknowledged must be there exactly once afterwards, what
//! was not answered may be there once, and nothing else may be there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tests::Cluster;
use tests::cluster::owner;
use tests::pg::Address;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls, Statement};
use topology::Key;

/// Keys that are written to.
pub(crate) const KEYS: i64 = 2_000;

/// What the writers found out.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Events that were acknowledged.
    acked: BTreeSet<i64>,
    /// Events of which nobody said what became of them.
    unknown: BTreeSet<i64>,
    /// Increments by key: acknowledged, and not answered.
    counts: HashMap<i64, (i64, i64)>,
    /// Errors by SQLSTATE; none of the answered ones has had an effect.
    pub(crate) errors: BTreeMap<String, u64>,
    /// When each acknowledged statement began, and how long it took.
    pub(crate) latencies: Vec<(Instant, Duration, i64)>,
}

impl Ledger {
    fn merge(&mut self, other: Self) {
        self.acked.extend(other.acked);
        self.unknown.extend(other.unknown);
        for (key, (acked, unknown)) in other.counts {
            let sum = self.counts.entry(key).or_default();
            sum.0 += acked;
            sum.1 += unknown;
        }
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        self.latencies.extend(other.latencies);
    }

    /// Acknowledged writes.
    pub(crate) fn writes(&self) -> usize {
        self.acked.len()
    }

    /// The longest that a writer waited for an acknowledgement.
    pub(crate) fn longest(&self) -> Duration {
        let longest = self.latencies.iter().map(|(_, took, _)| *took).max();
        longest.unwrap_or_default()
    }

    /// Errors other than those that say: nothing was written, try again.
    pub(crate) fn other_errors(&self) -> Vec<(&String, &u64)> {
        let errors = self.errors.iter();
        errors
            .filter(|(code, _)| code.as_str() != "40001")
            .collect()
    }

    /// Holds the ledger against the shards: all of them are read directly.
    pub(crate) async fn check(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let snapshot = cluster.snapshot().await?;
        let mut seen: BTreeMap<i64, u32> = BTreeMap::new();
        let mut counts: HashMap<i64, i64> = HashMap::new();
        let servers = cluster.shards.iter().chain(&cluster.spares);
        for (number, server) in (1..).zip(servers) {
            let id = format!("shard-{number}");
            let exists = server
                .psql("SELECT to_regclass('events') IS NOT NULL")
                .await?;
            if exists.trim() != "t" {
                continue;
            }
            let is_owned =
                |key: i64| owner(&snapshot, &Key::Bigint(key)).is_some_and(|owner| owner == id);
            for line in server.psql("SELECT k, id FROM events").await?.lines() {
                let (key, event) = pair(line)?;
                if is_owned(key) {
                    *seen.entry(event).or_default() += 1;
                }
            }
            for line in server.psql("SELECT k, v FROM counters").await?.lines() {
                let (key, value) = pair(line)?;
                if is_owned(key) {
                    anyhow::ensure!(counts.insert(key, value).is_none(), "counter {key} twice");
                }
            }
        }
        let lost: Vec<_> = self
            .acked
            .iter()
            .filter(|id| !seen.contains_key(id))
            .collect();
        anyhow::ensure!(
            lost.is_empty(),
            "{} acknowledged events lost: {lost:?}",
            lost.len()
        );
        let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
        anyhow::ensure!(twice.is_empty(), "events more than once: {twice:?}");
        let known = |id: &&i64| !self.acked.contains(id) && !self.unknown.contains(id);
        let phantoms: Vec<_> = seen.keys().filter(known).collect();
        anyhow::ensure!(
            phantoms.is_empty(),
            "events that nobody wrote: {phantoms:?}"
        );
        for key in 1..=KEYS {
            let value = counts
                .get(&key)
                .with_context(|| format!("counter {key} is gone"))?;
            let (acked, unknown) = self.counts.get(&key).copied().unwrap_or_default();
            anyhow::ensure!(
                (acked..=acked + unknown).contains(value),
                "counter {key} is {value}, of {acked} increments acknowledged and {unknown} unknown"
            );
        }
        Ok(())
    }
}

fn pair(line: &str) -> anyhow::Result<(i64, i64)> {
    let (key, value) = line.split_once('|').context("two columns")?;
    Ok((key.parse()?, value.parse()?))
}

/// Running writers.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    writers: JoinSet<anyhow::Result<Ledger>>,
}

/// Creates the tables and one counter for each key.
pub(crate) async fn prepare(cluster: &Cluster) -> anyhow::Result<()> {
    let columns = "k bigint NOT NULL, id bigint NOT NULL, pad text, PRIMARY KEY (k, id)";
    cluster.create("events", columns, ("k", "bigint")).await?;
    let columns = "k bigint PRIMARY KEY, v bigint NOT NULL, note text";
    cluster.create("counters", columns, ("k", "bigint")).await?;
    let mut script = String::new();
    for key in 1..=KEYS {
        script.push_str(&format!("INSERT INTO counters (k, v) VALUES ({key}, 0);\n"));
    }
    cluster.router(0)?.address().psql_script(&script).await?;
    Ok(())
}

/// Makes the tables as they were at first, while no job runs: no event, all counters zero.
pub(crate) async fn reset(cluster: &Cluster) -> anyhow::Result<()> {
    for server in cluster.shards.iter().chain(&cluster.spares) {
        server
            .psql("TRUNCATE events; UPDATE counters SET v = 0")
            .await?;
    }
    Ok(())
}

impl Load {
    /// Starts writers, spread over all routers.
    pub(crate) fn start(cluster: &Cluster, writers: i64) -> Self {
        Self::paced(cluster, writers, Duration::ZERO)
    }

    /// As [`Self::start`]; each writer rests between two writes.
    pub(crate) fn paced(cluster: &Cluster, writers: i64, pace: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sequence = Arc::new(AtomicI64::new(0));
        let mut set = JoinSet::new();
        for (number, router) in (0..writers).zip(cluster.routers.iter().cycle()) {
            let writer = Writer {
                address: router.address(),
                stop: Arc::clone(&stop),
                sequence: Arc::clone(&sequence),
                pace,
                random: (number.cast_unsigned() + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
                ledger: Ledger::default(),
            };
            set.spawn(writer.run());
        }
        Self { stop, writers: set }
    }

    /// Stops them and adds up their ledgers.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Ledger::default();
        while let Some(ledger) = self.writers.join_next().await {
            sum.merge(ledger??);
        }
        Ok(sum)
    }
}

struct Writer {
    address: Address,
    stop: Arc<AtomicBool>,
    sequence: Arc<AtomicI64>,
    pace: Duration,
    random: u64,
    ledger: Ledger,
}

struct Session {
    client: Client,
    insert: Statement,
    count: Statement,
}

impl Writer {
    async fn run(mut self) -> anyhow::Result<Ledger> {
        let mut session = None;
        while !self.stop.load(Ordering::Relaxed) {
            let mut open = match session.take() {
                Some(open) => open,
                None => match connect(&self.address).await {
                    Ok(open) => open,
                    Err(error) => {
                        self.note_error(&error);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            self.write(&mut open).await;
            if !self.pace.is_zero() {
                tokio::time::sleep(self.pace).await;
            }
            if !open.client.is_closed() {
                session = Some(open);
            }
        }
        Ok(self.ledger)
    }

    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn note_error(&mut self, error: &tokio_postgres::Error) {
        let code = error.code().map_or("connection", |code| code.code());
        *self.ledger.errors.entry(code.to_owned()).or_default() += 1;
    }

    /// One event, one increment, or both in a transaction.
    async fn write(&mut self, session: &mut Session) {
        let key = i64::try_from(self.next() % KEYS as u64).unwrap_or(0) + 1;
        let event = self.sequence.fetch_add(1, Ordering::Relaxed);
        let kind = self.next() % 4;
        let begin = Instant::now();
        let done = match kind {
            0 | 1 => session
                .client
                .execute(&session.insert, &[&key, &event])
                .await
                .map(drop),
            2 => session
                .client
                .execute(&session.count, &[&key])
                .await
                .map(drop),
            _ => both(session, key, event).await,
        };
        let (inserts, counts) = (kind != 2, kind >= 2);
        match done {
            Ok(()) => {
                if inserts {
                    self.ledger.acked.insert(event);
                }
                if counts {
                    self.ledger.counts.entry(key).or_default().0 += 1;
                }
                self.ledger.latencies.push((begin, begin.elapsed(), key));
            }
            Err(error) => {
                self.note_error(&error);
                let code = error.code().map(|code| code.code().to_owned());
                // An answer other than these says that nothing was written.
                let is_unknown = code.is_none_or(|code| code.starts_with("08") || code == "57P01");
                if is_unknown && inserts {
                    self.ledger.unknown.insert(event);
                }
                if is_unknown && counts {
                    self.ledger.counts.entry(key).or_default().1 += 1;
                }
            }
        }
    }
}

async fn both(session: &mut Session, key: i64, event: i64) -> Result<(), tokio_postgres::Error> {
    let transaction = session.client.transaction().await?;
    transaction
        .execute(&session.insert, &[&key, &event])
        .await?;
    transaction.execute(&session.count, &[&key]).await?;
    transaction.commit().await
}

async fn connect(address: &Address) -> Result<Session, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config
        .host("127.0.0.1")
        .port(address.port)
        .user(&address.user)
        .dbname(&address.database);
    let (client, connection) = config.connect(NoTls).await?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a connection's driver ends with its client"
    )]
    let _driver = tokio::spawn(connection);
    let insert = "INSERT INTO events (k, id, pad) VALUES ($1, $2, 'x')";
    let count = "UPDATE counters SET v = v + 1 WHERE k = $1";
    Ok(Session {
        insert: client.prepare(insert).await?,
        count: client.prepare(count).await?,
        client,
    })
}
