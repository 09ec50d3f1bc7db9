//! What is around queries over several shards: parameters, portals, transactions, COPY, EXPLAIN,
//! the other fronts, and their end before the last row.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tests::raw::{
    Message, Raw, bind, cancel, describe, execute, message, parse, query, sync, tags,
};
use tests::{Cluster, Postgres, wait};
use tokio::time::{Instant, sleep};

use super::both;
use crate::suite::{Outcome, same};

fn sqlstate(messages: &[Message]) -> Option<String> {
    messages.iter().find_map(Message::sqlstate)
}

fn rows(messages: &[Message]) -> anyhow::Result<Vec<Vec<Option<Vec<u8>>>>> {
    let rows = messages.iter().filter(|message| message.tag == b'D');
    rows.map(Message::values).collect()
}

fn lines(messages: &[Message]) -> anyhow::Result<Vec<String>> {
    let first = |row: Vec<Option<Vec<u8>>>| {
        let value = row.into_iter().flatten().next().unwrap_or_default();
        String::from_utf8_lossy(&value).into_owned()
    };
    Ok(rows(messages)?.into_iter().map(first).collect())
}

pub(super) async fn what_is_around_a_query_over_several_shards_is_right() -> Outcome {
    let (cluster, single) = both().await?;
    parameters_decide_as_on_one_server(&cluster, &single).await?;
    portals_give_as_many_rows_as_are_asked_for(&cluster, &single).await?;
    transactions_read_what_they_may(&cluster).await?;
    copies_are_those_of_one_server(&cluster, &single).await?;
    plans_are_shown(&cluster).await?;
    other_fronts_get_the_same_rows(&cluster).await?;
    work_ends_with_the_last_row_that_is_wanted(&cluster).await?;
    a_cancel_reaches_every_shard(&cluster).await?;
    a_big_order_takes_little_memory(&cluster).await
}

/// Statements, and texts of their parameters.
const WITH_PARAMETERS: [(&str, &[&str]); 9] = [
    (
        "SELECT id FROM sc_orders WHERE total > $1 ORDER BY id",
        &["10"],
    ),
    (
        "SELECT id FROM sc_orders ORDER BY id LIMIT $1 OFFSET $2",
        &["5", "7"],
    ),
    (
        "SELECT id FROM sc_orders ORDER BY id OFFSET $2 LIMIT $1",
        &["3", "0"],
    ),
    (
        "SELECT count(*), $1::text FROM sc_orders WHERE status = $1",
        &["new"],
    ),
    (
        "SELECT status, sum(total) + $2 FROM sc_orders GROUP BY status HAVING count(*) > $1 ORDER BY 1 LIMIT $3",
        &["3", "100", "2"],
    ),
    (
        "SELECT DISTINCT status FROM sc_orders WHERE total > $1 ORDER BY 1 LIMIT $2",
        &["1", "2"],
    ),
    (
        "SELECT id FROM sc_orders WHERE customer_id = ANY($1) ORDER BY id",
        &["{1,2,3,4,5,6,7,8}"],
    ),
    (
        "SELECT id FROM sc_orders WHERE customer_id IN ($1, $2, $3, $4, $5) ORDER BY mood, id LIMIT $6",
        &["1", "2", "3", "4", "5", "4"],
    ),
    ("SELECT id FROM sc_orders ORDER BY id LIMIT $1", &["-1"]),
];

