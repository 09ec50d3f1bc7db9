//! The HTTP front: statements with typed parameters and typed rows, the way of a key, health.

use std::sync::Arc;

use ::http::Method;
use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::owner;
use tests::{Cluster, http};
use topology::Key;

use crate::suite::{Outcome, Suite, same, shared};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        a_statement_runs_on_the_shard_of_its_key,
        rows_keep_their_types,
        parameters_keep_their_types,
        a_statement_without_rows_says_how_many_it_changed,
        a_key_in_the_statement_is_enough,
        a_key_that_contradicts_the_statement_is_refused,
        a_key_may_be_a_string_or_a_number,
        errors_have_one_form,
        a_request_that_is_no_statement_is_refused,
        a_time_out_of_the_request_is_kept,
        a_body_that_is_too_large_is_refused,
        the_way_of_a_key_is_shown,
        health_paths_answer,
    )
    .into()
}

async fn execute(cluster: &Cluster, body: &Value) -> anyhow::Result<Value> {
    let answer = cluster.router(0)?.execute(body).await?;
    answer
        .expect(200)
        .with_context(|| format!("execute {body}"))
}

fn error<'a>(answer: &'a Value, code: &str) -> anyhow::Result<&'a str> {
    same!(answer["error"]["code"], json!(code), "{answer}");
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    anyhow::ensure!(!message.is_empty(), "no message in {answer}");
    Ok(message)
}

async fn a_statement_runs_on_the_shard_of_its_key(cluster: &Cluster) -> Outcome {
    cluster
        .create("http_runs", "k bigint PRIMARY KEY, v text", ("k", "bigint"))
        .await?;
    for shard in ["shard-1", "shard-2"] {
        let key = cluster.key_on(shard, 1).await?;
        let insert = json!({
            "shard_key": key,
            "query": "INSERT INTO http_runs (k, v) VALUES ($1, $2)",
            "params": [key, "hello"],
        });
        let inserted = execute(cluster, &insert).await?;
        same!(inserted["shard_id"], json!(shard));
        same!(inserted["row_count"], json!(1));
        let select = json!({
            "shard_key": key,
            "query": "SELECT k, v FROM http_runs WHERE k = $1",
            "params": [key],
            "consistency": "strong",
            "options": {},
        });
        let read = execute(cluster, &select).await?;
        same!(read["shard_id"], json!(shard));
        same!(read["rows"], json!([{ "k": key, "v": "hello" }]));
        same!(read["row_count"], json!(1));
        anyhow::ensure!(
            read["latency_ms"].as_f64().is_some_and(|ms| ms > 0.0),
            "{read}"
        );
        let there = cluster
            .shard(shard)?
            .psql("SELECT k FROM http_runs")
            .await?;
        same!(there, key.to_string());
    }
    Ok(())
}

async fn rows_keep_their_types(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, small int2, big int8, yes bool, nothing text, t text, \
        n numeric(30,10), f float8, inf float8, j jsonb, ints int[], texts text[], grid int[][], \
        b bytea, d date, ts timestamp, tz timestamptz, u uuid";
    cluster
        .create("http_types", columns, ("k", "bigint"))
        .await?;
    let insert = "INSERT INTO http_types \
        (k, small, big, yes, nothing, t, n, f, inf, j, ints, texts, grid, b, d, ts, tz, u) VALUES (7, -3, 9223372036854775807, true, NULL, \
        'quote \" and \u{fc}', 12345678901234567890.0123456789, 1.5, 'Infinity', \
        '{\"a\": [1, null, \"x\"]}', '{1,2,NULL}', '{\"a,b\",NULL,\"NULL\"}', '{{1,2},{3,4}}', \
        '\\x00ff10', '2024-02-29', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56+02', \
        '0f8fad5b-d9cb-469f-a165-70867728950e')";
    cluster.router(0)?.psql(insert).await?;
    let body = json!({ "query": "SELECT * FROM http_types WHERE k = $1", "params": [7] });
    let answer = cluster.router(0)?.execute(&body).await?;
    let row = answer.expect(200)?["rows"][0].clone();
    for (column, value) in [
        ("k", json!(7)),
        ("small", json!(-3)),
        ("big", json!(i64::MAX)),
        ("yes", json!(true)),
        ("nothing", Value::Null),
        ("t", json!("quote \" and \u{fc}")),
        ("f", json!(1.5)),
        ("inf", json!("Infinity")),
        ("j", json!({ "a": [1, null, "x"] })),
        ("ints", json!([1, 2, null])),
        ("texts", json!(["a,b", null, "NULL"])),
        ("grid", json!([[1, 2], [3, 4]])),
        ("d", json!("2024-02-29")),
        ("u", json!("0f8fad5b-d9cb-469f-a165-70867728950e")),
    ] {
        same!(row[column], value, "{column}");
    }
    // As a number or as a text, but every digit.
    for digits in ["9223372036854775807", "12345678901234567890.0123456789"] {
        anyhow::ensure!(
            answer.body.contains(digits),
            "{digits} is not in {}",
            answer.body
        );
    }
    same!(row["ts"], json!("2024-02-29T12:34:56.789"));
    let instant = row["tz"].as_str().unwrap_or_default();
    anyhow::ensure!(
        ["2024-02-29T10:34:56Z", "2024-02-29T10:34:56+00:00"].contains(&instant),
        "timestamptz: {instant}"
    );
    let bytes = row["b"].as_str().unwrap_or_default();
    anyhow::ensure!(["\\x00ff10", "AP8Q"].contains(&bytes), "bytea: {bytes}");
    Ok(())
}

