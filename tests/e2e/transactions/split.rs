//! Statements that write rows of several shards.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use tests::raw::{Raw, bind, describe, execute, parse, sync, tags};
use tests::{Cluster, http};

use super::{all, keys, nothing_is_prepared};
use crate::pgwire::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        the_rows_of_an_insert_go_to_their_shards,
        an_insert_with_parameters_is_split_by_their_values,
        an_insert_that_fails_on_one_shard_is_on_none,
        an_update_without_a_key_runs_on_every_shard,
        keys_of_several_shards_are_updated_and_deleted_together,
        drivers_write_rows_of_several_shards,
        what_reads_other_rows_is_refused,
        a_write_may_read_rows_of_the_same_keys,
        a_reference_table_is_written_on_every_shard,
    )
    .into()
}

async fn the_rows_of_an_insert_go_to_their_shards(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster
        .create("sp_insert", columns, ("k", "bigint"))
        .await?;
    let (here, there) = keys(cluster).await?;
    let other = cluster.key_on("shard-1", here + 1).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    // Without RETURNING, with it in the order of VALUES, and without the names of columns.
    let sql =
        format!("INSERT INTO sp_insert (k, v) VALUES ({here}, 1), ({there}, 2), ({other}, 3)");
    let answer = router.query(&sql).await?;
    same!(answer[0].text(), "INSERT 0 3", "{answer:?}");
    same!(status(&answer)?, 'I');
    router.query("DELETE FROM sp_insert").await?;
    let answer = router.query(&format!("{sql} RETURNING v")).await?;
    same!(tags(&answer), "TDDDCZ", "{answer:?}");
    same!(column(&answer)?, ["1", "2", "3"]);
    router.query("DELETE FROM sp_insert").await?;
    let sql = format!("INSERT INTO sp_insert VALUES ({here}, 1), ({there}, 2)");
    let answer = router.query(&sql).await?;
    same!(answer[0].text(), "INSERT 0 2", "{answer:?}");
    // One of them is there already.
    let sql = format!(
        "INSERT INTO sp_insert (k, v) VALUES ({here}, 9), ({other}, 9) \
         ON CONFLICT (k) DO UPDATE SET v = excluded.v + 1"
    );
    same!(router.query(&sql).await?[0].text(), "INSERT 0 2");
    let wanted = [(here, "10"), (there, "2"), (other, "9")];
    for (key, wanted) in wanted {
        let sql = format!("SELECT v FROM sp_insert WHERE k = {key}");
        same!(column(&router.query(&sql).await?)?, [wanted], "key {key}");
    }
    nothing_is_prepared(cluster).await
}

async fn an_insert_with_parameters_is_split_by_their_values(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v text";
    cluster
        .create("sp_params", columns, ("k", "bigint"))
        .await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let sql = "INSERT INTO sp_params (k, v) VALUES ($1, $2), ($3, $4) RETURNING k, v";
    let (a, b) = (here.to_be_bytes(), there.to_be_bytes());
    let values = [Some(&a[..]), Some(b"one"), Some(&b[..]), Some(b"two")];
    let batch = [
        parse("s", sql, &[20, 25, 20, 25]),
        bind("", "s", true, &values),
        describe(b'P', ""),
        execute("", 0),
        sync(),
    ]
    .concat();
    let answer = router.exchange(&batch).await?;
    same!(tags(&answer), "12TDDCZ", "{answer:?}");
    same!(column(&answer)?, [here.to_string(), there.to_string()]);
    same!(status(&answer)?, 'I');
    let statement = [parse("t", sql, &[]), describe(b'S', "t"), sync()].concat();
    same!(tags(&router.exchange(&statement).await?), "1tTZ");
    // Within a block, in which it is rolled back.
    router.query("BEGIN").await?;
    router.query("DELETE FROM sp_params").await?;
    let batch = [bind("", "s", true, &values), execute("", 0), sync()].concat();
    let answer = router.exchange(&batch).await?;
    same!(tags(&answer), "2DDCZ", "{answer:?}");
    same!(status(&answer)?, 'T');
    router.query("ROLLBACK").await?;
    for shard in &cluster.shards {
        same!(shard.psql("SELECT count(*) FROM sp_params").await?, "1");
    }
    Ok(())
}