/// Texts of parameters; binary ones for the last statement.
async fn parameters_decide_as_on_one_server(cluster: &Cluster, single: &Postgres) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut server = Raw::connect(&single.address()).await?;
    for (sql, values) in WITH_PARAMETERS {
        let values: Vec<Option<&[u8]>> = values.iter().map(|it| Some(it.as_bytes())).collect();
        let batch = [
            parse("", sql, &[]),
            describe(b'S', ""),
            bind("", "", false, &values),
            describe(b'P', ""),
            execute("", 0),
            sync(),
        ];
        let routed = router.exchange(&batch.concat()).await?;
        let direct = server.exchange(&batch.concat()).await?;
        same!(sqlstate(&routed), sqlstate(&direct), "{sql}: {routed:?}");
        same!(rows(&routed)?, rows(&direct)?, "{sql}");
        if sqlstate(&direct).is_none() {
            // Otherwise the portal's description may fail already.
            same!(tags(&routed), tags(&direct), "{sql}");
        }
    }
    // By a name, more than once, with other values; and again after an error.
    let sql = "SELECT count(*) FROM sc_orders WHERE total >= $1";
    for side in [&mut router, &mut server] {
        let prepared = side
            .exchange(&[parse("n", sql, &[23]), sync()].concat())
            .await?;
        same!(tags(&prepared), "1Z");
        let failed = side.query("SELECT id / 0 FROM sc_orders").await?;
        same!(sqlstate(&failed).as_deref(), Some("22012"));
    }
    for value in [3_i32, 12, 1000] {
        let bytes = value.to_be_bytes();
        let batch = [bind("", "n", true, &[Some(&bytes)]), execute("", 0), sync()].concat();
        let routed = router.exchange(&batch).await?;
        same!(rows(&routed)?, rows(&server.exchange(&batch).await?)?);
    }
    Ok(())
}

async fn portals_give_as_many_rows_as_are_asked_for(
    cluster: &Cluster,
    single: &Postgres,
) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut server = Raw::connect(&single.address()).await?;
    for sql in [
        "SELECT id FROM sc_orders ORDER BY id LIMIT 10",
        "SELECT status, count(*) FROM sc_orders GROUP BY status ORDER BY 1, 2",
    ] {
        let batch = [
            parse("", sql, &[]),
            bind("", "", false, &[]),
            execute("", 4),
            execute("", 3),
            execute("", 0),
            sync(),
        ];
        let routed = router.exchange(&batch.concat()).await?;
        let direct = server.exchange(&batch.concat()).await?;
        same!(tags(&routed), tags(&direct), "{sql}");
        same!(rows(&routed)?, rows(&direct)?, "{sql}");
    }
    // What is left open is given up with its Sync, and a closed portal is none.
    let batch = [
        parse("", "SELECT id FROM sc_orders ORDER BY id", &[]),
        bind("p", "", false, &[]),
        execute("p", 1),
        message(b'C', b"Pp\0"),
        execute("p", 1),
        sync(),
    ];
    let routed = router.exchange(&batch.concat()).await?;
    same!(tags(&routed), "12Ds3EZ");
    same!(sqlstate(&routed).as_deref(), Some("34000"));
    let after = router.query("SELECT count(*) FROM sc_orders").await?;
    same!(tags(&after), "TDCZ");
    Ok(())
}

async fn transactions_read_what_they_may(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let count = "SELECT count(*) FROM sc_orders";
    // As drivers do that begin by themselves.
    for (statements, expected) in [
        (vec!["BEGIN", count, count, "COMMIT"], None),
        (vec!["BEGIN READ ONLY", count, "COMMIT"], None),
        (
            vec!["BEGIN", "SELECT 1", count, "SELECT 1", count, "COMMIT"],
            None,
        ),
        (
            vec!["BEGIN ISOLATION LEVEL REPEATABLE READ", count],
            Some("0A000"),
        ),
        (
            vec![
                "BEGIN",
                "SELECT id FROM sc_orders WHERE customer_id = 1",
                count,
            ],
            None,
        ),
        (
            vec![
                "BEGIN",
                "UPDATE sc_items SET qty = qty WHERE customer_id = 1",
                count,
            ],
            None,
        ),
        (
            vec!["BEGIN", "SELECT id / 0 FROM sc_orders", count],
            Some("25P02"),
        ),
        (
            vec!["BEGIN", "SET LOCAL search_path = nowhere", count],
            Some("42P01"),
        ),
    ] {
        let mut last = Vec::new();
        for sql in &statements {
            last = router.query(sql).await?;
        }
        same!(
            sqlstate(&last).as_deref(),
            expected,
            "{statements:?}: {last:?}"
        );
        let ended = router.query("ROLLBACK").await?;
        same!(
            ended.last().map(|ready| ready.body.clone()),
            Some(b"I".to_vec())
        );
    }
    let kept = router
        .query("DECLARE c CURSOR FOR SELECT id FROM sc_orders")
        .await?;
    same!(sqlstate(&kept).as_deref(), Some("25P01"));
    Ok(())
}

/// The copy data of an answer, message by message.
fn copied(messages: &[Message]) -> Vec<Vec<u8>> {
    let data = messages.iter().filter(|message| message.tag == b'd');
    data.map(|message| message.body.clone()).collect()
}

