//! Writes and reads over all shards while a shard is split: loads, INSERT of many rows, queries
//! within transactions that have written, cursors. Each batch is on the shards once and whole, or
//! not at all, and every reader finds what was acknowledged before it asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use libtest_mimic::Trial;
use serde_json::json;
use tests::Cluster;
use tests::cluster::Plan;
use tests::pg::Address;
use tokio::task::JoinSet;

use super::job::{ask, begin, some_vnodes, third, until};
use super::remains;
use crate::suite::{Outcome, Suite, alone, same, told};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: writes_and_reads_over_all_shards_go_on_while_one_is_split).into()
}

/// Rows of a batch, each with a key of its own.
const BATCH: u64 = 40;

/// What a client may be told while rows move: to try again, or that it has waited long enough.
const AGAIN: [&str; 2] = ["40001", "being moved"];

/// What everybody works with.
#[derive(Clone)]
struct Work {
    address: Address,
    stop: Arc<AtomicBool>,
    /// Numbers batches.
    next: Arc<AtomicU64>,
    /// Batches that are acknowledged.
    written: Arc<AtomicU64>,
}

/// How often something was done, and how often it was to be tried again.
#[derive(Debug, Default)]
struct Count {
    done: u64,
    again: u64,
}

impl Work {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// The output of a script; none when it is to be tried again.
    async fn run(&self, script: &str) -> anyhow::Result<Option<String>> {
        let script = format!("\\set VERBOSITY verbose\n{script}");
        match self.address.psql_script(&script).await {
            Ok(output) => Ok(Some(output)),
            Err(error) if AGAIN.iter().any(|text| error.to_string().contains(text)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write(self) -> anyhow::Result<Count> {
        let mut count = Count::default();
        while self.goes_on() {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let (script, output) = if id.is_multiple_of(2) {
                (copy_of(id), String::new())
            } else {
                let counts = format!("{}\n{BATCH}", BATCH / 2);
                (transaction_of(id), counts)
            };
            match self.run(&script).await? {
                None => count.again += 1,
                Some(found) => {
                    same!(found, output, "batch {id}");
                    self.written.fetch_add(1, Ordering::SeqCst);
                    count.done += 1;
                }
            }
        }
        Ok(count)
    }

    async fn read(self) -> anyhow::Result<Count> {
        let mut count = Count::default();
        while self.goes_on() {
            let expected = self.written.load(Ordering::SeqCst) * BATCH;
            let sql = "SELECT count(*), count(DISTINCT k * 1000000 + id) FROM batches;";
            let counted = self.run(sql).await?;
            if let Some(text) = &counted {
                let numbers: Vec<u64> = text.split('|').flat_map(str::parse).collect();
                anyhow::ensure!(
                    matches!(numbers.as_slice(), [all, each] if all == each && *all >= expected),
                    "{text}, {expected} were acknowledged"
                );
            }
            let rows = self.run(CURSOR).await?;
            if let Some(text) = &rows {
                let rows: anyhow::Result<Vec<(u64, u64)>> = text.lines().map(pair).collect();
                let rows = rows?;
                anyhow::ensure!(
                    rows.is_sorted_by(|one, next| one < next),
                    "a cursor gave rows twice or out of order"
                );
                let found = u64::try_from(rows.len())?;
                anyhow::ensure!(found >= expected, "a cursor gave {found} of {expected}");
            }
            for answer in [counted, rows] {
                match answer {
                    Some(_) => count.done += 1,
                    None => count.again += 1,
                }
            }
        }
        Ok(count)
    }
}

const CURSOR: &str = "BEGIN;\n\
    DECLARE c CURSOR FOR SELECT id, k FROM batches ORDER BY id, k;\n\
    FETCH 100 FROM c;\nFETCH 1 FROM c;\nFETCH ALL FROM c;\nCOMMIT;\n";

fn pair(line: &str) -> anyhow::Result<(u64, u64)> {
    let (id, key) = line
        .split_once('|')
        .ok_or_else(|| anyhow::anyhow!("{line} is no row"))?;
    Ok((id.parse()?, key.parse()?))
}

/// The keys of a batch, all over the ring.
fn keys(id: u64) -> impl Iterator<Item = u64> {
    (0..BATCH).map(move |number| (id * 7 + number) * 31 % 100_003)
}

fn copy_of(id: u64) -> String {
    let rows: String = keys(id).map(|key| format!("{key}\t{id}\n")).collect();
    format!("COPY batches (k, id) FROM STDIN;\n{rows}\\.\n")
}

fn transaction_of(id: u64) -> String {
    let rows: Vec<String> = keys(id).map(|key| format!("({key}, {id})")).collect();
    let (first, second) = rows.split_at(rows.len() / 2);
    let [first, second] = [first, second]
        .map(|rows| format!("INSERT INTO batches (k, id) VALUES {};\n", rows.join(", ")));
    let count = format!("SELECT count(*) FROM batches WHERE id = {id};\n");
    format!("BEGIN;\n{first}{count}SAVEPOINT half;\n{second}{count}COMMIT;\n")
}

async fn writes_and_reads_over_all_shards_go_on_while_one_is_split() -> Outcome {
    let cluster = Cluster::start(Plan {
        shards: 2,
        spares: 1,
        routers: 2,
        ..Plan::default()
    })
    .await?;
    let columns = "k bigint NOT NULL, id bigint NOT NULL, PRIMARY KEY (k, id)";
    cluster.create("batches", columns, ("k", "bigint")).await?;
    let work = Work {
        address: cluster.router(0)?.address(),
        stop: Arc::default(),
        next: Arc::default(),
        written: Arc::default(),
    };
    let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
    for router in &cluster.routers {
        let address = router.address();
        let own = Work {
            address,
            ..work.clone()
        };
        writers.spawn(own.clone().write());
        readers.spawn(own.read());
    }
    let split = json!({
        "source_shard_id": "shard-2", "target_shards": [{ "id": "shard-1" }, third(&cluster)?]
    });
    for (path, body) in [
        ("move", some_vnodes("shard-1", "shard-2", 60)),
        ("split", split),
    ] {
        let job = begin(&cluster, path, body).await?;
        until(&cluster, &job, "completed").await?;
        ask(&cluster, &job, "finish").await?;
        until(&cluster, &job, "completed").await?;
        remains::none(&cluster).await?;
    }
    work.stop.store(true, Ordering::Relaxed);
    let (written, read) = (sum(writers).await?, sum(readers).await?);
    told!("batches while rows moved: {written:?}; queries: {read:?}");
    anyhow::ensure!(
        written.done > written.again && read.done > read.again,
        "{written:?}, {read:?}"
    );
    on_the_shards(&cluster, written.done * BATCH).await
}

async fn sum(mut tasks: JoinSet<anyhow::Result<Count>>) -> anyhow::Result<Count> {
    let mut all = Count::default();
    while let Some(count) = tasks.join_next().await {
        let count = count??;
        all.done += count.done;
        all.again += count.again;
    }
    Ok(all)
}

/// What was acknowledged is on the shards once, nothing else is, and nothing is in doubt.
async fn on_the_shards(cluster: &Cluster, rows: u64) -> Outcome {
    let mut found = 0;
    for server in cluster.shards.iter().chain(&cluster.spares) {
        let count = server.psql("SELECT count(*) FROM batches").await?;
        found += count.trim().parse::<u64>()?;
        same!(
            server.psql("SELECT gid FROM pg_prepared_xacts").await?,
            "",
            "what is prepared"
        );
    }
    same!(found, rows, "rows on the shards");
    Ok(())
}
