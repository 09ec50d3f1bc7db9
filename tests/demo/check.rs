//! Where the rows lie: what shardctl says, and what the shards themselves say behind the routers'
//! back.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tests::cluster::owner;
use topology::store::{self, EtcdStore};
use topology::{Key, watch};

use crate::load::{CUSTOMERS, ORDERS_EACH};
use crate::system::{REGISTERED, System};
use crate::{Progress, say};

/// Compares three counts: of what was loaded, of shardctl, and of the rows that lie on the shard
/// that their key hashes to. Fails when any row lies elsewhere.
pub(crate) async fn rows_lie_where_they_hash_to(
    system: &System,
    progress: &Progress,
) -> anyhow::Result<()> {
    for arguments in [&["status"][..], &["tables", "count"]] {
        say(&format!("\n$ shardctl {}", arguments.join(" ")));
        say(&system.shardctl(arguments).await?);
    }
    say("");
    let counts = system.shardctl_json(&["tables", "count"]).await?;
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
        let lies_right = lies_right(system, table).await?;
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

/// Reads the key of every row from the shards directly.
async fn lies_right(system: &System, table: &str) -> anyhow::Result<i64> {
    let etcd = store::etcd::Config {
        endpoints: vec![system.etcd.endpoint()],
        timeout: Duration::from_secs(5),
        credentials: None,
    };
    let snapshot = watch::load(&EtcdStore::connect(etcd)?).await?.snapshot()?;
    let sql = format!("SELECT customer_id, count(*) FROM {table} GROUP BY customer_id");
    let mut total = 0;
    for (id, server) in REGISTERED.iter().zip(&system.shards) {
        for row in server.client().await?.query(&sql, &[]).await? {
            let (key, rows): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let home = owner(&snapshot, &Key::Bigint(key)).context("the ring has vnodes")?;
            anyhow::ensure!(
                home == *id,
                "{table} of customer {key} on {id}, not on {home}"
            );
            total += rows;
        }
    }
    Ok(total)
}
