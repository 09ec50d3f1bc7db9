//! New tables of sessions that want them unsharded: an application that knows nothing of shards
//! creates, uses and drops its tables.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::Cluster;
use tests::cluster::Plan;
use tests::raw::{self, Raw};

use super::{column, done, on_each, refused};
use crate::suite::{Outcome, Suite, alone, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = Vec::from(shared!(suite:
        a_session_may_want_its_new_tables_unsharded,
        what_a_new_table_needs_says_where_it_is,
        a_new_table_within_a_transaction_is_there_at_once,
        a_hint_that_comes_too_late_is_refused,
        a_statement_is_described_where_its_table_is,
        the_catalogs_show_the_tables_of_the_first_shard,
        indexes_and_sequences_are_changed_where_their_table_is,
        a_materialized_view_is_with_the_tables_of_its_query,
        a_statement_is_prepared_by_sql_where_its_table_is,
        what_is_prepared_after_a_change_has_the_types_of_the_changed_table,
        a_type_that_only_one_shard_has_is_found,
        a_type_has_one_number_within_the_transaction_that_makes_it,
    ));
    trials.extend(alone!(suite:
        routers_may_want_new_tables_unsharded,
        where_all_tables_are_on_one_shard_functions_run_there,
    ));
    trials
}

async fn session(cluster: &Cluster) -> anyhow::Result<Raw> {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    done(&mut router, "SET sharding.new_tables = 'unsharded'").await?;
    Ok(router)
}

async fn shards_with(cluster: &Cluster, table: &str) -> anyhow::Result<Vec<String>> {
    on_each(
        cluster,
        &format!("SELECT to_regclass('{table}') IS NOT NULL"),
    )
    .await
}

async fn a_session_may_want_its_new_tables_unsharded(cluster: &Cluster) -> Outcome {
    let mut router = session(cluster).await?;
    let shown = done(&mut router, "SHOW sharding.new_tables").await?;
    same!(column(&shown)?, ["unsharded"]);
    let create = "CREATE TABLE nt_plain (id serial PRIMARY KEY, v text)";
    done(&mut router, create).await?;
    same!(shards_with(cluster, "nt_plain").await?, ["t", "f"]);
    // There is one sequence, so that its values are those of one server.
    let insert = "INSERT INTO nt_plain (v) VALUES ('a'), ('b') RETURNING id";
    same!(column(&done(&mut router, insert).await?)?, ["1", "2"]);
    let read = done(&mut router, "SELECT v FROM nt_plain ORDER BY id").await?;
    same!(column(&read)?, ["a", "b"]);
    // Every session reads it, whatever it wants of new tables.
    let mut other = Raw::connect(&cluster.router(0)?.address()).await?;
    let read = done(&mut other, "SELECT count(*) FROM nt_plain").await?;
    same!(column(&read)?, ["2"]);
    done(&mut router, "DROP TABLE nt_plain").await?;
    done(&mut router, "CREATE TABLE nt_plain (w int)").await?;
    same!(
        column(&done(&mut router, "SELECT w FROM nt_plain").await?)?,
        [""; 0]
    );
    // A temporary table of its name is the session's own, as long as there is one.
    done(&mut router, "CREATE TEMP TABLE nt_plain (own int)").await?;
    done(&mut router, "INSERT INTO nt_plain (own) VALUES (1)").await?;
    done(&mut router, "DROP TABLE nt_plain").await?;
    same!(
        column(&done(&mut router, "SELECT w FROM nt_plain").await?)?,
        [""; 0]
    );
    done(&mut router, "RESET sharding.new_tables").await?;
    done(&mut router, "CREATE TABLE nt_later (a int)").await?;
    same!(shards_with(cluster, "nt_later").await?, ["t", "t"]);
    let (code, ..) = refused(&mut router, "SET sharding.new_tables = 'any'").await?;
    same!(code, "22023");
    Ok(())
}

