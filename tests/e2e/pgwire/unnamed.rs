//! INSERTs that do not name their columns end on the shard of their key, with every value where
//! PostgreSQL itself would have put it.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use tests::Cluster;
use tests::raw::{Raw, bind, describe, execute, parse, sync, tags};

use super::{error_of, refused, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        rows_without_column_names_end_on_the_shard_of_their_key,
        every_way_of_sending_them_works,
        fewer_values_leave_the_other_columns_to_their_defaults,
        a_schema_change_is_seen_at_once,
        a_change_behind_the_router_is_an_error_at_most_and_then_seen,
        what_does_not_show_its_key_is_still_refused,
    )
    .into()
}

/// A table whose key is its second column.
async fn create(cluster: &Cluster, table: &str) -> anyhow::Result<[i64; 2]> {
    let columns = "note text, k bigint PRIMARY KEY, \"V 2\" int DEFAULT 7, dropped int";
    cluster.create(table, columns, ("k", "bigint")).await?;
    let router = cluster.router(0)?;
    router
        .psql(&format!("ALTER TABLE {table} DROP COLUMN dropped"))
        .await?;
    Ok([
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    ])
}

async fn on(cluster: &Cluster, shard: &str, table: &str) -> anyhow::Result<String> {
    let sql = format!("SELECT note, k, \"V 2\" FROM {table} ORDER BY note");
    Ok(cluster.shard(shard)?.psql(&sql).await?.replace('\n', " "))
}

async fn rows_without_column_names_end_on_the_shard_of_their_key(cluster: &Cluster) -> Outcome {
    let [here, there] = create(cluster, "unnamed_rows").await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let next = cluster.key_on("shard-2", there + 1).await?;
    for sql in [
        format!("INSERT INTO unnamed_rows VALUES ('a', {here}, 1)"),
        format!(
            "/* c */ insert into public.unnamed_rows as u values ('b', {there}, DEFAULT), ('c', {next}, 3)"
        ),
        format!(
            "INSERT INTO unnamed_rows SELECT note || 'd', k + 0 * \"V 2\", 4 FROM unnamed_rows \
             WHERE k = {there} AND false"
        ),
        format!(
            "WITH gone AS (DELETE FROM unnamed_rows WHERE k = {next} RETURNING note) \
             INSERT INTO unnamed_rows SELECT 'd', k, 4 FROM unnamed_rows WHERE k = {there} \
             ON CONFLICT (k) DO UPDATE SET note = excluded.note RETURNING note"
        ),
    ] {
        let answer = router.query(&sql).await?;
        same!(sqlstate(&answer), None, "{sql}: {answer:?}");
        same!(status(&answer)?, 'I');
    }
    same!(
        on(cluster, "shard-1", "unnamed_rows").await?,
        format!("a|{here}|1")
    );
    same!(
        on(cluster, "shard-2", "unnamed_rows").await?,
        format!("d|{there}|7")
    );
    let scattered = format!("INSERT INTO unnamed_rows VALUES ('x', {here}), ('y', {there})");
    // Each row on its shard, where it is already.
    same!(
        sqlstate(&router.query(&scattered).await?).as_deref(),
        Some("23505")
    );
    Ok(())
}

async fn every_way_of_sending_them_works(cluster: &Cluster) -> Outcome {
    let [here, there] = create(cluster, "unnamed_ways").await?;
    let address = cluster.router(0)?.address();
    let mut raw = Raw::connect(&address).await?;
    let script = format!(
        "BEGIN; INSERT INTO unnamed_ways VALUES ('a', {here}, 1); \
         INSERT INTO unnamed_ways VALUES ('b', {}, 2); COMMIT",
        cluster.key_on("shard-1", here + 1).await?
    );
    let answer = raw.query(&script).await?;
    same!(tags(&answer), "CCCCZ", "{answer:?}");
    let sql = "INSERT INTO unnamed_ways VALUES ($1, $2, $3) RETURNING k";
    let key = there.to_string();
    let values = [Some(&b"c"[..]), Some(key.as_bytes()), None];
    let batch = [
        parse("named", sql, &[]),
        describe(b'S', "named"),
        bind("", "named", false, &values),
        execute("", 0),
        sync(),
    ];
    let answer = raw.exchange(&batch.concat()).await?;
    same!(tags(&answer), "1tT2DCZ", "{answer:?}");
    let client = address.client().await?;
    let next = cluster.key_on("shard-2", there + 1).await?;
    let done = client
        .execute(
            "INSERT INTO unnamed_ways VALUES ($1, $2, 5)",
            &[&"d", &next],
        )
        .await?;
    same!(done, 1);
    let further = cluster.key_on("shard-2", next + 1).await?;
    let body = json!({
        "query": "INSERT INTO unnamed_ways VALUES ($1, $2, $3)",
        "params": ["e", further, 6],
    });
    let answer = cluster.router(0)?.execute(&body).await?;
    same!(answer.expect(200)?["shard_id"], json!("shard-2"));
    let explain = format!("EXPLAIN (ROUTE) INSERT INTO unnamed_ways VALUES ('x', {there})");
    let route = cluster.router(0)?.psql(&explain).await?;
    anyhow::ensure!(route.contains("Route to shard shard-2"), "{route}");
    let found = on(cluster, "shard-2", "unnamed_ways").await?;
    same!(found, format!("c|{there}| d|{next}|5 e|{further}|6"));
    Ok(())
}

