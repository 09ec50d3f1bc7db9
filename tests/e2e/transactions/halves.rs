//! Reads of several shards that see one half of a transaction: how many there are, how far they are
//! off, and that locks keep them away. docs/consistency.md tells the figures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use tests::Cluster;
use tests::pg::Address;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::suite::{Outcome, Suite, same, shared, told};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite: sums_over_shards_are_off_by_what_is_on_its_way_at_most).into()
}

const WRITERS: i64 = 4;
const TIME: Duration = Duration::from_secs(3);
/// What each client does at least, however long it takes on a busy machine.
const LEAST: usize = 10;

/// Reads, and those of them that saw another sum than that of all accounts.
#[derive(Debug, Default, Clone, Copy)]
struct Reads {
    all: usize,
    off: usize,
    furthest: i64,
}

impl Reads {
    fn add(&mut self, off_by: i64) {
        self.all += 1;
        self.off += usize::from(off_by != 0);
        self.furthest = self.furthest.max(off_by.abs());
    }

    fn and(self, other: Self) -> Self {
        Self {
            all: self.all + other.all,
            off: self.off + other.off,
            furthest: self.furthest.max(other.furthest),
        }
    }
}

async fn sums_over_shards_are_off_by_what_is_on_its_way_at_most(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v bigint NOT NULL";
    cluster.create("halves", columns, ("k", "bigint")).await?;
    // Each writer moves 1 to and fro between two accounts of its own, one on each shard.
    let mut pairs = Vec::new();
    let (mut here, mut there) = (0, 0);
    for _ in 0..WRITERS {
        here = cluster.key_on("shard-1", here + 1).await?;
        there = cluster.key_on("shard-2", there + 1).await?;
        pairs.push((here, there));
    }
    let address = cluster.router(0)?.address();
    for (here, there) in &pairs {
        let sql = format!("INSERT INTO halves (k, v) VALUES ({here}, 0), ({there}, 0)");
        address.psql(&sql).await?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for pair in pairs.clone() {
        let (address, stop) = (address.clone(), Arc::clone(&stop));
        writers.spawn(async move { write(address, pair, &stop).await });
    }
    let mut readers = JoinSet::new();
    for sql in [
        "SELECT sum(v)::bigint FROM halves",
        "SELECT v FROM halves ORDER BY k",
    ] {
        let (address, stop) = (address.clone(), Arc::clone(&stop));
        readers.spawn(async move { read(address, sql, &stop).await });
    }
    let mut locker = JoinSet::new();
    {
        let (address, stop) = (address.clone(), Arc::clone(&stop));
        let first = pairs.first().copied().unwrap_or_default();
        locker.spawn(async move { read_locked(address, first, &stop).await });
    }
    sleep(TIME).await;
    stop.store(true, Ordering::Relaxed);
    let (mut commits, mut reads) = (0, Reads::default());
    while let Some(one) = writers.join_next().await {
        commits += one??;
    }
    while let Some(one) = readers.join_next().await {
        reads = reads.and(one??);
    }
    let mut locked = Reads::default();
    while let Some(one) = locker.join_next().await {
        locked = locked.and(one??);
    }
    told!(
        "halves: {commits} commits on two shards, {} of {} sums over both were off, by {} at most; \
         {} of {} reads of two locked rows",
        reads.off,
        reads.all,
        reads.furthest,
        locked.off,
        locked.all,
    );
    // Each writer has one transaction at a time that is between its commits.
    anyhow::ensure!(
        reads.furthest <= WRITERS,
        "a sum is off by {}",
        reads.furthest
    );
    same!(locked.off, 0, "locks keep halves away");
    let sum = address.psql("SELECT sum(v) FROM halves").await?;
    same!(sum, "0", "nothing is on its way any more");
    Ok(())
}

/// Moves amounts until it is told to stop; gives how many. After each of them it reads both halves.
async fn write(address: Address, (a, b): (i64, i64), stop: &AtomicBool) -> anyhow::Result<usize> {
    let client = address.client().await?;
    let mut done = 0;
    while done < LEAST || !stop.load(Ordering::Relaxed) {
        let amount = if done % 2 == 0 { 1 } else { -1 };
        let sql = format!(
            "BEGIN; UPDATE halves SET v = v - {amount} WHERE k = {a}; \
             UPDATE halves SET v = v + {amount} WHERE k = {b}; COMMIT"
        );
        client.batch_execute(&sql).await?;
        done += 1;
        let sum = format!("SELECT sum(v)::bigint FROM halves WHERE k IN ({a}, {b})");
        let sum: i64 = client.query_one(&sum, &[]).await?.get(0);
        same!(sum, 0, "a client reads all of what it has committed");
    }
    Ok(done)
}

async fn read(address: Address, sql: &str, stop: &AtomicBool) -> anyhow::Result<Reads> {
    let client = address.client().await?;
    let mut reads = Reads::default();
    while reads.all < LEAST || !stop.load(Ordering::Relaxed) {
        let rows = client.query(sql, &[]).await?;
        reads.add(rows.iter().map(|row| row.get::<_, i64>(0)).sum());
    }
    Ok(reads)
}

async fn read_locked(
    address: Address,
    (a, b): (i64, i64),
    stop: &AtomicBool,
) -> anyhow::Result<Reads> {
    let client = address.client().await?;
    let mut reads = Reads::default();
    while reads.all < LEAST || !stop.load(Ordering::Relaxed) {
        let mut sum = 0;
        client.batch_execute("BEGIN").await?;
        for key in [a, b] {
            let sql = format!("SELECT v FROM halves WHERE k = {key} FOR UPDATE");
            sum += client.query_one(&sql, &[]).await?.get::<_, i64>(0);
        }
        client.batch_execute("COMMIT").await?;
        reads.add(sum);
    }
    Ok(reads)
}
