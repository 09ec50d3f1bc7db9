//! INSERT of a query's rows that belong to several shards.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::owner;
use tests::raw::{Raw, bind, describe, execute, parse, sync, tags};
use tests::{Cluster, Postgres, http};
use topology::Key;

use super::{all, nothing_is_prepared};
use crate::differential::Answer;
use crate::pgwire::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        an_insert_of_a_query_does_what_one_server_does,
        rows_of_a_query_go_to_the_shards_of_their_keys,
        an_insert_of_a_query_takes_parameters,
        an_insert_of_a_query_is_a_part_of_its_transaction,
        volatile_functions_run_once_for_each_row,
        an_insert_of_a_query_is_called_off,
        long_rows_are_inserted_few_at_a_time,
        other_fronts_say_where_such_an_insert_runs,
    )
    .into()
}

/// Statements, one a line; what a router refuses stands behind a word that says so.
const STATEMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/transactions/pulled.sql");

/// The tables, and what of them is the same on one server.
const TABLES: [(&str, &str); 7] = [
    ("pu", "one"),
    ("pu_text", "one"),
    ("pu_uuid", "one"),
    ("pu_small", "one"),
    ("pu_types", "one"),
    ("pu_odd", "one"),
    ("pu_ids", "k, v"),
];

/// The rows of a table on all of these servers.
async fn rows(
    servers: &[&Postgres],
    (table, columns): (&str, &str),
) -> anyhow::Result<Vec<String>> {
    let sql = format!("SELECT {columns} FROM {table} one");
    let mut rows = Vec::new();
    for server in servers {
        let found = server.psql(&sql).await?;
        rows.extend(found.lines().map(str::to_owned));
    }
    rows.sort();
    Ok(rows)
}

async fn an_insert_of_a_query_does_what_one_server_does(cluster: &Cluster) -> Outcome {
    let single = Postgres::start().await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut server = Raw::connect(&single.address()).await?;
    let mut different = Vec::new();
    for sql in std::fs::read_to_string(STATEMENTS)?.lines() {
        if let Some(sql) = sql.strip_prefix("refused ") {
            let answer = router.query(sql).await?;
            let (code, text) = error_of(&answer).with_context(|| sql.to_owned())?;
            same!(code, "0A000", "{sql}: {text}");
            continue;
        }
        let told = router.query(sql).await?;
        let wanted = server.query(sql).await?;
        let are_alike =
            status(&told)? == status(&wanted)? && Answer::of(&told)? == Answer::of(&wanted)?;
        if !are_alike {
            different.push(format!("{sql}\n  is: {told:?}\n  should be: {wanted:?}"));
        }
    }
    anyhow::ensure!(different.is_empty(), "{}", different.join("\n"));
    let shards: Vec<&Postgres> = cluster.shards.iter().collect();
    for table in TABLES {
        let (found, wanted) = (rows(&shards, table).await?, rows(&[&single], table).await?);
        let differs = found.iter().zip(&wanted).find(|(one, other)| one != other);
        same!(differs, None, "{table:?}");
        same!(found.len(), wanted.len(), "{table:?}");
    }
    let snapshot = cluster.snapshot().await?;
    for (number, shard) in (1..).zip(&cluster.shards) {
        let own = format!("shard-{number}");
        for key in shard.psql("SELECT k FROM pu").await?.lines() {
            let key = Key::Bigint(key.parse()?);
            same!(owner(&snapshot, &key), Some(own.as_str()), "{key:?}");
        }
        for key in shard.psql("SELECT k FROM pu_uuid").await?.lines() {
            let key = Key::from_text(topology::KeyType::Uuid, key.as_bytes())?;
            same!(owner(&snapshot, &key), Some(own.as_str()), "{key:?}");
        }
    }
    nothing_is_prepared(cluster).await
}