/// Drivers prepare a statement and ask for its columns before they bind it; sessions begin on any
/// shard.
async fn a_statement_is_described_where_its_table_is(cluster: &Cluster) -> Outcome {
    let mut maker = session(cluster).await?;
    for shard in ["shard-1", "shard-2"] {
        let table = format!("nt_of_{}", shard.replace('-', "_"));
        let create = format!(
            "/* table_kind = unsharded, shard = '{shard}' */ CREATE TABLE {table} (id int, v text)"
        );
        done(&mut maker, &create).await?;
    }
    let insert = |table: &str| format!("INSERT INTO {table} (id, v) VALUES ($1, $2)");
    let read = |table: &str| format!("SELECT v FROM {table} WHERE id = $1");
    for _ in 0..4 {
        let client = cluster.router(0)?.client().await?;
        for table in ["nt_of_shard_1", "nt_of_shard_2"] {
            let statement = client.prepare(&insert(table)).await?;
            same!(client.execute(&statement, &[&1, &"x"]).await?, 1);
        }
        // Both in one transaction, and both asked for before either answer is read.
        client.batch_execute("BEGIN").await?;
        let texts = [read("nt_of_shard_1"), read("nt_of_shard_2")];
        let (one, two) = tokio::try_join!(client.prepare(&texts[0]), client.prepare(&texts[1]))?;
        for statement in [&one, &two, &one] {
            same!(statement.columns().len(), 1);
            same!(client.query(statement, &[&1]).await?.is_empty(), false);
        }
        client.batch_execute("COMMIT").await?;
    }
    let mut raw = Raw::connect(&cluster.router(0)?.address()).await?;
    let batch = [
        raw::parse("", &read("nt_of_shard_1"), &[]),
        raw::describe(b'S', ""),
        raw::parse("other", &read("nt_of_shard_2"), &[]),
        raw::bind("", "", false, &[Some(b"1")]),
        raw::execute("", 1),
        raw::describe(b'S', "other"),
        raw::bind("", "other", false, &[Some(b"1")]),
        raw::execute("", 1),
        raw::sync(),
    ]
    .concat();
    same!(raw::tags(&raw.exchange(&batch).await?), "1tT12DstT2DsZ");
    Ok(())
}

/// Tools look whether a table is there before they create it; sessions begin on any shard.
async fn the_catalogs_show_the_tables_of_the_first_shard(cluster: &Cluster) -> Outcome {
    let mut maker = session(cluster).await?;
    done(&mut maker, "CREATE TABLE nt_shown (id int)").await?;
    let named = "SELECT count(*) FROM pg_class WHERE relname = 'nt_shown'";
    let in_schema = "SELECT count(*) FROM information_schema.tables WHERE table_name = 'nt_shown'";
    for _ in 0..4 {
        let mut raw = Raw::connect(&cluster.router(0)?.address()).await?;
        same!(column(&done(&mut raw, named).await?)?, ["1"]);
        let by_name = "SELECT to_regclass('nt_shown'), 'nt_shown'::regclass";
        same!(column(&done(&mut raw, by_name).await?)?, ["nt_shown"]);
        let client = cluster.router(0)?.client().await?;
        same!(client.query_one(in_schema, &[]).await?.get::<_, i64>(0), 1);
    }
    Ok(())
}

/// Their names do not say whose they are.
async fn indexes_and_sequences_are_changed_where_their_table_is(cluster: &Cluster) -> Outcome {
    let mut router = session(cluster).await?;
    let create = "CREATE TABLE nt_with (id serial, v int CONSTRAINT nt_positive CHECK (v > 0))";
    done(&mut router, create).await?;
    done(&mut router, "CREATE INDEX nt_old ON nt_with (v)").await?;
    done(&mut router, "ALTER INDEX nt_old RENAME TO nt_new").await?;
    done(&mut router, "ALTER SEQUENCE nt_with_id_seq RESTART WITH 5").await?;
    let insert = "INSERT INTO nt_with (v) VALUES (1), (2) RETURNING id";
    same!(column(&done(&mut router, insert).await?)?, ["5", "6"]);
    // Within a transaction as well, of which they are.
    for sql in [
        "BEGIN",
        "DROP INDEX nt_new",
        "CREATE INDEX nt_newer ON nt_with (v)",
        "ALTER INDEX nt_newer RENAME TO nt_newest",
        "COMMIT",
        "DROP INDEX nt_newest",
    ] {
        done(&mut router, sql).await?;
    }
    let (code, ..) = refused(&mut router, "DROP INDEX nt_newest").await?;
    same!(code, "42704");
    done(&mut router, "DROP INDEX IF EXISTS nt_newest").await?;
    Ok(())
}

