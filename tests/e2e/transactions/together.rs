//! What a client sees of a transaction on several shards while nothing dies.

use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::json;
use tests::Cluster;
use tests::cluster::Plan;
use tests::postgres::Options;
use tests::raw::{Raw, bind, execute, parse, sync, tags};

use super::{all, keys, nothing_is_prepared};
use crate::pgwire::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, alone, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials: Vec<Trial> = shared!(suite:
        writes_on_two_shards_are_committed_or_rolled_back_together,
        what_was_written_is_read_by_the_next_statement,
        savepoints_reach_every_shard,
        an_error_on_one_shard_fails_the_transaction_on_all,
        a_shard_that_refuses_its_commit_keeps_the_others_from_theirs,
        settings_follow_the_transaction_to_every_shard,
        cursors_and_portals_stay_where_they_were_opened,
        a_batch_without_a_block_is_one_transaction_on_all_its_shards,
        a_pipelined_block_ends_on_all_its_shards,
        a_snapshot_over_several_shards_is_refused,
        writing_on_several_shards_can_be_switched_off,
        a_chained_transaction_begins_anew,
        a_client_that_leaves_rolls_back_every_shard,
    )
    .into();
    trials.extend(alone!(suite: a_shard_that_cannot_prepare_is_named));
    trials
}

async fn count(cluster: &Cluster, table: &str) -> anyhow::Result<Vec<String>> {
    let mut counts = Vec::new();
    for shard in &cluster.shards {
        let sql = format!("SELECT count(*) FROM {table}");
        counts.push(shard.psql(&sql).await?);
    }
    Ok(counts)
}

async fn writes_on_two_shards_are_committed_or_rolled_back_together(
    cluster: &Cluster,
) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster.create("co_both", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for (end, wanted) in [("ROLLBACK", ["0", "0"]), ("COMMIT", ["1", "1"])] {
        let statements = [
            ("BEGIN".to_owned(), 'T'),
            (format!("INSERT INTO co_both (k, v) VALUES ({here}, 1)"), 'T'),
            (format!("INSERT INTO co_both (k, v) VALUES ({there}, 1)"), 'T'),
            (format!("UPDATE co_both SET v = 2 WHERE k = {here}"), 'T'),
            (format!("UPDATE co_both SET v = 2 WHERE k = {there}"), 'T'),
        ];
        all(&mut router, &statements).await?;
        let answer = router.query(end).await?;
        same!(tags(&answer), "CZ", "{answer:?}");
        same!(answer[0].text(), end);
        same!(status(&answer)?, 'I');
        same!(count(cluster, "co_both").await?, wanted, "{end}");
    }
    // One that has only read here costs the other no second phase.
    let statements = [
        ("BEGIN".to_owned(), 'T'),
        (format!("SELECT v FROM co_both WHERE k = {here}"), 'T'),
        (format!("UPDATE co_both SET v = 3 WHERE k = {there}"), 'T'),
        ("COMMIT".to_owned(), 'I'),
    ];
    all(&mut router, &statements).await?;
    nothing_is_prepared(cluster).await
}