async fn rows_of_a_query_go_to_the_shards_of_their_keys(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v text";
    cluster.create("pu_many", columns, ("k", "bigint")).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let sql = "INSERT INTO pu_many SELECT g, 'x' || g FROM generate_series(1, 100000) g";
    same!(router.query(sql).await?[0].text(), "INSERT 0 100000");
    // It does not see its own rows, however many pages they are.
    let sql = "INSERT INTO pu_many SELECT k + 100000, v FROM pu_many";
    same!(router.query(sql).await?[0].text(), "INSERT 0 100000");
    for sql in ["BEGIN", "UPDATE pu_many SET v = 'y' WHERE k = 1"] {
        same!(sqlstate(&router.query(sql).await?), None);
    }
    let sql = "INSERT INTO pu_many SELECT k + 200000, v FROM pu_many";
    same!(router.query(sql).await?[0].text(), "INSERT 0 200000");
    router.query("COMMIT").await?;
    let sql = "SELECT count(*), count(DISTINCT k), min(k), max(k) FROM pu_many";
    let answer = router.query(sql).await?;
    let values = answer[1].values()?;
    let values: Vec<_> = values
        .iter()
        .flatten()
        .map(|it| String::from_utf8_lossy(it))
        .collect();
    same!(values, ["400000", "400000", "1", "400000"]);
    let sql = "SELECT k FROM pu_many WHERE v = 'y' ORDER BY k";
    same!(column(&router.query(sql).await?)?, ["1", "200001"]);
    for shard in &cluster.shards {
        let own: usize = shard.psql("SELECT count(*) FROM pu_many").await?.parse()?;
        anyhow::ensure!(own > 100_000, "{own} rows on a shard");
    }
    let answer = router
        .query("EXPLAIN (ROUTE) INSERT INTO pu_many SELECT g, 'x' FROM generate_series(1, 9) g")
        .await?;
    let lines = column(&answer)?;
    same!(lines[0], "Insert on up to 2 shards", "{lines:?}");
    nothing_is_prepared(cluster).await
}

