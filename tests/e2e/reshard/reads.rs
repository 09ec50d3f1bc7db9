//! Queries over all shards while rows move between them: each row is read exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libtest_mimic::Trial;
use serde_json::json;
use tests::Cluster;
use tests::cluster::Plan;
use tests::pg::Address;
use tests::raw::{Message, Raw};
use tokio::task::JoinSet;

use super::job::{ask, begin, some_vnodes, third, until};
use super::remains;
use crate::suite::{Outcome, Suite, alone, same, told};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: queries_over_all_shards_read_each_row_once_while_rows_move).into()
}

/// Rows of the table, by keys of bigint.
const ROWS: i64 = 3000;

/// What does not change while rows only move.
const QUERIES: [(&str, &str); 5] = [
    (
        "SELECT count(*), sum(v), count(DISTINCT k) FROM still",
        "3000|4498500|3000",
    ),
    (
        "SELECT max(c) FROM (SELECT k, count(*) AS c FROM still GROUP BY k) x",
        "1",
    ),
    (
        "SELECT v FROM still ORDER BY k LIMIT 2 OFFSET 1499",
        "1499\n1500",
    ),
    (
        "SELECT count(*) FROM (SELECT k FROM still WHERE v % 7 = 3) x",
        "429",
    ),
    (
        "SELECT count(*), min(slug), max(slug) FROM still_text",
        "500|s0|s99",
    ),
];

async fn fill(cluster: &Cluster) -> Outcome {
    let mut script = String::new();
    for key in 0..ROWS {
        script.push_str(&format!(
            "INSERT INTO still (k, v) VALUES ({key}, {key});\n"
        ));
    }
    for key in 0..500 {
        script.push_str(&format!(
            "INSERT INTO still_text (slug, v) VALUES ('s{key}', 1);\n"
        ));
    }
    cluster.router(0)?.address().psql_script(&script).await?;
    Ok(())
}

/// Asks all queries again and again: how many were answered, each rightly, and how many refused.
async fn read_until(address: Address, stop: Arc<AtomicBool>) -> anyhow::Result<(u64, u64)> {
    let (mut answers, mut refused) = (0_u64, 0_u64);
    while !stop.load(Ordering::Relaxed) {
        for (sql, expected) in QUERIES {
            let output = address.psql_output(sql).await?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            if !output.status.success() {
                // Whoever has waited for too long is told so, and not told anything wrong.
                anyhow::ensure!(text.contains("being moved"), "{sql}: {text}");
                refused += 1;
                continue;
            }
            let found = String::from_utf8_lossy(&output.stdout);
            same!(found.trim_end(), expected, "{sql}");
            answers += 1;
        }
    }
    Ok((answers, refused))
}

const COPY: &str = "INSERT INTO still_copy (k, v) SELECT k, v FROM still";

/// While shards hold copies of rows that are not theirs, they would insert them as well.
async fn rows_are_not_copied_by_a_query(cluster: &Cluster) -> Outcome {
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    let answer = session.query(COPY).await?;
    let state = answer.iter().find_map(Message::sqlstate);
    same!(state.as_deref(), Some("40001"), "{answer:?}");
    let count = session.query("SELECT count(*) FROM still_copy").await?;
    let count = count.iter().find(|message| message.tag == b'D');
    let count = count.map(Message::values).transpose()?;
    same!(count, Some(vec![Some(b"0".to_vec())]));
    Ok(())
}

async fn queries_over_all_shards_read_each_row_once_while_rows_move() -> Outcome {
    let cluster = Cluster::start(Plan {
        shards: 2,
        spares: 1,
        routers: 2,
        ..Plan::default()
    })
    .await?;
    cluster
        .create("still", "k bigint PRIMARY KEY, v int", ("k", "bigint"))
        .await?;
    cluster
        .create(
            "still_text",
            "slug text PRIMARY KEY, v int",
            ("slug", "text"),
        )
        .await?;
    cluster
        .create("still_copy", "k bigint PRIMARY KEY, v int", ("k", "bigint"))
        .await?;
    fill(&cluster).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for router in cluster.routers.iter().cycle().take(4) {
        let (address, stop) = (router.address(), Arc::clone(&stop));
        readers.spawn(read_until(address, stop));
    }
    let jobs = [
        ("move", some_vnodes("shard-1", "shard-2", 60), "finish"),
        ("move", some_vnodes("shard-2", "shard-1", 90), "rollback"),
        (
            "split",
            json!({ "source_shard_id": "shard-2", "target_shards": [{ "id": "shard-1" }, third(&cluster)?] }),
            "finish",
        ),
    ];
    for (path, body, end) in jobs {
        let job = begin(&cluster, path, body).await?;
        until(&cluster, &job, "completed").await?;
        rows_are_not_copied_by_a_query(&cluster).await?;
        ask(&cluster, &job, end).await?;
        let status = if end == "finish" {
            "completed"
        } else {
            "rolled_back"
        };
        until(&cluster, &job, status).await?;
        remains::none(&cluster).await?;
    }
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    let answer = session.query(COPY).await?;
    let tag = answer.first().map(Message::text);
    same!(tag.as_deref(), Some("INSERT 0 3000"), "{answer:?}");
    stop.store(true, Ordering::Relaxed);
    let (mut answers, mut refused) = (0, 0);
    while let Some(read) = readers.join_next().await {
        let (more, told) = read??;
        answers += more;
        refused += told;
    }
    told!("{answers} answers over all shards while rows moved, {refused} refused");
    anyhow::ensure!(
        answers > refused * 10,
        "{answers} answers, {refused} refused"
    );
    Ok(())
}
