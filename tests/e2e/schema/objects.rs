//! Each kind of object is created, changed and dropped on every shard by one statement.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::raw::Raw;
use tests::{Cluster, http};

use super::{done, on_each, refused};
use crate::suite::{Outcome, Suite, alone, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials: Vec<Trial> = shared!(suite:
        every_kind_of_object_reaches_every_shard,
        an_index_is_made_concurrently_on_every_shard,
        an_index_that_one_shard_refuses_is_left_on_none,
        upkeep_runs_on_every_shard,
        roles_and_grants_reach_every_server,
        tables_are_emptied_on_every_shard_or_on_none,
    )
    .into();
    trials.extend(alone!(suite: two_databases_of_one_server_get_a_role_once));
    trials
}

/// A statement, a question to each shard, and the answer.
const OBJECTS: &[(&str, &str, &str)] = &[
    ("CREATE SCHEMA obj", "SELECT to_regnamespace('obj')", "obj"),
    (
        "CREATE TYPE obj.mood AS ENUM ('sad', 'ok')",
        "SELECT enum_range(NULL::obj.mood)",
        "{sad,ok}",
    ),
    (
        "ALTER TYPE obj.mood ADD VALUE 'happy' AFTER 'ok'",
        "SELECT enum_range(NULL::obj.mood)",
        "{sad,ok,happy}",
    ),
    (
        "CREATE DOMAIN obj.positive AS int CHECK (VALUE > 0)",
        "SELECT 5::obj.positive",
        "5",
    ),
    (
        "CREATE TYPE obj.pair AS (a int, b text)",
        "SELECT (ROW(1, 'x')::obj.pair).b",
        "x",
    ),
    (
        "ALTER TYPE obj.pair ADD ATTRIBUTE c int",
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'obj.pair'::regclass",
        "3",
    ),
    (
        "CREATE TABLE obj.t (k bigint PRIMARY KEY, m obj.mood, n obj.positive)",
        "SELECT to_regclass('obj.t')",
        "obj.t",
    ),
    (
        "ALTER TABLE obj.t ADD CONSTRAINT small CHECK (n < 100)",
        "SELECT conname FROM pg_constraint WHERE conrelid = 'obj.t'::regclass AND contype = 'c'",
        "small",
    ),
    (
        "ALTER TABLE obj.t ADD COLUMN touched int NOT NULL DEFAULT 0",
        "SELECT attnum FROM pg_attribute WHERE attrelid = 'obj.t'::regclass AND attname = 'touched'",
        "4",
    ),
    (
        "CREATE INDEX t_m ON obj.t (m)",
        "SELECT to_regclass('obj.t_m')",
        "obj.t_m",
    ),
    (
        "CREATE FUNCTION obj.touch() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN NEW.touched := NEW.touched + 1; RETURN NEW; END $$",
        "SELECT to_regproc('obj.touch')",
        "obj.touch",
    ),
    (
        "CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON obj.t FOR EACH ROW \
         EXECUTE FUNCTION obj.touch()",
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'obj.t'::regclass",
        "touch",
    ),
    (
        "CREATE PROCEDURE obj.nothing() LANGUAGE sql AS ''",
        "SELECT prokind FROM pg_proc WHERE proname = 'nothing'",
        "p",
    ),
    (
        "CREATE AGGREGATE obj.total (int) (sfunc = int4pl, stype = int)",
        "SELECT obj.total(v) FROM (VALUES (1), (2)) t(v)",
        "3",
    ),
    (
        "CREATE OPERATOR obj.<+> (leftarg = int, rightarg = int, function = int4pl)",
        "SELECT 1 OPERATOR(obj.<+>) 2",
        "3",
    ),
    (
        "CREATE COLLATION obj.plain (locale = 'C')",
        "SELECT collname FROM pg_collation WHERE collname = 'plain'",
        "plain",
    ),
    (
        "CREATE STATISTICS obj.both ON k, n FROM obj.t",
        "SELECT stxname FROM pg_statistic_ext WHERE stxname = 'both'",
        "both",
    ),
    (
        "ALTER TABLE obj.t ENABLE ROW LEVEL SECURITY",
        "SELECT relrowsecurity FROM pg_class WHERE oid = 'obj.t'::regclass",
        "t",
    ),
    (
        "CREATE POLICY all_rows ON obj.t USING (true)",
        "SELECT polname FROM pg_policy",
        "all_rows",
    ),
    (
        "CREATE VIEW obj.v AS SELECT k, m FROM obj.t",
        "SELECT to_regclass('obj.v')",
        "obj.v",
    ),
    (
        "COMMENT ON COLUMN obj.t.m IS 'how it is'",
        "SELECT col_description('obj.t'::regclass, 2)",
        "how it is",
    ),
    (
        "COMMENT ON FUNCTION obj.touch() IS 'counts'",
        "SELECT obj_description('obj.touch'::regproc)",
        "counts",
    ),
    (
        "CREATE EXTENSION IF NOT EXISTS plpgsql",
        "SELECT count(*) FROM pg_extension WHERE extname = 'plpgsql'",
        "1",
    ),
    (
        "ALTER FUNCTION obj.touch() RENAME TO touched",
        "SELECT to_regproc('obj.touched')",
        "obj.touched",
    ),
    (
        "DROP VIEW obj.v",
        "SELECT to_regclass('obj.v') IS NULL",
        "t",
    ),
    (
        "DROP TRIGGER touch ON obj.t",
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'obj.t'::regclass",
        "0",
    ),
    (
        "DROP FUNCTION obj.touched(); DROP PROCEDURE obj.nothing(); DROP AGGREGATE obj.total (int)",
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'obj'::regnamespace",
        "0",
    ),
    (
        "DROP OPERATOR obj.<+> (int, int); DROP COLLATION obj.plain; DROP STATISTICS obj.both; \
         DROP TABLE obj.t; DROP TYPE obj.mood; DROP TYPE obj.pair; DROP DOMAIN obj.positive; \
         DROP SCHEMA obj",
        "SELECT to_regnamespace('obj') IS NULL",
        "t",
    ),
];

