//! Pipelining, portals and the order of answers (I7).

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::Cluster;
use tests::raw::{Raw, bind, close, describe, execute, flush, parse, query, sync, tags};

use super::{column, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        answers_come_in_the_order_of_the_requests,
        many_requests_may_be_sent_before_the_first_answer_is_read,
        concurrent_requests_of_a_driver_are_pipelined,
        a_batch_over_two_shards_is_one_transaction,
        a_portal_is_read_in_parts,
        a_message_may_come_byte_by_byte,
        what_comes_with_a_flushed_commit_is_the_clients,
    )
    .into()
}

async fn answers_come_in_the_order_of_the_requests(cluster: &Cluster) -> Outcome {
    cluster
        .create("ordered", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let keys: Vec<i64> = (1..=60).collect();
    let inserts: Vec<u8> = keys
        .iter()
        .flat_map(|key| query(&format!("INSERT INTO ordered (k) VALUES ({key})")))
        .collect();
    router.send(&inserts).await?;
    for key in &keys {
        same!(sqlstate(&router.until_ready().await?), None, "insert {key}");
    }
    let mut batch = parse("by key", "SELECT k FROM ordered WHERE k = $1", &[]);
    for key in &keys {
        let run = [
            bind("", "by key", true, &[Some(&key.to_be_bytes())]),
            execute("", 0),
            sync(),
        ];
        batch.extend(run.concat());
        batch.extend(query(&format!("SELECT {key} * 2")));
    }
    router.send(&batch).await?;
    for key in &keys {
        same!(column(&router.until_ready().await?)?, [key.to_string()]);
        same!(
            column(&router.until_ready().await?)?,
            [(key * 2).to_string()]
        );
    }
    Ok(())
}

async fn many_requests_may_be_sent_before_the_first_answer_is_read(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let one = [
        parse("", "SELECT repeat('x', 1000)", &[]),
        bind("", "", false, &[]),
        execute("", 0),
    ];
    let batch = [one.concat().repeat(2_000), sync()].concat();
    let answer = router.exchange(&batch).await?;
    same!(tags(&answer), format!("{}Z", "12DC".repeat(2_000)));
    Ok(())
}

async fn concurrent_requests_of_a_driver_are_pipelined(cluster: &Cluster) -> Outcome {
    cluster
        .create("driven", "k bigint PRIMARY KEY, v bigint", ("k", "bigint"))
        .await?;
    let client = cluster.router(0)?.client().await?;
    let insert = client
        .prepare("INSERT INTO driven (k, v) VALUES ($1, $2)")
        .await?;
    let select = client.prepare("SELECT v FROM driven WHERE k = $1").await?;
    let pair = |key: i64| {
        let (client, insert, select) = (&client, &insert, &select);
        async move {
            let (done, value) = (key * 3, [key]);
            let write = client.execute(insert, &[&value[0], &done]).await?;
            let row = client.query_one(select, &[&key]).await?;
            anyhow::ensure!(write == 1 && row.get::<_, i64>(0) == key * 3, "key {key}");
            Ok(())
        }
    };
    for first in (0..200).step_by(4) {
        tokio::try_join!(
            pair(first),
            pair(first + 1),
            pair(first + 2),
            pair(first + 3)
        )?;
    }
    Ok(())
}

async fn a_batch_over_two_shards_is_one_transaction(cluster: &Cluster) -> Outcome {
    cluster
        .create("batched", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let keys = [
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    ];
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let insert = |key: i64| {
        let sql = parse("", "INSERT INTO batched (k) VALUES ($1)", &[20]);
        [
            sql,
            bind("", "", true, &[Some(&key.to_be_bytes())]),
            execute("", 0),
        ]
        .concat()
    };
    // What stands before one Sync is one transaction.
    let batch = [insert(keys[0]), insert(keys[1]), insert(keys[0]), sync()].concat();
    let answer = router.exchange(&batch).await?;
    same!(sqlstate(&answer).as_deref(), Some("23505"), "{answer:?}");
    same!(status(&answer)?, 'I');
    for shard in &cluster.shards {
        same!(shard.psql("SELECT count(*) FROM batched").await?, "0");
    }
    let batch = [insert(keys[0]), sync(), insert(keys[1]), sync()].concat();
    router.send(&batch).await?;
    for _ in keys {
        same!(sqlstate(&router.until_ready().await?), None);
    }
    Ok(())
}

async fn a_portal_is_read_in_parts(cluster: &Cluster) -> Outcome {
    cluster
        .create("parts", "k bigint, v int", ("k", "bigint"))
        .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let insert = "INSERT INTO parts SELECT 7, n FROM generate_series(1, 5) AS n";
    // Rows from a query have no key that is known beforehand; VALUES has.
    let refused = router.query(insert).await?;
    if sqlstate(&refused).is_some() {
        let done = router
            .query("INSERT INTO parts (k, v) VALUES (7,1), (7,2), (7,3), (7,4), (7,5)")
            .await?;
        same!(sqlstate(&done), None);
    }
    router.query("BEGIN").await?;
    let open = [
        parse("", "SELECT v FROM parts WHERE k = $1 ORDER BY v", &[20]),
        bind("p", "", true, &[Some(&7_i64.to_be_bytes())]),
        describe(b'P', "p"),
        execute("p", 2),
        sync(),
    ];
    let first = router.exchange(&open.concat()).await?;
    same!(tags(&first), "12TDDsZ", "{first:?}");
    let more = router
        .exchange(&[execute("p", 2), execute("p", 0), sync()].concat())
        .await?;
    same!(tags(&more), "DDsDCZ", "{more:?}");
    same!(column(&more)?, ["3", "4", "5"]);
    let closed = router
        .exchange(&[close(b'P', "p"), sync()].concat())
        .await?;
    same!(tags(&closed), "3Z");
    same!(status(&router.query("COMMIT").await?)?, 'I');
    // Flush brings answers without a Sync.
    router
        .send(&[parse("f", "SELECT 1", &[]), flush()].concat())
        .await?;
    same!(router.receive().await?.context("an answer")?.tag, b'1');
    same!(tags(&router.exchange(&sync()).await?), "Z");
    Ok(())
}

async fn a_message_may_come_byte_by_byte(cluster: &Cluster) -> Outcome {
    cluster
        .create("slow", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let batch = [
        query("INSERT INTO slow (k) VALUES (7)"),
        parse("", "SELECT k FROM slow WHERE k = $1", &[]),
        bind("", "", false, &[Some(b"7")]),
        execute("", 0),
        sync(),
    ];
    for byte in batch.concat() {
        router.send(&[byte]).await?;
    }
    same!(tags(&router.until_ready().await?), "CZ");
    same!(column(&router.until_ready().await?)?, ["7"]);
    Ok(())
}

/// Its end comes with the answer to a Sync that the client has not sent yet.
async fn what_comes_with_a_flushed_commit_is_the_clients(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let flushed = |end: &str| {
        let run = [bind("", "", false, &[]), flush(), execute("", 0), flush()];
        [parse("", end, &[]), flush(), run.concat(), sync()].concat()
    };
    for sql in ["LISTEN flushed", "BEGIN", "NOTIFY flushed, 'x'"] {
        same!(sqlstate(&router.query(sql).await?), None, "{sql}");
    }
    let answer = router.exchange(&flushed("COMMIT")).await?;
    same!(tags(&answer), "12CAZ", "{answer:?}");
    for sql in ["BEGIN", "SET application_name = 'flushed'"] {
        same!(sqlstate(&router.query(sql).await?), None, "{sql}");
    }
    let answer = router.exchange(&flushed("ROLLBACK")).await?;
    same!(tags(&answer), "12CSZ", "{answer:?}");
    same!(status(&answer)?, 'I');
    Ok(())
}
