//! Cursors by SQL and portals by protocol, over several messages of a transaction, against what a
//! direct session is answered.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::Cluster;
use tests::raw::{Raw, bind, close, describe, execute, flush, parse, query, sync, tags};

use super::fidelity::{comparable, comparable_but};
use super::{column, error_of, sqlstate};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        cursors_are_answered_byte_for_byte_as_by_the_shard,
        a_cursor_outside_of_its_transaction_does_not_exist,
        a_cursor_keeps_its_transaction_where_it_is,
        a_cursor_that_would_outlive_its_transaction_is_refused,
        a_prepared_fetch_describes_the_cursor_of_its_session,
        portals_are_answered_byte_for_byte_as_by_the_shard,
    )
    .into()
}

/// The same five rows of one key, for a session on the router and one on the key's shard.
async fn both(cluster: &Cluster, table: &str) -> anyhow::Result<(Raw, Raw, i64)> {
    cluster
        .create(table, "k bigint, v int", ("k", "bigint"))
        .await?;
    let key = cluster.key_on("shard-2", 1).await?;
    let mut routed = Raw::connect(&cluster.router(0)?.address()).await?;
    let direct = Raw::connect(&cluster.shard("shard-2")?.address()).await?;
    let rows: Vec<String> = (1..=5).map(|v| format!("({key}, {v})")).collect();
    let insert = format!("INSERT INTO {table} (k, v) VALUES {}", rows.join(", "));
    same!(sqlstate(&routed.query(&insert).await?), None);
    Ok((routed, direct, key))
}

async fn cursors_are_answered_byte_for_byte_as_by_the_shard(cluster: &Cluster) -> Outcome {
    let (mut routed, mut direct, key) = both(cluster, "cursor_bytes").await?;
    for sql in [
        "BEGIN",
        "DECLARE c SCROLL CURSOR FOR SELECT v FROM cursor_bytes WHERE k = KEY ORDER BY v",
        "FETCH 2 FROM c",
        "MOVE 1 IN c",
        "FETCH BACKWARD 1 FROM c",
        "FETCH ALL FROM c",
        "FETCH ABSOLUTE 1 FROM c",
        "DECLARE d BINARY CURSOR FOR SELECT k, v FROM cursor_bytes WHERE k = KEY",
        "FETCH NEXT d; FETCH 2 FROM d",
        "CLOSE d",
        "SELECT name, statement FROM pg_cursors",
        "DECLARE c CURSOR FOR SELECT 1 FROM cursor_bytes WHERE k = KEY",
        "FETCH c",
        "ROLLBACK",
        "DECLARE c CURSOR FOR SELECT v FROM cursor_bytes WHERE k = KEY",
        "BEGIN; DECLARE c CURSOR FOR SELECT v FROM cursor_bytes WHERE k = KEY; FETCH c; CLOSE ALL",
        "FETCH c",
        "COMMIT",
    ] {
        let sql = sql.replace("KEY", &key.to_string());
        same!(
            comparable(routed.query(&sql).await?),
            comparable(direct.query(&sql).await?),
            "{sql}"
        );
    }
    let declare = "DECLARE c CURSOR FOR SELECT v FROM cursor_bytes WHERE k = KEY ORDER BY v";
    let batch = [
        query("BEGIN"),
        parse("", &declare.replace("KEY", &key.to_string()), &[]),
        bind("", "", false, &[]),
        execute("", 0),
        parse("fetch", "FETCH 2 FROM c", &[]),
        describe(b'S', "fetch"),
        bind("", "fetch", false, &[]),
        describe(b'P', ""),
        execute("", 0),
        bind("", "fetch", false, &[]),
        execute("", 1),
        sync(),
        // The portal of a cursor is one of the protocol's, too.
        [describe(b'P', "c"), execute("c", 1), sync()].concat(),
        query("COMMIT"),
        [close(b'S', "fetch"), sync()].concat(),
    ];
    for session in [&mut routed, &mut direct] {
        session.send(&batch.concat()).await?;
    }
    for _ in 0..5 {
        same!(
            comparable(routed.until_ready().await?),
            comparable(direct.until_ready().await?)
        );
    }
    Ok(())
}

