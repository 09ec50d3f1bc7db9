//! The table that is read: pgbench's accounts, each row on the shard that owns its key.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use tests::{Cluster, cluster};
use topology::Key;

/// How many rows there are in all.
pub(crate) const ROWS: i64 = 100_000;

/// As `pgbench -i` makes it, but for the type of the key.
const COLUMNS: &str = "aid bigint PRIMARY KEY, bid integer, abalance integer, filler char(84)";

/// Creates and fills the table.
pub(crate) async fn fill(cluster: &Cluster) -> anyhow::Result<()> {
    cluster
        .create("pgbench_accounts", COLUMNS, ("aid", "bigint"))
        .await?;
    let snapshot = cluster.snapshot().await?;
    let mut scripts: BTreeMap<&str, String> = BTreeMap::new();
    for aid in 1..=ROWS {
        let owner = cluster::owner(&snapshot, &Key::Bigint(aid)).context("the ring is empty")?;
        let script = scripts.entry(owner).or_insert_with(|| {
            "COPY pgbench_accounts (aid, bid, abalance, filler) FROM stdin;\n".to_owned()
        });
        writeln!(script, "{aid}\t1\t0\t")?;
    }
    for (shard, mut script) in scripts {
        script.push_str("\\.\nVACUUM (FREEZE, ANALYZE) pgbench_accounts;\n");
        cluster.shard(shard)?.address().psql_script(&script).await?;
    }
    Ok(())
}
