//! Tables that change under prepared statements: a client never reads rows of another form than it
//! was told of, whichever backend parses its statement later.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::Cluster;
use tests::raw::{Raw, bind, describe, execute, parse, sync, tags};

use super::{column, error_of, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        rows_of_another_form_are_refused_on_the_shard_that_has_them,
        nothing_is_written_whose_answer_has_another_form,
        a_change_through_the_router_reaches_named_and_unnamed_statements,
        another_search_path_is_another_form,
        statements_of_sql_change_too,
    )
    .into()
}

const CHANGED: (&str, &str) = ("0A000", "cached plan must not change result type");

fn run(name: &str, key: i64) -> Vec<u8> {
    let key = key.to_string();
    [
        bind("", name, false, &[Some(key.as_bytes())]),
        execute("", 0),
        sync(),
    ]
    .concat()
}

async fn prepare(raw: &mut Raw, name: &str, sql: &str) -> Outcome {
    let batch = [parse(name, sql, &[20]), describe(b'S', name), sync()].concat();
    let answer = raw.exchange(&batch).await?;
    same!(tags(&answer), "1tTZ", "{sql}: {answer:?}");
    Ok(())
}

async fn is_refused(raw: &mut Raw, batch: &[u8], state: char) -> Outcome {
    let answer = raw.exchange(batch).await?;
    let (code, text) = error_of(&answer)?;
    same!((code.as_str(), text.as_str()), CHANGED);
    // Whoever says it, the router or a shard: drivers know it by the routine.
    let routine = answer.first().and_then(|error| error.fields().remove(&'R'));
    same!(routine.as_deref(), Some("RevalidateCachedQuery"));
    same!(tags(&answer), "EZ", "{answer:?}");
    same!(status(&answer)?, state);
    Ok(())
}

async fn is_answered(raw: &mut Raw, batch: &[u8], wanted: &str) -> Outcome {
    let answer = raw.exchange(batch).await?;
    same!(tags(&answer), "2DCZ", "{answer:?}");
    same!(column(&answer)?, [wanted]);
    Ok(())
}