async fn every_kind_of_object_reaches_every_shard(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for (sql, question, wanted) in OBJECTS {
        done(&mut router, sql).await?;
        same!(
            on_each(cluster, question).await?,
            [*wanted, *wanted],
            "{sql}"
        );
    }
    Ok(())
}

async fn an_index_is_made_concurrently_on_every_shard(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    done(&mut router, "CREATE TABLE slow_index (k bigint, v int)").await?;
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('slow_index_v')";
    done(
        &mut router,
        "CREATE INDEX CONCURRENTLY slow_index_v ON slow_index (v)",
    )
    .await?;
    same!(on_each(cluster, valid).await?, ["t", "t"]);
    done(&mut router, "REINDEX INDEX CONCURRENTLY slow_index_v").await?;
    same!(on_each(cluster, valid).await?, ["t", "t"]);
    done(&mut router, "DROP INDEX CONCURRENTLY slow_index_v").await?;
    same!(on_each(cluster, valid).await?, ["", ""]);
    let (code, _, hint) =
        refused(&mut router, "CREATE INDEX CONCURRENTLY ON slow_index (v)").await?;
    same!((code.as_str(), hint.as_str()), ("0A000", "name the index"));
    let (code, ..) = refused(
        &mut router,
        "CREATE INDEX CONCURRENTLY a ON slow_index (v); CREATE INDEX b ON slow_index (v)",
    )
    .await?;
    same!(code, "0A000");
    router.query("BEGIN").await?;
    let (code, ..) = refused(&mut router, "CREATE INDEX CONCURRENTLY a ON slow_index (v)").await?;
    same!(code, "25001");
    Ok(())
}

async fn an_index_that_one_shard_refuses_is_left_on_none(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    done(&mut router, "CREATE TABLE half_index (k bigint, v int)").await?;
    cluster
        .shard("shard-2")?
        .psql("INSERT INTO half_index VALUES (1, 1), (2, 1)")
        .await?;
    let make = "CREATE UNIQUE INDEX CONCURRENTLY half_index_v ON half_index (v)";
    let (code, _, hint) = refused(&mut router, make).await?;
    same!(code, "23505");
    anyhow::ensure!(hint.contains("no shard has the index"), "{hint}");
    let there = "SELECT to_regclass('half_index_v') IS NOT NULL";
    same!(on_each(cluster, there).await?, ["f", "f"]);
    // What was there before is not taken back.
    cluster
        .shard("shard-1")?
        .psql("CREATE INDEX half_index_v ON half_index (v)")
        .await?;
    let make = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS half_index_v ON half_index (v)";
    let (code, ..) = refused(&mut router, make).await?;
    same!(code, "23505");
    same!(on_each(cluster, there).await?, ["t", "f"]);
    Ok(())
}