async fn parameters_keep_their_types(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, big int8, yes bool, nothing text, t text, n numeric, \
        f float8, j jsonb, ints int[], texts text[], tz timestamptz, u uuid, b bytea";
    cluster
        .create("http_params", columns, ("k", "bigint"))
        .await?;
    let params = json!([
        7,
        i64::MAX,
        true,
        null,
        "it's",
        "123456789012345678901234567890.5",
        0.1,
        { "a": [1, "x"] },
        [1, null, 3],
        ["a,b", "\"", null],
        "2024-02-29T12:34:56Z",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "\\x00ff",
    ]);
    let slots: Vec<String> = (1..=13).map(|n| format!("${n}")).collect();
    let sql = format!(
        "INSERT INTO http_params (k, big, yes, nothing, t, n, f, j, ints, texts, tz, u, b) \
         VALUES ({})",
        slots.join(", ")
    );
    execute(cluster, &json!({ "query": sql, "params": params })).await?;
    let shown = cluster
        .router(0)?
        .psql(
            "SELECT big, yes, nothing IS NULL, t, n, f, j, ints, texts, tz AT TIME ZONE 'UTC', u, b \
             FROM http_params WHERE k = 7",
        )
        .await?;
    let wanted = "9223372036854775807|t|t|it's|123456789012345678901234567890.5|0.1|\
        {\"a\": [1, \"x\"]}|{1,NULL,3}|{\"a,b\",\"\\\"\",NULL}|2024-02-29 12:34:56|\
        0f8fad5b-d9cb-469f-a165-70867728950e|\\x00ff";
    same!(shown, wanted);
    Ok(())
}

async fn a_statement_without_rows_says_how_many_it_changed(cluster: &Cluster) -> Outcome {
    cluster
        .create("http_changed", "k bigint, v int", ("k", "bigint"))
        .await?;
    for (query, count) in [
        (
            "INSERT INTO http_changed (k, v) VALUES (7, 1), (7, 2), (7, 3)",
            3,
        ),
        ("UPDATE http_changed SET v = 0 WHERE k = 7 AND v > 1", 2),
        ("DELETE FROM http_changed WHERE k = 8", 0),
        ("DELETE FROM http_changed WHERE k = 7", 3),
    ] {
        let answer = execute(cluster, &json!({ "query": query })).await?;
        same!(answer["row_count"], json!(count), "{query}");
        same!(answer["rows"], json!([]), "{query}");
    }
    Ok(())
}

async fn a_key_in_the_statement_is_enough(cluster: &Cluster) -> Outcome {
    cluster
        .create("http_enough", "k text PRIMARY KEY", ("k", "text"))
        .await?;
    let snapshot = cluster.snapshot().await?;
    for key in ["anna", "ben", "o'hara", "\u{e9}mile"] {
        let home = owner(&snapshot, &Key::Text(key.into())).context("the ring has vnodes")?;
        let insert = json!({ "query": "INSERT INTO http_enough (k) VALUES ($1)", "params": [key] });
        same!(
            execute(cluster, &insert).await?["shard_id"],
            json!(home),
            "{key}"
        );
    }
    // A key of the API alone decides where the statement shows none.
    let home = owner(&snapshot, &Key::Text("anna".into())).context("the ring has vnodes")?;
    let query = "SELECT count(*) AS all_here FROM http_enough";
    let counted = json!({ "shard_key": "anna", "query": query, "options": { "group": "text" } });
    let answer = execute(cluster, &counted).await?;
    same!(answer["shard_id"], json!(home));
    let here = cluster
        .shard(home)?
        .psql("SELECT count(*) FROM http_enough")
        .await?;
    same!(
        answer["rows"],
        json!([{ "all_here": here.parse::<i64>()? }])
    );
    Ok(())
}

