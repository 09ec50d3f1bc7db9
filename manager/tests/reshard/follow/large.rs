//! One transaction that is larger than all limits.

use std::time::Duration;

use tokio::time::sleep;
use topology::KeyType;

use super::Field;
use crate::setup::moved;

const ROWS: i64 = 200_000;
/// The rows are 200 MB.
const MAX_GROWTH_KIB: u64 = 100 << 10;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_any_size_is_seen_whole_and_takes_little_memory() {
    let schema = "CREATE TABLE t (k bigint PRIMARY KEY, pad text)";
    let field = Field::new(schema, vec![moved("t", "k", KeyType::Bigint)], 1).await;
    let follow = field.follow();
    field
        .owner
        .psql("INSERT INTO t VALUES (-1, 'before')")
        .await;
    field.synced(&follow).await;
    let (before, mut most) = (resident_kib(), 0);
    let sql = format!(
        "INSERT INTO t SELECT i, repeat(md5(i::text), 32) FROM generate_series(1, {ROWS}) i"
    );
    field.owner.psql(&sql).await;
    let mirror = field.mirrors[0].postgres.client().await.unwrap();
    let mut counts = Vec::new();
    let last = loop {
        most = most.max(resident_kib());
        let row = mirror
            .query_one("SELECT count(*) FROM t", &[])
            .await
            .unwrap();
        let count: i64 = row.get(0);
        counts.push(count);
        if count > 1000 || counts.len() > 20_000 {
            break count;
        }
        sleep(Duration::from_millis(5)).await;
    };
    // Nothing is seen of it before all of it is.
    counts.dedup();
    assert!(counts.len() <= 3 && counts.is_sorted(), "{counts:?}");
    assert!(last > ROWS / 2, "{last}");
    let growth = most.saturating_sub(before);
    println!(
        "{ROWS} rows in one transaction: {} MiB more memory",
        growth >> 10
    );
    assert!(growth < MAX_GROWTH_KIB, "{growth} KiB");
    field.synced(&follow).await;
    field.compare().await;
    follow.stop().await;
}