async fn a_cursor_outside_of_its_transaction_does_not_exist(cluster: &Cluster) -> Outcome {
    let mut routed = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut direct = Raw::connect(&cluster.shard("shard-2")?.address()).await?;
    let batch = [
        parse("", "FETCH c", &[]),
        describe(b'S', ""),
        bind("", "", false, &[]),
        describe(b'P', ""),
        execute("", 0),
        sync(),
    ];
    let exchanges = [
        query("FETCH c"),
        query("MOVE c"),
        query("CLOSE c"),
        query("CLOSE ALL"),
        batch.concat(),
        query("BEGIN"),
        query("CLOSE ALL"),
        query("FETCH ALL FROM \"No such\""),
        query("CLOSE ALL"),
        query("ROLLBACK"),
    ];
    for exchange in exchanges {
        // The router answers, which has no place in PostgreSQL's source.
        let place = ['F', 'L', 'R'];
        same!(
            comparable_but(routed.exchange(&exchange).await?, &place),
            comparable_but(direct.exchange(&exchange).await?, &place),
            "{}",
            exchange.escape_ascii()
        );
    }
    Ok(())
}

async fn a_cursor_keeps_its_transaction_where_it_is(cluster: &Cluster) -> Outcome {
    let (mut routed, _, _) = both(cluster, "cursor_stays").await?;
    let keys = [
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    ];
    let portal = [
        parse("", "SELECT generate_series(1, 5)", &[]),
        bind("c", "", false, &[]),
        execute("c", 1),
        sync(),
    ];
    for open in [
        query("DECLARE c CURSOR FOR SELECT generate_series(0, 5)"),
        portal.concat(),
    ] {
        for key in keys {
            routed.query("BEGIN").await?;
            same!(sqlstate(&routed.exchange(&open).await?), None);
            let sql = format!("SELECT v FROM cursor_stays WHERE k = {key}");
            let answer = routed.query(&sql).await?;
            same!(sqlstate(&answer), None, "{answer:?}");
            let rows = routed.query("FETCH 2 FROM c").await?;
            same!(sqlstate(&rows), None, "{rows:?}");
            same!(column(&rows)?.len(), 2);
            routed.query("ROLLBACK").await?;
        }
    }
    Ok(())
}

async fn a_cursor_that_would_outlive_its_transaction_is_refused(cluster: &Cluster) -> Outcome {
    let (mut routed, _, key) = both(cluster, "cursor_hold").await?;
    for sql in [
        format!("DECLARE c CURSOR WITH HOLD FOR SELECT v FROM cursor_hold WHERE k = {key}"),
        "DECLARE c SCROLL CURSOR FOR SELECT v FROM cursor_hold".to_owned(),
    ] {
        routed.query("BEGIN").await?;
        let answer = routed.query(&sql).await?;
        let (code, text) = error_of(&answer)?;
        same!(code, "0A000", "{sql}: {text}");
        same!(tags(&answer), "EZ");
        routed.query("ROLLBACK").await?;
    }
    Ok(())
}

async fn a_prepared_fetch_describes_the_cursor_of_its_session(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?.address();
    let mut shown = Vec::new();
    for columns in ["1 AS a", "'x'::text AS b, 2 AS c"] {
        let mut session = Raw::connect(&router).await?;
        let declare = format!("BEGIN; DECLARE c CURSOR FOR SELECT {columns}");
        session.query(&declare).await?;
        let batch = [
            parse("f", "FETCH c", &[]),
            bind("", "f", false, &[]),
            describe(b'P', ""),
            execute("", 0),
            sync(),
        ];
        let answer = session.exchange(&batch.concat()).await?;
        same!(tags(&answer), "12TDCZ", "{answer:?}");
        shown.push(answer.into_iter().nth(2).map(|message| message.body));
        session.query("COMMIT").await?;
    }
    anyhow::ensure!(shown[0] != shown[1], "both are described alike: {shown:?}");
    Ok(())
}

const ROWS: &str = "SELECT v FROM portal_bytes WHERE k = $1 ORDER BY v";

/// A portal of a statement whose parameter is the key.
fn open(portal: &str, name: &str, key: i64) -> Vec<u8> {
    bind(portal, name, true, &[Some(&key.to_be_bytes())])
}

