//! Drivers of Rust: sqlx and tokio-postgres.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{SinkExt as _, TryStreamExt as _, future};
use libtest_mimic::Trial;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{Executor as _, Row as _};
use tests::{Cluster, http};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::suite::{Outcome, Suite, same, shared};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        sqlx_reads_and_writes_through_a_pool,
        sqlx_transactions_are_committed_and_rolled_back,
        sqlx_reads_refusals_as_errors_and_goes_on,
        tokio_postgres_pipelines_queries,
        tokio_postgres_transactions_have_savepoints,
        tokio_postgres_copies_in_and_out,
        tokio_postgres_cancels_a_statement,
        tokio_postgres_prepares_by_type_and_listens,
    )
    .into()
}

/// A table and a key of each shard.
async fn create(cluster: &Cluster, table: &str) -> anyhow::Result<[i64; 2]> {
    let columns = "k bigint PRIMARY KEY, name text, n int, at timestamptz DEFAULT now()";
    cluster.create(table, columns, ("k", "bigint")).await?;
    Ok([
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    ])
}

async fn pool(cluster: &Cluster) -> anyhow::Result<PgPool> {
    let address = cluster.router(0)?.address();
    let options = PgConnectOptions::new()
        .host("127.0.0.1")
        .port(address.port)
        .username(&address.user)
        .database(&address.database)
        .ssl_mode(PgSslMode::Disable);
    let pool = PgPoolOptions::new().max_connections(4);
    Ok(pool.connect_with(options).await?)
}

async fn sqlx_reads_and_writes_through_a_pool(cluster: &Cluster) -> Outcome {
    let keys = create(cluster, "rs_sqlx").await?;
    let pool = pool(cluster).await?;
    // The same statement prepared once goes to either shard, on whichever connection.
    for round in 0..8_i32 {
        for key in keys {
            let done = sqlx::query("INSERT INTO rs_sqlx VALUES ($1, $2, $3) ON CONFLICT (k) DO UPDATE SET n = excluded.n")
                .bind(key)
                .bind(format!("row {key}"))
                .bind((round > 0).then_some(round))
                .execute(&pool)
                .await?;
            same!(done.rows_affected(), 1);
        }
    }
    for key in keys {
        let row =
            sqlx::query("SELECT k, name, n, at IS NOT NULL AS dated FROM rs_sqlx WHERE k = $1")
                .bind(key)
                .fetch_one(&pool)
                .await?;
        same!(row.try_get::<i64, _>("k")?, key);
        same!(row.try_get::<String, _>("name")?, format!("row {key}"));
        same!(row.try_get::<Option<i32>, _>("n")?, Some(7));
        same!(row.try_get::<bool, _>("dated")?, true);
    }
    let [here, _] = keys;
    let row: (i64, Option<String>) =
        sqlx::query_as("SELECT k, name FROM rs_sqlx WHERE k = ANY($1)")
            .bind(vec![here])
            .fetch_one(&pool)
            .await?;
    same!(row, (here, Some(format!("row {here}"))));
    let none = sqlx::query("SELECT k FROM rs_sqlx WHERE k = $1 AND n = $2")
        .bind(here)
        .bind(-1)
        .fetch_optional(&pool)
        .await?;
    anyhow::ensure!(none.is_none(), "a row that is not there");
    let rows: Vec<i64> = sqlx::query_scalar::<sqlx::Postgres, i64>(
        "SELECT g + 0 * k FROM rs_sqlx, generate_series(1, 5000) g WHERE k = $1 ORDER BY 1",
    )
    .bind(here)
    .fetch(&pool)
    .try_collect()
    .await?;
    same!((rows.len(), rows.last().copied()), (5_000, Some(5_000)));
    pool.close().await;
    Ok(())
}