async fn a_materialized_view_is_with_the_tables_of_its_query(cluster: &Cluster) -> Outcome {
    let mut router = session(cluster).await?;
    for sql in [
        "/* table_kind = unsharded, shard = 'shard-2' */ CREATE TABLE nt_seen (id int)",
        "INSERT INTO nt_seen VALUES (1), (2)",
        "CREATE MATERIALIZED VIEW nt_sum AS SELECT sum(id) AS all FROM nt_seen",
        "INSERT INTO nt_seen VALUES (3)",
    ] {
        done(&mut router, sql).await?;
    }
    let read = "SELECT * FROM nt_sum";
    same!(column(&done(&mut router, read).await?)?, ["3"]);
    done(&mut router, "REFRESH MATERIALIZED VIEW nt_sum").await?;
    same!(column(&done(&mut router, read).await?)?, ["6"]);
    done(&mut router, "DROP MATERIALIZED VIEW nt_sum").await?;
    let (code, ..) = refused(&mut router, read).await?;
    same!(code, "42P01");
    // Each shard would have its own rows of it.
    let sharded = "/* shard_key = k */ CREATE TABLE nt_spread (k bigint)";
    done(&mut router, sharded).await?;
    let create = "CREATE MATERIALIZED VIEW nt_spread_sum AS SELECT sum(k) FROM nt_spread";
    let (code, ..) = refused(&mut router, create).await?;
    same!(code, "0A000");
    Ok(())
}

async fn what_a_new_table_needs_says_where_it_is(cluster: &Cluster) -> Outcome {
    let mut router = session(cluster).await?;
    let there = "/* table_kind = unsharded, shard = 'shard-2' */ CREATE TABLE nt_there \
                 (id int PRIMARY KEY)";
    done(&mut router, there).await?;
    done(
        &mut router,
        "CREATE TABLE nt_child (id int UNIQUE REFERENCES nt_there)",
    )
    .await?;
    same!(shards_with(cluster, "nt_child").await?, ["f", "t"]);
    done(&mut router, "INSERT INTO nt_there VALUES (1)").await?;
    done(&mut router, "INSERT INTO nt_child VALUES (1)").await?;
    let (code, ..) = refused(&mut router, "INSERT INTO nt_child VALUES (2)").await?;
    same!(code, "23503");
    done(
        &mut router,
        "CREATE TABLE nt_copy AS SELECT id + 1 AS id FROM nt_there",
    )
    .await?;
    same!(shards_with(cluster, "nt_copy").await?, ["f", "t"]);
    same!(
        column(&done(&mut router, "SELECT id FROM nt_copy").await?)?,
        ["2"]
    );
    let counted = "CREATE TABLE nt_counted AS SELECT g FROM generate_series(1, 3) g";
    done(&mut router, counted).await?;
    same!(shards_with(cluster, "nt_counted").await?, ["t", "f"]);
    let count = "SELECT count(*) FROM nt_counted";
    same!(column(&done(&mut router, count).await?)?, ["3"]);
    let script = "CREATE TABLE nt_one (a int); CREATE INDEX nt_one_a ON nt_one (a); \
                  CREATE TABLE nt_two (b int)";
    done(&mut router, script).await?;
    same!(shards_with(cluster, "nt_two").await?, ["t", "f"]);
    same!(shards_with(cluster, "nt_one_a").await?, ["t", "f"]);
    for sql in [
        "CREATE TABLE nt_torn (a int, id int REFERENCES nt_there, b int REFERENCES nt_one)",
        "CREATE TABLE nt_torn (a int); CREATE TYPE nt_type AS (a int)",
        "/* table_kind = reference */ CREATE TABLE nt_torn (id int REFERENCES nt_there)",
    ] {
        let (code, text, _) = refused(&mut router, sql).await?;
        same!(code, "0A000", "{sql}: {text}");
    }
    same!(shards_with(cluster, "nt_torn").await?, ["f", "f"]);
    // What belongs to a sharded table is where that is.
    cluster
        .create("nt_parts", "k bigint, v int", ("k", "bigint"))
        .await?;
    done(
        &mut router,
        "CREATE TABLE nt_of_parts () INHERITS (nt_parts)",
    )
    .await?;
    same!(shards_with(cluster, "nt_of_parts").await?, ["t", "t"]);
    Ok(())
}

