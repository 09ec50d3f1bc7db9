//! Random statements against one PostgreSQL server with all rows, and against a router over two:
//! the same answer, or a refusal.
//!
//! A short run takes the same statements each time. DIFFERENTIAL_SECONDS lets it go on for so long
//! with others, DIFFERENTIAL_SEED=<seed> repeats a round.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::cluster::owner;
use tests::random::Random;
use tests::raw::{Message, Raw, bind, execute, parse, sync};
use tests::statements::{KeyKind, Maker, Statement, TABLES, Table, keys};
use tests::{Cluster, Postgres};
use tokio::time::Instant;
use topology::{Key, KeyType, Snapshot};

use super::suite::{Outcome, Suite, same, shared};

mod types;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials: Vec<Trial> =
        shared!(suite: a_router_answers_as_one_server_would_or_refuses).into();
    trials.extend(types::trials(suite));
    trials
}

/// Rounds of a short run.
const ROUNDS: u64 = 4;

/// Statements of a round.
const STATEMENTS: u64 = 150;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// How long to go on.
pub(crate) fn seconds() -> Option<Duration> {
    number("DIFFERENTIAL_SECONDS").map(Duration::from_secs)
}

async fn a_router_answers_as_one_server_would_or_refuses(cluster: &Cluster) -> Outcome {
    let single = Postgres::start().await?;
    for table in TABLES {
        let key_type = match table.kind {
            KeyKind::Bigint => "bigint",
            KeyKind::Text => "text",
        };
        let registered = (table.key, key_type);
        cluster
            .create(table.name, table.definition, registered)
            .await?;
        let create = format!("CREATE TABLE {} ({})", table.name, table.definition);
        single.psql(&create).await?;
    }
    let mut pair = Pair {
        cluster,
        snapshot: cluster.snapshot().await?,
        router: Raw::connect(&cluster.router(0)?.address()).await?,
        server: Raw::connect(&single.address()).await?,
        single: &single,
        answered: 0,
        refused: 0,
    };
    let end = seconds().map(|limit| Instant::now() + limit);
    let first = match (number("DIFFERENTIAL_SEED"), end) {
        (Some(seed), _) => seed,
        (None, None) => 1,
        (None, Some(_)) => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() << 20,
    };
    for round in 0.. {
        let goes_on = end.map_or(round < ROUNDS, |end| Instant::now() < end);
        if !goes_on {
            break;
        }
        let seed = first + round;
        let ran = pair.round(seed).await;
        ran.with_context(|| format!("DIFFERENTIAL_SEED={seed}"))?;
    }
    let Pair {
        answered, refused, ..
    } = pair;
    if end.is_some() {
        writeln!(
            std::io::stderr(),
            "{answered} answered alike, {refused} refused"
        )?;
    }
    anyhow::ensure!(
        answered > refused / 4,
        "{refused} refused, {answered} answered"
    );
    Ok(())
}

/// The router and the server that it is compared with.
struct Pair<'a> {
    cluster: &'a Cluster,
    snapshot: Snapshot,
    router: Raw,
    server: Raw,
    single: &'a Postgres,
    answered: u64,
    refused: u64,
}

/// What a client makes of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    sqlstate: Option<String>,
    tags: Vec<Vec<u8>>,
    rows: Vec<Vec<Option<Vec<u8>>>>,
}

impl Answer {
    pub(crate) fn of(messages: &[Message]) -> anyhow::Result<Self> {
        let of = |tag| messages.iter().filter(move |message| message.tag == tag);
        let rows: anyhow::Result<Vec<_>> = of(b'D').map(Message::values).collect();
        let mut rows = rows?;
        rows.sort();
        Ok(Self {
            sqlstate: messages.iter().find_map(Message::sqlstate),
            tags: of(b'C').map(|message| message.body.clone()).collect(),
            rows,
        })
    }
}