async fn sqlx_transactions_are_committed_and_rolled_back(cluster: &Cluster) -> Outcome {
    let [here, there] = create(cluster, "rs_sqlx_tx").await?;
    let pool = pool(cluster).await?;
    let insert = "INSERT INTO rs_sqlx_tx (k, n) VALUES ($1, $2)";
    for (key, commits) in [(here, true), (there, false)] {
        let mut transaction = pool.begin().await?;
        sqlx::query(insert)
            .bind(key)
            .bind(1)
            .execute(&mut *transaction)
            .await?;
        let mut nested = sqlx::Acquire::begin(&mut *transaction).await?;
        sqlx::query("UPDATE rs_sqlx_tx SET n = 9 WHERE k = $1")
            .bind(key)
            .execute(&mut *nested)
            .await?;
        nested.rollback().await?;
        if commits {
            transaction.commit().await?;
        }
    }
    for (key, wanted) in [(here, Some(1)), (there, None)] {
        let found: Option<i32> = sqlx::query_scalar("SELECT n FROM rs_sqlx_tx WHERE k = $1")
            .bind(key)
            .fetch_optional(&pool)
            .await?;
        same!(found, wanted);
    }
    pool.close().await;
    Ok(())
}

async fn sqlx_reads_refusals_as_errors_and_goes_on(cluster: &Cluster) -> Outcome {
    let [here, there] = create(cluster, "rs_sqlx_no").await?;
    let pool = pool(cluster).await?;
    let code = |error: sqlx::Error| {
        let error = error
            .into_database_error()
            .context("no error of the server")?;
        anyhow::Ok(error.code().unwrap_or_default().into_owned())
    };
    for _ in 0..3 {
        let wide = sqlx::query("SELECT count(*) FROM rs_sqlx_no a, rs_sqlx_no b")
            .fetch_one(&pool)
            .await;
        same!(code(wide.err().context("it was run")?)?, "0A000");
        let two = sqlx::query("SELECT n FROM rs_sqlx_no WHERE k = ANY($1)")
            .bind(vec![here, there])
            .fetch_all(&pool)
            .await?;
        same!(two.len(), 0);
        let one: i32 = sqlx::query_scalar("SELECT 1").fetch_one(&pool).await?;
        same!(one, 1);
    }
    let insert = "INSERT INTO rs_sqlx_no (k) VALUES ($1)";
    sqlx::query(insert).bind(here).execute(&pool).await?;
    let twice = sqlx::query(insert).bind(here).execute(&pool).await;
    same!(code(twice.err().context("it was run")?)?, "23505");
    let script = pool.execute("BEGIN; SELECT 1; COMMIT").await?;
    same!(script.rows_affected(), 1);
    pool.close().await;
    Ok(())
}

async fn tokio_postgres_pipelines_queries(cluster: &Cluster) -> Outcome {
    let keys = create(cluster, "rs_pipe").await?;
    let client = cluster.router(0)?.client().await?;
    let insert = client
        .prepare("INSERT INTO rs_pipe VALUES ($1, $2, $3)")
        .await?;
    let select = client.prepare("SELECT n FROM rs_pipe WHERE k = $1").await?;
    let rows = keys.map(|key| (key, format!("row {key}"), 5_i32));
    let inserts = rows.iter().map(|(key, name, n)| {
        let (client, insert) = (&client, &insert);
        async move { client.execute(insert, &[key, name, n]).await }
    });
    same!(future::try_join_all(inserts).await?, [1, 1]);
    // All are sent before the first is answered, and their shards alternate.
    let alternating: Vec<i64> = keys.into_iter().cycle().take(60).collect();
    let selects = alternating.iter().map(|key| {
        let (client, select) = (&client, &select);
        async move { client.query_one(select, &[key]).await }
    });
    for row in future::try_join_all(selects).await? {
        same!(row.try_get::<_, i32>(0)?, 5);
    }
    Ok(())
}

