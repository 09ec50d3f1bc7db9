//! Transactions on one shard, with PostgreSQL's own states; `transactions` has those on several.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::raw::{Raw, bind, execute, parse, sync, tags, terminate};
use tests::{Cluster, wait};

use super::{column, refused, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        a_transaction_is_committed_or_rolled_back_as_a_whole,
        the_status_byte_follows_the_transaction,
        savepoints_undo_a_part,
        a_transaction_keeps_its_backend,
        a_statement_without_a_key_may_come_before_the_first_key,
        several_statements_in_one_query_are_one_transaction,
        a_client_that_leaves_in_the_middle_leaves_nothing_behind,
        the_isolation_level_reaches_the_shard,
        a_failed_extended_statement_skips_to_sync,
    )
    .into()
}

async fn a_transaction_is_committed_or_rolled_back_as_a_whole(cluster: &Cluster) -> Outcome {
    cluster
        .create("tx_whole", "k bigint PRIMARY KEY, v int", ("k", "bigint"))
        .await?;
    let mut client = cluster.router(0)?.client().await?;
    for (key, commit) in [(1_i64, true), (2, false), (3, true), (4, false)] {
        let transaction = client.transaction().await?;
        transaction
            .execute("INSERT INTO tx_whole (k, v) VALUES ($1, 0)", &[&key])
            .await?;
        transaction
            .execute("UPDATE tx_whole SET v = 5 WHERE k = $1", &[&key])
            .await?;
        if commit {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        let rows = client
            .query("SELECT v FROM tx_whole WHERE k = $1", &[&key])
            .await?;
        let values: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        same!(values, if commit { vec![5] } else { vec![] }, "key {key}");
    }
    Ok(())
}

async fn the_status_byte_follows_the_transaction(cluster: &Cluster) -> Outcome {
    cluster
        .create("tx_status", "k bigint PRIMARY KEY, v int", ("k", "bigint"))
        .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for (sql, wanted, code) in [
        ("BEGIN", 'T', None),
        ("INSERT INTO tx_status (k, v) VALUES (7, 1)", 'T', None),
        ("SELECT 1/0 FROM tx_status WHERE k = 7", 'E', Some("22012")),
        ("SELECT 1", 'E', Some("25P02")),
        ("SELECT v FROM tx_status WHERE k = 7", 'E', Some("25P02")),
        ("COMMIT", 'I', None),
        ("SELECT v FROM tx_status WHERE k = 7", 'I', None),
        ("START TRANSACTION READ ONLY", 'T', None),
        (
            "INSERT INTO tx_status (k, v) VALUES (7, 1)",
            'E',
            Some("25006"),
        ),
        ("ROLLBACK", 'I', None),
        ("BEGIN; SELECT v FROM tx_status WHERE k = 7", 'T', None),
        ("COMMIT AND CHAIN", 'T', None),
        ("END", 'I', None),
        ("", 'I', None),
    ] {
        let answer = router.query(sql).await?;
        same!(sqlstate(&answer).as_deref(), code, "{sql}: {answer:?}");
        same!(status(&answer)?, wanted, "{sql}");
    }
    let left = router
        .query("SELECT count(*) FROM tx_status WHERE k = 7")
        .await?;
    same!(column(&left)?, ["0"], "a failed transaction wrote");
    Ok(())
}

async fn savepoints_undo_a_part(cluster: &Cluster) -> Outcome {
    cluster
        .create(
            "tx_savepoint",
            "k bigint, v int, PRIMARY KEY (k, v)",
            ("k", "bigint"),
        )
        .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for (sql, wanted) in [
        ("BEGIN", 'T'),
        ("INSERT INTO tx_savepoint (k, v) VALUES (7, 1)", 'T'),
        ("SAVEPOINT a", 'T'),
        ("INSERT INTO tx_savepoint (k, v) VALUES (7, 2)", 'T'),
        ("INSERT INTO tx_savepoint (k, v) VALUES (7, 1)", 'E'),
        ("ROLLBACK TO SAVEPOINT a", 'T'),
        ("INSERT INTO tx_savepoint (k, v) VALUES (7, 3)", 'T'),
        ("RELEASE SAVEPOINT a", 'T'),
        ("COMMIT", 'I'),
    ] {
        same!(status(&router.query(sql).await?)?, wanted, "{sql}");
    }
    let rows = router
        .query("SELECT v FROM tx_savepoint WHERE k = 7 ORDER BY v")
        .await?;
    same!(column(&rows)?, ["1", "3"]);
    Ok(())
}

async fn a_transaction_keeps_its_backend(cluster: &Cluster) -> Outcome {
    cluster
        .create("tx_backend", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let key = cluster.key_on("shard-2", 1).await?;
    let mut client = cluster.router(0)?.client().await?;
    let transaction = client.transaction().await?;
    let sql = "SELECT pg_backend_pid() FROM (SELECT count(*) FROM tx_backend WHERE k = $1) AS a";
    let mut backends = Vec::new();
    for _ in 0..5 {
        let row = transaction.query_one(sql, &[&key]).await?;
        backends.push(row.get::<_, i32>(0));
    }
    transaction.commit().await?;
    backends.dedup();
    same!(backends.len(), 1, "backends of one transaction");
    Ok(())
}

async fn a_statement_without_a_key_may_come_before_the_first_key(cluster: &Cluster) -> Outcome {
    cluster
        .create("tx_first", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    for shard in ["shard-1", "shard-2"] {
        let key = cluster.key_on(shard, 1).await?;
        let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
        for sql in [
            "BEGIN".to_owned(),
            "SELECT 1".to_owned(),
            "SET LOCAL work_mem = '5MB'".to_owned(),
            format!("INSERT INTO tx_first (k) VALUES ({key})"),
        ] {
            same!(status(&router.query(&sql).await?)?, 'T', "{sql}");
        }
        same!(column(&router.query("SHOW work_mem").await?)?, ["5MB"]);
        same!(status(&router.query("COMMIT").await?)?, 'I');
        same!(column(&router.query("SHOW work_mem").await?)?, ["4MB"]);
        let rows = cluster.shard(shard)?.psql("SELECT k FROM tx_first").await?;
        same!(rows, key.to_string());
    }
    Ok(())
}

async fn several_statements_in_one_query_are_one_transaction(cluster: &Cluster) -> Outcome {
    cluster
        .create("tx_multi", "k bigint, v int", ("k", "bigint"))
        .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let sql = "INSERT INTO tx_multi (k, v) VALUES (7, 1); SELECT 1/0; INSERT INTO tx_multi (k, v) VALUES (7, 2)";
    let answer = router.query(sql).await?;
    same!(tags(&answer), "CEZ", "{answer:?}");
    same!(status(&answer)?, 'I');
    let count = "SELECT count(*) FROM tx_multi WHERE k = 7";
    same!(column(&router.query(count).await?)?, ["0"]);
    let sql = "INSERT INTO tx_multi (k, v) VALUES (7, 1); INSERT INTO tx_multi (k, v) VALUES (7, 2); \
               SELECT v FROM tx_multi WHERE k = 7 ORDER BY v";
    let answer = router.query(sql).await?;
    same!(tags(&answer), "CCTDDCZ", "{answer:?}");
    same!(column(&answer)?, ["1", "2"]);
    Ok(())
}

async fn a_client_that_leaves_in_the_middle_leaves_nothing_behind(cluster: &Cluster) -> Outcome {
    cluster
        .create("tx_leave", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    for polite in [true, false] {
        let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
        router.query("BEGIN").await?;
        router.query("INSERT INTO tx_leave (k) VALUES (7)").await?;
        if polite {
            router.send(&terminate()).await?;
            same!(router.closed().await?.len(), 0);
        }
        drop(router);
        // The row is locked until the router has ended the transaction.
        let client = cluster.router(0)?.client().await?;
        wait::until("end of the transaction", wait::SETTLE, async || {
            client.simple_query("SET lock_timeout = '100ms'").await?;
            Ok(client
                .execute("INSERT INTO tx_leave (k) VALUES (7)", &[])
                .await
                .map(drop)?)
        })
        .await?;
        client
            .execute("DELETE FROM tx_leave WHERE k = 7", &[])
            .await?;
    }
    Ok(())
}

async fn the_isolation_level_reaches_the_shard(cluster: &Cluster) -> Outcome {
    cluster
        .create(
            "tx_isolation",
            "k bigint PRIMARY KEY, v int",
            ("k", "bigint"),
        )
        .await?;
    let (mut first, second) = (
        cluster.router(0)?.client().await?,
        cluster.router(0)?.client().await?,
    );
    first
        .execute("INSERT INTO tx_isolation (k, v) VALUES (7, 0)", &[])
        .await?;
    let serializable = tokio_postgres::IsolationLevel::RepeatableRead;
    let transaction = first
        .build_transaction()
        .isolation_level(serializable)
        .start()
        .await?;
    transaction
        .query("SELECT v FROM tx_isolation WHERE k = 7", &[])
        .await?;
    second
        .execute("UPDATE tx_isolation SET v = 1 WHERE k = 7", &[])
        .await?;
    let update = transaction
        .execute("UPDATE tx_isolation SET v = 2 WHERE k = 7", &[])
        .await;
    same!(refused(update)?.code().code(), "40001");
    Ok(())
}

async fn a_failed_extended_statement_skips_to_sync(cluster: &Cluster) -> Outcome {
    cluster
        .create("tx_skip", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let insert = |key: &'static str| {
        [
            parse("", &format!("INSERT INTO tx_skip (k) VALUES ({key})"), &[]),
            bind("", "", false, &[]),
            execute("", 0),
        ]
        .concat()
    };
    let batch = [insert("7"), insert("7"), insert("7"), sync()].concat();
    let answer = router.exchange(&batch).await?;
    same!(tags(&answer), "12C12EZ", "{answer:?}");
    same!(sqlstate(&answer).as_deref(), Some("23505"));
    same!(status(&answer)?, 'I');
    let rows = router
        .query("SELECT count(*) FROM tx_skip WHERE k = 7")
        .await?;
    same!(column(&rows)?, ["0"], "one batch is one transaction");
    Ok(())
}
