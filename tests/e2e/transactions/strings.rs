//! Query strings of several statements that belong to several shards: PostgreSQL makes one
//! transaction of such a string, and so does the router.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::Cluster;
use tests::raw::{Raw, bind, describe, execute, parse, sync, tags};

use super::{keys, nothing_is_prepared};
use crate::pgwire::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        a_string_for_several_shards_is_one_transaction,
        an_error_in_a_string_undoes_all_of_it,
        a_string_may_begin_and_end_transactions,
        a_block_that_a_string_begins_goes_on_elsewhere,
        a_string_may_hold_what_the_router_answers,
        a_string_may_change_the_schema_and_fill_it,
        a_write_in_parts_is_explained,
        an_analyzed_write_is_done_on_all_shards_or_on_none,
    )
    .into()
}

async fn start(cluster: &Cluster, table: &str) -> anyhow::Result<(Raw, i64, i64)> {
    let columns = "k bigint PRIMARY KEY, v int CHECK (v < 100)";
    cluster.create(table, columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let sql = format!("INSERT INTO {table} (k, v) VALUES ({here}, 1), ({there}, 1)");
    same!(sqlstate(&router.query(&sql).await?), None);
    Ok((router, here, there))
}

/// The values of the table's rows as another session reads them.
async fn values(cluster: &Cluster, table: &str) -> anyhow::Result<String> {
    let sql = format!("SELECT string_agg(v::text, ',' ORDER BY v) FROM {table}");
    cluster.router(0)?.psql(&sql).await
}

async fn a_string_for_several_shards_is_one_transaction(cluster: &Cluster) -> Outcome {
    let (mut router, here, there) = start(cluster, "st_one").await?;
    let set = |key: i64, v: i32| format!("UPDATE st_one SET v = {v} WHERE k = {key}");
    let string = format!("{}; {};", set(here, 2), set(there, 3));
    let answer = router.query(&string).await?;
    same!(tags(&answer), "CCZ", "{answer:?}");
    same!(status(&answer)?, 'I');
    same!(values(cluster, "st_one").await?, "2,3");
    // Reads of all shards see what the string has written; a write may run on all of them.
    let string = format!(
        "{}; SELECT sum(v) FROM st_one; UPDATE st_one SET v = v + 1; \
         SELECT v FROM st_one ORDER BY v; SELECT v FROM st_one WHERE k = {there}",
        set(here, 10)
    );
    let answer = router.query(&string).await?;
    same!(tags(&answer), "CTDCCTDDCTDCZ", "{answer:?}");
    same!(column(&answer)?, ["13", "4", "11", "4"]);
    same!(values(cluster, "st_one").await?, "4,11");
    // An INSERT that does not name its columns, and one of several shards.
    let string = format!(
        "DELETE FROM st_one; INSERT INTO st_one VALUES ({here}, 5); \
         INSERT INTO st_one VALUES ({there}, 6), ({}, 7) RETURNING v",
        cluster.key_on("shard-1", here + 1).await?
    );
    let answer = router.query(&string).await?;
    same!(tags(&answer), "CCTDDCZ", "{answer:?}");
    same!(values(cluster, "st_one").await?, "5,6,7");
    // Within a block that goes on.
    router.query("BEGIN").await?;
    let string = format!("{}; {}", set(here, 8), set(there, 9));
    let answer = router.query(&string).await?;
    same!(tags(&answer), "CCZ", "{answer:?}");
    same!(status(&answer)?, 'T');
    router.query("ROLLBACK").await?;
    same!(values(cluster, "st_one").await?, "5,6,7");
    nothing_is_prepared(cluster).await
}

async fn an_error_in_a_string_undoes_all_of_it(cluster: &Cluster) -> Outcome {
    let (mut router, here, there) = start(cluster, "st_error").await?;
    let good = format!(
        "UPDATE st_error SET v = 50 WHERE k = {here}; UPDATE st_error SET v = 50 WHERE k = {there}"
    );
    for (bad, code) in [
        (
            format!("UPDATE st_error SET v = 1000 WHERE k = {there}"),
            "23514",
        ),
        ("SELECT 1 / 0".to_owned(), "22012"),
        ("SELECT v / 0 FROM st_error".to_owned(), "22012"),
        ("SELECT * FROM st_nowhere".to_owned(), "42P01"),
        ("SAVEPOINT a".to_owned(), "25P01"),
        ("COMMIT AND CHAIN".to_owned(), "25P01"),
        (
            "UPDATE st_error SET v = (SELECT max(v) FROM st_error)".to_owned(),
            "0A000",
        ),
    ] {
        for string in [format!("{good}; {bad}; SELECT 1"), format!("{bad}; {good}")] {
            if string.starts_with("COMMIT") || string.starts_with("SAVEPOINT") {
                continue;
            }
            let answer = router.query(&string).await?;
            same!(
                sqlstate(&answer).as_deref(),
                Some(code),
                "{string}: {answer:?}"
            );
            same!(status(&answer)?, 'I', "{string}");
            let ends = if string.starts_with("UPDATE st_error SET v = 50") {
                "CCEZ"
            } else {
                "EZ"
            };
            same!(tags(&answer), ends, "{string}");
            same!(values(cluster, "st_error").await?, "1,1", "{string}");
        }
        // In a block it fails with it, and what follows the end of the block runs.
        router.query("BEGIN").await?;
        if code == "25P01" {
            router.query("ROLLBACK").await?;
            continue;
        }
        let answer = router.query(&format!("{good}; {bad}; SELECT 1")).await?;
        same!(status(&answer)?, 'E');
        let answer = router.query(&format!("ROLLBACK; {good}")).await?;
        same!(tags(&answer), "CCCZ", "{answer:?}");
        same!(values(cluster, "st_error").await?, "50,50");
        router.query("UPDATE st_error SET v = 1").await?;
    }
    Ok(())
}

async fn a_string_may_begin_and_end_transactions(cluster: &Cluster) -> Outcome {
    let (mut router, here, there) = start(cluster, "st_blocks").await?;
    let set = |key: i64, v: i32| format!("UPDATE st_blocks SET v = {v} WHERE k = {key}");
    for (string, answers, state, wanted) in [
        (
            format!("BEGIN; {}; {}; COMMIT", set(here, 2), set(there, 3)),
            "CCCCZ",
            'I',
            "2,3",
        ),
        (
            format!("BEGIN; {}; {}; ROLLBACK", set(here, 4), set(there, 5)),
            "CCCCZ",
            'I',
            "2,3",
        ),
        // What follows a COMMIT is a transaction of its own.
        (
            format!(
                "{}; {}; COMMIT; {}; SELECT 1 / 0",
                set(here, 6),
                set(there, 7),
                set(here, 8)
            ),
            "CCNCCEZ",
            'I',
            "6,7",
        ),
        (
            format!("{}; {}; ROLLBACK; SELECT 1", set(here, 9), set(there, 9)),
            "CCNCTDCZ",
            'I',
            "6,7",
        ),
        // A BEGIN takes what came before it into its block.
        (
            format!("{}; {}; BEGIN; SELECT 1", set(here, 9), set(there, 9)),
            "CCCTDCZ",
            'T',
            "6,7",
        ),
    ] {
        let answer = router.query(&string).await?;
        same!(tags(&answer), answers, "{string}: {answer:?}");
        same!(status(&answer)?, state, "{string}");
        same!(values(cluster, "st_blocks").await?, wanted, "{string}");
    }
    router.query("ROLLBACK").await?;
    same!(values(cluster, "st_blocks").await?, "6,7");
    let answer = router
        .query(
            "BEGIN; SAVEPOINT a; UPDATE st_blocks SET v = 1; ROLLBACK TO a; \
                               UPDATE st_blocks SET v = v + 1; COMMIT",
        )
        .await?;
    same!(tags(&answer), "CCCCCCZ", "{answer:?}");
    same!(values(cluster, "st_blocks").await?, "7,8");
    nothing_is_prepared(cluster).await
}

async fn a_block_that_a_string_begins_goes_on_elsewhere(cluster: &Cluster) -> Outcome {
    let (mut router, here, there) = start(cluster, "st_open").await?;
    let set = |key: i64, v: i32| format!("UPDATE st_open SET v = {v} WHERE k = {key}");
    let answer = router.query(&format!("BEGIN; {}", set(here, 2))).await?;
    same!(tags(&answer), "CCZ", "{answer:?}");
    same!(status(&answer)?, 'T');
    same!(status(&router.query(&set(there, 3)).await?)?, 'T');
    let answer = router.query("SELECT sum(v) FROM st_open; COMMIT").await?;
    same!(tags(&answer), "TDCCZ", "{answer:?}");
    same!(column(&answer)?, ["5"]);
    same!(values(cluster, "st_open").await?, "2,3");
    Ok(())
}

async fn a_string_may_hold_what_the_router_answers(cluster: &Cluster) -> Outcome {
    let (mut router, here, there) = start(cluster, "st_own").await?;
    let string = format!(
        "PREPARE st_get AS SELECT v FROM st_own WHERE k = $1; EXECUTE st_get({here}); \
         EXECUTE st_get({there}); DEALLOCATE st_get"
    );
    let answer = router.query(&string).await?;
    same!(tags(&answer), "CTDCTDCCZ", "{answer:?}");
    let string = "SET sharding.shard = 'shard-1'; SELECT count(*) FROM st_own; RESET sharding.shard; \
                  SELECT count(*) FROM st_own; SHOW sharding.consistency";
    let answer = router.query(string).await?;
    same!(column(&answer)?, ["1", "2", "strong"], "{answer:?}");
    // A setting of a string that fails is as it was.
    let string = "SET sharding.shard = 'shard-1'; SELECT v / 0 FROM st_own";
    same!(
        sqlstate(&router.query(string).await?).as_deref(),
        Some("22012")
    );
    let all = router.query("SELECT count(*) FROM st_own").await?;
    same!(column(&all)?, ["2"]);
    let string = format!(
        "SET LOCAL search_path = nowhere; UPDATE public.st_own SET v = 3 WHERE k = {here}; \
         UPDATE public.st_own SET v = 3 WHERE k = {there}; SHOW search_path"
    );
    let answer = router.query(&string).await?;
    same!(column(&answer)?, ["nowhere"], "{answer:?}");
    let path = router.query("SHOW search_path").await?;
    same!(column(&path)?, ["\"$user\", public"]);
    let (code, text) = error_of(&router.query("SELECT 1; DISCARD ALL").await?)?;
    same!(code, "0A000", "{text}");
    Ok(())
}

/// As the files of migration tools do: all of it is done, or nothing.
async fn a_string_may_change_the_schema_and_fill_it(cluster: &Cluster) -> Outcome {
    let (mut router, here, there) = start(cluster, "string_before").await?;
    let create = format!(
        "/* shard_key = k */ CREATE TABLE string_made (k bigint PRIMARY KEY, v int); \
         INSERT INTO string_made (k, v) VALUES ({here}, 1), ({there}, 2); \
         ALTER TABLE string_made ADD COLUMN w int DEFAULT 7; \
         CREATE INDEX string_made_w ON string_made (w); \
         UPDATE string_before SET v = 9 WHERE k = {here};"
    );
    let failing = format!("{create} SELECT 1 / 0");
    let answer = router.query(&failing).await?;
    same!(sqlstate(&answer).as_deref(), Some("22012"));
    same!(tags(&answer).ends_with("EZ"), true);
    for table in ["string_made", "string_made_w"] {
        let is_gone = format!("SELECT to_regclass('{table}') IS NULL");
        same!(column(&router.query(&is_gone).await?)?, ["t"]);
    }
    same!(values(cluster, "string_before").await?, "1,1");
    let answer = router.query(&create).await?;
    same!(sqlstate(&answer), None);
    same!(tags(&answer), "CCCCCZ");
    let sum = "SELECT sum(v) || ':' || sum(w) FROM string_made";
    same!(column(&router.query(sum).await?)?, ["3:14"]);
    same!(values(cluster, "string_before").await?, "1,9");
    // What cannot be rolled back cannot be a part of it.
    let concurrently = "SELECT 1; CREATE INDEX CONCURRENTLY string_made_v ON string_made (v)";
    let answer = router.query(concurrently).await?;
    same!(sqlstate(&answer).as_deref(), Some("25001"));
    nothing_is_prepared(cluster).await
}

async fn lines(router: &mut Raw, sql: &str) -> anyhow::Result<String> {
    let answer = router.query(sql).await?;
    anyhow::ensure!(sqlstate(&answer).is_none(), "{sql}: {answer:?}");
    Ok(column(&answer)?.join("\n"))
}

async fn a_write_in_parts_is_explained(cluster: &Cluster) -> Outcome {
    let (mut router, here, there) = start(cluster, "st_plan").await?;
    for (sql, part) in [
        (
            "UPDATE st_plan SET v = v + 1".to_owned(),
            "Update on st_plan",
        ),
        (
            format!("DELETE FROM st_plan WHERE k IN ({here}, {there})"),
            "Delete on st_plan",
        ),
        (
            format!(
                "INSERT INTO st_plan VALUES ({}, 1), ({}, 1)",
                here + 7000,
                there + 7000
            ),
            "Insert on st_plan",
        ),
    ] {
        let shown = lines(&mut router, &format!("EXPLAIN (COSTS off) {sql}")).await?;
        if shown.contains("Write on 2 shards") {
            for part in [
                part,
                "Shard shard-1:",
                "Shard shard-2:",
                "nothing is written",
            ] {
                anyhow::ensure!(shown.contains(part), "{sql}: no {part:?} in\n{shown}");
            }
        } else {
            anyhow::ensure!(sql.starts_with("INSERT"), "{sql}: {shown}");
        }
        same!(values(cluster, "st_plan").await?, "1,1", "{sql}");
    }
    Ok(())
}

async fn an_analyzed_write_is_done_on_all_shards_or_on_none(cluster: &Cluster) -> Outcome {
    let (mut router, _, there) = start(cluster, "st_done").await?;
    // With ANALYZE it is done, on all shards or on none.
    let json = "EXPLAIN (ANALYZE, FORMAT json, TIMING off) UPDATE st_done SET v = v + 1";
    let shown = lines(&mut router, json).await?;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    let plan = &shown[0]["Plan"];
    same!(plan["Node Type"], "Split Write", "{shown}");
    same!(
        plan["Plans"][1]["Plans"][0]["Operation"],
        "Update",
        "{shown}"
    );
    anyhow::ensure!(plan["Plans"][0]["Execution Time"].is_number(), "{shown}");
    same!(values(cluster, "st_done").await?, "2,2");
    let bad = format!("EXPLAIN ANALYZE UPDATE st_done SET v = 1 / (k - {there})::int");
    same!(
        sqlstate(&router.query(&bad).await?).as_deref(),
        Some("22012")
    );
    same!(values(cluster, "st_done").await?, "2,2");
    router.query("BEGIN").await?;
    lines(&mut router, json).await?;
    router.query("ROLLBACK").await?;
    same!(values(cluster, "st_done").await?, "2,2");
    // By the extended protocol, with parameters.
    let sql = "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) UPDATE st_done SET v = $1";
    let batch = [
        parse("", sql, &[23]),
        bind("", "", false, &[Some(b"5")]),
        describe(b'P', ""),
        execute("", 0),
        sync(),
    ];
    let answer = router.exchange(&batch.concat()).await?;
    anyhow::ensure!(tags(&answer).starts_with("12TD"), "{answer:?}");
    same!(status(&answer)?, 'I');
    same!(values(cluster, "st_done").await?, "5,5");
    nothing_is_prepared(cluster).await
}
