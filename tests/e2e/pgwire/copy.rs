//! COPY through the router, against what a direct session is answered.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::raw::{Raw, bind, execute, flush, message, parse, query, sync, tags};
use tests::{Cluster, http, wait};

use super::fidelity::comparable;
use super::limits::memory;
use super::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, alone, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = Vec::from(alone!(suite: copy_data_of_any_length_passes_in_bounded_memory));
    trials.extend(shared!(suite:
        copy_into_a_table_is_answered_byte_for_byte_as_by_its_shard,
        copy_by_the_extended_protocol_is_answered_byte_for_byte_as_by_its_shard,
        copy_of_a_query_by_key_is_answered_byte_for_byte_as_by_its_shard,
        copy_that_no_shard_can_do_as_it_is_meant_is_refused,
        a_reference_table_is_copied_out_of_any_shard,
        copy_data_after_an_error_is_ignored,
        a_client_that_leaves_amid_a_copy_leaves_nothing_behind,
        what_has_no_place_in_a_copy_ends_the_session,
        copy_is_part_of_its_transaction,
    ));
    trials
}

fn data(bytes: &[u8]) -> Vec<u8> {
    message(b'd', bytes)
}

fn done() -> Vec<u8> {
    message(b'c', &[])
}

fn fail(reason: &str) -> Vec<u8> {
    message(b'f', &[reason.as_bytes(), &[0]].concat())
}

/// An unsharded table on shard-1.
async fn unsharded(cluster: &Cluster, name: &str, columns: &str) -> anyhow::Result<(Raw, Raw)> {
    let router = cluster.router(0)?;
    router
        .psql(&format!("CREATE TABLE {name} ({columns})"))
        .await?;
    let body = json!({ "name": name, "kind": "unsharded", "shard_id": "shard-1" });
    http::post(&cluster.manager(0)?.api("/tables"), &body)
        .await?
        .expect(201)?;
    cluster.settle().await?;
    let routed = Raw::connect(&router.address()).await?;
    let direct = Raw::connect(&cluster.shard("shard-1")?.address()).await?;
    Ok((routed, direct))
}

/// The binary form of (1, 'one') and (2, NULL).
fn binary() -> Vec<u8> {
    let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend([0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 3]);
    bytes.extend(b"one");
    bytes.extend([
        0, 2, 0, 0, 0, 4, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ]);
    bytes
}

/// Statements and what the client sends behind them.
fn copies() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let text = || data(b"1\tone\n2\t\\N\n");
    vec![
        ("COPY T FROM STDIN", vec![text(), done()]),
        (
            "COPY T FROM STDIN",
            vec![data(b"1\to"), data(b"ne\n2\t\\"), data(b"N\n"), done()],
        ),
        ("COPY T FROM STDIN", vec![data(b"1\tone\n\\.\n"), done()]),
        ("COPY T FROM STDIN", vec![done()]),
        ("COPY T (v, id) FROM STDIN", vec![data(b"one\t1\n"), done()]),
        (
            "COPY T FROM STDIN WITH (FORMAT csv, HEADER, DELIMITER ';')",
            vec![data(b"id;v\n1;\"a;\nb\"\n2;\n"), done()],
        ),
        (
            "COPY T FROM STDIN CSV",
            vec![data(b"1,one\r\n2,\r\n"), done()],
        ),
        (
            "COPY T FROM STDIN (FORMAT binary)",
            vec![data(&binary()), done()],
        ),
        (
            "COPY T FROM STDIN (FORMAT binary)",
            vec![data(b"1\tone\n"), done()],
        ),
        ("COPY T FROM STDIN WHERE id > 1", vec![text(), done()]),
        ("COPY T FROM STDIN", vec![text(), fail("changed my mind")]),
        (
            "COPY T FROM STDIN",
            vec![data(b"1\tone\nx\ttwo\n"), text(), done()],
        ),
        ("COPY T FROM STDIN", vec![data(b"1\tone\tmore\n"), done()]),
        (
            "COPY T FROM STDIN",
            vec![data(b"1\ttoo long for it\n"), done()],
        ),
        (
            "COPY T FROM STDIN",
            vec![text(), message(b'H', &[]), text(), sync(), done()],
        ),
        ("COPY T (nowhere) FROM STDIN", vec![text(), done()]),
        ("COPY T FROM STDIN (FORMAT nothing)", vec![text(), done()]),
        (
            "SELECT 1; COPY T FROM STDIN; SELECT 2",
            vec![text(), done()],
        ),
        (
            "COPY T FROM STDIN; COPY T FROM STDIN; SELECT count(*) FROM T",
            vec![text(), done(), text(), done()],
        ),
        ("COPY T FROM STDIN; SELECT 1/0", vec![text(), done()]),
        ("COPY T TO STDOUT", vec![]),
        ("COPY T TO STDOUT (FORMAT csv, HEADER)", vec![]),
        ("COPY T TO STDOUT (FORMAT binary)", vec![]),
        ("COPY (SELECT v FROM T ORDER BY id) TO STDOUT", vec![]),
        (
            "COPY (INSERT INTO T VALUES (7, 'x') RETURNING id) TO STDOUT",
            vec![],
        ),
        (
            "COPY (SELECT 1/(id - 2) FROM T ORDER BY id) TO STDOUT",
            vec![],
        ),
    ]
}

