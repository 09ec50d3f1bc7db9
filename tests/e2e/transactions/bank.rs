//! A bank over two shards: money is moved between accounts while routers die and rows move. No
//! transfer is there by half, and none that was acknowledged is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::cluster::Plan;
use tests::pg::Address;
use tests::random::Random;
use tests::{Cluster, wait};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::nothing_is_prepared;
use crate::reshard::job;
use crate::suite::{Outcome, Suite, alone, same, told};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: transfers_are_whole_while_routers_die_and_rows_move).into()
}

const ACCOUNTS: i64 = 40;
const ACCOUNT_COUNT: usize = 40;
const BALANCE: i64 = 1_000;
const CLIENTS: usize = 6;
/// A router's record outlives it by 15 seconds, recovery looks every two.
const RECOVERED: Duration = Duration::from_secs(40);

/// What clients were told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) acknowledged: BTreeSet<i64>,
    unknown: usize,
    failed: BTreeMap<String, usize>,
}

impl Told {
    fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unknown += other.unknown;
        for (code, count) in other.failed {
            *self.failed.entry(code).or_default() += count;
        }
    }
}

/// Clients that transfer until they are stopped.
pub(crate) struct Tellers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Told>,
}

impl Tellers {
    /// One at each of these addresses; `next` gives the numbers of their transfers.
    pub(crate) fn start(
        addresses: impl IntoIterator<Item = Address>,
        next: &Arc<AtomicI64>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for (number, address) in (0..).zip(addresses) {
            let (stop, next) = (Arc::clone(&stop), Arc::clone(next));
            tasks.spawn(async move { teller(address, number, &stop, &next).await });
        }
        Self { stop, tasks }
    }

    /// Stops them and adds up what they were told.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Told> {
        self.stop.store(true, Ordering::Relaxed);
        let mut told = Told::default();
        while let Some(one) = self.tasks.join_next().await {
            told.merge(one?);
        }
        Ok(told)
    }
}

async fn transfers_are_whole_while_routers_die_and_rows_move() -> Outcome {
    let mut cluster = Cluster::start(Plan {
        routers: 2,
        ..Plan::default()
    })
    .await?;
    open(&cluster).await?;
    let routers = cluster.routers.iter().cycle().take(CLIENTS);
    let addresses = routers.map(tests::Router::address);
    let tellers = Tellers::start(addresses, &Arc::new(AtomicI64::new(1)));
    // One router dies again and again while rows move to and fro; the other one lives.
    let mut jobs = 0;
    for (from, to) in [("shard-1", "shard-2"), ("shard-2", "shard-1")] {
        let id = job::begin(&cluster, "move", job::some_vnodes(from, to, 40)).await?;
        for _ in 0..3 {
            sleep(Duration::from_millis(1_500)).await;
            let program = &mut cluster.routers[1].program;
            program.kill().await?;
            program.start().await?;
        }
        job::until(&cluster, &id, "completed").await?;
        job::ask(&cluster, &id, "finish").await?;
        jobs += 1;
    }
    let told = tellers.stop().await?;
    wait::until("recovery", RECOVERED, async || {
        nothing_is_prepared(&cluster).await
    })
    .await?;
    check(&cluster, &told, jobs).await
}

/// Opens the accounts.
pub(crate) async fn open(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v bigint NOT NULL";
    cluster.create("account", columns, ("k", "bigint")).await?;
    let columns = "k bigint, id bigint, amount bigint NOT NULL, PRIMARY KEY (k, id)";
    cluster.create("entry", columns, ("k", "bigint")).await?;
    let rows = (1..=ACCOUNTS).map(|key| format!("({key}, {BALANCE})"));
    let rows: Vec<String> = rows.collect();
    let sql = format!("INSERT INTO account (k, v) VALUES {}", rows.join(","));
    cluster.router(0)?.psql(&sql).await.map(drop)
}

/// Transfers until it is told to stop.
async fn teller(address: Address, seed: u64, stop: &AtomicBool, next: &AtomicI64) -> Told {
    let mut told = Told::default();
    let mut random = Random::new(seed + 1);
    let mut client = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(connected) = client
            .take()
            .filter(|it: &tokio_postgres::Client| !it.is_closed())
        else {
            match address.client().await {
                Ok(connected) => client = Some(connected),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
            continue;
        };
        let id = next.fetch_add(1, Ordering::Relaxed);
        let mut account = || i64::try_from(random.below(ACCOUNT_COUNT)).unwrap_or(0) + 1;
        // In one order, so that no two wait for each other crosswise.
        let (a, b) = (account(), account());
        let (low, high) = (a.min(b), a.max(b));
        if low == high {
            client = Some(connected);
            continue;
        }
        match transfer(&connected, id, (low, high)).await {
            Ok(()) => drop(told.acknowledged.insert(id)),
            Err(error) => {
                let code = error.code().map_or("none", |code| code.code()).to_owned();
                if code == "none" || code == "08007" {
                    told.unknown += 1;
                }
                *told.failed.entry(code).or_default() += 1;
                drop(connected.batch_execute("ROLLBACK").await);
            }
        }
        client = Some(connected);
    }
    told
}

async fn transfer(
    client: &tokio_postgres::Client,
    id: i64,
    (low, high): (i64, i64),
) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    for (key, amount) in [(low, -1), (high, 1)] {
        let update = format!("UPDATE account SET v = v + {amount} WHERE k = {key}");
        client.batch_execute(&update).await?;
        let entry = format!("INSERT INTO entry (k, id, amount) VALUES ({key}, {id}, {amount})");
        client.batch_execute(&entry).await?;
    }
    client.batch_execute("COMMIT").await
}

pub(crate) async fn check(cluster: &Cluster, told: &Told, jobs: usize) -> Outcome {
    let client = cluster.router(0)?.client().await?;
    let (mut total, mut sides) = (0, BTreeMap::<i64, i64>::new());
    for key in 1..=ACCOUNTS {
        let sql = "SELECT v FROM account WHERE k = $1";
        let balance: i64 = client.query_one(sql, &[&key]).await?.get(0);
        let sql = "SELECT id, amount FROM entry WHERE k = $1";
        let mut entries = 0;
        for row in client.query(sql, &[&key]).await? {
            *sides.entry(row.get(0)).or_default() += 1;
            entries += row.get::<_, i64>(1);
        }
        same!(balance, BALANCE + entries, "account {key} and its entries");
        total += balance;
    }
    same!(total, ACCOUNTS * BALANCE, "the bank's total");
    let halves: Vec<i64> = sides
        .iter()
        .filter(|(_, n)| **n != 2)
        .map(|(id, _)| *id)
        .collect();
    same!(
        halves,
        Vec::<i64>::new(),
        "transfers that are there by half"
    );
    let missing: Vec<&i64> = told
        .acknowledged
        .iter()
        .filter(|id| !sides.contains_key(id))
        .collect();
    same!(
        missing,
        Vec::<&i64>::new(),
        "acknowledged transfers that are missing"
    );
    told!(
        "bank: {} transfers acknowledged, {} there, {} unknown to clients, errors {:?}, {jobs} jobs",
        told.acknowledged.len(),
        sides.len(),
        told.unknown,
        told.failed,
    );
    (told.acknowledged.len() > 100)
        .then_some(())
        .context("too few transfers were made")
}
