//! COPY FROM STDIN into tables whose rows are on several shards.

use std::fmt::Write as _;
use std::sync::Arc;

use libtest_mimic::Trial;
use tests::Cluster;
use tests::cluster::owner;
use tests::raw::Raw;
use topology::Key;

use super::nothing_is_prepared;
use crate::pgwire::column;
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        copied_rows_go_to_the_shards_of_their_keys,
        a_copy_that_one_shard_refuses_is_on_none,
        a_copy_into_a_reference_table_is_on_every_shard,
        a_copy_is_a_part_of_its_transaction,
    )
    .into()
}

/// Rows of a script of psql.
fn rows(copy: &str, rows: impl Iterator<Item = String>) -> String {
    let mut script = format!("{copy};\n");
    for row in rows {
        script.push_str(&row);
        script.push('\n');
    }
    script.push_str("\\.\n");
    script
}

/// The rows of a table, of which each shard must have those of its own keys only.
async fn by_owner(cluster: &Cluster, table: &str) -> anyhow::Result<usize> {
    let snapshot = cluster.snapshot().await?;
    let mut all = 0;
    for (number, shard) in (1..).zip(&cluster.shards) {
        let found = shard.psql(&format!("SELECT k FROM {table}")).await?;
        for key in found.lines() {
            let key = Key::Bigint(key.parse()?);
            let own = format!("shard-{number}");
            same!(owner(&snapshot, &key), Some(own.as_str()), "{key:?}");
            all += 1;
        }
    }
    Ok(all)
}

async fn copied_rows_go_to_the_shards_of_their_keys(cluster: &Cluster) -> Outcome {
    let columns = "v text, k bigint PRIMARY KEY, n int GENERATED ALWAYS AS (7) STORED";
    cluster.create("cp_rows", columns, ("k", "bigint")).await?;
    let router = cluster.router(0)?.address();
    let text = (0..500).map(|k| format!("a\\tb\\\\\t{k}"));
    let csv = (500..1000).map(|k| format!("{k},\"a\n,\"\"{k}\""));
    let head = std::iter::once("k,v".to_owned());
    let mut script = rows("COPY cp_rows FROM STDIN", text);
    let csv_copy = "COPY cp_rows (k, v) FROM STDIN WITH (FORMAT csv, HEADER)";
    script.push_str(&rows(csv_copy, head.chain(csv)));
    router.psql_script(&script).await?;
    same!(by_owner(cluster, "cp_rows").await?, 1000);
    let mut raw = Raw::connect(&router).await?;
    let answer = raw
        .query("SELECT count(*), min(v), max(n) FROM cp_rows")
        .await?;
    same!(answer[1].values()?[0].as_deref(), Some(&b"1000"[..]));
    let one = raw.query("SELECT v FROM cp_rows WHERE k = 700").await?;
    same!(column(&one)?, ["a\n,\"700"]);
    nothing_is_prepared(cluster).await
}

async fn a_copy_that_one_shard_refuses_is_on_none(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster.create("cp_none", columns, ("k", "bigint")).await?;
    let router = cluster.router(0)?.address();
    let all = || (0..300).map(|k| format!("{k}\t{k}"));
    for (last, code) in [
        ("5\t5", "23505"),
        ("777\tx", "22P02"),
        ("x\t1", "22P02"),
        ("\\N\t1", "23502"),
        ("777", "22P04"),
    ] {
        let copy = "\\set VERBOSITY verbose\nCOPY cp_none FROM STDIN";
        let script = rows(copy, all().chain([last.to_owned()]));
        let Err(error) = router.psql_script(&script).await else {
            anyhow::bail!("{last}: taken");
        };
        anyhow::ensure!(error.to_string().contains(code), "{last}: {error}");
        same!(by_owner(cluster, "cp_none").await?, 0, "{last}");
    }
    nothing_is_prepared(cluster).await
}

async fn a_copy_into_a_reference_table_is_on_every_shard(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?.address();
    let create = "/* table_kind = reference */ CREATE TABLE cp_ref (k bigint PRIMARY KEY, v text)";
    router.psql(create).await?;
    let all = (0..300).map(|k| format!("{k}\tx{k}"));
    router
        .psql_script(&rows("COPY cp_ref FROM STDIN", all))
        .await?;
    for shard in &cluster.shards {
        let found = shard.psql("SELECT count(*), sum(k) FROM cp_ref").await?;
        same!(found, "300|44850");
    }
    nothing_is_prepared(cluster).await
}

async fn a_copy_is_a_part_of_its_transaction(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster.create("cp_block", columns, ("k", "bigint")).await?;
    let router = cluster.router(0)?.address();
    let all = || (0..100).map(|k| format!("{k}\t1"));
    let copy = rows("COPY cp_block FROM STDIN", all());
    let mut script = format!("BEGIN;\nTRUNCATE cp_block;\n{copy}ROLLBACK;\n");
    let _written = write!(
        script,
        "BEGIN;\nINSERT INTO cp_block VALUES (1000, 1);\n{copy}"
    );
    script.push_str("UPDATE cp_block SET v = 2 WHERE k < 50;\nCOMMIT;\n");
    router.psql_script(&script).await?;
    same!(by_owner(cluster, "cp_block").await?, 101);
    let mut raw = Raw::connect(&router).await?;
    let answer = raw.query("SELECT sum(v) FROM cp_block").await?;
    same!(column(&answer)?, ["151"]);
    nothing_is_prepared(cluster).await
}
