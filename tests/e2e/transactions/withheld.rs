//! What a client reads of a transaction on several shards before it is committed: a driver may take
//! the end of a statement for the end of its transaction.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::SinkExt as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::Cluster;
use tests::raw::{Raw, bind, close, execute, flush, message, parse, query, sync, tags, unsynced};
use tokio::time::timeout;

use super::{keys, nothing_is_prepared};
use crate::pgwire::{sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        a_statement_is_not_done_before_its_commit,
        a_commit_that_fails_leaves_no_statement_done,
        a_driver_that_reads_no_further_learns_of_a_failed_commit,
        a_copy_into_one_shard_is_not_done_before_its_commit,
        nothing_is_withheld_from_what_follows_a_batch,
        many_rows_are_read_and_still_not_done,
        what_a_commit_within_has_done_stays_done,
        begin_makes_what_was_done_before_it_a_part_of_the_block,
    )
    .into()
}

/// Long enough for a router to write what it does not keep.
const MOMENT: Duration = Duration::from_millis(300);

/// The tags of the next messages.
async fn next(router: &mut Raw, count: usize) -> anyhow::Result<String> {
    let mut read = String::new();
    while read.len() < count {
        let message = router.receive().await?.context("the answer goes on")?;
        read.push(char::from(message.tag));
    }
    Ok(read)
}

/// Creates a table of rows that are there already, of which COMMIT says so.
async fn create(cluster: &Cluster, table: &str) -> anyhow::Result<(i64, i64)> {
    let columns = "k bigint, v int, UNIQUE (k, v) DEFERRABLE INITIALLY DEFERRED";
    cluster.create(table, columns, ("k", "bigint")).await?;
    let (here, there) = keys(cluster).await?;
    let insert = format!("INSERT INTO {table} (k, v) VALUES ({here}, 1), ({there}, 1)");
    cluster.router(0)?.psql(&insert).await?;
    Ok((here, there))
}

async fn a_statement_is_not_done_before_its_commit(cluster: &Cluster) -> Outcome {
    let (here, there) = create(cluster, "wh_waits").await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let one = |key: i64, value| format!("INSERT INTO wh_waits (k, v) VALUES ({key}, {value})");
    let both = |value| format!("{}, ({there}, {value})", one(here, value));
    let batch = |statements: &[String]| {
        let each = statements.iter().map(|sql| unsynced(sql));
        each.collect::<Vec<_>>().concat()
    };
    for (statements, wanted) in [
        (vec![both(2)], "12C"),
        (vec![one(here, 3), one(there, 3)], "12C12C"),
        (vec![both(4), one(here, 5)], "12C12C"),
        // The router itself asks what there is in between.
        (
            vec![one(here, 6), "INSERT INTO wh_waits SELECT 7, 7".to_owned()],
            "12C12C",
        ),
    ] {
        router.send(&batch(&statements)).await?;
        let early = timeout(MOMENT, router.receive()).await;
        anyhow::ensure!(early.is_err(), "{statements:?}: {early:?}");
        same!(
            tags(&router.exchange(&sync()).await?),
            format!("{wanted}Z"),
            "{statements:?}"
        );
    }
    // A client that asks reads it, as it does of PostgreSQL.
    router.send(&[batch(&[both(8)]), flush()].concat()).await?;
    same!(next(&mut router, 3).await?, "12C");
    same!(tags(&router.exchange(&sync()).await?), "Z");
    nothing_is_prepared(cluster).await
}