async fn a_key_that_contradicts_the_statement_is_refused(cluster: &Cluster) -> Outcome {
    cluster
        .create("http_mismatch", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let (here, there) = (
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    );
    let body = json!({
        "shard_key": here,
        "query": "INSERT INTO http_mismatch (k) VALUES ($1)",
        "params": [there],
    });
    let answer = cluster.router(0)?.execute(&body).await?;
    anyhow::ensure!(
        answer.status.is_client_error() || answer.status == 501,
        "{answer:?}"
    );
    anyhow::ensure!(!answer.json()?["error"]["message"].is_null(), "{answer:?}");
    for shard in &cluster.shards {
        same!(shard.psql("SELECT count(*) FROM http_mismatch").await?, "0");
    }
    Ok(())
}

async fn a_key_may_be_a_string_or_a_number(cluster: &Cluster) -> Outcome {
    cluster
        .create("http_key", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let big = i64::MAX - 1;
    for key in [json!(big), json!(big.to_string())] {
        let query = "SELECT k FROM http_key WHERE k = $1";
        let body = json!({ "shard_key": key, "query": query, "params": [key] });
        same!(execute(cluster, &body).await?["rows"], json!([]), "{key}");
    }
    for key in [
        json!(1.5),
        json!("x"),
        json!(true),
        json!([1]),
        json!(18_446_744_073_709_551_615_u64),
    ] {
        let body = json!({ "shard_key": key, "query": "SELECT k FROM http_key WHERE k = 1" });
        let answer = cluster.router(0)?.execute(&body).await?;
        error(&answer.expect(400)?, "invalid_argument").with_context(|| key.to_string())?;
    }
    Ok(())
}

async fn errors_have_one_form(cluster: &Cluster) -> Outcome {
    cluster
        .create(
            "http_errors",
            "k bigint PRIMARY KEY, v int",
            ("k", "bigint"),
        )
        .await?;
    execute(
        cluster,
        &json!({ "query": "INSERT INTO http_errors (k, v) VALUES (7, 1)" }),
    )
    .await?;
    for (query, status, code, part) in [
        (
            "INSERT INTO http_errors (k, v) VALUES (7, 1)",
            409,
            "conflict",
            "duplicate key value",
        ),
        (
            "SELECT nowhere FROM http_errors WHERE k = 7",
            400,
            "invalid_argument",
            "nowhere",
        ),
        ("SELEC 1", 400, "invalid_argument", "syntax error"),
        (
            "SELECT v / 0 FROM http_errors WHERE k = 7",
            400,
            "invalid_argument",
            "division by zero",
        ),
        (
            "SELECT a.v FROM http_errors a, http_errors b",
            501,
            "unsupported",
            "",
        ),
        (
            "SELECT * FROM http_errors WHERE k = 'x'",
            400,
            "invalid_argument",
            "invalid input syntax",
        ),
        ("BEGIN", 501, "unsupported", ""),
        ("SELECT 1; SELECT 2", 400, "invalid_argument", ""),
    ] {
        let answer = cluster
            .router(0)?
            .execute(&json!({ "query": query }))
            .await?;
        let body = answer.expect(status).with_context(|| query.to_owned())?;
        let message = error(&body, code).with_context(|| query.to_owned())?;
        anyhow::ensure!(message.contains(part), "{query}: {message}");
    }
    let few = json!({ "query": "SELECT v FROM http_errors WHERE k = $1", "params": [] });
    let answer = cluster.router(0)?.execute(&few).await?;
    error(&answer.expect(400)?, "invalid_argument")?;
    Ok(())
}

async fn a_request_that_is_no_statement_is_refused(cluster: &Cluster) -> Outcome {
    let url = format!("{}/v1/execute", cluster.router(0)?.program.http());
    for body in [
        "",
        "{",
        "[]",
        "{}",
        "{\"query\": 1}",
        "{\"query\": \"SELECT 1\", \"colour\": 1}",
    ] {
        let answer = http::send(Method::POST, &url, Some(body.to_owned())).await?;
        let answer = answer
            .expect(400)
            .with_context(|| format!("body {body:?}"))?;
        error(&answer, "invalid_argument")?;
    }
    let wrong = json!({ "query": "SELECT 1", "consistency": "sometimes" });
    error(
        &http::post(&url, &wrong).await?.expect(400)?,
        "invalid_argument",
    )?;
    error(&http::get(&url).await?.expect(405)?, "method_not_allowed")?;
    let nowhere = format!("{}/v1/nowhere", cluster.router(0)?.program.http());
    error(&http::get(&nowhere).await?.expect(404)?, "not_found")?;
    Ok(())
}

async fn a_time_out_of_the_request_is_kept(cluster: &Cluster) -> Outcome {
    cluster
        .create("http_slow", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    execute(
        cluster,
        &json!({ "query": "INSERT INTO http_slow (k) VALUES (7)" }),
    )
    .await?;
    let slow = json!({
        "query": "SELECT pg_sleep(60) FROM http_slow WHERE k = 7",
        "options": { "timeout_ms": 300 },
    });
    let answer = cluster.router(0)?.execute(&slow).await?;
    error(&answer.expect(504)?, "timeout")?;
    // The statement ends on the shard, too.
    let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE \
                   '%http_slow%' AND pid <> pg_backend_pid()";
    tests::wait::until("end of the statement", tests::wait::SETTLE, async || {
        for shard in &cluster.shards {
            same!(shard.psql(running).await?, "0");
        }
        Ok(())
    })
    .await
}

async fn a_body_that_is_too_large_is_refused(cluster: &Cluster) -> Outcome {
    let body = json!({ "query": "SELECT 1", "params": ["x".repeat(128 << 20)] });
    // The router need not read a body that it refuses, so the connection may end first.
    if let Ok(answer) = cluster.router(0)?.execute(&body).await {
        anyhow::ensure!(answer.status == 413, "{:?}", answer.status);
    }
    same!(
        execute(cluster, &json!({ "query": "SELECT 1 AS one" })).await?["row_count"],
        json!(1)
    );
    Ok(())
}

async fn the_way_of_a_key_is_shown(cluster: &Cluster) -> Outcome {
    cluster
        .create("http_way", "k uuid PRIMARY KEY", ("k", "uuid"))
        .await?;
    let snapshot = cluster.snapshot().await?;
    let base = format!("{}/v1/shard-for-key", cluster.router(0)?.program.http());
    for key in [0_i64, 1, -1, i64::MAX, i64::MIN, 123_456_789] {
        let answer = http::get(&format!("{base}?key={key}")).await?.expect(200)?;
        let key = Key::Bigint(key);
        let home = owner(&snapshot, &key).context("the ring has vnodes")?;
        same!(answer["shard_id"], json!(home), "{key:?}");
    }
    let uuid = uuid::Uuid::from_bytes([9; 16]);
    let home = owner(&snapshot, &Key::Uuid(*uuid.as_bytes())).context("the ring has vnodes")?;
    let answer = http::get(&format!("{base}?key={uuid}&group=uuid"))
        .await?
        .expect(200)?;
    same!(answer["shard_id"], json!(home));
    for query in ["?key=abc", ""] {
        let answer = http::get(&format!("{base}{query}")).await?;
        error(
            &answer.expect(400).with_context(|| query.to_owned())?,
            "invalid_argument",
        )?;
    }
    let nowhere = http::get(&format!("{base}?key=1&group=nowhere")).await?;
    anyhow::ensure!(nowhere.status.is_client_error(), "{nowhere:?}");
    anyhow::ensure!(
        nowhere.json()?["error"]["message"].is_string(),
        "{nowhere:?}"
    );
    Ok(())
}

async fn health_paths_answer(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?.program.http();
    let manager = cluster.manager(0)?.0.http();
    for base in [&router, &manager] {
        let health = http::get(&format!("{base}/v1/health")).await?.expect(200)?;
        same!(health["status"], json!("healthy"));
        anyhow::ensure!(health["version"].is_string(), "{health}");
        for path in ["/healthz", "/readyz"] {
            same!(
                http::get(&format!("{base}{path}")).await?.status.as_u16(),
                200,
                "{base}{path}"
            );
        }
    }
    same!(http::get(&format!("{router}/health")).await?.body, "OK");
    same!(http::get(&format!("{router}/")).await?.status.as_u16(), 200);
    Ok(())
}