/// Two rows before each, so that there is something to copy out and to see.
const BEFORE: &str = "TRUNCATE T; INSERT INTO T VALUES (1, 'a'), (2, NULL)";
const AFTER: &str = "SELECT id, v FROM T ORDER BY id, v";

async fn copy_into_a_table_is_answered_byte_for_byte_as_by_its_shard(cluster: &Cluster) -> Outcome {
    let (mut routed, mut direct) =
        unsharded(cluster, "copy_simple", "id int, v varchar(10)").await?;
    for (statement, sent) in copies() {
        let statement = named(statement, "copy_simple");
        let exchange = [query(&statement), sent.concat()].concat();
        let mut answers = Vec::new();
        for session in [&mut direct, &mut routed] {
            prepare(cluster, "copy_simple").await?;
            let answer = comparable(session.exchange(&exchange).await?);
            let rows = session.query(&named(AFTER, "copy_simple")).await?;
            answers.push((answer, comparable(rows)));
        }
        same!(answers[1], answers[0], "{statement}");
    }
    Ok(())
}

/// A statement on the table of the test: `T` as a word of its own.
fn named(statement: &str, table: &str) -> String {
    let words = statement.split(' ').map(|word| match word {
        "T" => table.to_owned(),
        "T;" => format!("{table};"),
        word => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

async fn prepare(cluster: &Cluster, table: &str) -> Outcome {
    let shard = cluster.shard("shard-1")?;
    shard.psql(&named(BEFORE, table)).await.map(drop)
}

async fn copy_by_the_extended_protocol_is_answered_byte_for_byte_as_by_its_shard(
    cluster: &Cluster,
) -> Outcome {
    let (mut routed, mut direct) =
        unsharded(cluster, "copy_extended", "id int, v varchar(10)").await?;
    let single = copies()
        .into_iter()
        .filter(|(statement, _)| !statement.contains(';') || statement.contains("';'"));
    for (number, (statement, sent)) in single.enumerate() {
        let statement = named(statement, "copy_extended");
        // Some clients ask for the answer with Flush, some with a Sync that the copy swallows.
        let ask = if number % 2 == 0 { sync() } else { flush() };
        let name = if number % 3 == 0 { "a name" } else { "" };
        let start = [
            parse(name, &statement, &[]),
            bind("", name, false, &[]),
            execute("", 0),
            ask,
        ];
        let close = [tests::raw::close(b'S', name), sync()].concat();
        let mut answers = Vec::new();
        for session in [&mut direct, &mut routed] {
            prepare(cluster, "copy_extended").await?;
            session.send(&start.concat()).await?;
            let mut answer = Vec::new();
            let first = loop {
                let message = session.receive().await?.context("an answer")?;
                let tag = message.tag;
                answer.push(message);
                if matches!(tag, b'G' | b'Z' | b'E' | b'C') {
                    break tag;
                }
            };
            // After a copy that did not begin, only the answer to the Sync is still to come.
            if first == b'G' {
                session.send(&sent.concat()).await?;
                answer.extend(session.exchange(&sync()).await?);
            } else if number % 2 == 0 {
                answer.extend(session.until_ready().await?);
            } else {
                answer.extend(session.exchange(&sync()).await?);
            }
            answer.extend(session.exchange(&close).await?);
            let rows = session.query(&named(AFTER, "copy_extended")).await?;
            answers.push((comparable(answer), comparable(rows)));
        }
        same!(answers[1], answers[0], "{statement}");
    }
    Ok(())
}

async fn copy_of_a_query_by_key_is_answered_byte_for_byte_as_by_its_shard(
    cluster: &Cluster,
) -> Outcome {
    cluster
        .create("copy_keyed", "k bigint, v text", ("k", "bigint"))
        .await?;
    for shard in ["shard-1", "shard-2"] {
        let key = cluster.key_on(shard, 1).await?;
        let mut routed = Raw::connect(&cluster.router(0)?.address()).await?;
        let mut direct = Raw::connect(&cluster.shard(shard)?.address()).await?;
        let insert = format!("INSERT INTO copy_keyed (k, v) VALUES ({key}, 'a'), ({key}, NULL)");
        same!(sqlstate(&routed.query(&insert).await?), None);
        for (format, by) in [("text", "="), ("csv, HEADER", "IN"), ("binary", "= ANY")] {
            let key = match by {
                "= ANY" => format!("(ARRAY[{key}])"),
                _ => format!("({key})"),
            };
            let sql = format!(
                "COPY (SELECT k, v FROM copy_keyed WHERE k {by} {key} ORDER BY v) \
                 TO STDOUT (FORMAT {format})"
            );
            let batch = [
                parse("", &sql, &[]),
                bind("", "", false, &[]),
                tests::raw::describe(b'P', ""),
                execute("", 0),
                sync(),
            ];
            for exchange in [query(&sql), batch.concat()] {
                same!(
                    comparable(routed.exchange(&exchange).await?),
                    comparable(direct.exchange(&exchange).await?),
                    "{sql}"
                );
            }
        }
    }
    Ok(())
}

async fn copy_that_no_shard_can_do_as_it_is_meant_is_refused(cluster: &Cluster) -> Outcome {
    cluster
        .create("copy_wide", "k bigint PRIMARY KEY, v int", ("k", "bigint"))
        .await?;
    let keys = [
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    ];
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for sql in [
        "COPY (SELECT a.* FROM copy_wide a, copy_wide b) TO STDOUT".to_owned(),
        format!(
            "COPY (SELECT pg_advisory_lock(k) FROM copy_wide WHERE k = {}) TO STDOUT",
            keys[0]
        ),
        "COPY (SELECT set_config('work_mem', '1MB', false)) TO STDOUT".to_owned(),
        format!(
            "COPY (SELECT * FROM copy_wide WHERE k = {}) TO '/etc/passwd'",
            keys[0]
        ),
        "COPY copy_wide FROM PROGRAM 'true'".to_owned(),
        "COPY pg_class FROM STDIN".to_owned(),
    ] {
        // The client of a copy that was refused may have sent its data already.
        let sent = [query(&sql), data(b"1\t1\n"), done()].concat();
        let answer = router.exchange(&sent).await?;
        let (code, text) = error_of(&answer)?;
        same!(code, "0A000", "{sql}: {text}");
        same!(tags(&answer), "EZ", "{sql}");
        let batch = [
            parse("", &sql, &[]),
            bind("", "", false, &[]),
            execute("", 0),
            sync(),
        ];
        same!(
            sqlstate(&router.exchange(&batch.concat()).await?).as_deref(),
            Some("0A000")
        );
    }
    for shard in &cluster.shards {
        same!(shard.psql("SELECT count(*) FROM copy_wide").await?, "0");
    }
    Ok(())
}

async fn a_reference_table_is_copied_out_of_any_shard(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?;
    router.psql("CREATE TABLE copy_ref (code text)").await?;
    for shard in &cluster.shards {
        shard.psql("INSERT INTO copy_ref VALUES ('is')").await?;
    }
    let body = json!({ "name": "copy_ref", "kind": "reference" });
    http::post(&cluster.manager(0)?.api("/tables"), &body)
        .await?
        .expect(201)?;
    cluster.settle().await?;
    same!(router.psql("COPY copy_ref TO STDOUT").await?, "is");
    Ok(())
}

async fn copy_data_of_any_length_passes_in_bounded_memory() -> Outcome {
    let cluster = Cluster::start(Plan {
        shards: 1,
        ..Plan::default()
    })
    .await?;
    let (mut routed, _) = unsharded(&cluster, "copy_big", "v text").await?;
    let router = &cluster.router(0)?.program;
    let line = [vec![b'x'; 1023], vec![b'\n']].concat();
    let megabyte = line.repeat(1024);
    // 5 forgets the peak so far.
    std::fs::write(format!("/proc/{}/clear_refs", router.id()?), "5")?;
    let before = memory(router, "VmHWM")?;
    // One message that is longer than what is read at once, and many short ones.
    for pieces in [vec![megabyte.repeat(48)], vec![megabyte.clone(); 48]] {
        routed.send(&query("COPY copy_big FROM STDIN")).await?;
        same!(routed.receive().await?.context("an answer")?.tag, b'G');
        for piece in pieces {
            routed.send(&data(&piece)).await?;
        }
        let answer = routed.exchange(&done()).await?;
        same!(tags(&answer), "CZ", "{answer:?}");
        same!(answer.first().context("an answer")?.text(), "COPY 49152");
    }
    let out = routed.query("COPY copy_big TO STDOUT").await?;
    same!(out.len(), 2 * 49_152 + 4);
    let grown = memory(router, "VmHWM")?.saturating_sub(before);
    anyhow::ensure!(
        grown < 8 << 20,
        "the router grew by {grown} bytes for 48 MiB of copy data"
    );
    Ok(())
}

async fn copy_data_after_an_error_is_ignored(cluster: &Cluster) -> Outcome {
    let (mut routed, _) = unsharded(cluster, "copy_failing", "v int").await?;
    // More than all buffers hold, sent by a client that does not look at answers meanwhile.
    let rest = data(&b"1\n".repeat(16 << 20));
    routed.send(&query("COPY copy_failing FROM STDIN")).await?;
    routed.send(&data(b"not a number\n")).await?;
    routed.send(&rest).await?;
    let answer = routed.exchange(&done()).await?;
    same!(sqlstate(&answer).as_deref(), Some("22P02"), "{answer:?}");
    let count = routed.query("SELECT count(*) FROM copy_failing").await?;
    same!(column(&count)?, ["0"]);
    // The same in a batch: the Sync behind the data ends it.
    let batch = [
        parse("", "COPY copy_failing FROM STDIN", &[]),
        bind("", "", false, &[]),
        execute("", 0),
        sync(),
    ];
    routed.send(&batch.concat()).await?;
    routed.send(&data(b"not a number\n")).await?;
    routed.send(&rest).await?;
    let answer = routed.exchange(&[done(), sync()].concat()).await?;
    same!(tags(&answer), "12GEZ", "{answer:?}");
    let count = routed.query("SELECT count(*) FROM copy_failing").await?;
    same!(column(&count)?, ["0"]);
    Ok(())
}

async fn a_client_that_leaves_amid_a_copy_leaves_nothing_behind(cluster: &Cluster) -> Outcome {
    let (routed, _) = unsharded(cluster, "copy_left", "v int").await?;
    drop(routed);
    for goodbye in [
        vec![],
        tests::raw::terminate(),
        vec![b'd', 0, 0, 1, 0, b'1'],
    ] {
        let mut client = Raw::connect(&cluster.router(0)?.address()).await?;
        client.send(&query("COPY copy_left FROM STDIN")).await?;
        same!(client.receive().await?.context("an answer")?.tag, b'G');
        client.send(&data(b"1\n2\n")).await?;
        client.send(&goodbye).await?;
        drop(client);
        let running = "SELECT count(*) FROM pg_stat_activity \
            WHERE state <> 'idle' AND query LIKE 'COPY copy_left%'";
        wait::until("end of the copy", wait::SETTLE, async || {
            let left = cluster.shard("shard-1")?.psql(running).await?;
            anyhow::ensure!(left == "0", "{left} of them run");
            Ok(())
        })
        .await?;
    }
    let count = "SELECT count(*) FROM copy_left";
    same!(cluster.shard("shard-1")?.psql(count).await?, "0");
    Ok(())
}

async fn what_has_no_place_in_a_copy_ends_the_session(cluster: &Cluster) -> Outcome {
    let (mut routed, _) = unsharded(cluster, "copy_broken", "v int").await?;
    routed.send(&query("COPY copy_broken FROM STDIN")).await?;
    same!(routed.receive().await?.context("an answer")?.tag, b'G');
    routed.send(&query("SELECT 1")).await?;
    let last = routed.closed().await?;
    same!(sqlstate(&last).as_deref(), Some("08P01"), "{last:?}");
    Ok(())
}

async fn copy_is_part_of_its_transaction(cluster: &Cluster) -> Outcome {
    let (mut routed, mut direct) = unsharded(cluster, "copy_undone", "v int").await?;
    let copy = [query("COPY copy_undone FROM STDIN"), data(b"1\n"), done()].concat();
    routed.query("BEGIN").await?;
    let answer = routed.exchange(&copy).await?;
    same!((tags(&answer), status(&answer)?), ("GCZ".to_owned(), 'T'));
    same!(
        column(&routed.query("SELECT v FROM copy_undone").await?)?,
        ["1"]
    );
    routed.query("ROLLBACK").await?;
    same!(
        column(&routed.query("SELECT v FROM copy_undone").await?)?,
        [""; 0]
    );
    // A cancel reaches a copy that waits for its client.
    routed.send(&query("COPY copy_undone FROM STDIN")).await?;
    same!(routed.receive().await?.context("an answer")?.tag, b'G');
    let waiting = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
        WHERE query = 'COPY copy_undone FROM STDIN' AND state = 'active'";
    same!(column(&direct.query(waiting).await?)?, ["t"]);
    let answer = routed.exchange(&[data(b"1\n"), done()].concat()).await?;
    same!(sqlstate(&answer).as_deref(), Some("57014"), "{answer:?}");
    same!(status(&answer)?, 'I');
    Ok(())
}