async fn an_insert_of_a_query_takes_parameters(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int, w text";
    cluster
        .create("pu_params", columns, ("k", "bigint"))
        .await?;
    let client = cluster.router(0)?.client().await?;
    let sql = "INSERT INTO pu_params (k, v, w) SELECT g + $1, $2, $3 || g \
               FROM generate_series(1, 300) g";
    let statement = client.prepare(sql).await?;
    for from in [0_i32, 1000] {
        let inserted = client.execute(&statement, &[&from, &7_i32, &"a"]).await?;
        same!(inserted, 300);
    }
    let sql = "INSERT INTO pu_params (k, v) SELECT g, 1 FROM unnest($1::bigint[]) g \
               ON CONFLICT (k) DO UPDATE SET v = pu_params.v + $2 RETURNING k, v";
    let keys: Vec<i64> = (295..=305).collect();
    let rows = client.query(sql, &[&keys, &5_i32]).await?;
    let found: Vec<(i64, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let wanted = keys
        .iter()
        .map(|key| (*key, if *key <= 300 { 12 } else { 1 }));
    same!(found, wanted.collect::<Vec<_>>());
    // What is described is what comes.
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let sql = "INSERT INTO pu_params (k, w) SELECT g, $1 FROM generate_series(2001, 2009) g";
    for (sql, described, ran) in [
        (sql.to_owned(), "12nCZ", "2CZ"),
        (
            format!("{sql} RETURNING w"),
            "12TDDDDDDDDDCZ",
            "2DDDDDDDDDCZ",
        ),
    ] {
        let batch = [
            parse("s", &sql, &[]),
            bind("", "s", false, &[Some(b"p")]),
            describe(b'P', ""),
            execute("", 0),
            sync(),
        ];
        let answer = router.exchange(&batch.concat()).await?;
        same!(tags(&answer), described, "{answer:?}");
        router.query("DELETE FROM pu_params WHERE k > 2000").await?;
        let batch = [bind("", "s", false, &[None]), execute("", 0), sync()];
        let answer = router.exchange(&batch.concat()).await?;
        same!(tags(&answer), ran, "{answer:?}");
        router.query("DELETE FROM pu_params WHERE k > 2000").await?;
        router.query("DEALLOCATE s").await?;
    }
    // PREPARE of SQL, and a parameter that nobody gives.
    router
        .query("PREPARE p (int) AS INSERT INTO pu_params (k) SELECT g + $1 FROM generate_series(1, 9) g")
        .await?;
    same!(
        router.query("EXECUTE p('3000')").await?[0].text(),
        "INSERT 0 9"
    );
    let missing = "INSERT INTO pu_params (k) SELECT g + $1 FROM generate_series(1, 9) g";
    same!(
        sqlstate(&router.query(missing).await?).as_deref(),
        Some("42P02")
    );
    nothing_is_prepared(cluster).await
}

async fn an_insert_of_a_query_is_a_part_of_its_transaction(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster.create("pu_part", columns, ("k", "bigint")).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let rows = |from: i64, to: i64| {
        format!("INSERT INTO pu_part SELECT g, 1 FROM generate_series({from}, {to}) g")
    };
    let statements = [
        ("BEGIN".to_owned(), 'T'),
        (rows(1, 50), 'T'),
        ("SAVEPOINT a".to_owned(), 'T'),
        (rows(50, 90), 'E'),
        ("ROLLBACK TO SAVEPOINT a".to_owned(), 'T'),
        (rows(51, 90), 'T'),
        ("COMMIT".to_owned(), 'I'),
        ("BEGIN".to_owned(), 'T'),
        (rows(91, 190), 'T'),
        ("ROLLBACK".to_owned(), 'I'),
        (rows(85, 99), 'I'),
    ];
    all(&mut router, &statements).await?;
    let count = "SELECT count(*) FROM pu_part";
    same!(column(&router.query(count).await?)?, ["90"]);
    router
        .query("SET sharding.cross_shard_writes = off")
        .await?;
    let (code, text) = error_of(&router.query(&rows(100, 199)).await?)?;
    same!(code, "0A000", "{text}");
    anyhow::ensure!(text.contains("cross_shard_writes"), "{text}");
    same!(column(&router.query(count).await?)?, ["90"]);
    // All rows are for one shard.
    let one = cluster.key_on("shard-1", 1000).await?;
    let sql = format!("INSERT INTO pu_part SELECT g, 1 FROM generate_series({one}, {one}) g");
    same!(router.query(&sql).await?[0].text(), "INSERT 0 1");
    nothing_is_prepared(cluster).await
}

async fn volatile_functions_run_once_for_each_row(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, r float8, u uuid, n timestamptz, c timestamptz";
    cluster.create("pu_once", columns, ("k", "bigint")).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let sql = "INSERT INTO pu_once SELECT (random() * 1e15)::numeric, random(), \
               gen_random_uuid(), now(), clock_timestamp() FROM generate_series(1, 2000)";
    let answer = router.query(sql).await?;
    same!(answer[0].text(), "INSERT 0 2000", "{answer:?}");
    let sql = "SELECT count(DISTINCT r), count(DISTINCT u), count(DISTINCT n), \
               count(DISTINCT c) > 100 FROM pu_once";
    let answer = router.query(sql).await?;
    let values = answer[1].values()?;
    let values: Vec<_> = values
        .iter()
        .flatten()
        .map(|it| String::from_utf8_lossy(it))
        .collect();
    same!(values, ["2000", "2000", "1", "t"]);
    Ok(())
}

async fn an_insert_of_a_query_is_called_off(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster.create("pu_off", columns, ("k", "bigint")).await?;
    let address = cluster.router(0)?.address();
    let client = address.client().await?;
    let token = client.cancel_token();
    let slow = "INSERT INTO pu_off SELECT g, 1 FROM (SELECT g, pg_sleep(0.02) \
                FROM generate_series(1, 5000) g) s";
    let (ended, told) = tokio::join!(client.simple_query(slow), async {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        token.cancel_query(tokio_postgres::NoTls).await
    });
    told?;
    same!(crate::pgwire::refused(ended)?.code().code(), "57014");
    let sql = "INSERT INTO pu_off SELECT g, 1 FROM generate_series(1, 200) g";
    same!(client.execute(sql, &[]).await?, 200);
    // Within a block, by PostgreSQL itself, and by a client that leaves.
    let mut router = Raw::connect(&address).await?;
    router.query("BEGIN").await?;
    router
        .query("SET LOCAL statement_timeout = '200ms'")
        .await?;
    let answer = router.query(slow).await?;
    same!(sqlstate(&answer).as_deref(), Some("57014"));
    same!(status(&answer)?, 'E');
    router.query("ROLLBACK").await?;
    let mut left = Raw::connect(&address).await?;
    left.send(&tests::raw::query(slow)).await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    drop(left);
    same!(
        column(&router.query("SELECT count(*) FROM pu_off").await?)?,
        ["200"]
    );
    nothing_is_prepared(cluster).await
}

async fn long_rows_are_inserted_few_at_a_time(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v text";
    cluster.create("pu_long", columns, ("k", "bigint")).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let sql = "INSERT INTO pu_long SELECT g, repeat('x', 400000) FROM generate_series(1, 200) g";
    same!(router.query(sql).await?[0].text(), "INSERT 0 200");
    let sql =
        "INSERT INTO pu_long SELECT g, repeat('x', 17000000) FROM generate_series(201, 203) g";
    let (code, text) = error_of(&router.query(sql).await?)?;
    same!(code, "54000", "{text}");
    let sql = "SELECT count(*), sum(length(v)) FROM pu_long";
    same!(column(&router.query(sql).await?)?, ["200"]);
    Ok(())
}

async fn other_fronts_say_where_such_an_insert_runs(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster.create("pu_http", columns, ("k", "bigint")).await?;
    let sql = "INSERT INTO pu_http (k, v) SELECT g, 1 FROM generate_series(1, 9) g";
    let url = format!("{}/v1/execute", cluster.router(0)?.program.http());
    let answer = http::post(&url, &json!({ "query": sql })).await?;
    anyhow::ensure!(answer.body.contains("Postgres front"), "{}", answer.body);
    for shard in &cluster.shards {
        same!(shard.psql("SELECT count(*) FROM pu_http").await?, "0");
    }
    Ok(())
}
