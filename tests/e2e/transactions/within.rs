//! What a transaction that is on several shards may do: read all of them with what it has written,
//! change the schema, keep cursors.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::Cluster;
use tests::raw::{Raw, bind, describe, execute, parse, sync, tags};

use super::{all, keys, nothing_is_prepared};
use crate::pgwire::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        a_transaction_reads_what_it_has_written_on_all_shards,
        a_query_that_fails_fails_the_transaction,
        the_schema_changes_with_the_transaction,
        sequences_of_a_transaction_have_values_of_their_own,
        a_cursor_over_several_shards_goes_forward,
        a_cursor_over_several_shards_passes_over_rows,
        a_name_is_one_cursor_in_a_transaction,
        ids_are_written_into_an_insert,
    )
    .into()
}

/// A table of the keys 1 to 40 with `v` = 1.
async fn filled(cluster: &Cluster, table: &str) -> anyhow::Result<Raw> {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster.create(table, columns, ("k", "bigint")).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let rows: Vec<String> = (1..=40).map(|k| format!("({k}, 1)")).collect();
    let sql = format!("INSERT INTO {table} VALUES {}", rows.join(", "));
    let answer = router.query(&sql).await?;
    same!(answer[0].text(), "INSERT 0 40");
    Ok(router)
}

async fn a_transaction_reads_what_it_has_written_on_all_shards(cluster: &Cluster) -> Outcome {
    let mut router = filled(cluster, "wi_read").await?;
    let sum = "SELECT sum(v) FROM wi_read";
    router.query("BEGIN").await?;
    router.query("UPDATE wi_read SET v = 2 WHERE k = 1").await?;
    same!(column(&router.query(sum).await?)?, ["41"]);
    router.query("SAVEPOINT s").await?;
    router.query("UPDATE wi_read SET v = 10").await?;
    same!(column(&router.query(sum).await?)?, ["400"]);
    router.query("ROLLBACK TO s").await?;
    same!(column(&router.query(sum).await?)?, ["41"]);
    // By the extended protocol, little by little.
    let batch = [
        parse("", "SELECT k FROM wi_read WHERE v < $1 ORDER BY k", &[23]),
        bind("p", "", false, &[Some(b"3")]),
        describe(b'P', "p"),
        execute("p", 2),
        execute("p", 0),
        sync(),
    ];
    let answer = router.exchange(&batch.concat()).await?;
    let wanted = format!("12TDDs{}CZ", "D".repeat(38));
    same!(tags(&answer), wanted, "{answer:?}");
    router.query("DELETE FROM wi_read WHERE k > 20").await?;
    same!(column(&router.query(sum).await?)?, ["21"]);
    router.query("COMMIT").await?;
    same!(column(&router.query(sum).await?)?, ["21"]);
    nothing_is_prepared(cluster).await
}

async fn a_query_that_fails_fails_the_transaction(cluster: &Cluster) -> Outcome {
    let mut router = filled(cluster, "wi_fail").await?;
    let statements = [
        ("BEGIN", 'T'),
        ("UPDATE wi_fail SET v = 5 WHERE k = 7", 'T'),
        ("SAVEPOINT s", 'T'),
        ("SELECT 1 / (k - 9) FROM wi_fail", 'E'),
        ("SELECT sum(v) FROM wi_fail", 'E'),
        ("ROLLBACK TO s", 'T'),
        ("SELECT sum(v) FROM wi_fail", 'T'),
        ("COMMIT", 'I'),
    ];
    let statements = statements.map(|(sql, status)| (sql.to_owned(), status));
    all(&mut router, &statements).await?;
    let sum = router.query("SELECT sum(v) FROM wi_fail").await?;
    same!(column(&sum)?, ["44"]);
    nothing_is_prepared(cluster).await
}