async fn upkeep_runs_on_every_shard(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    done(&mut router, "CREATE TABLE upkeep (k bigint PRIMARY KEY)").await?;
    for shard in &cluster.shards {
        shard
            .psql("INSERT INTO upkeep SELECT generate_series(1, 100)")
            .await?;
    }
    let rows = "SELECT reltuples::int FROM pg_class WHERE oid = 'upkeep'::regclass";
    same!(on_each(cluster, rows).await?, ["-1", "-1"]);
    done(&mut router, "ANALYZE upkeep").await?;
    same!(on_each(cluster, rows).await?, ["100", "100"]);
    let file = "SELECT pg_relation_filenode('upkeep')";
    let before = on_each(cluster, file).await?;
    done(&mut router, "VACUUM FULL upkeep").await?;
    let after = on_each(cluster, file).await?;
    let all_differ = before.iter().zip(&after).all(|(one, other)| one != other);
    anyhow::ensure!(all_differ, "{before:?} {after:?}");
    let answer = done(&mut router, "VACUUM (VERBOSE) upkeep").await?;
    let ends = answer.iter().filter(|message| message.tag == b'C').count();
    same!(ends, 1, "{answer:?}");
    for sql in [
        "VACUUM",
        "ANALYZE",
        "REINDEX TABLE upkeep",
        "REINDEX TABLE CONCURRENTLY upkeep",
        "CLUSTER upkeep USING upkeep_pkey",
    ] {
        done(&mut router, sql).await?;
    }
    let (code, message, hint) = refused(&mut router, "VACUUM no_such_table").await?;
    same!(code, "42P01", "{message}");
    anyhow::ensure!(hint.contains("it failed on shard shard-1"), "{hint}");
    Ok(())
}

async fn roles_and_grants_reach_every_server(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let yes = ["t", "t"];
    done(&mut router, "CREATE ROLE reader NOLOGIN").await?;
    let there = "SELECT to_regrole('reader') IS NOT NULL";
    same!(on_each(cluster, there).await?, yes);
    done(&mut router, "CREATE TABLE granted (k bigint)").await?;
    done(&mut router, "GRANT SELECT ON granted TO reader").await?;
    let may = "SELECT has_table_privilege('reader', 'granted', 'SELECT')";
    same!(on_each(cluster, may).await?, yes);
    done(&mut router, "REVOKE SELECT ON granted FROM reader").await?;
    same!(on_each(cluster, may).await?, ["f", "f"]);
    for sql in [
        "ALTER ROLE reader SET work_mem = '1MB'",
        "CREATE ROLE readers",
        "GRANT readers TO reader",
        "COMMENT ON ROLE reader IS 'reads'",
        "CREATE SCHEMA for_readers",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA for_readers GRANT SELECT ON TABLES TO readers",
    ] {
        done(&mut router, sql).await?;
    }
    let member = "SELECT pg_has_role('reader', 'readers', 'MEMBER')";
    same!(on_each(cluster, member).await?, yes);
    for sql in [
        "DROP SCHEMA for_readers",
        "REVOKE readers FROM reader",
        "DROP ROLE reader, readers",
    ] {
        done(&mut router, sql).await?;
    }
    same!(on_each(cluster, there).await?, ["f", "f"]);
    Ok(())
}

async fn two_databases_of_one_server_get_a_role_once() -> Outcome {
    let mut cluster = Cluster::start(Plan {
        shards: 1,
        routers: 0,
        ..Plan::default()
    })
    .await?;
    let shard = cluster.shard("shard-1")?;
    shard.psql("CREATE DATABASE other").await?;
    let endpoint = shard.endpoint();
    let (server, _) = endpoint.rsplit_once('/').unwrap_or_default();
    let body = json!({ "name": "shard-2", "primary_endpoint": format!("{server}/other") });
    cluster.post_when_led("/shards", &body).await?;
    cluster.add_router(&json!({})).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    done(&mut router, "CREATE ROLE once").await?;
    done(&mut router, "COMMENT ON ROLE once IS 'x'").await?;
    done(&mut router, "DROP ROLE once").await?;
    drop(http::get(&cluster.manager(0)?.api("/shards")).await?);
    Ok(())
}

async fn tables_are_emptied_on_every_shard_or_on_none(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    done(
        &mut router,
        "/* shard_key = k */ CREATE TABLE emptied (k bigint PRIMARY KEY)",
    )
    .await?;
    for shard in ["shard-1", "shard-2"] {
        let key = cluster.key_on(shard, 1).await?;
        done(
            &mut router,
            &format!("INSERT INTO emptied (k) VALUES ({key})"),
        )
        .await?;
    }
    cluster
        .shard("shard-2")?
        .psql("CREATE TABLE refers (k bigint REFERENCES emptied)")
        .await?;
    let rows = "SELECT count(*) FROM emptied";
    let (code, ..) = refused(&mut router, "TRUNCATE emptied").await?;
    same!(code, "0A000");
    same!(on_each(cluster, rows).await?, ["1", "1"]);
    cluster.shard("shard-2")?.psql("DROP TABLE refers").await?;
    done(&mut router, "TRUNCATE emptied").await?;
    same!(on_each(cluster, rows).await?, ["0", "0"]);
    Ok(())
}