/// COPY statements, and whether the order of their rows is defined.
const COPIES: [(bool, &str); 10] = [
    (
        false,
        "COPY (SELECT id, status, raw, dur FROM sc_orders) TO STDOUT",
    ),
    (
        false,
        "COPY (SELECT id, status FROM sc_orders) TO STDOUT WITH (FORMAT csv, HEADER)",
    ),
    (
        false,
        "COPY (SELECT id, status FROM sc_orders) TO STDOUT CSV",
    ),
    (false, "COPY sc_items TO STDOUT"),
    (
        false,
        "COPY sc_items (sku, id) TO STDOUT WITH (FORMAT csv, HEADER true, DELIMITER ';')",
    ),
    (
        false,
        "COPY (SELECT id, num FROM sc_orders WHERE id < 0) TO STDOUT (FORMAT csv, HEADER)",
    ),
    (
        true,
        "COPY (SELECT id, status, mood FROM sc_orders ORDER BY mood, id) TO STDOUT",
    ),
    (
        true,
        "COPY (SELECT id FROM sc_orders ORDER BY id LIMIT 9 OFFSET 2) TO STDOUT (FORMAT csv, HEADER)",
    ),
    (
        true,
        "COPY (SELECT status, count(*), avg(total) FROM sc_orders GROUP BY 1 ORDER BY 1) TO STDOUT",
    ),
    (
        true,
        "COPY (SELECT 'a\\b''c' AS x, count(*) FROM sc_orders) TO STDOUT",
    ),
];

async fn copies_are_those_of_one_server(cluster: &Cluster, single: &Postgres) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut server = Raw::connect(&single.address()).await?;
    for (ordered, sql) in COPIES {
        let routed = router.query(sql).await?;
        let direct = server.query(sql).await?;
        same!(sqlstate(&routed), None, "{sql}: {routed:?}");
        let (mut one, mut other) = (copied(&routed), copied(&direct));
        if !ordered {
            same!(
                one.first().filter(|_| sql.contains("HEADER")),
                other.first().filter(|_| sql.contains("HEADER")),
                "{sql}"
            );
            one.sort();
            other.sort();
        }
        same!(one, other, "{sql}");
        same!(tags(&routed), tags(&direct), "{sql}");
        let end = |messages: &[Message]| messages.iter().rev().nth(1).cloned();
        same!(end(&routed), end(&direct), "{sql}");
    }
    binary_copies_have_one_end(&mut router, &mut server).await
}

/// Binary copies have one header and one trailer; and what cannot be copied is an error.
async fn binary_copies_have_one_end(router: &mut Raw, server: &mut Raw) -> Outcome {
    for sql in [
        "COPY sc_items TO STDOUT (FORMAT binary)",
        "COPY (SELECT id FROM sc_items ORDER BY id) TO STDOUT (FORMAT binary)",
    ] {
        let routed = copied(&router.query(sql).await?).concat();
        let direct = copied(&server.query(sql).await?).concat();
        same!(routed.len(), direct.len(), "{sql}");
        same!(routed.get(..19), direct.get(..19), "{sql}");
        same!(
            routed.get(routed.len() - 2..),
            Some(&[0xff, 0xff][..]),
            "{sql}"
        );
        let sorted = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes.sort_unstable();
            bytes
        };
        same!(sorted(&routed), sorted(&direct), "{sql}");
    }
    for (sql, code) in [
        ("COPY nowhere TO STDOUT", "42P01"),
        ("COPY sc_items (nothing) TO STDOUT", "42703"),
        ("COPY (SELECT id / 0 FROM sc_items) TO STDOUT", "22012"),
    ] {
        let routed = router.query(sql).await?;
        same!(
            sqlstate(&routed).as_deref(),
            Some(code),
            "{sql}: {routed:?}"
        );
    }
    Ok(())
}

