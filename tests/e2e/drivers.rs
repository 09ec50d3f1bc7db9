//! Programs that people use against PostgreSQL, unchanged, against the router.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::pg::Address;
use tests::{Cluster, http, postgres};

use crate::suite::{Outcome, Suite, same, shared};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        psql_runs_a_script,
        psql_describes_and_reports_errors_as_usual,
        psycopg_has_a_session,
        psycopg2_has_a_session,
        pgbench_reads_points_in_every_mode,
    )
    .into()
}

const SCRIPT: &str = "
    \\set ON_ERROR_STOP on
    BEGIN;
    INSERT INTO driver_psql (k, v) VALUES (7, 'seven');
    SAVEPOINT a;
    INSERT INTO driver_psql (k, v) VALUES (7, 'again') ON CONFLICT DO NOTHING;
    RELEASE a;
    COMMIT;
    \\set key 8
    INSERT INTO driver_psql (k, v) VALUES (:key, 'eight') RETURNING v;
    SELECT v FROM driver_psql WHERE k = 7 \\gset
    \\echo :v
    UPDATE driver_psql SET v = upper(v) WHERE k = :key;
    SELECT v FROM driver_psql WHERE k = 8;
    \\timing on
";

async fn psql_runs_a_script(cluster: &Cluster) -> Outcome {
    cluster
        .create(
            "driver_psql",
            "k bigint PRIMARY KEY, v text",
            ("k", "bigint"),
        )
        .await?;
    let shown = cluster.router(0)?.address().psql_script(SCRIPT).await?;
    same!(
        shown.lines().collect::<Vec<_>>(),
        ["eight", "seven", "EIGHT"]
    );
    Ok(())
}

async fn psql_describes_and_reports_errors_as_usual(cluster: &Cluster) -> Outcome {
    cluster
        .create(
            "driver_shown",
            "k bigint PRIMARY KEY, v text",
            ("k", "bigint"),
        )
        .await?;
    let address = cluster.router(0)?.address();
    // The queries of \d ask the catalog, which is alike on every shard.
    let direct = cluster.shard("shard-1")?.address();
    for command in ["\\d driver_shown\n", "\\dt driver_shown\n", "\\l\n"] {
        let shown = address.psql_script(command).await?;
        same!(shown, direct.psql_script(command).await?, "{command}");
        anyhow::ensure!(!shown.is_empty(), "{command} shows nothing");
    }
    let wrong = "SELECT nowhere FROM driver_shown WHERE k = 7";
    let routed = address.psql_output(wrong).await?;
    let direct = direct.psql_output(wrong).await?;
    same!(
        String::from_utf8(routed.stderr)?,
        String::from_utf8(direct.stderr)?
    );
    same!(routed.status.code(), direct.status.code());
    Ok(())
}

/// Runs a script with Debian's own Python, which has the drivers.
async fn python(address: &Address, script: &str) -> Outcome {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("e2e/clients")
        .join(script);
    let mut command = address.command("/usr/bin/python3");
    let output = command
        .arg("-B")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{script}: {errors}");
    Ok(())
}

async fn psycopg_has_a_session(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, t text, n numeric(10,2), j jsonb, a int[], \
        ts timestamptz, b bytea, u uuid";
    cluster
        .create("driver_psycopg", columns, ("k", "bigint"))
        .await?;
    python(&cluster.router(0)?.address(), "session_psycopg.py").await
}

async fn psycopg2_has_a_session(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, t text, j jsonb";
    cluster
        .create("driver_psycopg2", columns, ("k", "bigint"))
        .await?;
    cluster
        .create("driver_psycopg2_rows", "k bigint, v int", ("k", "bigint"))
        .await?;
    python(&cluster.router(0)?.address(), "session_psycopg2.py").await
}

const ACCOUNTS: u32 = 2_000;

async fn pgbench_reads_points_in_every_mode(cluster: &Cluster) -> Outcome {
    let columns = "aid int NOT NULL PRIMARY KEY, bid int, abalance int, filler char(84)";
    cluster
        .create("pgbench_accounts", columns, ("aid", "bigint"))
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
