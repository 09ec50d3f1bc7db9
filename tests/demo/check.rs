//! Where the rows lie: what shardctl says, and what the shards themselves say behind the routers'
//! back.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tests::Postgres;
use tests::cluster::owner;
use topology::store::{self, EtcdStore};
use topology::{Key, Snapshot, watch};

use crate::load::{CUSTOMERS, ORDERS_EACH, total};
use crate::system::{ADDED, FIRST, System};
use crate::writers::{FIRST_ORDER, Ledger};
use crate::{Progress, say};

/// Compares three counts: of what was loaded, of shardctl, and of the rows that lie on the shard
/// that their key hashes to. Fails when any row lies elsewhere.
pub(crate) async fn rows_lie_where_they_hash_to(
    system: &System,
    progress: &Progress,
) -> anyhow::Result<()> {
    for arguments in [&["status"][..], &["tables", "count"]] {
        system.shardctl_shown(arguments).await?;
    }
    say("");
    let counts = system.shardctl_json(&["tables", "count"]).await?;
    let snapshot = snapshot(system).await?;
    let mut checked = 0;
    for (table, loaded) in [
        ("customers", CUSTOMERS),
        ("orders", CUSTOMERS * ORDERS_EACH),
    ] {
        let counted = rows_of(&counts, table)?;
        anyhow::ensure!(
            counted == loaded,
            "shardctl counts {counted} {table}, not {loaded}"
        );
        let mut lies_right = 0;
        for (id, server) in FIRST.iter().zip(&system.shards) {
            lies_right += rows_at_home(&snapshot, (id, server), table).await?;
        }
        anyhow::ensure!(
            lies_right == loaded,
            "{lies_right} {table} on the shards, not {loaded}"
        );
        checked += lies_right;
    }
    progress.done(&format!(
        "each of {checked} rows lies on the shard that its key hashes to"
    ));
    Ok(())
}

/// What was found on all shards after the move.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Rows in all.
    pub(crate) rows: i64,
    /// Orders of the writers, and how often each is there.
    orders: HashMap<i32, u32>,
    /// What each customer's counter says.
    visits: HashMap<i64, i64>,
    /// Of each customer, the number of the orders that were loaded, and their sum.
    loaded: HashMap<i64, (i64, String)>,
}

/// Reads every row of every shard directly, and holds it against what was loaded and what the
/// writers' ledger says: each is there once, on the shard that its key hashes to, and nothing else.
pub(crate) async fn nothing_is_lost(system: &System, ledger: &Ledger) -> anyhow::Result<Found> {
    let snapshot = snapshot(system).await?;
    let mut found = Found::default();
    let ids = FIRST.into_iter().chain([ADDED]);
    for (id, server) in ids.zip(&system.shards) {
        for table in ["customers", "orders"] {
            found.rows += rows_at_home(&snapshot, (id, server), table).await?;
        }
        found.read(server).await?;
    }
    found.hold_against(ledger)?;
    Ok(found)
}

impl Found {
    async fn read(&mut self, server: &Postgres) -> anyhow::Result<()> {
        let client = server.client().await?;
        let sql = "SELECT order_id FROM orders WHERE order_id >= $1";
        for row in client.query(sql, &[&FIRST_ORDER]).await? {
            *self.orders.entry(row.try_get(0)?).or_default() += 1;
        }
        let sql = "SELECT customer_id, visits FROM customers";
        for row in client.query(sql, &[]).await? {
            let customer: i64 = row.try_get(0)?;
            let before = self.visits.insert(customer, row.try_get(1)?);
            anyhow::ensure!(before.is_none(), "customer {customer} is on two shards");
        }
        let sql = "SELECT customer_id, count(*), sum(amount)::text FROM orders \
                   WHERE order_id < $1 GROUP BY customer_id";
        for row in client.query(sql, &[&FIRST_ORDER]).await? {
            let customer: i64 = row.try_get(0)?;
            let sum = (row.try_get(1)?, row.try_get(2)?);
            let before = self.loaded.insert(customer, sum);
            anyhow::ensure!(before.is_none(), "orders of {customer} are on two shards");
        }
        Ok(())
    }

    fn hold_against(&self, ledger: &Ledger) -> anyhow::Result<()> {
        let is_there = |order: &&i32| self.orders.contains_key(order);
        let lost = ledger.orders.iter().filter(|order| !is_there(order));
        let lost = lost.count();
        let twice = self.orders.values().filter(|count| **count > 1).count();
        let known = |order: &&i32| ledger.orders.contains(order);
        let strange = self.orders.keys().filter(|order| !known(order)).count();
        anyhow::ensure!(
            (lost, twice, strange) == (0, 0, 0),
            "acknowledged orders: {lost} lost, {twice} there twice, {strange} that nobody wrote"
        );
        for customer in 1..=CUSTOMERS {
            let visits = self.visits.get(&customer).copied();
            let counted = ledger.visits.get(&customer).copied().unwrap_or_default();
            anyhow::ensure!(
                visits == Some(counted),
                "customer {customer} was visited {counted} times, the shards say {visits:?}"
            );
            let loaded = self.loaded.get(&customer);
            let expected = (ORDERS_EACH, total(customer));
            anyhow::ensure!(
                loaded == Some(&expected),
                "orders of customer {customer}: {loaded:?}, not {expected:?}"
            );
        }
        Ok(())
    }
}

async fn snapshot(system: &System) -> anyhow::Result<Snapshot> {
    let etcd = store::etcd::Config {
        endpoints: vec![system.etcd.endpoint()],
        timeout: Duration::from_secs(5),
        credentials: None,
        tls: None,
    };
    Ok(watch::load(&EtcdStore::connect(etcd)?).await?.snapshot()?)
}

/// The rows of a table that shardctl counts on all shards.
fn rows_of(counts: &Value, table: &str) -> anyhow::Result<i64> {
    let name = format!("public.{table}");
    let tables = counts["tables"].as_array().into_iter().flatten();
    let found = tables
        .into_iter()
        .find(|entry| entry["name"] == *name || entry["name"] == *table);
    let shards = found.and_then(|entry| entry["shards"].as_array());
    let shards = shards.with_context(|| format!("no {table} in {counts}"))?;
    let rows: Option<i64> = shards.iter().map(|shard| shard["rows"].as_i64()).sum();
    rows.with_context(|| format!("a shard was not counted: {counts}"))
}

/// Reads the key of every row from a shard directly, and gives their number. Fails when one belongs
/// to another shard.
async fn rows_at_home(
    snapshot: &Snapshot,
    (id, server): (&str, &Postgres),
    table: &str,
) -> anyhow::Result<i64> {
    let sql = format!("SELECT customer_id, count(*) FROM {table} GROUP BY customer_id");
    let mut total = 0;
    for row in server.client().await?.query(&sql, &[]).await? {
        let (key, rows): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let home = owner(snapshot, &Key::Bigint(key)).context("the ring has vnodes")?;
        anyhow::ensure!(
            home == id,
            "{table} of customer {key} on {id}, not on {home}"
        );
        total += rows;
    }
    Ok(total)
}