async fn plans_are_shown(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    for (sql, wanted) in [
        (
            "EXPLAIN (COSTS off) SELECT * FROM sc_orders ORDER BY id LIMIT 3",
            vec![
                "Scatter over 4 shards",
                "merged by 1 columns",
                "Shard shard-1:",
                "Shard shard-4:",
                "Limit",
                "Seq Scan on sc_orders",
            ],
        ),
        (
            "EXPLAIN (ANALYZE, TIMING off) SELECT status, count(*) FROM sc_orders GROUP BY status",
            vec![
                "Scatter over 4 shards",
                "one shard is asked: SELECT",
                "HashAggregate",
                "actual rows",
            ],
        ),
        (
            "EXPLAIN (ROUTE) SELECT count(*) FROM sc_orders",
            vec![
                "Scatter over 4 shards",
                "Each shard: SELECT count(*)",
                "Epoch",
            ],
        ),
        (
            "EXPLAIN (ROUTE) SELECT o.id FROM sc_orders o JOIN sc_items i ON i.id = o.id",
            vec!["Refused", "join them by"],
        ),
    ] {
        let answer = router.query(sql).await?;
        same!(sqlstate(&answer), None, "{sql}: {answer:?}");
        let text = lines(&answer)?.join("\n");
        for part in wanted {
            anyhow::ensure!(text.contains(part), "{sql}: no {part:?} in\n{text}");
        }
    }
    plans_are_shown_in_every_format(&mut router).await
}

async fn plans_are_shown_in_every_format(router: &mut Raw) -> Outcome {
    for (format, oid, parts) in [
        (
            "json",
            114_u32,
            ["\"Node Type\": \"Scatter\"", "\"Shard\": \"shard-4\""],
        ),
        ("yaml", 25, ["Node Type: \"Scatter\"", "Shard: \"shard-4\""]),
        ("xml", 142, ["<Node-Type>Scatter<", "<Shard>shard-4<"]),
    ] {
        let sql = format!("EXPLAIN (FORMAT {format}) SELECT id FROM sc_orders WHERE total > 3");
        let answer = router.query(&sql).await?;
        same!(tags(&answer), "TDCZ", "{sql}: {answer:?}");
        let described = answer.first().map(|it| it.body.clone()).unwrap_or_default();
        let typed = described.get(19..23).map(<[u8]>::to_vec);
        same!(typed, Some(oid.to_be_bytes().to_vec()), "{described:?}");
        let text = lines(&answer)?.join("\n");
        for part in parts.into_iter().chain(["Seq Scan", "sc_orders"]) {
            anyhow::ensure!(text.contains(part), "{sql}: no {part:?} in\n{text}");
        }
        if format == "json" {
            let value: serde_json::Value = serde_json::from_str(&text)?;
            let plan = &value[0]["Plan"]["Plans"][3]["Plans"][0];
            same!(plan["Relation Name"], "sc_orders", "{text}");
        }
    }
    // With a parameter, by the extended protocol.
    let sql = "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT id FROM sc_orders \
               WHERE total > $1 ORDER BY id LIMIT $2";
    let batch = [
        parse("", sql, &[]),
        describe(b'S', ""),
        bind("", "", false, &[Some(b"3"), Some(b"2")]),
        execute("", 0),
        sync(),
    ];
    let answer = router.exchange(&batch.concat()).await?;
    same!(sqlstate(&answer), None, "{answer:?}");
    let text = lines(&answer)?.join("\n");
    for part in [
        "Scatter over 4 shards",
        "Shard shard-4:",
        "Limit (actual rows=2",
    ] {
        anyhow::ensure!(text.contains(part), "no {part:?} in\n{text}");
    }
    Ok(())
}

async fn other_fronts_get_the_same_rows(cluster: &Cluster) -> Outcome {
    let execute =
        async |body: &serde_json::Value| cluster.router(0)?.execute(body).await?.expect(200);
    let found =
        execute(&json!({ "query": "SELECT count(*) AS n, max(total) AS m FROM sc_orders" }))
            .await?;
    same!(found["rows"][0]["n"], json!(90), "{found}");
    let found = execute(&json!({
        "query": "SELECT id FROM sc_orders WHERE total > $1 AND flag = $2 ORDER BY id LIMIT $3",
        "params": [2, true, 3],
    }))
    .await?;
    same!(found["rows"].as_array().map(Vec::len), Some(3), "{found}");
    let refused = json!({ "query": "SELECT o.id FROM sc_orders o JOIN sc_items i ON i.id = o.id" });
    let refused = cluster.router(0)?.execute(&refused).await?;
    anyhow::ensure!(refused.status != 200, "{refused:?}");
    let after = execute(&json!({ "query": "SELECT id FROM sc_orders ORDER BY id" })).await?;
    same!(after["rows"].as_array().map(Vec::len), Some(90));
    Ok(())
}