async fn an_insert_that_fails_on_one_shard_is_on_none(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int CHECK (v > 0)";
    cluster.create("sp_fail", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for (a, b) in [(1, 0), (0, 1)] {
        let sql = format!("INSERT INTO sp_fail (k, v) VALUES ({here}, {a}), ({there}, {b})");
        let answer = router.query(&sql).await?;
        same!(sqlstate(&answer).as_deref(), Some("23514"), "{answer:?}");
        same!(status(&answer)?, 'I');
        let batch = [
            parse("", &sql, &[]),
            bind("", "", false, &[]),
            execute("", 0),
            sync(),
        ];
        let answer = router.exchange(&batch.concat()).await?;
        same!(sqlstate(&answer).as_deref(), Some("23514"), "{answer:?}");
        same!(status(&answer)?, 'I');
    }
    for shard in &cluster.shards {
        same!(shard.psql("SELECT count(*) FROM sp_fail").await?, "0");
    }
    // In a block it fails the transaction, and a savepoint brings it back.
    let bad = format!("INSERT INTO sp_fail (k, v) VALUES ({here}, 1), ({there}, 0)");
    let good = format!("INSERT INTO sp_fail (k, v) VALUES ({here}, 1), ({there}, 1)");
    let statements = [
        ("BEGIN".to_owned(), 'T'),
        ("SAVEPOINT a".to_owned(), 'T'),
        (bad, 'E'),
        ("ROLLBACK TO SAVEPOINT a".to_owned(), 'T'),
        (good, 'T'),
        ("COMMIT".to_owned(), 'I'),
    ];
    all(&mut router, &statements).await?;
    for shard in &cluster.shards {
        same!(shard.psql("SELECT count(*) FROM sp_fail").await?, "1");
    }
    Ok(())
}

async fn an_update_without_a_key_runs_on_every_shard(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster.create("sp_all", columns, ("k", "bigint")).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let rows: Vec<String> = (1..=20).map(|key| format!("({key}, {key})")).collect();
    let sql = format!("INSERT INTO sp_all (k, v) VALUES {}", rows.join(", "));
    same!(router.query(&sql).await?[0].text(), "INSERT 0 20");
    let answer = router
        .query("UPDATE sp_all SET v = v + 100 WHERE v > 10")
        .await?;
    same!(answer[0].text(), "UPDATE 10", "{answer:?}");
    let answer = router
        .query("DELETE FROM sp_all WHERE v > 115 RETURNING k")
        .await?;
    let mut found = column(&answer)?;
    found.sort();
    same!(found, ["16", "17", "18", "19", "20"]);
    same!(
        router.query("DELETE FROM sp_all").await?[0].text(),
        "DELETE 15"
    );
    Ok(())
}

async fn keys_of_several_shards_are_updated_and_deleted_together(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster.create("sp_keys", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let sql = format!("INSERT INTO sp_keys (k, v) VALUES ({here}, 1), ({there}, 1)");
    router.query(&sql).await?;
    let sql = format!("UPDATE sp_keys SET v = 2 WHERE k IN ({here}, {there}) RETURNING v");
    let answer = router.query(&sql).await?;
    same!(column(&answer)?, ["2", "2"], "{answer:?}");
    let array = format!("{{{here},{there}}}");
    let batch = [
        parse("", "DELETE FROM sp_keys WHERE k = ANY ($1::bigint[])", &[]),
        bind("", "", false, &[Some(array.as_bytes())]),
        execute("", 0),
        sync(),
    ];
    let answer = router.exchange(&batch.concat()).await?;
    same!(tags(&answer), "12CZ", "{answer:?}");
    same!(answer[2].text(), "DELETE 2");
    Ok(())
}

async fn drivers_write_rows_of_several_shards(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v text, n int";
    cluster
        .create("sp_driver", columns, ("k", "bigint"))
        .await?;
    let (here, there) = keys(cluster).await?;
    let mut client = cluster.router(0)?.client().await?;
    let sql = "INSERT INTO sp_driver (k, v, n) VALUES ($1, $2, $3), ($4, $5, $6) RETURNING n";
    let rows = client
        .query(sql, &[&here, &"a", &1, &there, &"b", &2])
        .await?;
    let found: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    same!(found, [1, 2]);
    let transaction = client.transaction().await?;
    let both = vec![here, there];
    let update = "UPDATE sp_driver SET n = n + $2 WHERE k = ANY ($1)";
    same!(transaction.execute(update, &[&both, &5]).await?, 2);
    let update = "UPDATE sp_driver SET v = v || $1";
    same!(transaction.execute(update, &[&"!"]).await?, 2);
    transaction.commit().await?;
    for (key, wanted) in [(here, ("a!", 6)), (there, ("b!", 7))] {
        let sql = "SELECT v, n FROM sp_driver WHERE k = $1";
        let row = client.query_one(sql, &[&key]).await?;
        same!((row.get::<_, &str>(0), row.get::<_, i32>(1)), wanted);
    }
    Ok(())
}

async fn what_reads_other_rows_is_refused(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster
        .create("sp_refused", columns, ("k", "bigint"))
        .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for sql in [
        "UPDATE sp_refused SET v = (SELECT max(v) FROM sp_refused)",
        "DELETE FROM sp_refused WHERE v = (SELECT max(v) FROM sp_refused)",
        "DELETE FROM sp_refused a USING sp_refused b WHERE a.v = b.v",
        "DELETE FROM sp_refused a USING sp_refused b WHERE a.k IN (1, 2, 3, 4, 5, 6, 7, 8, 9) \
         AND b.k IN (1, 2, 3, 4, 5, 6, 7, 8, 9)",
        "UPDATE sp_refused a SET v = b.n FROM (SELECT k, count(*) OVER () AS n FROM sp_refused) b \
         WHERE a.k = b.k",
        "UPDATE sp_refused a SET v = 1 FROM (SELECT k FROM sp_refused ORDER BY v LIMIT 2) b \
         WHERE a.k = b.k",
        "DELETE FROM sp_refused WHERE k NOT IN (SELECT v FROM sp_refused)",
        "INSERT INTO sp_refused (k, v) SELECT a.k, b.v FROM sp_refused a FULL JOIN sp_refused b \
         ON a.v = b.v",
        "UPDATE sp_refused SET k = 1",
        "/* shard = 'shard-1' */ DELETE FROM sp_refused",
        "INSERT INTO sp_refused (k, v) VALUES (1, 1), (abs(2), 1), (3, 1)",
    ] {
        let answer = router.query(sql).await?;
        let (code, text) = error_of(&answer)?;
        same!(code, "0A000", "{sql}: {text}");
    }
    Ok(())
}

async fn a_write_may_read_rows_of_the_same_keys(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    for table in ["sp_tied", "sp_others"] {
        cluster.create(table, columns, ("k", "bigint")).await?;
    }
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for table in ["sp_tied", "sp_others"] {
        let rows = format!("INSERT INTO {table} (k, v) VALUES ({here}, 1), ({there}, 2)");
        same!(router.query(&rows).await?[0].text(), "INSERT 0 2");
    }
    let sums = "(SELECT k, sum(v) + 10 AS v FROM sp_others GROUP BY k)";
    let pair = format!("({here}, {there})");
    for (sql, tag) in [
        (
            "UPDATE sp_tied SET v = o.v + 5 FROM sp_others o WHERE o.k = sp_tied.k".to_owned(),
            "UPDATE 2",
        ),
        (
            format!("UPDATE sp_tied t SET v = o.v FROM {sums} o WHERE o.k = t.k"),
            "UPDATE 2",
        ),
        (
            format!(
                "UPDATE sp_tied t SET v = v + 1 WHERE k IN {pair} AND EXISTS \
                 (SELECT FROM sp_others o WHERE o.k = t.k AND o.v = 2)"
            ),
            "UPDATE 1",
        ),
        (
            "DELETE FROM sp_tied USING sp_others o WHERE o.k = sp_tied.k AND o.v = 1".to_owned(),
            "DELETE 1",
        ),
        (
            "DELETE FROM sp_tied WHERE k IN (SELECT k FROM sp_others WHERE v = 1)".to_owned(),
            "DELETE 0",
        ),
    ] {
        let answer = router.query(&sql).await?;
        same!(answer[0].text(), tag, "{sql}: {answer:?}");
    }
    let rest = router.query("SELECT v FROM sp_tied").await?;
    same!(column(&rest)?, ["13"]);
    nothing_is_prepared(cluster).await
}

async fn a_reference_table_is_written_on_every_shard(cluster: &Cluster) -> Outcome {
    let columns = "code text PRIMARY KEY, name text, seen timestamptz DEFAULT now()";
    let router = cluster.router(0)?;
    router
        .psql(&format!("CREATE TABLE co_ref ({columns})"))
        .await?;
    let body = json!({ "name": "co_ref", "kind": "reference" });
    http::post(&cluster.manager(0)?.api("/tables"), &body)
        .await?
        .expect(201)?;
    cluster.settle().await?;
    let mut router = Raw::connect(&router.address()).await?;
    let insert = "INSERT INTO co_ref (code, name, seen) VALUES ('is', 'Iceland', '2026-01-01Z')";
    let answer = router.query(&format!("{insert} RETURNING code")).await?;
    same!(column(&answer)?, ["is"], "{answer:?}");
    same!(status(&answer)?, 'I');
    let update = "UPDATE co_ref SET name = $1 WHERE code = 'is'";
    let batch = [
        parse("", update, &[]),
        bind("", "", false, &[Some(b"island")]),
        execute("", 0),
        sync(),
    ];
    let answer = router.exchange(&batch.concat()).await?;
    same!(tags(&answer), "12CZ", "{answer:?}");
    same!(answer[2].text(), "UPDATE 1");
    for shard in &cluster.shards {
        let rows = shard.psql("SELECT code, name FROM co_ref").await?;
        same!(rows, "is|island");
    }
    // In one transaction with rows of a shard, and rolled back.
    let statements = [
        ("BEGIN".to_owned(), 'T'),
        ("DELETE FROM co_ref".to_owned(), 'T'),
        ("ROLLBACK".to_owned(), 'I'),
    ];
    all(&mut router, &statements).await?;
    for sql in [
        "INSERT INTO co_ref (code, name) VALUES ('no', 'Norway')",
        "INSERT INTO co_ref VALUES ('no', 'Norway', now())",
        "UPDATE co_ref SET seen = CURRENT_TIMESTAMP",
        "UPDATE co_ref SET name = random()::text",
        "INSERT INTO co_ref SELECT * FROM co_ref",
    ] {
        let answer = router.query(sql).await?;
        let (code, text) = error_of(&answer)?;
        same!(code, "0A000", "{sql}: {text}");
        same!(status(&answer)?, 'I');
    }
    for shard in &cluster.shards {
        same!(shard.psql("SELECT count(*) FROM co_ref").await?, "1");
    }
    nothing_is_prepared(cluster).await
}
