//! Writers of many kinds, which keep a ledger.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt as _;
use tests::Cluster;
use tests::pg::Address;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls, Statement};

use super::ledger::{Answer, Effect, Ledger};

/// Keys that are written to.
pub(crate) const KEYS: i64 = 2_000;

/// The kind of write that is a COPY.
const COPY: u64 = 6;

/// Rows of one COPY.
const COPIED: i64 = 3;

/// Errors whose code says enough.
const USUAL: [&str; 4] = ["40001", "08006", "08007", "57P01"];

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
    let columns = "k text NOT NULL, id bigint NOT NULL, pad text, PRIMARY KEY (k, id)";
    cluster.create("notes", columns, ("k", "text")).await?;
    let columns = "k uuid NOT NULL, id bigint NOT NULL, pad text, PRIMARY KEY (k, id)";
    cluster.create("things", columns, ("k", "uuid")).await?;
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
            .psql("TRUNCATE events, notes, things; UPDATE counters SET v = 0")
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
                last: None,
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
    /// Key and event of the last write, if that can be erased.
    last: Option<(i64, i64)>,
    ledger: Ledger,
}

struct Session {
    client: Client,
    insert: Statement,
    count: Statement,
    note: Statement,
    erase: Statement,
    copy: Statement,
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
            let goes_on = self.write(&mut open).await;
            if !self.pace.is_zero() {
                tokio::time::sleep(self.pace).await;
            }
            if goes_on && !open.client.is_closed() {
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
        let code = match error.as_db_error() {
            Some(said) if USUAL.contains(&said.code().code()) => said.code().code().to_owned(),
            Some(said) => format!("{}: {}", said.code().code(), said.message()),
            None => format!("connection: {}", platform::telemetry::error_chain(error)),
        };
        *self.ledger.errors.entry(code).or_default() += 1;
    }

    /// One write of some kind; whether the session can be used on. This driver is confused by a
    /// COPY that is refused at once, and closes its connection some time later.
    async fn write(&mut self, session: &mut Session) -> bool {
        let key = i64::try_from(self.next() % KEYS.cast_unsigned()).unwrap_or(0) + 1;
        let event = self.sequence.fetch_add(COPIED, Ordering::Relaxed);
        let kind = self.next() % 9;
        let begin = Instant::now();
        let inserted = Effect::of(event..event + 1, None);
        let counted = Effect::of(0..0, Some(key));
        let both = Effect::of(event..event + 1, Some(key));
        let (effect, done) = match (kind, self.last.take()) {
            (0, _) => (inserted, session.insert(key, event).await),
            (1, _) => (counted, session.count(key).await),
            (2, _) => (both, session.both(key, event).await),
            (3, _) => (both, session.both_at_once(key, event).await),
            (4, _) => (inserted, session.insert_note(key, event).await),
            (5, _) => (inserted, session.insert_thing(key, event).await),
            (COPY, _) => {
                let events = event..event + COPIED;
                let done = session.copy(key, events.clone()).await;
                (Effect::of(events, None), done)
            }
            (7, Some((key, erased))) => {
                let erased_one = Effect {
                    erased: Some(erased),
                    ..Effect::default()
                };
                (erased_one, session.erase(key, erased).await)
            }
            (_, _) => (counted, session.count_in_text(key).await),
        };
        let answer = match &done {
            Ok(()) => Answer::Done,
            Err(error) => {
                self.note_error(error);
                answer_of(error)
            }
        };
        self.ledger.note(&effect, &answer);
        if answer == Answer::Done {
            self.ledger.latencies.push((begin, begin.elapsed(), key));
            self.last = (kind == 0).then_some((key, event));
        }
        kind != COPY || answer == Answer::Done
    }
}

/// An answer other than a few says that nothing was written.
fn answer_of(error: &tokio_postgres::Error) -> Answer {
    let code = error.code().map(|code| code.code().to_owned());
    let says_nothing = |code: String| ["08", "57P"].iter().any(|class| code.starts_with(class));
    if code.is_none_or(says_nothing) {
        Answer::Unknown
    } else {
        Answer::Refused
    }
}

type Done = Result<(), tokio_postgres::Error>;

impl Session {
    async fn insert(&self, key: i64, event: i64) -> Done {
        let done = self.client.execute(&self.insert, &[&key, &event]).await;
        done.map(drop)
    }

    async fn count(&self, key: i64) -> Done {
        self.client.execute(&self.count, &[&key]).await.map(drop)
    }

    async fn both(&mut self, key: i64, event: i64) -> Done {
        let transaction = self.client.transaction().await?;
        transaction.execute(&self.insert, &[&key, &event]).await?;
        transaction.execute(&self.count, &[&key]).await?;
        transaction.commit().await
    }

    /// Several statements in one message.
    async fn both_at_once(&self, key: i64, event: i64) -> Done {
        let sql = format!(
            "BEGIN; INSERT INTO events (k, id, pad) VALUES ({key}, {event}, 'y'); \
             UPDATE counters SET v = v + 1 WHERE k = {key}; COMMIT"
        );
        let done = self.client.batch_execute(&sql).await;
        if done.is_err() && !self.client.is_closed() {
            self.client.batch_execute("ROLLBACK").await.ok();
        }
        done
    }

    async fn insert_note(&self, key: i64, event: i64) -> Done {
        let key = format!("customer {key}");
        let done = self.client.execute(&self.note, &[&key, &event]).await;
        done.map(drop)
    }

    async fn insert_thing(&self, key: i64, event: i64) -> Done {
        let key = format!("{key:08x}-0000-4000-8000-{key:012x}");
        let sql = format!("INSERT INTO things (k, id) VALUES ('{key}', {event})");
        self.client.batch_execute(&sql).await
    }

    async fn count_in_text(&self, key: i64) -> Done {
        let sql = format!("UPDATE counters SET v = v + 1 WHERE k = {key}");
        self.client.batch_execute(&sql).await
    }

    /// Events of neighbouring keys, which are on several shards, in one load.
    async fn copy(&self, key: i64, events: Range<i64>) -> Done {
        let rows: String = (key..)
            .zip(events)
            .map(|(key, event)| format!("{key}\t{event}\tc\n"))
            .collect();
        let sink = self.client.copy_in(&self.copy).await?;
        tokio::pin!(sink);
        sink.send(Bytes::from(rows)).await?;
        sink.finish().await.map(drop)
    }

    async fn erase(&self, key: i64, event: i64) -> Done {
        let done = self.client.execute(&self.erase, &[&key, &event]).await;
        done.map(drop)
    }
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
    let note = "INSERT INTO notes (k, id, pad) VALUES ($1, $2, 'z')";
    let erase = "DELETE FROM events WHERE k = $1 AND id = $2";
    let copy = "COPY events (k, id, pad) FROM STDIN";
    Ok(Session {
        note: client.prepare(note).await?,
        erase: client.prepare(erase).await?,
        copy: client.prepare(copy).await?,
        insert: client.prepare(insert).await?,
        count: client.prepare(count).await?,
        client,
    })
}
