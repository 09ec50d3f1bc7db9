//! Stopping at a place, the fence's marker, and what is said of the lag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use manager::reshard::follow::PauseError;
use manager::reshard::lsn::Lsn;
use manager::reshard::replication::ReplicationConnection;
use tests::postgres::Auth;
use tokio::time::{sleep, timeout};
use topology::KeyType;

use super::{Field, LIMIT};
use crate::setup::{self, moved};

const SCHEMA: &str = "CREATE TABLE t (k bigint PRIMARY KEY, n bigint NOT NULL)";

async fn field(mirrors: u32) -> Arc<Field> {
    Arc::new(Field::new(SCHEMA, vec![moved("t", "k", KeyType::Bigint)], mirrors).await)
}

/// Writes until it is told to stop.
async fn write(field: Arc<Field>, stop: Arc<AtomicBool>) {
    let client = field.owner.postgres.client().await.unwrap();
    let mut k = 0;
    while !stop.load(Ordering::Relaxed) {
        k += 1;
        let sql = format!(
            "INSERT INTO t VALUES ({k}, 0); UPDATE t SET n = n + 1 WHERE k = {}",
            k / 2
        );
        client.batch_execute(&sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_shows_exactly_what_a_snapshot_shows() {
    let field = field(2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = field
        .tasks
        .spawn("writer", write(Arc::clone(&field), Arc::clone(&stop)));
    let follow = field.follow();
    follow.caught_up(Duration::from_millis(100)).await.unwrap();
    assert!(matches!(
        follow.pause_at(Lsn(1)).await,
        Err(PauseError::NotHeld)
    ));
    for round in 0..5 {
        timeout(LIMIT, follow.hold()).await.unwrap().unwrap();
        let config = setup::config(Auth::Trust);
        let connected = ReplicationConnection::connect(&config, &field.owner.shard, "test");
        let mut connection = connected.await.unwrap();
        sleep(Duration::from_millis(50)).await;
        let slot = connection
            .create_temporary_slot(&format!("at_{round}"))
            .await
            .unwrap();
        let owner = field.owner.postgres.client().await.unwrap();
        let import = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{}'",
            slot.snapshot.unwrap()
        );
        owner.batch_execute(&import).await.unwrap();
        // Later transactions wait behind the place.
        sleep(Duration::from_millis(50)).await;
        let paused = timeout(LIMIT, follow.pause_at(slot.consistent_point)).await;
        paused.unwrap().unwrap();
        field.compare_with(&owner).await;
        follow.resume();
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    field.synced(&follow).await;
    field.compare().await;
    follow.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_lanes_report_the_marker_once_they_have_what_is_before_it() {
    let field = field(2).await;
    let follow = field.follow();
    let owner = field.owner.postgres.client().await.unwrap();
    let tag = field.leg.tag();
    // Another leg's marker is none.
    for content in [format!("{tag}0 9"), "x 9".to_owned(), format!("{tag} x")] {
        let sql = format!("SELECT pg_logical_emit_message(true, 'vg-fence', '{content}')");
        owner.batch_execute(&sql).await.unwrap();
    }
    for epoch in 1..=20_u64 {
        let sql =
            format!("INSERT INTO t SELECT {epoch} * 100 + i, 0 FROM generate_series(1, 50) i");
        owner.batch_execute(&sql).await.unwrap();
        let sql = format!("SELECT pg_logical_emit_message(true, 'vg-fence', '{tag} {epoch}')");
        let early = timeout(Duration::from_millis(5), follow.drained(epoch)).await;
        assert!(early.is_err(), "{epoch}");
        owner.batch_execute(&sql).await.unwrap();
        timeout(LIMIT, follow.drained(epoch))
            .await
            .unwrap()
            .unwrap();
        field.compare().await;
    }
    follow.stop().await;
    // Who comes later finds it done: a marker that was applied need not be told again.
    let follow = field.follow();
    field.synced(&follow).await;
    follow.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slot_is_told_only_what_all_mirrors_have_and_idle_ones_do_not_hold_it_back() {
    let field = field(2).await;
    let follow = field.follow();
    // Keys of one mirror only, if of any.
    field.owner.psql("INSERT INTO t VALUES (1, 0)").await;
    field.synced(&follow).await;
    let sql = "SELECT confirmed_flush_lsn FROM pg_replication_slots";
    let now: Lsn = field
        .owner
        .psql("SELECT pg_current_wal_lsn()")
        .await
        .parse()
        .unwrap();
    tests::wait::until("the confirmation", LIMIT, || async {
        let confirmed: Lsn = field.owner.psql(sql).await.parse()?;
        for mirror in &field.mirrors {
            let progress = mirror
                .psql("SELECT remote_lsn FROM pg_replication_origin_status")
                .await;
            let progress: Lsn = progress.parse()?;
            assert!(confirmed <= progress, "{confirmed} {progress}");
        }
        anyhow::ensure!(confirmed >= now, "{confirmed} is before {now}");
        Ok(())
    })
    .await
    .unwrap();
    let position = follow.position();
    assert!(
        position.is_connected && position.lag.is_some(),
        "{position:?}"
    );
    follow.stop().await;
}
