//! What is taken away, and what must stay.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use manager::reshard::cleanup::{
    Kind, Throttle, drop_streams, orphans, remove_orphans, remove_rows,
};
use manager::reshard::guard::install::{self, Initial};
use manager::reshard::guard::{Guarded, Patience, term};
use manager::reshard::ids::LegId;
use manager::reshard::session::{Class, Session};
use topology::{Epoch, KeyType, ShardId, Term};

use crate::setup::{Server, TERM, guarded, keys, leg, moved};

async fn install(session: &mut Session, guarded: &Guarded, initial: Initial) {
    install::install(session, TERM, guarded, initial, Patience::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn rows_that_have_moved_are_removed_and_no_others() {
    let server = Server::start("a").await;
    let sql = "CREATE TABLE t (k bigint PRIMARY KEY, v text); \
        INSERT INTO t SELECT g, repeat('x', 300) FROM generate_series(0, 999) g; \
        INSERT INTO t SELECT g, repeat('x', 300) FROM generate_series(1000, 20000) g; \
        CREATE TABLE p (k bigint, at int) PARTITION BY RANGE (at); \
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (500); \
        CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (500) TO (1000); \
        INSERT INTO p SELECT g, g FROM generate_series(0, 999) g; \
        INSERT INTO p VALUES (NULL, 1); \
        CREATE TABLE child (k bigint REFERENCES t ON DELETE CASCADE); \
        INSERT INTO child SELECT g FROM generate_series(0, 999) g";
    server.psql(sql).await;
    let leg = leg();
    let mut session = server.leader(&leg).await;
    let mut guarded = guarded(&leg);
    guarded.tables.push(moved("p", "k", KeyType::Bigint));
    install(&mut session, &guarded, Initial::Closed(Epoch(3))).await;
    let seen = AtomicU64::new(0);
    let progress = |rows| {
        seen.fetch_add(rows, Ordering::Relaxed);
    };
    let throttle = Throttle {
        blocks: 7,
        ..Throttle::default()
    };
    let removed = remove_rows(&mut session, TERM, &guarded, throttle, &progress)
        .await
        .unwrap();
    assert_eq!(seen.into_inner(), removed);
    let (moving, staying) = keys();
    let left = server.psql("SELECT count(*) FROM t WHERE k < 1000").await;
    assert_eq!(left, staying.len().to_string());
    let left = server.psql("SELECT count(*) FROM p").await;
    assert_eq!(left, (staying.len() + 1).to_string());
    let some = moving.iter().map(ToString::to_string).collect::<Vec<_>>();
    let question = format!("SELECT count(*) FROM t WHERE k IN ({})", some.join(","));
    assert_eq!(server.psql(&question).await, "0");
    let children = server.psql("SELECT count(*) FROM child").await;
    assert_eq!(children, "1000", "a cascade ran");
    let again = remove_rows(&mut session, TERM, &guarded, Throttle::default(), &|_| {});
    assert_eq!(again.await.unwrap(), 0);
    term::raise(&mut server.session(&leg).await, Term(8))
        .await
        .unwrap();
    let stale = remove_rows(&mut session, TERM, &guarded, throttle, &|_| {}).await;
    assert_eq!(stale.unwrap_err().class(), Class::StaleTerm);
}

async fn streams(server: &Server, leg: &LegId) {
    let origin = leg.origin(&ShardId::try_new("b").unwrap());
    let sql = format!(
        "SELECT pg_create_logical_replication_slot('{}', 'pgoutput')",
        leg.slot()
    );
    server.psql(&sql).await;
    let sql = format!("SELECT pg_replication_origin_create('{origin}')");
    server.psql(&sql).await;
    let sql = format!("CREATE PUBLICATION {} FOR TABLE t", leg.publication());
    server.psql(&sql).await;
}

#[tokio::test]
async fn streams_are_dropped_even_while_they_are_in_use() {
    let server = Server::start("a").await;
    server.psql("CREATE TABLE t (k bigint PRIMARY KEY)").await;
    let leg = leg();
    let mut session = server.leader(&leg).await;
    streams(&server, &leg).await;
    let reader = server.session(&leg).await;
    let origin = leg.origin(&ShardId::try_new("b").unwrap());
    let sql = format!("SELECT pg_replication_origin_session_setup('{origin}')");
    reader.batch_execute(&sql).await.unwrap();
    let read = format!(
        "DO $$ BEGIN LOOP PERFORM pg_logical_slot_peek_binary_changes('{}', NULL, 1, \
         'proto_version', '1', 'publication_names', '{}'), pg_sleep(30); END LOOP; END $$",
        leg.slot(),
        leg.publication()
    );
    let user = server.session(&leg).await;
    let reading = user.batch_execute(&read);
    let dropping = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let dropped = drop_streams(&mut session, TERM, &leg).await.unwrap();
        assert_eq!(dropped.slots, [leg.slot()]);
        assert_eq!(dropped.origins, [origin]);
        assert_eq!(dropped.publications, [leg.publication()]);
    };
    let (_, ()) = futures_util::join!(reading, dropping);
    let dropped = drop_streams(&mut session, TERM, &leg).await.unwrap();
    assert_eq!(dropped, manager::reshard::cleanup::Dropped::default());
}

#[tokio::test]
async fn what_dead_jobs_have_left_is_found_and_removed_and_what_lives_stays() {
    let server = Server::start("a").await;
    server.psql("CREATE TABLE t (k bigint PRIMARY KEY)").await;
    let (dead, live) = (leg(), leg());
    let mut session = server.leader(&dead).await;
    server
        .psql("CREATE PUBLICATION vg_mine FOR TABLE t; SELECT pg_replication_origin_create('vg_other_x')")
        .await;
    for leg in [&dead, &live] {
        install(&mut session, &guarded(leg), Initial::Open).await;
        streams(&server, leg).await;
    }
    let known = BTreeSet::from([live.tag()]);
    let found = orphans(&session, &known).await.unwrap();
    let kinds: BTreeSet<Kind> = found.iter().map(|orphan| orphan.kind).collect();
    assert_eq!(kinds.len(), 8, "{found:?}");
    assert!(found.iter().all(|orphan| orphan.leg == dead), "{found:?}");
    remove_orphans(&mut session, TERM, &found, Patience::default())
        .await
        .unwrap();
    assert_eq!(orphans(&session, &known).await.unwrap(), []);
    let left = orphans(&session, &BTreeSet::new()).await.unwrap();
    assert_eq!(left.len(), found.len());
    assert!(
        install::is_installed(&session, &guarded(&live))
            .await
            .unwrap()
    );
}