/// Waits until no shard runs a statement with this text.
async fn all_idle(cluster: &Cluster, text: &str) -> Outcome {
    let sql = format!(
        "SELECT pid, wait_event, now() - query_start, query FROM pg_stat_activity \
         WHERE state = 'active' AND query LIKE '%{text}%' AND pid <> pg_backend_pid()"
    );
    wait::until("end of the shards' work", wait::SETTLE, async || {
        for shard in &cluster.shards {
            let running = shard.psql(&sql).await?;
            anyhow::ensure!(running.trim().is_empty(), "running: {running}");
        }
        Ok(())
    })
    .await
}

async fn work_ends_with_the_last_row_that_is_wanted(cluster: &Cluster) -> Outcome {
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    // Each shard would give as many; those that are not wanted are not made.
    let sql = "SELECT o.id FROM sc_items o, generate_series(1, 200000) g LIMIT 50000";
    let begun = Instant::now();
    let answer = router.query(sql).await?;
    same!(rows(&answer)?.len(), 50_000);
    anyhow::ensure!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    all_idle(cluster, "200000) g LIMIT").await?;
    // A client that leaves amid the rows leaves nothing behind.
    let endless = "SELECT o.id FROM sc_items o, generate_series(1, 2000000001) g";
    // Also one that leaves while the shards are about to begin, when a first cancel comes too early.
    for milliseconds in [300, 20, 10, 5, 3, 2, 1, 0] {
        let mut leaving = Raw::connect(&cluster.router(0)?.address()).await?;
        leaving.send(&query(endless)).await?;
        sleep(Duration::from_millis(milliseconds)).await;
    }
    all_idle(cluster, "2000000001").await
}

async fn a_cancel_reaches_every_shard(cluster: &Cluster) -> Outcome {
    let address = cluster.router(0)?.address();
    let mut session = Raw::connect(&address).await?;
    session
        .send(&query("SELECT count(pg_sleep(60)) FROM sc_items"))
        .await?;
    sleep(Duration::from_millis(700)).await;
    let mut canceller = Raw::open(address.port).await?;
    canceller.send(&cancel(&session.cancel_key)).await?;
    let answer = session.until_ready().await?;
    same!(sqlstate(&answer).as_deref(), Some("57014"), "{answer:?}");
    all_idle(cluster, "pg_sleep(60)").await?;
    let after = session.query("SELECT count(*) FROM sc_items").await?;
    same!(tags(&after), "TDCZ");
    Ok(())
}

/// What the router holds in memory, in bytes.
fn resident(cluster: &Cluster) -> anyhow::Result<u64> {
    let id = cluster.router(0)?.program.id()?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("VmRSS of the router")?.parse::<u64>()? << 10)
}

/// 120 MB of sorted rows, of which the router holds a few of each shard at a time.
async fn a_big_order_takes_little_memory(cluster: &Cluster) -> Outcome {
    let before = resident(cluster)?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let sql = "SELECT o.id, g, repeat('x', 1000) FROM sc_items o, generate_series(1, 2000) g \
               ORDER BY g, o.id";
    router.send(&query(sql)).await?;
    let (mut received, mut peak, mut last) = (0_u64, 0, (0_i64, 0_i64));
    loop {
        let message = router.receive().await?.context("the answer goes on")?;
        match message.tag {
            b'D' => {
                received += 1;
                let values = message.values()?;
                let number = |at: usize| -> anyhow::Result<i64> {
                    let value = values.get(at).cloned().flatten().unwrap_or_default();
                    Ok(String::from_utf8(value)?.parse()?)
                };
                let key = (number(1)?, number(0)?);
                anyhow::ensure!(key > last, "{key:?} after {last:?}");
                last = key;
                if received.is_multiple_of(10_000) {
                    peak = peak.max(resident(cluster)?);
                }
            }
            b'Z' => break,
            b'E' => anyhow::bail!("{message:?}"),
            _ => {}
        }
    }
    same!(received, 60 * 2000);
    anyhow::ensure!(peak < before + (24 << 20), "{before} bytes grew to {peak}");
    Ok(())
}