/// Batches of one transaction each that read portals in parts.
fn in_parts(key: i64) -> Vec<Vec<Vec<u8>>> {
    let (a, b, p) = (
        open("a", "s", key),
        open("b", "s", key),
        open("p", "s", key),
    );
    let unnamed = open("", "s", key);
    let update = "UPDATE portal_bytes SET v = v WHERE k = $1 RETURNING v";
    let select = [parse("s", ROWS, &[20]), describe(b'S', "s")].concat();
    let (some, all) = (execute("p", 2), execute("p", 0));
    vec![
        // A portal over several batches.
        vec![
            [select, p.clone(), some.clone(), sync()].concat(),
            [describe(b'P', "p"), some.clone(), sync()].concat(),
            [some.clone(), some, sync()].concat(),
            [close(b'P', "p"), all, sync()].concat(),
        ],
        // Two at once, one of them suspended while the other is read.
        vec![
            [
                a,
                execute("a", 1),
                b,
                execute("b", 3),
                execute("a", 1),
                sync(),
            ]
            .concat(),
            [
                execute("b", 0),
                execute("a", 0),
                describe(b'P', "b"),
                sync(),
            ]
            .concat(),
        ],
        // The unnamed one is replaced, and is gone after a simple query.
        vec![
            [
                unnamed.clone(),
                execute("", 1),
                unnamed,
                execute("", 1),
                sync(),
            ]
            .concat(),
            [execute("", 1), sync()].concat(),
            query("SELECT 1 AS v"),
            [execute("", 1), sync()].concat(),
        ],
        // Rows of a write.
        vec![
            [
                parse("", update, &[20]),
                open("", "", key),
                describe(b'P', ""),
                execute("", 2),
                execute("", 0),
                sync(),
            ]
            .concat(),
        ],
        // It is there for FETCH, too, and gone after CLOSE.
        vec![
            [p, execute("p", 1), sync()].concat(),
            query("FETCH 1 FROM p"),
            query("CLOSE p"),
            [execute("p", 1), sync()].concat(),
        ],
    ]
}

/// Batches of one transaction each that go wrong, or have nothing to do.
fn amiss(key: i64) -> Vec<Vec<Vec<u8>>> {
    let a = open("a", "s", key);
    let fails = "SELECT 1 / (v - 3) FROM portal_bytes WHERE k = $1 ORDER BY v";
    vec![
        vec![[a.clone(), a, sync()].concat()],
        vec![[open("a", "no such", key), sync()].concat()],
        vec![[describe(b'P', "no such"), sync()].concat()],
        vec![[execute("no such", 0), sync()].concat()],
        vec![[describe(b'S', "no such"), execute("", 0), sync()].concat()],
        vec![[close(b'P', "no such"), close(b'S', "no such"), sync()].concat()],
        // An error skips to Sync.
        vec![
            [
                parse("", fails, &[20]),
                open("", "", key),
                execute("", 1),
                execute("", 0),
                execute("", 0),
                parse("never", "SELECT 1", &[]),
                sync(),
            ]
            .concat(),
            [describe(b'S', "never"), sync()].concat(),
        ],
        vec![[close(b'S', "s"), sync()].concat()],
    ]
}

async fn portals_are_answered_byte_for_byte_as_by_the_shard(cluster: &Cluster) -> Outcome {
    let (mut routed, mut direct, key) = both(cluster, "portal_bytes").await?;
    for in_block in [true, false] {
        let all = in_parts(key).into_iter().chain(amiss(key));
        for (number, batches) in all.enumerate() {
            let mut answers = Vec::new();
            // One after the other, since both lock the same rows.
            for session in [&mut direct, &mut routed] {
                let mut answer = Vec::new();
                if in_block {
                    session.query("BEGIN").await?;
                }
                for batch in &batches {
                    let place = ['F', 'L', 'R'];
                    answer.push(comparable_but(session.exchange(batch).await?, &place));
                }
                if in_block {
                    session.query("ROLLBACK").await?;
                }
                answers.push(answer);
            }
            let is = answers.pop();
            same!(
                is,
                answers.pop(),
                "batches {number}, in a block: {in_block}"
            );
        }
    }
    // Flush brings each answer as soon as it is there.
    let asked = [
        parse("", ROWS, &[20]),
        open("p", "", key),
        // Only now is it known whose table it is, by its number there.
        describe(b'P', "p"),
        execute("p", 1),
        execute("p", 1),
    ];
    for message in asked {
        let answers = match message.first() {
            Some(b'E') => 2,
            _ => 1,
        };
        for session in [&mut routed, &mut direct] {
            session.send(&[message.clone(), flush()].concat()).await?;
        }
        for _ in 0..answers {
            same!(routed.receive().await?, direct.receive().await?);
        }
    }
    same!(tags(&routed.exchange(&sync()).await?), "Z");
    Ok(())
}