impl Pair<'_> {
    async fn round(&mut self, seed: u64) -> Outcome {
        self.fill().await?;
        let mut random = Random::new(seed);
        let mut maker = Maker::new(random.number(), true);
        let mut without_parameters = Maker::new(random.number(), false);
        for _ in 0..STATEMENTS {
            let by_parameters = random.chance(50);
            let statement = if by_parameters {
                maker.statement()
            } else {
                without_parameters.statement()
            };
            let way = random.below(3);
            self.compare(&statement, way)
                .await
                .with_context(|| format!("{way}: {statement:?}"))?;
        }
        for table in TABLES {
            self.compare_rows(table).await?;
        }
        Ok(())
    }

    /// The same rows for both, before a round.
    async fn fill(&mut self) -> Outcome {
        let truncate = "TRUNCATE fz_orders, fz_customers, fz_docs";
        for server in self.cluster.shards.iter().chain([self.single]) {
            server.psql(truncate).await?;
        }
        for table in TABLES {
            for (number, key) in keys(table.kind).iter().enumerate() {
                let key = key.replace('\'', "''");
                let sql = format!(
                    "INSERT INTO {} ({}, {}) VALUES ('{key}', {})",
                    table.name,
                    table.key,
                    table.number,
                    number % 5
                );
                for side in [&mut self.router, &mut self.server] {
                    let answer = Answer::of(&side.query(&sql).await?)?;
                    same!(answer.sqlstate, None, "{sql}");
                }
            }
        }
        Ok(())
    }

    async fn compare(&mut self, statement: &Statement, way: usize) -> Outcome {
        if !statement.stable {
            return Ok(());
        }
        let routed = ask(&mut self.router, statement, way).await?;
        if routed.sqlstate.as_deref() == Some("0A000") {
            self.refused += 1;
            anyhow::ensure!(routed.rows.is_empty(), "rows before a refusal");
            return Ok(());
        }
        let direct = ask(&mut self.server, statement, way).await?;
        same!(routed, direct);
        self.answered += 1;
        Ok(())
    }

    /// All shards together have the rows of the one server, and each its own.
    async fn compare_rows(&self, table: &Table) -> Outcome {
        let all = format!("SELECT * FROM {}", table.name);
        let direct = self.single.psql(&all).await?;
        let mut direct: Vec<String> = direct.lines().map(str::to_owned).collect();
        let mut routed = Vec::new();
        for (index, shard) in self.cluster.shards.iter().enumerate() {
            let id = format!("shard-{}", index + 1);
            let rows = shard.psql(&all).await?;
            routed.extend(rows.lines().map(str::to_owned));
            let keys = format!("SELECT {} FROM {}", table.key, table.name);
            let keys = shard.psql(&keys).await?;
            let key_type = match table.kind {
                KeyKind::Bigint => KeyType::Bigint,
                KeyKind::Text => KeyType::Text,
            };
            for text in keys.lines() {
                let key = Key::from_text(key_type, text.as_bytes())?;
                let home = owner(&self.snapshot, &key);
                same!(home, Some(id.as_str()), "the row {text} of {}", table.name);
            }
        }
        direct.sort();
        routed.sort();
        same!(routed, direct, "rows of {}", table.name);
        Ok(())
    }
}

/// Sends a statement as a simple query, by SQL's PREPARE, or by the extended protocol.
async fn ask(side: &mut Raw, statement: &Statement, way: usize) -> anyhow::Result<Answer> {
    let Statement { sql, params, .. } = statement;
    if params.is_empty() && way == 0 {
        return Answer::of(&side.query(sql).await?);
    }
    if way == 1 {
        return by_sql(side, statement).await;
    }
    let values: Vec<Option<&[u8]>> = params.iter().map(|text| Some(text.as_bytes())).collect();
    let batch = [
        parse("", sql, &[]),
        bind("", "", false, &values),
        execute("", 0),
        sync(),
    ];
    Answer::of(&side.exchange(&batch.concat()).await?)
}

async fn by_sql(side: &mut Raw, statement: &Statement) -> anyhow::Result<Answer> {
    let Statement { sql, params, .. } = statement;
    let prepared = side.query(&format!("PREPARE fz AS {sql}")).await?;
    let prepared = Answer::of(&prepared)?;
    if prepared.sqlstate.is_some() {
        return Ok(prepared);
    }
    let quoted = |text: &String| format!("'{}'", text.replace('\'', "''"));
    let arguments: Vec<String> = params.iter().map(quoted).collect();
    let list = match arguments.as_slice() {
        [] => String::new(),
        list => format!("({})", list.join(", ")),
    };
    let answer = side.query(&format!("EXECUTE fz{list}")).await?;
    let dropped = Answer::of(&side.query("DEALLOCATE fz").await?)?;
    same!(dropped.sqlstate, None);
    Answer::of(&answer)
}