async fn a_copy_into_one_shard_is_not_done_before_its_commit(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?;
    router.psql("CREATE TABLE wh_alone (k bigint)").await?;
    let table = json!({ "name": "wh_alone", "kind": "unsharded", "shard_id": "shard-2" });
    cluster.post_when_led("/tables", &table).await?;
    cluster.settle().await?;
    let mut router = Raw::connect(&router.address()).await?;
    let copy = [
        unsynced("COPY wh_alone FROM STDIN"),
        message(b'd', b"1\n"),
        message(b'c', b""),
    ];
    router.send(&copy.concat()).await?;
    same!(next(&mut router, 3).await?, "12G");
    let early = timeout(MOMENT, router.receive()).await;
    anyhow::ensure!(early.is_err(), "{early:?}");
    let count = "SELECT count(*) FROM wh_alone";
    same!(cluster.shard("shard-2")?.psql(count).await?, "0");
    same!(tags(&router.exchange(&sync()).await?), "CZ");
    same!(cluster.shard("shard-2")?.psql(count).await?, "1");
    Ok(())
}

async fn a_commit_that_fails_leaves_no_statement_done(cluster: &Cluster) -> Outcome {
    let (here, there) = create(cluster, "wh_fails").await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let values = |here_value, there_value| {
        format!(
            "INSERT INTO wh_fails (k, v) VALUES ({here}, {here_value}), ({there}, {there_value})"
        )
    };
    for (here_value, there_value) in [(1, 2), (2, 1), (1, 1)] {
        let sql = values(here_value, there_value);
        let prepare = [parse("s", &sql, &[]), sync()].concat();
        same!(tags(&router.exchange(&prepare).await?), "1Z");
        let run = [bind("", "s", false, &[]), execute("", 0)].concat();
        let answer = router.exchange(&[run.clone(), sync()].concat()).await?;
        same!(tags(&answer), "2EZ", "{answer:?}");
        same!(sqlstate(&answer).as_deref(), Some("23505"));
        // Two in one string are one transaction.
        let answer = router.query(&format!("{}; {sql}", values(3, 3))).await?;
        same!(tags(&answer), "EZ", "{answer:?}");
        // What the client must know of the rest of a batch, it reads with all before it.
        let later = [run, parse("later", "SELECT 1", &[]), sync()];
        let answer = router.exchange(&later.concat()).await?;
        same!(tags(&answer), "2C1EZ", "{answer:?}");
        let close = [close(b'S', "s"), close(b'S', "later"), sync()];
        router.exchange(&close.concat()).await?;
    }
    for shard in &cluster.shards {
        same!(shard.psql("SELECT count(*) FROM wh_fails").await?, "1");
    }
    nothing_is_prepared(cluster).await
}

async fn a_driver_that_reads_no_further_learns_of_a_failed_commit(cluster: &Cluster) -> Outcome {
    let (here, there) = create(cluster, "wh_driver").await?;
    let client = cluster.router(0)?.client().await?;
    let copy = async |there_value: i32| {
        let copy = "COPY wh_driver (k, v) FROM STDIN";
        let sink = client.copy_in(copy).await?;
        tokio::pin!(sink);
        let rows = format!("{here}\t{there_value}\n{there}\t{there_value}\n");
        sink.send(Bytes::from(rows)).await?;
        sink.finish().await
    };
    same!(copy(2).await?, 2);
    let failed = copy(1).await;
    let code = failed
        .as_ref()
        .err()
        .and_then(tokio_postgres::Error::code)
        .map(tokio_postgres::error::SqlState::code);
    same!(code, Some("23505"), "{failed:?}");
    for shard in &cluster.shards {
        same!(shard.psql("SELECT count(*) FROM wh_driver").await?, "2");
    }
    nothing_is_prepared(cluster).await
}

