//! What jobs that are over must not leave behind on any shard.

use tests::Cluster;
use topology::KeyType;

use super::ledger::is_owned;

/// The tables of the load.
const TABLES: [(&str, KeyType); 4] = [
    ("events", KeyType::Bigint),
    ("counters", KeyType::Bigint),
    ("notes", KeyType::Text),
    ("things", KeyType::Uuid),
];

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
      WHERE application_name LIKE 'sharding-reshard/%' \
         OR application_name LIKE 'sharding-keep/%'";

/// Fails unless every shard has nothing of any job, and no row of the load but its own.
pub(crate) async fn none(cluster: &Cluster) -> anyhow::Result<()> {
    let snapshot = cluster.snapshot().await?;
    let servers = cluster.shards.iter().chain(&cluster.spares);
    for (number, server) in (1..).zip(servers) {
        let id = format!("shard-{number}");
        let objects = server.psql(OBJECTS).await?;
        anyhow::ensure!(objects.trim().is_empty(), "left on {id}:\n{objects}");
        for (table, key_type) in TABLES {
            let exists = format!("SELECT to_regclass('{table}') IS NOT NULL");
            if server.psql(&exists).await?.trim() != "t" {
                continue;
            }
            let keys = server.psql(&format!("SELECT k FROM {table}")).await?;
            for key in keys.lines() {
                let is_own = is_owned(&snapshot, &id, (key_type, key))?;
                anyhow::ensure!(is_own, "a row of {table} with key {key} is left on {id}");
            }
        }
    }
    Ok(())
}