async fn the_schema_changes_with_the_transaction(cluster: &Cluster) -> Outcome {
    let mut router = filled(cluster, "wi_schema").await?;
    let statements = |end: &str| {
        let statements = [
            ("BEGIN", 'T'),
            ("ALTER TABLE wi_schema ADD COLUMN w int DEFAULT 3", 'T'),
            ("CREATE INDEX wi_schema_w ON wi_schema (w)", 'T'),
            ("UPDATE wi_schema SET w = 4 WHERE k < 11", 'T'),
            ("SELECT sum(w) FROM wi_schema", 'T'),
            (end, 'I'),
        ];
        statements.map(|(sql, status)| (sql.to_owned(), status))
    };
    let there = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'wi_schema'::regclass \
                 AND attname = 'w'";
    all(&mut router, &statements("ROLLBACK")).await?;
    for shard in &cluster.shards {
        same!(shard.psql(there).await?, "0");
    }
    all(&mut router, &statements("COMMIT")).await?;
    for shard in &cluster.shards {
        same!(shard.psql(there).await?, "1");
    }
    let sum = router.query("SELECT sum(w) FROM wi_schema").await?;
    same!(column(&sum)?, ["130"]);
    router.query("BEGIN").await?;
    router.query("TRUNCATE wi_schema").await?;
    let unnamed = router
        .query("INSERT INTO wi_schema VALUES (1, 2, 3)")
        .await?;
    same!(sqlstate(&unnamed).as_deref(), Some("0A000"));
    router.query("ROLLBACK").await?;
    router.query("BEGIN").await?;
    let alone = router.query("VACUUM wi_schema").await?;
    same!(sqlstate(&alone).as_deref(), Some("25001"));
    router.query("ROLLBACK").await?;
    nothing_is_prepared(cluster).await
}

async fn sequences_of_a_transaction_have_values_of_their_own(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let rows: Vec<String> = (1..=40).map(|k| format!("({k})")).collect();
    let insert = format!("INSERT INTO wi_serial (k) VALUES {}", rows.join(", "));
    for sql in [
        "BEGIN",
        "/* shard_key = k */ CREATE TABLE wi_serial (k bigint, a bigserial)",
        "SAVEPOINT s",
        "ALTER TABLE wi_serial ADD COLUMN b bigint GENERATED ALWAYS AS IDENTITY",
        "RELEASE s",
        "CREATE SEQUENCE wi_own",
        &insert,
        "COMMIT",
    ] {
        let answer = router.query(sql).await?;
        same!(sqlstate(&answer), None, "{sql}: {answer:?}");
    }
    let distinct = "SELECT count(DISTINCT a) + count(DISTINCT b) FROM wi_serial";
    same!(column(&router.query(distinct).await?)?, ["80"]);
    for shard in &cluster.shards {
        let steps = "SELECT DISTINCT seqincrement FROM pg_sequence q JOIN pg_class c \
                     ON c.oid = seqrelid WHERE relname LIKE 'wi\\_%'";
        same!(shard.psql(steps).await?, "1024");
    }
    nothing_is_prepared(cluster).await
}

async fn a_cursor_over_several_shards_goes_forward(cluster: &Cluster) -> Outcome {
    let mut router = filled(cluster, "wi_cursor").await?;
    let keys = |from: u32, to: u32| (from..=to).map(|k| k.to_string()).collect::<Vec<_>>();
    for before in ["SELECT 1", "UPDATE wi_cursor SET v = 9 WHERE k = 3"] {
        router.query("BEGIN").await?;
        router.query(before).await?;
        let declare = "DECLARE c CURSOR FOR SELECT k FROM wi_cursor ORDER BY k";
        same!(router.query(declare).await?[0].text(), "DECLARE CURSOR");
        router.query("DELETE FROM wi_cursor").await?;
        same!(column(&router.query("FETCH 3 FROM c").await?)?, keys(1, 3));
        same!(router.query("MOVE 2 IN c").await?[0].text(), "MOVE 2");
        // As drivers fetch.
        let batch = [
            parse("", "FETCH FORWARD 5 FROM c", &[]),
            bind("", "", false, &[]),
            describe(b'P', ""),
            execute("", 0),
            sync(),
        ];
        let answer = router.exchange(&batch.concat()).await?;
        same!(tags(&answer), "12TDDDDDCZ", "{answer:?}");
        same!(column(&answer)?, keys(6, 10));
        same!(
            column(&router.query("FETCH ALL FROM c").await?)?,
            keys(11, 40)
        );
        let none = router.query("FETCH c").await?;
        same!(tags(&none), "TCZ", "{none:?}");
        same!(router.query("CLOSE c").await?[0].text(), "CLOSE CURSOR");
        let gone = router.query("FETCH c").await?;
        same!(sqlstate(&gone).as_deref(), Some("34000"));
        router.query("ROLLBACK").await?;
    }
    router.query("BEGIN").await?;
    router
        .query("DECLARE c CURSOR FOR SELECT k FROM wi_cursor")
        .await?;
    let back = router.query("FETCH PRIOR FROM c").await?;
    same!(sqlstate(&back).as_deref(), Some("0A000"));
    router.query("ROLLBACK").await?;
    nothing_is_prepared(cluster).await
}