async fn tokio_postgres_transactions_have_savepoints(cluster: &Cluster) -> Outcome {
    let [here, there] = create(cluster, "rs_tx").await?;
    let mut client = cluster.router(0)?.client().await?;
    let mut transaction = client.transaction().await?;
    let insert = "INSERT INTO rs_tx (k, n) VALUES ($1, $2)";
    transaction.execute(insert, &[&here, &1]).await?;
    let savepoint = transaction.savepoint("a").await?;
    savepoint.execute(insert, &[&there, &1]).await?;
    let again = savepoint.execute(insert, &[&there, &1]).await;
    let error = again.err().context("the key was inserted twice")?;
    same!(error.code().map(SqlState::code), Some("23505"));
    savepoint.rollback().await?;
    transaction.commit().await?;
    let row = client
        .query_opt("SELECT n FROM rs_tx WHERE k = $1", &[&there])
        .await?;
    anyhow::ensure!(row.is_none(), "it was rolled back on the second shard");
    let transaction = client.transaction().await?;
    transaction
        .execute("DELETE FROM rs_tx WHERE k = $1", &[&here])
        .await?;
    drop(transaction);
    let row = client
        .query_one("SELECT n FROM rs_tx WHERE k = $1", &[&here])
        .await?;
    same!(row.try_get::<_, i32>(0)?, 1);
    Ok(())
}

async fn tokio_postgres_copies_in_and_out(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?;
    router.psql("CREATE TABLE rs_copy (id int, v text)").await?;
    let body = json!({ "name": "rs_copy", "kind": "unsharded", "shard_id": "shard-2" });
    http::post(&cluster.manager(0)?.api("/tables"), &body)
        .await?
        .expect(201)?;
    cluster.settle().await?;
    let client = router.client().await?;
    let sink = client.copy_in("COPY rs_copy FROM STDIN").await?;
    tokio::pin!(sink);
    let text: String = (0..2_000).map(|id| format!("{id}\trow {id}\n")).collect();
    sink.send(Bytes::from(text.clone())).await?;
    same!(sink.finish().await?, 2_000);
    let out = client
        .copy_out("COPY (SELECT * FROM rs_copy ORDER BY id) TO STDOUT")
        .await?;
    let chunks: Vec<Bytes> = out.try_collect().await?;
    same!(chunks.concat(), text.into_bytes());
    let given_up = client
        .copy_in::<_, Bytes>("COPY rs_copy FROM STDIN")
        .await?;
    drop(given_up);
    let row = client
        .query_one("SELECT count(*) FROM rs_copy", &[])
        .await?;
    same!(row.try_get::<_, i64>(0)?, 2_000);
    Ok(())
}

async fn tokio_postgres_cancels_a_statement(cluster: &Cluster) -> Outcome {
    let [here, _] = create(cluster, "rs_cancel").await?;
    let client = cluster.router(0)?.client().await?;
    client
        .execute("INSERT INTO rs_cancel (k) VALUES ($1)", &[&here])
        .await?;
    let token = client.cancel_token();
    let key: [&(dyn ToSql + Sync); 1] = [&here];
    let sleep = client.query("SELECT pg_sleep(60) FROM rs_cancel WHERE k = $1", &key);
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        token.cancel_query(NoTls).await
    };
    let (slept, cancelled) = tokio::join!(sleep, cancel);
    cancelled?;
    let error = slept.err().context("it slept to the end")?;
    same!(error.code().map(SqlState::code), Some("57014"));
    client
        .query_one("SELECT k FROM rs_cancel WHERE k = $1", &[&here])
        .await?;
    Ok(())
}

async fn tokio_postgres_prepares_by_type_and_listens(cluster: &Cluster) -> Outcome {
    let [here, _] = create(cluster, "rs_typed").await?;
    let client = cluster.router(0)?.client().await?;
    let insert = "INSERT INTO rs_typed VALUES ($1, $2, $3)";
    let insert = client
        .prepare_typed(insert, &[Type::INT8, Type::TEXT])
        .await?;
    same!(insert.params(), [Type::INT8, Type::TEXT, Type::INT4]);
    client.execute(&insert, &[&here, &"x", &3]).await?;
    // A smaller integer is the same key.
    let by_int4 = "SELECT name FROM rs_typed WHERE k = $1";
    let by_int4 = client.prepare_typed(by_int4, &[Type::INT4]).await?;
    let row = client.query_one(&by_int4, &[&i32::try_from(here)?]).await?;
    same!(row.try_get::<_, &str>(0)?, "x");
    client.batch_execute("LISTEN a; UNLISTEN a").await?;
    let rows = client.simple_query("SELECT 1 AS a; SELECT 2").await?;
    let values = rows.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    same!(values.collect::<Vec<_>>(), ["1", "2"]);
    Ok(())
}
