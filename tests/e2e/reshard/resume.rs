//! The leading manager dies in the middle of a copy. Where another manager keeps the snapshot, the
//! copy goes on with what is left of it. The managers need the feature `manager/failpoints`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::{Plan, dying_by};
use tests::folder::Folder;
use tests::{Cluster, wait};

use super::job::{ask, begin, is_at, some_vnodes, try_to_find, until};
use super::load::{self, Load};
use super::remains;
use crate::suite::{Outcome, Suite, alone, same, told};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: a_copy_goes_on_where_it_was_when_its_leader_dies_and_the_next_one_too).into()
}

/// How long a leader that is gone is waited for.
const LEASE: Duration = Duration::from_secs(2);
/// What the leader dies after.
const RANGE: &str = "after:copy_range";

/// Rows that nobody writes to while they are copied: of some forty megabytes, in several ranges.
async fn fill(cluster: &Cluster) -> Outcome {
    let columns = "k bigint NOT NULL, id bigint NOT NULL, pad text, PRIMARY KEY (k, id)";
    cluster.create("bulk", columns, ("k", "bigint")).await?;
    let source = cluster.shard("shard-1")?;
    let fill =
        "INSERT INTO bulk SELECT k, n, repeat('x', 1000) FROM counters, generate_series(1, 40) n";
    source.psql(fill).await?;
    source.psql("VACUUM ANALYZE bulk").await.map(drop)
}

async fn start(failpoints: &Path) -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan {
        managers: 2,
        routers: 2,
        manager_config: json!({ "leader": { "lease_ttl": format!("{}s", LEASE.as_secs()) } }),
        manager_environment: dying_by(failpoints),
        ..Plan::default()
    })
    .await?;
    load::prepare(&cluster).await?;
    fill(&cluster).await?;
    Ok(cluster)
}

/// Waits until both managers keep the snapshot, has the leader die, and starts it again.
async fn kill_the_leader(cluster: &mut Cluster, failpoints: &PathBuf) -> Outcome {
    let source = cluster.shard("shard-1")?;
    wait::until("two keepers", wait::START, async || {
        let sql = "SELECT count(*) FROM pg_stat_activity \
                   WHERE application_name LIKE 'sharding-keep/%' AND state = 'idle in transaction'";
        let count = source.psql(sql).await?;
        anyhow::ensure!(count.trim() == "2", "{count}");
        Ok(())
    })
    .await?;
    std::fs::write(failpoints, RANGE)?;
    wait::until("a death", wait::START, async || {
        let left = std::fs::read_to_string(failpoints)?;
        anyhow::ensure!(left.is_empty(), "{left}");
        Ok(())
    })
    .await?;
    // The other one is to lead next: whoever starts now has no snapshot.
    tokio::time::sleep(LEASE * 2).await;
    for manager in &mut cluster.managers {
        if manager.0.check_running().is_err() {
            manager.0.start().await?;
        }
    }
    Ok(())
}

async fn a_copy_goes_on_where_it_was_when_its_leader_dies_and_the_next_one_too() -> Outcome {
    let folder = Folder::shared()?;
    let failpoints = folder.fresh("failpoints");
    let mut cluster = start(&failpoints).await?;
    let load = Load::paced(&cluster, 6, Duration::from_millis(3));
    let mut order = some_vnodes("shard-1", "shard-2", 128);
    // All of it takes some seven seconds.
    order["max_rows_per_second"] = json!(6_000);
    let job = begin(&cluster, "move", order).await?;
    for _ in 0..2 {
        kill_the_leader(&mut cluster, &failpoints).await?;
    }
    wait::until("the end of the copy", Duration::from_secs(60), async || {
        let found = try_to_find(&cluster, &job).await?;
        anyhow::ensure!(is_at(&found, "completed")?, "{found:#}");
        Ok(())
    })
    .await?;
    let mirror = cluster.shard("shard-2")?;
    let one = async |sql: &str| Ok::<_, anyhow::Error>(mirror.psql(sql).await?.trim().to_owned());
    let moved = one("SELECT count(*) FROM bulk").await?;
    // All of it is one copy, and each row of it is in the book once.
    let attempts = "SELECT count(DISTINCT attempt) FROM vg.copied";
    same!(one(attempts).await?, "1");
    let booked = "SELECT sum(rows) FROM vg.copied WHERE relation LIKE '%bulk%'";
    same!(one(booked).await?, moved);
    // Nothing was ever taken back: a copy that begins anew removes the rows of the last one.
    let removed = "SELECT n_tup_del FROM pg_stat_user_tables WHERE relname = 'bulk'";
    same!(one(removed).await?, "0");
    let found = try_to_find(&cluster, &job).await?;
    same!(
        found["keys_migrated"].to_string(),
        one("SELECT sum(rows) FROM vg.copied").await?
    );
    let ledger = load.stop().await?;
    told!(
        "{moved} rows of a copy whose leader died twice; {} writes",
        ledger.writes()
    );
    ledger.check(&cluster).await?;
    same!(ledger.other_errors(), Vec::new());
    ask(&cluster, &job, "finish").await?;
    until(&cluster, &job, "completed").await?;
    ledger.check(&cluster).await?;
    let both = format!(
        "{} {}",
        cluster
            .shard("shard-1")?
            .psql("SELECT count(*) FROM bulk")
            .await?
            .trim(),
        one("SELECT count(DISTINCT (k, id)) FROM bulk").await?
    );
    let counted = cluster.router(0)?.psql("SELECT count(*) FROM bulk").await?;
    let sum: u64 = both.split(' ').flat_map(str::parse::<u64>).sum();
    same!(counted.trim(), sum.to_string());
    remains::none(&cluster).await
}
