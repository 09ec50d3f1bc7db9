//! DDL goes to every shard or to none; reference and unsharded tables are where they belong.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use tests::raw::{Raw, tags};
use tests::{Cluster, http};

use super::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        ddl_reaches_every_shard,
        ddl_that_one_shard_refuses_is_done_on_none,
        ddl_is_answered_once,
        ddl_that_would_break_the_sharding_is_refused,
        a_reference_table_is_read_on_any_shard_and_joined,
        an_unsharded_table_lives_on_its_home_shard,
    )
    .into()
}

async fn ddl_reaches_every_shard(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for (sql, probe, wanted) in [
        (
            "CREATE TABLE ddl_all (k bigint PRIMARY KEY)",
            "SELECT count(*) FROM ddl_all",
            "0",
        ),
        (
            "ALTER TABLE ddl_all ADD COLUMN v int NOT NULL DEFAULT 3",
            "SELECT column_default FROM information_schema.columns \
             WHERE table_name = 'ddl_all' AND column_name = 'v'",
            "3",
        ),
        (
            "CREATE INDEX ddl_all_v ON ddl_all (v)",
            "SELECT to_regclass('ddl_all_v')",
            "ddl_all_v",
        ),
        (
            "COMMENT ON TABLE ddl_all IS 'a table'",
            "SELECT obj_description('ddl_all'::regclass)",
            "a table",
        ),
        (
            "CREATE SCHEMA ddl_schema",
            "SELECT to_regnamespace('ddl_schema')",
            "ddl_schema",
        ),
        (
            "DROP SCHEMA ddl_schema",
            "SELECT to_regnamespace('ddl_schema') IS NULL",
            "t",
        ),
        (
            "DROP TABLE ddl_all",
            "SELECT to_regclass('ddl_all') IS NULL",
            "t",
        ),
    ] {
        let answer = router.query(sql).await?;
        same!(tags(&answer), "CZ", "{sql}: {answer:?}");
        for shard in &cluster.shards {
            same!(shard.psql(probe).await?, wanted, "{sql}");
        }
    }
    Ok(())
}

async fn ddl_that_one_shard_refuses_is_done_on_none(cluster: &Cluster) -> Outcome {
    cluster
        .shard("shard-2")?
        .psql("CREATE TABLE ddl_half (a int)")
        .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let answer = router.query("CREATE TABLE ddl_half (k bigint)").await?;
    same!(sqlstate(&answer).as_deref(), Some("42P07"), "{answer:?}");
    same!(status(&answer)?, 'I');
    let there = "SELECT to_regclass('ddl_half') IS NOT NULL";
    same!(cluster.shard("shard-1")?.psql(there).await?, "f");
    same!(cluster.shard("shard-2")?.psql(there).await?, "t");
    Ok(())
}

async fn ddl_is_answered_once(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let answer = router.query("DROP TABLE IF EXISTS ddl_never").await?;
    same!(tags(&answer), "NCZ", "{answer:?}");
    let answer = router.query("CREATE TABLE ddl_once (k bigint)").await?;
    same!(tags(&answer), "CZ");
    let answer = router.query("CREATE TABLE ddl_once (k bigint)").await?;
    same!(tags(&answer), "EZ");
    let (code, text) = error_of(&answer)?;
    same!(
        (code.as_str(), text.as_str()),
        ("42P07", "relation \"ddl_once\" already exists")
    );
    let answer = router
        .query("CREATE TABLE IF NOT EXISTS ddl_once (k bigint)")
        .await?;
    same!(tags(&answer), "NCZ", "{answer:?}");
    Ok(())
}

async fn ddl_that_would_break_the_sharding_is_refused(cluster: &Cluster) -> Outcome {
    cluster
        .create("ddl_kept", "k bigint PRIMARY KEY, v int", ("k", "bigint"))
        .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for sql in [
        "ALTER TABLE ddl_kept DROP COLUMN k",
        "ALTER TABLE ddl_kept RENAME COLUMN k TO key",
        "ALTER TABLE ddl_kept ALTER COLUMN k TYPE text",
        "ALTER TABLE ddl_kept RENAME TO ddl_renamed",
        "ALTER TABLE ddl_kept ADD UNIQUE (v)",
        "CREATE UNIQUE INDEX ON ddl_kept (v)",
        "CREATE TABLE ddl_serial (k bigint, id smallserial)",
    ] {
        let answer = router.query(sql).await?;
        same!(
            sqlstate(&answer).as_deref(),
            Some("0A000"),
            "{sql}: {answer:?}"
        );
    }
    router.query("BEGIN").await?;
    let answer = router.query("CREATE TABLE ddl_in_block (k bigint)").await?;
    same!(tags(&answer), "CZ", "{answer:?}");
    same!(status(&answer)?, 'T');
    same!(status(&router.query("ROLLBACK").await?)?, 'I');
    for shard in &cluster.shards {
        let there =
            "SELECT to_regclass('ddl_in_block') IS NULL AND to_regclass('ddl_kept') IS NOT NULL";
        same!(shard.psql(there).await?, "t");
    }
    Ok(())
}

async fn a_reference_table_is_read_on_any_shard_and_joined(cluster: &Cluster) -> Outcome {
    cluster
        .create(
            "ref_orders",
            "k bigint PRIMARY KEY, country text",
            ("k", "bigint"),
        )
        .await?;
    cluster
        .router(0)?
        .psql("CREATE TABLE ref_countries (code text PRIMARY KEY, name text)")
        .await?;
    for shard in &cluster.shards {
        shard
            .psql("INSERT INTO ref_countries VALUES ('is', 'Iceland')")
            .await?;
    }
    let body = json!({ "name": "public.ref_countries", "kind": "reference" });
    http::post(&cluster.manager(0)?.api("/tables"), &body)
        .await?
        .expect(201)?;
    cluster.settle().await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for _ in 0..4 {
        let rows = router.query("SELECT name FROM ref_countries").await?;
        same!(column(&rows)?, ["Iceland"]);
    }
    for shard in ["shard-1", "shard-2"] {
        let key = cluster.key_on(shard, 1).await?;
        router
            .query(&format!(
                "INSERT INTO ref_orders (k, country) VALUES ({key}, 'is')"
            ))
            .await?;
        let sql = format!(
            "SELECT name FROM ref_orders JOIN ref_countries ON code = country WHERE k = {key}"
        );
        same!(
            column(&router.query(&sql).await?)?,
            ["Iceland"],
            "on {shard}"
        );
    }
    Ok(())
}

async fn an_unsharded_table_lives_on_its_home_shard(cluster: &Cluster) -> Outcome {
    cluster
        .router(0)?
        .psql("CREATE TABLE home_settings (name text PRIMARY KEY, v int)")
        .await?;
    let body = json!({ "name": "home_settings", "kind": "unsharded", "shard_id": "shard-2" });
    http::post(&cluster.manager(0)?.api("/tables"), &body)
        .await?
        .expect(201)?;
    cluster.settle().await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for sql in [
        "INSERT INTO home_settings VALUES ('a', 1), ('b', 2)",
        "UPDATE home_settings SET v = v + 1",
    ] {
        same!(sqlstate(&router.query(sql).await?), None, "{sql}");
    }
    let rows = router
        .query("SELECT v FROM home_settings ORDER BY name")
        .await?;
    same!(column(&rows)?, ["2", "3"]);
    let count = "SELECT count(*) FROM home_settings";
    same!(cluster.shard("shard-1")?.psql(count).await?, "0");
    same!(cluster.shard("shard-2")?.psql(count).await?, "2");
    Ok(())
}