async fn a_new_table_within_a_transaction_is_there_at_once(cluster: &Cluster) -> Outcome {
    let mut router = session(cluster).await?;
    for end in ["ROLLBACK", "COMMIT"] {
        done(&mut router, "BEGIN").await?;
        done(&mut router, "CREATE TABLE nt_within (id serial, v int)").await?;
        done(&mut router, "INSERT INTO nt_within (v) VALUES (7)").await?;
        let read = done(&mut router, "SELECT v FROM nt_within WHERE id = 1").await?;
        same!(column(&read)?, ["7"]);
        done(&mut router, end).await?;
        let there = if end == "COMMIT" { "t" } else { "f" };
        same!(shards_with(cluster, "nt_within").await?, [there, "f"]);
    }
    Ok(())
}

async fn a_hint_that_comes_too_late_is_refused(cluster: &Cluster) -> Outcome {
    let mut router = session(cluster).await?;
    done(&mut router, "CREATE TABLE nt_late (k bigint)").await?;
    done(&mut router, "DROP TABLE nt_late").await?;
    let sharded = "/* shard_key = k */ CREATE TABLE nt_late (k bigint)";
    let (code, text, hint) = refused(&mut router, sharded).await?;
    same!(code, "42710", "{text}");
    anyhow::ensure!(hint.contains("sharding.forget_table('nt_late')"), "{hint}");
    done(&mut router, "SELECT sharding.forget_table('nt_late')").await?;
    done(&mut router, sharded).await?;
    same!(shards_with(cluster, "nt_late").await?, ["t", "t"]);
    Ok(())
}

async fn routers_may_want_new_tables_unsharded() -> Outcome {
    let cluster = Cluster::start(Plan {
        shards: 2,
        router_config: json!({ "sharding": { "new_tables": "unsharded" } }),
        ..Plan::default()
    })
    .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    done(&mut router, "CREATE TABLE nt_default (id serial, v int)").await?;
    done(&mut router, "INSERT INTO nt_default (v) VALUES (1)").await?;
    same!(shards_with(&cluster, "nt_default").await?, ["t", "f"]);
    let body = json!({ "query": "CREATE TABLE nt_http (a int)" });
    cluster.router(0)?.execute(&body).await?.expect(200)?;
    same!(shards_with(&cluster, "nt_http").await?, ["t", "f"]);
    Ok(())
}

async fn a_statement_is_prepared_by_sql_where_its_table_is(cluster: &Cluster) -> Outcome {
    let mut first = session(cluster).await?;
    done(&mut first, "CREATE TABLE nt_by_sql (a int)").await?;
    done(&mut first, "INSERT INTO nt_by_sql VALUES (7)").await?;
    // Whichever shard a session would be given.
    for _ in 0..4 {
        let mut router = session(cluster).await?;
        let prepare = "PREPARE p (int, point) AS SELECT a FROM nt_by_sql WHERE a = $1";
        done(&mut router, prepare).await?;
        let read = done(&mut router, "EXECUTE p (7, '(1,2)')").await?;
        same!(column(&read)?, ["7"]);
    }
    done(&mut first, "DROP TABLE nt_by_sql").await?;
    Ok(())
}

/// The types of a statement's parameters, as it is described when it is prepared now.
async fn parameter_types(router: &mut Raw, name: &str, sql: &str) -> anyhow::Result<Vec<u8>> {
    let batch = [
        raw::parse(name, sql, &[]),
        raw::describe(b'S', name),
        raw::sync(),
    ];
    let answer = router.exchange(&batch.concat()).await?;
    let described = answer.iter().find(|message| message.tag == b't');
    let body = described.map(|message| message.body.clone());
    body.with_context(|| format!("{sql}: {answer:?}"))
}

async fn what_is_prepared_after_a_change_has_the_types_of_the_changed_table(
    cluster: &Cluster,
) -> Outcome {
    let mut router = session(cluster).await?;
    done(&mut router, "CREATE TABLE nt_retyped (a int)").await?;
    let insert = "INSERT INTO nt_retyped (a) VALUES ($1)";
    let bigint = [0, 1, 0, 0, 0, 20];
    let int = [0, 1, 0, 0, 0, 23];
    same!(parameter_types(&mut router, "one", insert).await?, int);
    let retype = "ALTER TABLE nt_retyped ALTER COLUMN a TYPE bigint";
    done(&mut router, retype).await?;
    same!(parameter_types(&mut router, "two", insert).await?, bigint);
    // Within the transaction that makes the change, and after it is undone.
    done(&mut router, "BEGIN").await?;
    let retype = "ALTER TABLE nt_retyped ALTER COLUMN a TYPE int";
    done(&mut router, retype).await?;
    same!(parameter_types(&mut router, "three", insert).await?, int);
    done(&mut router, "ROLLBACK").await?;
    same!(parameter_types(&mut router, "four", insert).await?, bigint);
    done(&mut router, "DROP TABLE nt_retyped").await?;
    Ok(())
}

