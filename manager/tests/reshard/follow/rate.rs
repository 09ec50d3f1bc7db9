//! How fast one lane is: a backlog is written on the owner, then it is followed and timed.
//! `cargo test --release -p manager --test reshard -- --ignored --nocapture rate`

use tokio::time::Instant;
use topology::KeyType;

use super::Field;
use crate::setup::moved;

const SCHEMA: &str = "\
CREATE TABLE t (k bigint PRIMARY KEY, n bigint NOT NULL, at timestamptz DEFAULT now(), pad text)";

const ROWS: u64 = 200_000;

/// What a process used, which other processes of the machine do not change.
fn cpu_seconds(pid: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

async fn rate(field: &Field, what: &str, sql: &str) -> String {
    field.owner.psql(sql).await;
    let before = field.progress.rows_applied.value();
    let (start, own) = (Instant::now(), cpu_seconds("self"));
    let follow = field.follow();
    field.synced(&follow).await;
    let seconds = start.elapsed().as_secs_f64();
    let sender = "SELECT active_pid FROM pg_replication_slots";
    let lane = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE '%/apply'";
    let of = |pid: String| cpu_seconds(&pid);
    let sender = of(field.owner.psql(sender).await);
    let lane = of(field.mirrors[0].psql(lane).await);
    let manager = cpu_seconds("self") - own;
    follow.stop().await;
    let rows = field.progress.rows_applied.value() - before;
    let rows = rows as f64;
    format!(
        "{what:<36} {rows:>7} rows {:>7.0} rows/s; by seconds of CPU: lane {:>7.0}, \
         walsender {:>7.0}, manager {:>7.0}",
        rows / seconds,
        rows / lane,
        rows / sender,
        rows / manager
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a quiet machine and a release build"]
async fn rate_of_one_lane() {
    let field = Field::new(SCHEMA, vec![moved("t", "k", KeyType::Bigint)], 1).await;
    let each = |sql: &str, per: u64| {
        let times = ROWS / per;
        format!(
            "DO $$ BEGIN PERFORM set_config('synchronous_commit', 'off', false); \
             FOR i IN 1..{times} LOOP {sql}; COMMIT; END LOOP; END $$"
        )
    };
    let all =
        format!("INSERT INTO t SELECT i, 0, now(), md5(i::text) FROM generate_series(1, {ROWS}) i");
    let ten = "UPDATE t SET n = n + 1 WHERE k BETWEEN i * 10 - 9 AND i * 10";
    let cases = [
        (
            "insert, one row a transaction",
            each("INSERT INTO t VALUES (i, 0, now(), md5(i::text))", 1),
        ),
        (
            "update, one row a transaction",
            each("UPDATE t SET n = n + 1 WHERE k = i", 1),
        ),
        (
            "update, 1,000 hot rows",
            each("UPDATE t SET n = n + 1 WHERE k = i % 1000", 1),
        ),
        ("update, ten rows a transaction", each(ten, 10)),
        (
            "update, all in one transaction",
            "UPDATE t SET n = n + 1".to_owned(),
        ),
        (
            "delete, one row a transaction",
            each("DELETE FROM t WHERE k = i", 1),
        ),
        ("insert, all in one transaction", all),
    ];
    for (what, sql) in cases {
        println!("{}", rate(&field, what, &sql).await);
    }
    field.compare().await;
}