async fn nothing_is_withheld_from_what_follows_a_batch(cluster: &Cluster) -> Outcome {
    let (here, there) = create(cluster, "wh_follows").await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let insert = |value| {
        format!("INSERT INTO wh_follows (k, v) VALUES ({here}, {value}), ({there}, {value})")
    };
    let select = query(&format!("SELECT count(*) FROM wh_follows WHERE k = {here}"));
    // PostgreSQL ends a batch without Sync there, too.
    let both = [unsynced(&insert(2)), select].concat();
    same!(tags(&router.exchange(&both).await?), "12CTDCZ");
    // Also after its answers were asked for.
    router
        .send(&[unsynced(&insert(4)), flush()].concat())
        .await?;
    same!(next(&mut router, 3).await?, "12C");
    let select = query(&format!(
        "SELECT count(*) FROM wh_follows WHERE k = {there}"
    ));
    let answer = router.exchange(&select).await?;
    same!(tags(&answer), "TDCZ");
    same!(status(&answer)?, 'I');
    // lo_create(0) by a function call.
    let arguments = [0, 1, 0, 0, 0, 1, 0, 0, 0, 1, b'0', 0, 0];
    let call = message(b'F', &[&715_u32.to_be_bytes()[..], &arguments].concat());
    let both = [unsynced(&insert(3)), call].concat();
    same!(tags(&router.exchange(&both).await?), "12CVZ");
    Ok(())
}

async fn many_rows_are_read_and_still_not_done(cluster: &Cluster) -> Outcome {
    let (here, there) = create(cluster, "wh_many").await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for (value, wanted) in [(2, "12DDCZ"), (1, "12DDEZ")] {
        let insert = format!(
            "INSERT INTO wh_many (k, v) VALUES ({here}, {value}), ({there}, {value}) \
             RETURNING repeat('x', 40000)"
        );
        let batch = [unsynced(&insert), sync()].concat();
        same!(tags(&router.exchange(&batch).await?), wanted, "{value}");
    }
    Ok(())
}

async fn what_a_commit_within_has_done_stays_done(cluster: &Cluster) -> Outcome {
    let (here, there) = create(cluster, "wh_within").await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let both = |value| {
        format!("INSERT INTO wh_within (k, v) VALUES ({here}, {value}), ({there}, {value})")
    };
    for (value, begin, wanted) in [(2, "BEGIN; ", "CCCC"), (3, "", "CNCC")] {
        let string = format!("{begin}{}; COMMIT; {}", both(value), both(1));
        let answer = router.query(&string).await?;
        let read = tags(&answer);
        same!(read, format!("{wanted}EZ"), "{string}: {answer:?}");
        same!(sqlstate(&answer).as_deref(), Some("23505"));
    }
    let named = [
        parse("b", "BEGIN", &[]),
        parse("i", &both(4), &[]),
        parse("c", "COMMIT", &[]),
        parse("d", &both(1), &[]),
        sync(),
    ];
    same!(tags(&router.exchange(&named.concat()).await?), "1111Z");
    let run = |name: &str| [bind("", name, false, &[]), execute("", 0)].concat();
    let batch = [run("b"), run("i"), run("c"), run("d"), sync()];
    same!(tags(&router.exchange(&batch.concat()).await?), "2C2C2C2CEZ");
    for shard in &cluster.shards {
        same!(shard.psql("SELECT count(*) FROM wh_within").await?, "4");
    }
    nothing_is_prepared(cluster).await
}

async fn begin_makes_what_was_done_before_it_a_part_of_the_block(cluster: &Cluster) -> Outcome {
    let (here, there) = create(cluster, "wh_begin").await?;
    let both =
        |value| format!("INSERT INTO wh_begin (k, v) VALUES ({here}, {value}), ({there}, {value})");
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for (end, wanted) in [("ROLLBACK", "1"), ("COMMIT", "3")] {
        let batch = [unsynced(&both(2)), unsynced("BEGIN"), sync()];
        let answer = router.exchange(&batch.concat()).await?;
        same!(tags(&answer), "12C12CZ", "{answer:?}");
        same!(status(&answer)?, 'T');
        same!(tags(&router.query(&both(3)).await?), "CZ");
        same!(tags(&router.query(end).await?), "CZ");
        for shard in &cluster.shards {
            let count = "SELECT count(*) FROM wh_begin";
            same!(shard.psql(count).await?, wanted, "{end}");
        }
    }
    nothing_is_prepared(cluster).await
}
