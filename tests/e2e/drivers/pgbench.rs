//! pgbench: point reads and simple updates in each of its protocol modes, with a check that the row
//! is the right one.

use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::pg::Address;
use tests::{Cluster, http, postgres};

use crate::suite::{Outcome, Suite, alone, same, shared};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials: Vec<Trial> =
        shared!(suite: pgbench_reads_points_and_updates_them_in_every_mode).into();
    trials.extend(alone!(suite: pgbench_fills_its_tables_and_runs_as_on_one_server));
    trials
}

const ACCOUNTS: u32 = 2_000;

async fn pgbench_reads_points_and_updates_them_in_every_mode(cluster: &Cluster) -> Outcome {
    let columns = "aid int NOT NULL PRIMARY KEY, bid int, abalance int, filler char(84)";
    cluster
        .create("pgbench_accounts", columns, ("aid", "bigint"))
        .await?;
    // What `-N` writes beside the account lies with it.
    let history = "tid int, bid int, aid int, delta int, mtime timestamp, filler char(22)";
    cluster
        .create("pgbench_history", history, ("aid", "bigint"))
        .await?;
    reference_branches(cluster).await?;
    let address = cluster.router(0)?.address();
    let rows: Vec<String> = (1..=ACCOUNTS)
        .map(|aid| format!("INSERT INTO pgbench_accounts (aid, bid, abalance, filler) VALUES ({aid}, 1, {aid}, '');\n"))
        .collect();
    address.psql_script(&rows.concat()).await?;
    // As `pgbench -S`, with a check that the row is the right one.
    let script = tests::folder::Folder::shared()?
        .fresh("pgbench")
        .with_extension("sql");
    let checked = format!(
        "\\set aid random(1, {ACCOUNTS})\n\
         SELECT abalance FROM pgbench_accounts WHERE aid = :aid \\gset\n\
         SELECT 1 / (:abalance = :aid)::int AS checked \\gset\n"
    );
    std::fs::write(&script, checked)?;
    let script = script.to_string_lossy().into_owned();
    for mode in ["simple", "extended", "prepared"] {
        pgbench(&address, &["-M", mode, "-f", &script]).await?;
        pgbench(&address, &["-M", mode, "-S"]).await?;
    }
    for mode in ["simple", "extended", "prepared"] {
        pgbench(&address, &["-M", mode, "-N"]).await?;
    }
    let mut written = 0;
    for shard in &cluster.shards {
        let count = "SELECT count(*) FROM pgbench_history";
        written += shard.psql(count).await?.parse::<u32>()?;
    }
    same!(written, 3 * 800);
    Ok(())
}

/// What `pgbench -i` makes and fills, each table by its own key: a transaction of TPC-B writes on up
/// to four shards.
async fn pgbench_fills_its_tables_and_runs_as_on_one_server() -> Outcome {
    let plan = Plan {
        shards: 4,
        ..Plan::default()
    };
    let cluster = Cluster::start(plan).await?;
    let router = cluster.router(0)?.address();
    initialize(&router, "dt").await?;
    for (table, key) in [
        ("accounts", "aid"),
        ("tellers", "tid"),
        ("branches", "bid"),
        ("history", "aid"),
    ] {
        let register = format!("SELECT sharding.shard_table('pgbench_{table}', '{key}')");
        router.psql(&register).await?;
    }
    initialize(&router, "gvp").await?;
    let counts = "SELECT count(*), min(aid), max(aid) FROM pgbench_accounts";
    same!(router.psql(counts).await?, "100000|1|100000");
    for mode in ["simple", "extended", "prepared"] {
        pgbench(&router, &["-M", mode]).await?;
    }
    let delta = router
        .psql("SELECT sum(delta) FROM pgbench_history")
        .await?;
    for (table, column) in [
        ("accounts", "abalance"),
        ("tellers", "tbalance"),
        ("branches", "bbalance"),
    ] {
        let sum = format!("SELECT sum({column}) FROM pgbench_{table}");
        same!(router.psql(&sum).await?, delta, "{table}");
    }
    let count = "SELECT count(*) FROM pgbench_history";
    same!(router.psql(count).await?, "2400");
    Ok(())
}

async fn initialize(address: &Address, steps: &str) -> Outcome {
    let mut command = address.command(&postgres::bin()?.join("pgbench").to_string_lossy());
    let output = command.args(["-i", "-q", "-I", steps]).stdin(Stdio::null());
    let output = output.output().await.context("run pgbench")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "-I {steps}: {errors}");
    Ok(())
}

/// `pgbench -S` counts the branches before it begins.
async fn reference_branches(cluster: &Cluster) -> Outcome {
    let create = "CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler text)";
    cluster.router(0)?.psql(create).await?;
    for shard in &cluster.shards {
        shard
            .psql("INSERT INTO pgbench_branches VALUES (1, 0, '')")
            .await?;
    }
    let body = json!({ "name": "pgbench_branches", "kind": "reference" });
    http::post(&cluster.manager(0)?.api("/tables"), &body)
        .await?
        .expect(201)?;
    cluster.settle().await
}

async fn pgbench(address: &Address, arguments: &[&str]) -> Outcome {
    let mut command = address.command(&postgres::bin()?.join("pgbench").to_string_lossy());
    command
        .args(["-n", "-c", "4", "-j", "1", "-t", "200"])
        .args(arguments);
    let output = command
        .stdin(Stdio::null())
        .output()
        .await
        .context("run pgbench")?;
    let shown = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{arguments:?}: {errors}");
    anyhow::ensure!(
        shown.contains("processed: 800/800"),
        "{arguments:?}: {shown}{errors}"
    );
    anyhow::ensure!(!errors.contains("ERROR"), "{arguments:?}: {errors}");
    Ok(())
}