async fn fewer_values_leave_the_other_columns_to_their_defaults(cluster: &Cluster) -> Outcome {
    let [here, _] = create(cluster, "unnamed_fewer").await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let answer = router
        .query(&format!("INSERT INTO unnamed_fewer VALUES ('a', {here})"))
        .await?;
    same!(sqlstate(&answer), None, "{answer:?}");
    same!(
        on(cluster, "shard-1", "unnamed_fewer").await?,
        format!("a|{here}|7")
    );
    let sql = format!("INSERT INTO unnamed_fewer VALUES ('a', {here}, 1, 2)");
    let (code, text) = error_of(&router.query(&sql).await?)?;
    same!(
        (&*code, &*text),
        ("42601", "INSERT has more expressions than target columns")
    );
    Ok(())
}

async fn a_schema_change_is_seen_at_once(cluster: &Cluster) -> Outcome {
    let [here, _] = create(cluster, "unnamed_change").await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let next = cluster.key_on("shard-1", here + 1).await?;
    for sql in [
        format!("INSERT INTO unnamed_change VALUES ('a', {here}, 1)"),
        "ALTER TABLE unnamed_change DROP COLUMN \"V 2\", ADD COLUMN b int".to_owned(),
        format!("INSERT INTO unnamed_change VALUES ('b', {next}, 2)"),
    ] {
        same!(sqlstate(&router.query(&sql).await?), None, "{sql}");
    }
    let sql = format!("SELECT b FROM unnamed_change WHERE k = {next}");
    same!(cluster.shard("shard-1")?.psql(&sql).await?, "2");
    Ok(())
}

async fn a_change_behind_the_router_is_an_error_at_most_and_then_seen(
    cluster: &Cluster,
) -> Outcome {
    let [here, _] = create(cluster, "unnamed_behind").await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let insert = |key: i64| format!("INSERT INTO unnamed_behind VALUES ('a', {key}, 1)");
    same!(sqlstate(&router.query(&insert(here)).await?), None);
    for shard in &cluster.shards {
        shard
            .psql("ALTER TABLE unnamed_behind RENAME COLUMN \"V 2\" TO w")
            .await?;
    }
    let next = cluster.key_on("shard-1", here + 1).await?;
    let answer = router.query(&insert(next)).await?;
    // Unless another session has made the router ask again meanwhile.
    if let Some(code) = sqlstate(&answer) {
        same!(code, "42703", "{answer:?}");
        same!(sqlstate(&router.query(&insert(next)).await?), None);
    }
    for shard in &cluster.shards {
        shard
            .psql("ALTER TABLE unnamed_behind ADD COLUMN x int")
            .await?;
    }
    // More values than columns that are known: a shard is asked again before it is sent.
    let last = cluster.key_on("shard-1", next + 1).await?;
    let sql = format!("INSERT INTO unnamed_behind VALUES ('a', {last}, 1, 2)");
    same!(sqlstate(&router.query(&sql).await?), None);
    Ok(())
}

async fn what_does_not_show_its_key_is_still_refused(cluster: &Cluster) -> Outcome {
    let [here, _] = create(cluster, "unnamed_refused").await?;
    let client = cluster.router(0)?.address().client().await?;
    for sql in [
        "INSERT INTO unnamed_refused DEFAULT VALUES".to_owned(),
        "INSERT INTO unnamed_refused VALUES ('a')".to_owned(),
        "INSERT INTO unnamed_refused VALUES ('a', 1 + 1)".to_owned(),
        "INSERT INTO unnamed_refused VALUES ('a', DEFAULT)".to_owned(),
    ] {
        let error = refused(client.simple_query(&sql).await)?;
        same!(error.code().code(), "0A000", "{sql}: {error}");
    }
    // PostgreSQL says what is wrong with it.
    let sql = format!(
        "INSERT INTO unnamed_refused SELECT u.*, 1 FROM unnamed_refused u WHERE k = {here}"
    );
    let error = refused(client.simple_query(&sql).await)?;
    same!(error.code().code(), "42601", "{sql}: {error}");
    let error = refused(
        client
            .simple_query("INSERT INTO unnamed_refused VALUES ('a', NULL)")
            .await,
    )?;
    same!(error.code().code(), "23502");
    Ok(())
}
