//! Shards that differ are seen, and brought to the same schema without anything being dropped.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::program::executable;
use tests::raw::Raw;
use tests::{Cluster, Postgres, http};
use tokio::process::Command;
use tokio::task::JoinSet;

use super::{done, on_each, refused};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        what_shards_differ_in_is_shown_and_repaired,
        commits_that_come_apart_are_seen_and_repaired,
        an_equal_schema_has_no_differences,
    )
    .into()
}

/// A run of shardctl: its exit code and its output.
async fn shardctl(cluster: &Cluster, arguments: &str) -> anyhow::Result<(i32, String)> {
    let output = Command::new(executable("shardctl")?)
        .args(arguments.split(' '))
        .env("SHARDCTL_MANAGER", cluster.manager(0)?.0.grpc())
        .stdin(Stdio::null())
        .output()
        .await?;
    let code = output.status.code().context("an exit code")?;
    let text = String::from_utf8(output.stdout)?;
    anyhow::ensure!(
        code <= 1,
        "{arguments}: {code} {text} {output:?}",
        output = output.stderr
    );
    Ok((code, text))
}

/// `kind name` of each difference.
async fn differences(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let diff = http::get(&cluster.manager(0)?.api("/schema/diff"))
        .await?
        .expect(200)?;
    let found = diff["differences"].as_array().cloned().unwrap_or_default();
    let shown = |it: &Value| {
        format!(
            "{} {}",
            it["kind"].as_str().unwrap_or_default(),
            it["name"].as_str().unwrap_or_default()
        )
    };
    Ok(found.iter().map(shown).collect())
}

/// A schema with one of everything that is compared.
const SCHEMA: &[&str] = &[
    "CREATE SCHEMA app",
    "CREATE TYPE app.mood AS ENUM ('sad', 'ok')",
    "CREATE TYPE app.pair AS (a int, b text)",
    "CREATE DOMAIN app.positive AS int DEFAULT 1 NOT NULL CONSTRAINT above CHECK (VALUE > 0)",
    "CREATE FUNCTION app.twice(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n * 2'",
    "/* shard_key = k */ CREATE TABLE app.orders (k bigint, id int DEFAULT app.twice(3), m app.mood, \
     p app.positive, double int GENERATED ALWAYS AS (id * 2) STORED, \"Odd Name\" text COLLATE \"C\", \
     PRIMARY KEY (k, id), CONSTRAINT fine CHECK (id > 0))",
    "CREATE TABLE app.lines (k bigint, id int, n int, FOREIGN KEY (k, id) REFERENCES app.orders)",
    "CREATE TABLE app.parts (k bigint, at date NOT NULL) PARTITION BY RANGE (at)",
    "CREATE TABLE app.parts_2026 PARTITION OF app.parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    "CREATE INDEX orders_m ON app.orders (m) WHERE id > 5",
    "CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TRIGGER touch BEFORE UPDATE ON app.orders FOR EACH ROW EXECUTE FUNCTION app.touch()",
    "CREATE VIEW app.open AS SELECT k, id FROM app.orders WHERE m = 'ok'",
    "CREATE STATISTICS app.both ON k, id FROM app.orders",
    "ALTER TABLE app.orders ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY all_rows ON app.orders FOR SELECT USING (true)",
    "COMMENT ON TABLE app.orders IS 'what was ordered'",
    "COMMENT ON COLUMN app.orders.m IS 'it''s a mood'",
    "CREATE ROLE diff_reader",
    "GRANT USAGE ON SCHEMA app TO diff_reader",
    "GRANT SELECT ON app.orders TO diff_reader",
];

async fn cluster() -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan {
        shards: 3,
        ..Plan::default()
    })
    .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for sql in SCHEMA {
        done(&mut router, sql).await?;
    }
    Ok(cluster)
}

async fn an_equal_schema_has_no_differences() -> Outcome {
    let cluster = cluster().await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    // A table that is on its home alone is no difference.
    let home = "/* table_kind = unsharded */ CREATE TABLE app.home (a int PRIMARY KEY)";
    done(&mut router, home).await?;
    same!(differences(&cluster).await?, Vec::<String>::new());
    let (code, text) = shardctl(&cluster, "schema diff").await?;
    same!(code, 0, "{text}");
    anyhow::ensure!(text.contains("all the same"), "{text}");
    anyhow::ensure!(text.contains("table app.lines is not registered"), "{text}");
    // The whole of it is made on a shard that has nothing.
    cluster
        .shard("shard-3")?
        .psql("DROP SCHEMA app CASCADE; DROP OWNED BY diff_reader")
        .await?;
    let (code, text) = shardctl(&cluster, "schema repair --from shard-1 --to shard-3").await?;
    same!(code, 0, "{text}");
    same!(differences(&cluster).await?, Vec::<String>::new(), "{text}");
    Ok(())
}