async fn a_cursor_over_several_shards_passes_over_rows(cluster: &Cluster) -> Outcome {
    let mut router = filled(cluster, "wi_skip").await?;
    router.query("BEGIN").await?;
    router
        .query("DECLARE c CURSOR FOR SELECT k FROM wi_skip ORDER BY k")
        .await?;
    for (sql, wanted) in [
        ("FETCH FIRST FROM c", &["1"][..]),
        ("FETCH RELATIVE 3 FROM c", &["4"]),
        ("FETCH ABSOLUTE 10 FROM c", &["10"]),
        ("FETCH RELATIVE 1 FROM c", &["11"]),
        ("FETCH 2 FROM c", &["12", "13"]),
        ("FETCH ABSOLUTE 400 FROM c", &[]),
        ("FETCH RELATIVE 5 FROM c", &[]),
    ] {
        same!(column(&router.query(sql).await?)?, wanted, "{sql}");
    }
    router.query("CLOSE c").await?;
    let declare = "DECLARE c CURSOR FOR SELECT k FROM wi_skip ORDER BY k";
    same!(router.query(declare).await?[0].text(), "DECLARE CURSOR");
    let moved = router.query("MOVE ABSOLUTE 39 IN c").await?;
    same!(moved[0].text(), "MOVE 1");
    same!(column(&router.query("FETCH ALL FROM c").await?)?, ["40"]);
    for sql in [
        "FETCH ABSOLUTE 3 FROM c",
        "FETCH BACKWARD 2 FROM c",
        "FETCH LAST FROM c",
        "FETCH RELATIVE -1 FROM c",
        "FETCH RELATIVE 0 FROM c",
    ] {
        router.query("SAVEPOINT s").await?;
        let (code, text) = error_of(&router.query(sql).await?)?;
        same!(code, "0A000", "{sql}: {text}");
        anyhow::ensure!(text.contains("forward only"), "{sql}: {text}");
        router.query("ROLLBACK").await?;
        router.query("BEGIN").await?;
        router.query(declare).await?;
        router.query("MOVE 5 IN c").await?;
    }
    router.query("ROLLBACK").await?;
    nothing_is_prepared(cluster).await
}

async fn a_name_is_one_cursor_in_a_transaction(cluster: &Cluster) -> Outcome {
    let mut router = filled(cluster, "wi_names").await?;
    let (here, there) = keys(cluster).await?;
    let one = |key: i64| format!("DECLARE c CURSOR FOR SELECT k FROM wi_names WHERE k = {key}");
    let all = "DECLARE c CURSOR FOR SELECT k FROM wi_names".to_owned();
    for (first, second) in [
        (one(here), one(there)),
        (one(here), one(here)),
        (one(here), all.clone()),
        (all.clone(), one(there)),
        (all.clone(), all.clone()),
    ] {
        router.query("BEGIN").await?;
        same!(
            router.query(&first).await?[0].text(),
            "DECLARE CURSOR",
            "{first}"
        );
        let (code, text) = error_of(&router.query(&second).await?)?;
        same!(code, "42P03", "{first}; {second}: {text}");
        same!(status(&router.query("ROLLBACK").await?)?, 'I');
        // Once it is closed, or gone with its savepoint, the name is free.
        for closes in ["CLOSE c", "CLOSE ALL"] {
            router.query("BEGIN").await?;
            for sql in [&first, closes, &second] {
                let answer = router.query(sql).await?;
                same!(
                    sqlstate(&answer),
                    None,
                    "{first}; {closes}; {second}: {answer:?}"
                );
            }
            router.query("ROLLBACK").await?;
        }
        router.query("BEGIN").await?;
        for sql in ["SAVEPOINT s", &first, "ROLLBACK TO s", &second] {
            let answer = router.query(sql).await?;
            same!(
                sqlstate(&answer),
                None,
                "{first}; ROLLBACK TO s; {second}: {answer:?}"
            );
        }
        router.query("ROLLBACK").await?;
    }
    nothing_is_prepared(cluster).await
}

async fn ids_are_written_into_an_insert(cluster: &Cluster) -> Outcome {
    let columns = "id bigint PRIMARY KEY, v text";
    cluster.create("wi_ids", columns, ("id", "bigint")).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let sql = "INSERT INTO wi_ids VALUES (sharding.next_id(), 'a'), (sharding.next_id(), 'b') \
               RETURNING v";
    let answer = router.query(sql).await?;
    same!(column(&answer)?, ["a", "b"], "{answer:?}");
    let count = router
        .query("SELECT count(DISTINCT id) FROM wi_ids")
        .await?;
    same!(column(&count)?, ["2"]);
    let select = "INSERT INTO wi_ids SELECT sharding.next_id(), v FROM wi_ids";
    same!(
        sqlstate(&router.query(select).await?).as_deref(),
        Some("0A000")
    );
    Ok(())
}