async fn a_type_that_only_one_shard_has_is_found(cluster: &Cluster) -> Outcome {
    let mut first = session(cluster).await?;
    done(&mut first, "CREATE TABLE nt_row (a int, b text)").await?;
    for _ in 0..4 {
        let mut router = session(cluster).await?;
        let read = done(&mut router, "SELECT '(1,b)'::nt_row").await?;
        same!(column(&read)?, ["(1,b)"]);
        let read = done(&mut router, "SELECT ('{\"(1,b)\"}'::public.nt_row[])[1]").await?;
        same!(column(&read)?, ["(1,b)"]);
    }
    done(&mut first, "DROP TABLE nt_row").await?;
    Ok(())
}

async fn a_type_has_one_number_within_the_transaction_that_makes_it(cluster: &Cluster) -> Outcome {
    let mut first = session(cluster).await?;
    // The numbers that the shards give differ from here on.
    cluster
        .shard("shard-2")?
        .psql("SELECT lo_create(0)")
        .await?;
    let read = "SELECT oid FROM pg_type WHERE typname = 'nt_mood'";
    for _ in 0..4 {
        let mut router = session(cluster).await?;
        done(&mut router, "BEGIN").await?;
        done(&mut router, "CREATE TYPE nt_mood AS ENUM ('sad')").await?;
        // It is described and read by one number, too.
        let cast = "SELECT $1::nt_mood";
        let described = parameter_types(&mut router, "cast", cast).await?;
        let within = column(&done(&mut router, read).await?)?;
        let number = u32::from_be_bytes(*described.last_chunk().context("it has a type")?);
        same!(within, [number.to_string()]);
        done(&mut router, "COMMIT").await?;
        same!(within, column(&done(&mut first, read).await?)?);
        done(&mut router, "DROP TYPE nt_mood").await?;
    }
    Ok(())
}

/// A function reads what it likes: that is the same as on one server while nothing is elsewhere.
async fn where_all_tables_are_on_one_shard_functions_run_there() -> Outcome {
    let cluster = Cluster::start(Plan::default()).await?;
    let mut router = session(&cluster).await?;
    done(&mut router, "CREATE TYPE nt_mood AS ENUM ('glad', 'sad')").await?;
    done(&mut router, "CREATE TABLE nt_counted (v int)").await?;
    let function = "CREATE FUNCTION nt_count() RETURNS bigint LANGUAGE plpgsql AS \
        $$BEGIN INSERT INTO nt_counted VALUES (1); RETURN (SELECT count(*) FROM nt_counted); END$$";
    let procedure = "CREATE PROCEDURE nt_fill(n int) LANGUAGE plpgsql AS \
        $$BEGIN FOR i IN 1..n LOOP INSERT INTO nt_counted VALUES (i); COMMIT; END LOOP; END$$";
    done(&mut router, function).await?;
    done(&mut router, procedure).await?;
    let call = "SELECT nt_count()";
    for round in 1..=6 {
        let mut other = Raw::connect(&cluster.router(0)?.address()).await?;
        same!(column(&done(&mut other, call).await?)?, [round.to_string()]);
        let mood = "SELECT 'sad'::nt_mood::text, pg_table_size('nt_counted'), txid_current()";
        same!(column(&done(&mut other, mood).await?)?, ["sad"]);
    }
    done(&mut router, "CALL nt_fill(4)").await?;
    let batch = [
        raw::parse("", "SELECT * FROM nt_count()", &[]),
        raw::bind("", "", false, &[]),
        raw::execute("", 0),
        raw::sync(),
    ]
    .concat();
    same!(column(&router.exchange(&batch).await?)?, ["11"]);
    // Once rows may be elsewhere nobody knows what it would have to read.
    let sharded = "/* shard_key = k */ CREATE TABLE nt_keyed (k bigint PRIMARY KEY)";
    done(&mut router, sharded).await?;
    for sql in [call, "CALL nt_fill(1)", "SELECT txid_current()"] {
        same!(refused(&mut router, sql).await?.0, "0A000", "{sql}");
    }
    same!(shards_with(&cluster, "nt_keyed").await?, ["t", "t"]);
    Ok(())
}