async fn what_was_written_is_read_by_the_next_statement(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster.create("co_read", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for key in [here, there] {
        let sql = format!("INSERT INTO co_read (k, v) VALUES ({key}, 0)");
        router.query(&sql).await?;
    }
    for round in 1..=50 {
        let statements = [
            ("BEGIN".to_owned(), 'T'),
            (format!("UPDATE co_read SET v = {round} WHERE k = {here}"), 'T'),
            (format!("UPDATE co_read SET v = {round} WHERE k = {there}"), 'T'),
            ("COMMIT".to_owned(), 'I'),
        ];
        all(&mut router, &statements).await?;
        for key in [here, there] {
            let sql = format!("SELECT v FROM co_read WHERE k = {key}");
            let rows = router.query(&sql).await?;
            same!(column(&rows)?, [round.to_string()], "key {key}");
        }
    }
    Ok(())
}

async fn savepoints_reach_every_shard(cluster: &Cluster) -> Outcome {
    let columns = "k bigint, v int, PRIMARY KEY (k, v)";
    cluster.create("co_savepoint", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let insert = |key: i64, value: i64| {
        format!("INSERT INTO co_savepoint (k, v) VALUES ({key}, {value})")
    };
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let statements = [
        ("BEGIN".to_owned(), 'T'),
        (insert(here, 1), 'T'),
        ("SAVEPOINT a".to_owned(), 'T'),
        (insert(here, 2), 'T'),
        // Joins after the savepoint, and has it all the same.
        (insert(there, 1), 'T'),
        ("SAVEPOINT b".to_owned(), 'T'),
        (insert(there, 2), 'T'),
        (insert(there, 2), 'E'),
        ("ROLLBACK TO SAVEPOINT b".to_owned(), 'T'),
        (insert(here, 3), 'T'),
        ("ROLLBACK TO SAVEPOINT a".to_owned(), 'T'),
        (insert(there, 4), 'T'),
        ("RELEASE SAVEPOINT a".to_owned(), 'T'),
        (insert(here, 4), 'T'),
        ("COMMIT".to_owned(), 'I'),
    ];
    all(&mut router, &statements).await?;
    for (key, wanted) in [(here, vec!["1", "4"]), (there, vec!["4"])] {
        let sql = format!("SELECT v FROM co_savepoint WHERE k = {key} ORDER BY v");
        same!(column(&router.query(&sql).await?)?, wanted, "key {key}");
    }
    Ok(())
}

async fn an_error_on_one_shard_fails_the_transaction_on_all(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY";
    cluster.create("co_error", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let statements = [
        ("BEGIN".to_owned(), 'T'),
        (format!("INSERT INTO co_error (k) VALUES ({here})"), 'T'),
        (format!("INSERT INTO co_error (k) VALUES ({there})"), 'T'),
        (format!("SELECT 1/0 FROM co_error WHERE k = {there}"), 'E'),
        (format!("SELECT k FROM co_error WHERE k = {here}"), 'E'),
    ];
    all(&mut router, &statements).await?;
    let answer = router.query("COMMIT").await?;
    same!(answer[0].text(), "ROLLBACK");
    same!(status(&answer)?, 'I');
    same!(count(cluster, "co_error").await?, ["0", "0"]);
    Ok(())
}

async fn a_shard_that_refuses_its_commit_keeps_the_others_from_theirs(
    cluster: &Cluster,
) -> Outcome {
    let columns = "k bigint, v int, UNIQUE (k, v) DEFERRABLE INITIALLY DEFERRED";
    cluster.create("co_deferred", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let insert = |key: i64| format!("INSERT INTO co_deferred (k, v) VALUES ({key}, 1)");
    for key in [here, there] {
        router.query(&insert(key)).await?;
    }
    // Each in turn is the one that refuses: the first is prepared, the last decides.
    for (bad, good) in [(here, there), (there, here)] {
        for (first, second) in [(bad, good), (good, bad)] {
            let other = format!("INSERT INTO co_deferred (k, v) VALUES ({good}, 2)");
            let of = |key| if key == bad { insert(bad) } else { other.clone() };
            let statements = [
                ("BEGIN".to_owned(), 'T'),
                (of(first), 'T'),
                (of(second), 'T'),
            ];
            all(&mut router, &statements).await?;
            let answer = router.query("COMMIT").await?;
            same!(sqlstate(&answer).as_deref(), Some("23505"), "{answer:?}");
            same!(status(&answer)?, 'I');
            same!(count(cluster, "co_deferred").await?, ["1", "1"]);
        }
    }
    nothing_is_prepared(cluster).await
}

async fn settings_follow_the_transaction_to_every_shard(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY";
    cluster.create("co_setting", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let shown = |key: i64| {
        format!(
            "SELECT current_setting('work_mem') || current_setting('temp_buffers') \
             FROM (SELECT count(*) FROM co_setting WHERE k = {key}) AS a"
        )
    };
    for sql in ["BEGIN", "SET work_mem = '5MB'"] {
        router.query(sql).await?;
    }
    same!(column(&router.query(&shown(here)).await?)?, ["5MB8MB"]);
    same!(column(&router.query(&shown(there)).await?)?, ["5MB8MB"]);
    router.query("SET LOCAL work_mem = '6MB'").await?;
    same!(column(&router.query(&shown(here)).await?)?, ["6MB8MB"]);
    same!(column(&router.query(&shown(there)).await?)?, ["6MB8MB"]);
    router.query("COMMIT").await?;
    for key in [here, there] {
        same!(column(&router.query(&shown(key)).await?)?, ["5MB8MB"]);
    }
    Ok(())
}

async fn cursors_and_portals_stay_where_they_were_opened(cluster: &Cluster) -> Outcome {
    let columns = "k bigint, v int, PRIMARY KEY (k, v)";
    cluster.create("co_cursor", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for value in 1..=4 {
        let sql = format!("INSERT INTO co_cursor (k, v) VALUES ({here}, {value})");
        router.query(&sql).await?;
    }
    let query = format!("SELECT v FROM co_cursor WHERE k = {here} ORDER BY v");
    let write = |value: i64| format!("INSERT INTO co_cursor (k, v) VALUES ({there}, {value})");
    router.query("BEGIN").await?;
    router.query(&format!("DECLARE c CURSOR FOR {query}")).await?;
    same!(column(&router.query("FETCH 1 FROM c").await?)?, ["1"]);
    router.query(&write(1)).await?;
    same!(column(&router.query("FETCH 1 FROM c").await?)?, ["2"]);
    let open = [parse("", &query, &[]), bind("p", "", false, &[])].concat();
    let fetch = [execute("p", 1), sync()].concat();
    let answer = router.exchange(&[open, fetch.clone()].concat()).await?;
    same!(column(&answer)?, ["1"], "{answer:?}");
    router.query(&write(2)).await?;
    same!(column(&router.exchange(&fetch).await?)?, ["2"]);
    same!(column(&router.query("FETCH 1 FROM c").await?)?, ["3"]);
    router.query("COMMIT").await?;
    same!(count(cluster, "co_cursor").await?, ["4", "2"]);
    Ok(())
}

/// Parse, Bind and Execute of a statement.
fn run(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", false, &[]), execute("", 0)].concat()
}

async fn a_batch_without_a_block_is_one_transaction_on_all_its_shards(
    cluster: &Cluster,
) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster.create("co_batch", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let insert = |key: i64| run(&format!("INSERT INTO co_batch (k, v) VALUES ({key}, 1)"));
    let wrong = run(&format!("SELECT 1/0 FROM co_batch WHERE k = {there}"));
    let bad = [insert(here), insert(there), wrong, insert(here), sync()].concat();
    let answer = router.exchange(&bad).await?;
    same!(sqlstate(&answer).as_deref(), Some("22012"), "{answer:?}");
    same!(status(&answer)?, 'I');
    same!(count(cluster, "co_batch").await?, ["0", "0"]);
    let good = [insert(here), insert(there), sync()].concat();
    let answer = router.exchange(&good).await?;
    same!(tags(&answer), "12C12CZ", "{answer:?}");
    same!(status(&answer)?, 'I');
    same!(count(cluster, "co_batch").await?, ["1", "1"]);
    // One after the other, many times over.
    let update = |key: i64| run(&format!("UPDATE co_batch SET v = v + 1 WHERE k = {key}"));
    let many: Vec<Vec<u8>> = (0..20).map(|n| update(if n % 2 == 0 { here } else { there })).collect();
    let answer = router.exchange(&[many.concat(), sync()].concat()).await?;
    same!(tags(&answer), "12C".repeat(20) + "Z", "{answer:?}");
    for key in [here, there] {
        let rows = router.query(&format!("SELECT v FROM co_batch WHERE k = {key}")).await?;
        same!(column(&rows)?, ["11"]);
    }
    nothing_is_prepared(cluster).await
}

async fn a_pipelined_block_ends_on_all_its_shards(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY";
    cluster.create("co_pipeline", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let insert = |key: i64| run(&format!("INSERT INTO co_pipeline (k) VALUES ({key})"));
    for (end, wanted) in [("ROLLBACK", ["0", "0"]), ("COMMIT", ["1", "1"])] {
        let batch = [run("BEGIN"), insert(here), insert(there), run(end), sync()].concat();
        let answer = router.exchange(&batch).await?;
        same!(tags(&answer), "12C12C12C12CZ", "{answer:?}");
        same!(status(&answer)?, 'I');
        same!(count(cluster, "co_pipeline").await?, wanted, "{end}");
    }
    // An error within it leaves a failed transaction.
    let batch = [run("BEGIN"), insert(here + 100_000), insert(there), sync()].concat();
    let answer = router.exchange(&batch).await?;
    same!(sqlstate(&answer).as_deref(), Some("23505"), "{answer:?}");
    same!(status(&answer)?, 'E');
    let answer = router.exchange(&[run("COMMIT"), sync()].concat()).await?;
    same!(answer[2].text(), "ROLLBACK");
    same!(status(&answer)?, 'I');
    same!(count(cluster, "co_pipeline").await?, ["1", "1"]);
    Ok(())
}

async fn a_snapshot_over_several_shards_is_refused(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY";
    cluster.create("co_snapshot", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for begin in [
        vec!["BEGIN ISOLATION LEVEL REPEATABLE READ"],
        vec!["BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
        vec!["SET default_transaction_isolation = 'repeatable read'", "BEGIN"],
    ] {
        for sql in begin {
            same!(sqlstate(&router.query(sql).await?), None, "{sql}");
        }
        let select = |key: i64| format!("SELECT k FROM co_snapshot WHERE k = {key}");
        same!(status(&router.query(&select(here)).await?)?, 'T');
        let answer = router.query(&select(there)).await?;
        let (code, text) = error_of(&answer)?;
        same!(code, "0A000", "{text}");
        anyhow::ensure!(text.contains("snapshot"), "{text}");
        same!(status(&answer)?, 'E');
        same!(status(&router.query("ROLLBACK").await?)?, 'I');
    }
    Ok(())
}

async fn writing_on_several_shards_can_be_switched_off(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY";
    cluster.create("co_off", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let show = "SHOW sharding.cross_shard_writes";
    same!(column(&router.query(show).await?)?, ["on"]);
    let wrong = router.query("SET sharding.cross_shard_writes = maybe").await?;
    same!(sqlstate(&wrong).as_deref(), Some("22023"));
    router.query("SET sharding.cross_shard_writes = off").await?;
    same!(column(&router.query(show).await?)?, ["off"]);
    router.query("BEGIN").await?;
    let insert = |key: i64| format!("INSERT INTO co_off (k) VALUES ({key})");
    same!(status(&router.query(&insert(here)).await?)?, 'T');
    // To read there is allowed.
    let read = format!("SELECT k FROM co_off WHERE k = {there}");
    same!(status(&router.query(&read).await?)?, 'T');
    let answer = router.query(&insert(there)).await?;
    let (code, text) = error_of(&answer)?;
    same!(code, "0A000", "{text}");
    anyhow::ensure!(text.contains("cross_shard_writes"), "{text}");
    router.query("ROLLBACK").await?;
    same!(count(cluster, "co_off").await?, ["0", "0"]);
    Ok(())
}

async fn a_chained_transaction_begins_anew(cluster: &Cluster) -> Outcome {
    let columns = "k bigint, v int, PRIMARY KEY (k, v)";
    cluster.create("co_chain", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let insert = |key: i64, value: i64| format!("INSERT INTO co_chain (k, v) VALUES ({key}, {value})");
    let statements = [
        ("BEGIN".to_owned(), 'T'),
        (insert(here, 1), 'T'),
        (insert(there, 1), 'T'),
        ("COMMIT AND CHAIN".to_owned(), 'T'),
        (insert(there, 2), 'T'),
        ("COMMIT AND CHAIN".to_owned(), 'T'),
        (insert(there, 3), 'T'),
        (insert(here, 3), 'T'),
        ("ROLLBACK AND CHAIN".to_owned(), 'T'),
        ("COMMIT".to_owned(), 'I'),
    ];
    all(&mut router, &statements).await?;
    same!(count(cluster, "co_chain").await?, ["1", "2"]);
    Ok(())
}

async fn a_client_that_leaves_rolls_back_every_shard(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY";
    cluster.create("co_leave", columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    router.query("BEGIN").await?;
    for key in [here, there] {
        router.query(&format!("INSERT INTO co_leave (k) VALUES ({key})")).await?;
    }
    drop(router);
    tests::wait::until("end of the transaction", tests::wait::SETTLE, async || {
        for shard in &cluster.shards {
            let sql = "SELECT count(*) FROM pg_locks WHERE relation = 'co_leave'::regclass";
            let left = shard.psql(sql).await?;
            anyhow::ensure!(left == "0", "{left} locks are held");
        }
        Ok(())
    })
    .await?;
    same!(count(cluster, "co_leave").await?, ["0", "0"]);
    Ok(())
}

async fn a_shard_that_cannot_prepare_is_named() -> Outcome {
    let settings = vec![("max_prepared_transactions", "0".to_owned())];
    let postgres = Options {
        settings,
        ..Options::default()
    };
    let cluster = Cluster::start(Plan {
        postgres,
        router_config: json!({}),
        ..Plan::default()
    })
    .await?;
    let columns = "k bigint PRIMARY KEY";
    cluster.create("t", columns, ("k", "bigint")).await?;
    let (here, there) = keys(&cluster).await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    router.query("BEGIN").await?;
    router.query(&format!("INSERT INTO t (k) VALUES ({here})")).await?;
    let answer = router.query(&format!("INSERT INTO t (k) VALUES ({there})")).await?;
    let (code, text) = error_of(&answer)?;
    same!(code, "0A000", "{text}");
    anyhow::ensure!(text.contains("max_prepared_transactions"), "{text}");
    same!(status(&router.query("COMMIT").await?)?, 'I');
    same!(count(&cluster, "t").await?, ["0", "0"]);
    Ok(())
}