async fn what_shards_differ_in_is_shown_and_repaired() -> Outcome {
    let cluster = cluster().await?;
    let shard = cluster.shard("shard-2")?;
    shard
        .psql("INSERT INTO app.orders (k, id) VALUES (1, 7), (2, 7)")
        .await?;
    for sql in [
        "ALTER TABLE app.orders DROP COLUMN \"Odd Name\"",
        "ALTER TABLE app.orders ALTER id DROP DEFAULT",
        "ALTER TABLE app.orders DROP CONSTRAINT fine",
        "DROP TABLE app.lines",
        "DROP TRIGGER touch ON app.orders",
        "DROP VIEW app.open",
        "DROP INDEX app.orders_m",
        "ALTER TABLE app.orders ADD COLUMN extra int",
        "CREATE OR REPLACE FUNCTION app.twice(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT n + n'",
        "REVOKE SELECT ON app.orders FROM diff_reader",
        "COMMENT ON TABLE app.orders IS NULL",
    ] {
        shard.psql(sql).await?;
    }
    // PostgreSQL leaves an index that is not valid.
    let fails = "CREATE UNIQUE INDEX CONCURRENTLY orders_m ON app.orders (m, id)";
    shard.psql("UPDATE app.orders SET m = 'ok'").await?;
    anyhow::ensure!(shard.psql(fails).await.is_err(), "{fails}");
    shard.psql("DROP INDEX app.orders_m").await?;
    let wanted = [
        "column app.orders.\"Odd Name\"",
        "column app.orders.extra",
        "comment on table app.orders",
        "constraint fine on app.orders",
        "default app.orders.id",
        "function app.twice(integer)",
        "grant on table app.orders to diff_reader",
        "index app.orders_m",
        "table app.lines",
        "trigger touch on app.orders",
        "view app.open",
    ];
    same!(differences(&cluster).await?, wanted);
    let (code, text) = shardctl(&cluster, "schema diff").await?;
    same!(code, 1);
    anyhow::ensure!(text.contains("  shard-2: missing\n"), "{text}");
    let (code, text) = shardctl(&cluster, "--output json schema diff").await?;
    same!(code, 1);
    let diff: Value = serde_json::from_str(&text)?;
    same!(diff["is_equal"], json!(false));
    let dry = "schema repair --from shard-1 --to shard-2 --dry-run";
    let (code, text) = shardctl(&cluster, dry).await?;
    same!(code, 1, "{text}");
    same!(
        differences(&cluster).await?,
        wanted,
        "a dry run changes nothing"
    );
    let (code, text) = shardctl(&cluster, "schema repair --from shard-1 --to shard-2").await?;
    same!(code, 1, "{text}");
    anyhow::ensure!(text.contains("manual: column app.orders.extra"), "{text}");
    anyhow::ensure!(
        text.contains("ALTER TABLE app.orders DROP COLUMN extra"),
        "{text}"
    );
    // What differs and what is too much is left; the rows are all there.
    same!(
        differences(&cluster).await?,
        ["column app.orders.extra", "function app.twice(integer)"],
        "{text}"
    );
    same!(shard.psql("SELECT count(*) FROM app.orders").await?, "2");
    Ok(())
}

/// Has the commits of a server wait for a standby that there is not, and returns once they do: they
/// are told by the checkpointer, some time after the configuration was loaded.
async fn nobody_confirms(server: &Postgres) -> Outcome {
    let never = "ALTER SYSTEM SET synchronous_standby_names = 'nobody'";
    server.psql(never).await?;
    server.psql("SELECT pg_reload_conf()").await?;
    let writer = server.client().await?;
    let waiting = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity \
                   WHERE wait_event = 'SyncRep'";
    let written = "SELECT pg_logical_emit_message(true, 'tests', 'waits')";
    tests::wait::until("a commit that waits", tests::wait::SETTLE, async || {
        let write = writer.batch_execute(written);
        let write = tokio::time::timeout(Duration::from_millis(500), write);
        anyhow::ensure!(write.await.is_err(), "nobody waits");
        Ok(())
    })
    .await?;
    same!(server.psql(waiting).await?, "1");
    tests::wait::until("the end of its wait", tests::wait::SETTLE, async || {
        same!(server.psql(waiting).await?, "0");
        Ok(())
    })
    .await
}

async fn commits_that_come_apart_are_seen_and_repaired() -> Outcome {
    let mut cluster = Cluster::start(Plan::default()).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    done(&mut router, "CREATE TABLE before (k bigint)").await?;
    // The last shard never answers its commit.
    nobody_confirms(cluster.shard("shard-2")?).await?;
    let mut creation = JoinSet::new();
    creation.spawn(async move {
        let refused = refused(&mut router, "CREATE TABLE apart (k bigint)").await;
        (router, refused)
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    tests::wait::until("a commit that waits", tests::wait::SETTLE, || async {
        same!(cluster.shard("shard-2")?.psql(waits).await?, "1");
        Ok(())
    })
    .await?;
    let shard = cluster.shards.last_mut().context("a second shard")?;
    shard.kill().await?;
    let created = creation.join_next().await.context("a creation")?;
    let (_, answer) = created?;
    let (code, message, hint) = answer?;
    same!(code, "08007", "{message}");
    anyhow::ensure!(message.contains("shard-2"), "{message}");
    anyhow::ensure!(hint.contains("shardctl schema diff"), "{hint}");
    let shard = cluster.shards.last_mut().context("a second shard")?;
    shard.restart().await?;
    let shard = cluster.shard("shard-2")?;
    shard
        .psql("ALTER SYSTEM RESET synchronous_standby_names")
        .await?;
    shard.psql("SELECT pg_reload_conf()").await?;
    // It was its own commit that the server has lost, or not: either is settled.
    shard.psql("DROP TABLE IF EXISTS apart").await?;
    same!(differences(&cluster).await?, ["table public.apart"]);
    let (code, text) = shardctl(&cluster, "schema repair --from shard-1 --to shard-2").await?;
    same!(code, 0, "{text}");
    same!(differences(&cluster).await?, Vec::<String>::new());
    same!(
        on_each(&cluster, "SELECT count(*) FROM apart").await?,
        ["0", "0"]
    );
    Ok(())
}
