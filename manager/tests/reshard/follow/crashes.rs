//! Appliers that are cut off anywhere: nothing is lost, nothing is applied twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use manager::reshard::follow::Follow;
use tests::wait;
use tokio::time::sleep;
use topology::KeyType;

use super::{Dice, Field, LIMIT};
use crate::setup::moved;

/// One table tells what is lost, the others also what is done twice: a sum, and rows without a key.
const SCHEMA: &str = "\
CREATE TABLE t (k bigint PRIMARY KEY, n bigint NOT NULL, pad text);
CREATE TABLE log (k bigint NOT NULL, at int);
ALTER TABLE log REPLICA IDENTITY FULL;
";

const ROUNDS: usize = 300;

async fn write(field: Arc<Field>, seed: u64, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    let client = field.owner.postgres.client().await.unwrap();
    let mut dice = Dice::new(seed);
    while !stop.load(Ordering::Relaxed) {
        let k = dice.roll(500);
        let sql = match dice.roll(8) {
            0 => format!("DELETE FROM t WHERE k = {k}"),
            1..=3 => format!("INSERT INTO log VALUES ({k}, {})", dice.roll(4)),
            _ => format!(
                "INSERT INTO t VALUES ({k}, 1, 'x') ON CONFLICT (k) DO UPDATE SET n = t.n + 1"
            ),
        };
        client.batch_execute(&sql).await.unwrap();
        count.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_micros(300 + dice.roll(1500))).await;
    }
}

fn is_connected(follow: &Follow) -> anyhow::Result<()> {
    anyhow::ensure!(follow.position().is_connected, "not connected");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_applier_that_is_cut_off_anywhere_loses_nothing_and_repeats_nothing() {
    let tables = vec![
        moved("t", "k", KeyType::Bigint),
        moved("log", "k", KeyType::Bigint),
    ];
    let field = Arc::new(Field::new(SCHEMA, tables, 2).await);
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let writers: Vec<_> = (0..3)
        .map(|seed| {
            let writer = write(
                Arc::clone(&field),
                seed,
                Arc::clone(&stop),
                Arc::clone(&count),
            );
            field.tasks.spawn("writer", writer)
        })
        .collect();
    let mut dice = Dice::new(99);
    let admin = field.mirrors[0].postgres.client().await.unwrap();
    let owner = field.owner.postgres.client().await.unwrap();
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE application_name LIKE 'sharding-reshard/%'";
    for _ in 0..ROUNDS {
        let follow = field.follow();
        // Some while they connect, most while they apply.
        if dice.roll(5) == 0 {
            sleep(Duration::from_micros(dice.roll(60_000))).await;
        } else {
            let connected = || std::future::ready(is_connected(&follow));
            wait::until("the connections", LIMIT, connected)
                .await
                .unwrap();
            sleep(Duration::from_micros(dice.roll(40_000))).await;
        }
        match dice.roll(5) {
            // Its sessions break, and it goes on by itself.
            0 => {
                admin.execute(kill, &[]).await.unwrap();
                sleep(Duration::from_micros(dice.roll(60_000))).await;
            }
            1 => {
                owner.execute(kill, &[]).await.unwrap();
                sleep(Duration::from_micros(dice.roll(60_000))).await;
            }
            _ => {}
        }
        drop(follow);
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let cut_off = field.progress.txns_applied.value();
    let follow = field.follow();
    field.synced(&follow).await;
    field.compare().await;
    follow.stop().await;
    println!(
        "{ROUNDS} appliers cut off, {} writes, {cut_off} transactions applied meanwhile",
        count.load(Ordering::Relaxed)
    );
    // Most of the work must have been done by those that were cut off.
    assert!(cut_off > 1000, "{cut_off}");
}
