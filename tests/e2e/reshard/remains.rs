//! What jobs that are over must not leave behind on any shard.

use anyhow::Context as _;
use tests::cluster::owner;
use tests::{Cluster, Postgres};
use topology::{Key, Snapshot};

/// All that a job makes on a shard, as `what name`; schema `vg` itself and the term stay.
const OBJECTS: &str = "\
    SELECT 'slot ' || slot_name FROM pg_replication_slots \
    UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin WHERE roname LIKE 'vg%' \
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication WHERE pubname LIKE 'vg%' \
    UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgname LIKE '%vg\\_%' \
    UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger \
    UNION ALL SELECT 'in vg: ' || relname FROM pg_class \
      WHERE relnamespace = to_regnamespace('vg') AND relname LIKE 'fence%' \
    UNION ALL SELECT 'function ' || proname FROM pg_proc \
      WHERE pronamespace = to_regnamespace('vg') AND proname ~ '[a-z0-9]{12}_[0-9]' \
    UNION ALL SELECT 'session ' || application_name FROM pg_stat_activity \
      WHERE application_name LIKE 'sharding-reshard/%'";

/// Fails unless every shard has nothing of any job, and no row of a table but its own.
pub(crate) async fn none(cluster: &Cluster, tables: &[&str]) -> anyhow::Result<()> {
    let snapshot = cluster.snapshot().await?;
    let servers = cluster.shards.iter().chain(&cluster.spares);
    for (number, server) in (1..).zip(servers) {
        let id = format!("shard-{number}");
        let objects = server.psql(OBJECTS).await?;
        anyhow::ensure!(objects.trim().is_empty(), "left on {id}:\n{objects}");
        for table in tables {
            let strays = strays(&snapshot, server, &id, table).await?;
            anyhow::ensure!(
                strays.is_empty(),
                "{} rows of {table} left on {id}, of keys {strays:?}",
                strays.len()
            );
        }
    }
    Ok(())
}

async fn strays(
    snapshot: &Snapshot,
    server: &Postgres,
    id: &str,
    table: &str,
) -> anyhow::Result<Vec<i64>> {
    let exists = format!("SELECT to_regclass('{table}') IS NOT NULL");
    if server.psql(&exists).await?.trim() != "t" {
        return Ok(Vec::new());
    }
    let mut strays = Vec::new();
    for line in server
        .psql(&format!("SELECT k FROM {table}"))
        .await?
        .lines()
    {
        let key: i64 = line.parse().context("a key")?;
        if owner(snapshot, &Key::Bigint(key)).is_none_or(|owner| owner != id) {
            strays.push(key);
        }
    }
    Ok(strays)
}