async fn rows_of_another_form_are_refused_on_the_shard_that_has_them(cluster: &Cluster) -> Outcome {
    cluster
        .create("changed_rows", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let (one, two) = (
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    );
    let mut raw = Raw::connect(&cluster.router(0)?.address()).await?;
    for key in [one, two] {
        raw.query(&format!("INSERT INTO changed_rows (k) VALUES ({key})"))
            .await?;
    }
    let select = "SELECT * FROM changed_rows WHERE k = $1";
    prepare(&mut raw, "s", select).await?;
    is_answered(&mut raw, &run("s", one), &one.to_string()).await?;
    let alter = "ALTER TABLE changed_rows ADD v int";
    cluster.shard("shard-2")?.psql(alter).await?;
    is_refused(&mut raw, &run("s", two), 'I').await?;
    // It stays refused, and fails a transaction.
    is_refused(&mut raw, &run("s", two), 'I').await?;
    raw.query("BEGIN").await?;
    is_refused(&mut raw, &run("s", two), 'E').await?;
    same!(status(&raw.query("ROLLBACK").await?)?, 'I');
    cluster.shard("shard-1")?.psql(alter).await?;
    // What is prepared anew is parsed anew, also by others.
    let mut other = Raw::connect(&cluster.router(0)?.address()).await?;
    for session in [&mut raw, &mut other] {
        prepare(session, "again", select).await?;
        for key in [one, two] {
            is_answered(session, &run("again", key), &key.to_string()).await?;
        }
    }
    Ok(())
}

async fn nothing_is_written_whose_answer_has_another_form(cluster: &Cluster) -> Outcome {
    cluster
        .create("changed_writes", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let (one, two) = (
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    );
    let mut raw = Raw::connect(&cluster.router(0)?.address()).await?;
    let insert = "INSERT INTO changed_writes (k) VALUES ($1) RETURNING *";
    // Whichever shard describes it: the other one differs afterwards.
    prepare(&mut raw, "w", insert).await?;
    is_answered(&mut raw, &run("w", one), &one.to_string()).await?;
    cluster
        .shard("shard-2")?
        .psql("ALTER TABLE changed_writes ADD v int")
        .await?;
    is_refused(&mut raw, &run("w", two), 'I').await?;
    let count = "SELECT count(*) FROM changed_writes";
    same!(cluster.shard("shard-2")?.psql(count).await?, "0");
    Ok(())
}

async fn a_change_through_the_router_reaches_named_and_unnamed_statements(
    cluster: &Cluster,
) -> Outcome {
    cluster
        .create("changed_ddl", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let router = cluster.router(0)?.address();
    let mut raw = Raw::connect(&router).await?;
    let mut keys = Vec::new();
    for shard in ["shard-1", "shard-2"] {
        let key = cluster.key_on(shard, 1).await?;
        raw.query(&format!("INSERT INTO changed_ddl (k) VALUES ({key})"))
            .await?;
        keys.push(key);
    }
    let select = "SELECT * FROM changed_ddl WHERE k = $1";
    for (round, name) in ["", "named"].into_iter().enumerate() {
        prepare(&mut raw, name, select).await?;
        for key in &keys {
            is_answered(&mut raw, &run(name, *key), &key.to_string()).await?;
        }
        let alter = format!("ALTER TABLE changed_ddl ADD v{round} int");
        cluster.router(0)?.psql(&alter).await?;
        for key in &keys {
            is_refused(&mut raw, &run(name, *key), 'I').await?;
        }
    }
    Ok(())
}

async fn another_search_path_is_another_form(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?;
    for sql in [
        "CREATE SCHEMA changed_a",
        "CREATE SCHEMA changed_b",
        "CREATE TABLE changed_a.of_path (a int)",
        "CREATE TABLE changed_b.of_path (a int, b int)",
    ] {
        router.psql(sql).await?;
    }
    for name in ["changed_a.of_path", "changed_b.of_path"] {
        let body = serde_json::json!({ "name": name, "kind": "reference" });
        tests::http::post(&cluster.manager(0)?.api("/tables"), &body)
            .await?
            .expect(201)?;
    }
    cluster.settle().await?;
    let mut raw = Raw::connect(&router.address()).await?;
    raw.query("SET search_path = changed_a").await?;
    let select = "SELECT * FROM of_path WHERE a = $1";
    prepare(&mut raw, "s", select).await?;
    same!(tags(&raw.exchange(&run("s", 1)).await?), "2CZ");
    raw.query("SET search_path = changed_b").await?;
    is_refused(&mut raw, &run("s", 1), 'I').await?;
    raw.query("SET search_path = changed_a").await?;
    let answer = raw.exchange(&run("s", 1)).await?;
    // PostgreSQL itself goes on; a statement that has changed once is to be prepared anew here.
    anyhow::ensure!(
        ["2CZ", "EZ"].contains(&tags(&answer).as_str()),
        "{answer:?}"
    );
    prepare(&mut raw, "t", select).await?;
    same!(tags(&raw.exchange(&run("t", 1)).await?), "2CZ");
    Ok(())
}

async fn statements_of_sql_change_too(cluster: &Cluster) -> Outcome {
    cluster
        .create("changed_sql", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let (one, two) = (
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    );
    let mut raw = Raw::connect(&cluster.router(0)?.address()).await?;
    let prepared = "PREPARE p (bigint) AS SELECT * FROM changed_sql WHERE k = $1";
    same!(tags(&raw.query(prepared).await?), "CZ");
    same!(
        tags(&raw.query(&format!("EXECUTE p ({one})")).await?),
        "TCZ"
    );
    for shard in ["shard-1", "shard-2"] {
        let alter = "ALTER TABLE changed_sql ADD v int";
        cluster.shard(shard)?.psql(alter).await?;
    }
    for key in [two, one] {
        let answer = raw.query(&format!("EXECUTE p ({key})")).await?;
        let (code, text) = error_of(&answer)?;
        same!((code.as_str(), text.as_str()), CHANGED, "{answer:?}");
    }
    Ok(())
}
