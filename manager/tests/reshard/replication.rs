//! Replication connections: login, slots, snapshots, streams.

use std::time::Duration;

use manager::reshard::lsn::Lsn;
use manager::reshard::replication::{Event, ReplicationConnection, SnapshotExport, Stream};
use manager::reshard::session::Class;
use tests::postgres::{Auth, Options};
use tokio::time::timeout;
use topology::Shard;

use crate::setup::{self, Server};

const PUBLICATION: &str = "vg \"p'";
const SLOT: &str = "vg_0123456789ab_0";
const LIMIT: Duration = Duration::from_secs(20);

async fn connect(shard: &Shard) -> ReplicationConnection {
    let config = setup::config(Auth::Scram);
    let connected = ReplicationConnection::connect(&config, shard, "sharding-reshard/x_0/test");
    connected.await.unwrap()
}

/// A server with a published table.
async fn published() -> (Server, Shard) {
    let server = Server::start("a").await;
    let sql = "CREATE TABLE orders (id bigint PRIMARY KEY, note text); \
               CREATE PUBLICATION \"vg \"\"p'\" FOR TABLE orders";
    server.psql(sql).await;
    let shard = server.shard.clone();
    (server, shard)
}

/// The kinds of the output plugin's messages up to a number of commits.
async fn kinds(stream: &mut Stream, commits: usize) -> (String, Lsn) {
    let (mut kinds, mut end) = (String::new(), Lsn::INVALID);
    while kinds.matches('C').count() < commits {
        let event = timeout(LIMIT, stream.next()).await.unwrap().unwrap();
        if let Event::Data(data) = event {
            let kind = char::from(data.bytes[0]);
            kinds.push(kind);
            if kind == 'C' {
                // Flags, the commit's place, and the end of the transaction.
                end = Lsn(u64::from_be_bytes(data.bytes[10..18].try_into().unwrap()));
            }
        }
    }
    (kinds, end)
}

#[tokio::test]
async fn login_works_with_scram_and_names_the_server() {
    let options = Options {
        auth: Auth::Scram,
        ..Options::default()
    };
    let server = Server::start_with("a", options).await;
    let shard = server.shard.clone();
    let mut connection = connect(&shard).await;
    let system = connection.identify_system().await.unwrap();
    let sql = "SELECT system_identifier FROM pg_control_system()";
    assert_eq!(system.system_id, server.psql(sql).await.trim());
    assert_eq!(system.timeline, 1);
    assert!(system.flushed > Lsn::INVALID);
    let mut config = setup::config(Auth::Scram);
    config.password = Some(platform::Secret::new("wrong".to_owned()));
    let refused = ReplicationConnection::connect(&config, &shard, "x").await;
    let error = refused.unwrap_err();
    assert!(error.fault.has_code("28P01"), "{error:?}");
    assert_eq!(error.class(), Class::Fatal);
}

#[tokio::test]
async fn a_snapshot_sees_what_the_stream_does_not_bring() {
    let (server, shard) = published().await;
    server.psql("INSERT INTO orders VALUES (1, 'before')").await;
    let mut connection = connect(&shard).await;
    let slot = connection
        .create_slot(SLOT, SnapshotExport::Export)
        .await
        .unwrap();
    server.psql("INSERT INTO orders VALUES (2, 'after')").await;
    let sql = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{}'; \
         SELECT id FROM orders",
        slot.snapshot.unwrap()
    );
    assert_eq!(server.psql(&sql).await.trim(), "1");
    // Any further command ends the snapshot's name.
    connection.identify_system().await.unwrap();
    assert!(server.postgres.psql(&sql).await.is_err());
    let start = slot.consistent_point;
    let mut stream = connection.start(SLOT, start, PUBLICATION).await.unwrap();
    let (kinds, _) = kinds(&mut stream, 1).await;
    assert_eq!(kinds, "BRIC");
}

#[tokio::test]
async fn what_is_confirmed_is_not_sent_again() {
    let (server, shard) = published().await;
    let mut connection = connect(&shard).await;
    let slot = connection
        .create_slot(SLOT, SnapshotExport::Nothing)
        .await
        .unwrap();
    assert_eq!(slot.snapshot, None);
    for id in 1..=3 {
        let sql = format!("INSERT INTO orders VALUES ({id}, repeat('x', 100000))");
        server.psql(&sql).await;
    }
    let start = slot.consistent_point;
    let mut stream = connection.start(SLOT, start, PUBLICATION).await.unwrap();
    let (_, end) = kinds(&mut stream, 2).await;
    stream.confirm(end);
    stream.flush().await.unwrap();
    let sql = "SELECT confirmed_flush_lsn FROM pg_replication_slots";
    tests::wait::until("the confirmation", tests::wait::SETTLE, || async {
        let confirmed: Lsn = server.psql(sql).await.trim().parse()?;
        anyhow::ensure!(confirmed == end, "{confirmed} is not {end}");
        Ok(())
    })
    .await
    .unwrap();
    drop(stream);
    server
        .psql("SELECT pg_logical_emit_message(true, 'vg-fence', 'x')")
        .await;
    let mut connection = connect(&shard).await;
    // The last stream's walsender may not have noticed yet.
    let started = tests::wait::until("the slot", tests::wait::SETTLE, || async {
        let connection = connect(&shard).await;
        Ok(connection.start(SLOT, Lsn::INVALID, PUBLICATION).await?)
    });
    let mut stream = started.await.unwrap();
    let (kinds, _) = kinds(&mut stream, 2).await;
    assert_eq!(kinds, "BRICBMC");
    drop(stream);
    connection.drop_slot(SLOT).await.unwrap();
    connection.drop_slot(SLOT).await.unwrap();
    let left = server
        .psql("SELECT count(*) FROM pg_replication_slots")
        .await;
    assert_eq!(left.trim(), "0");
}

#[tokio::test]
async fn next_can_be_cancelled_at_any_time() {
    let (server, shard) = published().await;
    let mut connection = connect(&shard).await;
    let slot = connection
        .create_slot(SLOT, SnapshotExport::Nothing)
        .await
        .unwrap();
    let sql = "INSERT INTO orders SELECT i, repeat('y', 1000) FROM generate_series(1, 5000) i";
    server.psql(sql).await;
    let start = slot.consistent_point;
    let mut stream = connection.start(SLOT, start, PUBLICATION).await.unwrap();
    let (mut inserts, mut cancelled) = (0, 0);
    loop {
        match timeout(Duration::from_micros(50), stream.next()).await {
            Err(_) => cancelled += 1,
            Ok(event) => match event.unwrap() {
                Event::Data(data) if data.bytes[0] == b'I' => inserts += 1,
                Event::Data(data) if data.bytes[0] == b'C' => break,
                Event::Data(_) | Event::Keepalive { .. } => {}
            },
        }
    }
    assert_eq!(inserts, 5_000, "{cancelled} cancelled");
}

#[tokio::test]
async fn a_stream_whose_server_ends_is_to_be_tried_again() {
    let (mut server, shard) = published().await;
    let mut connection = connect(&shard).await;
    let slot = connection
        .create_slot(SLOT, SnapshotExport::Nothing)
        .await
        .unwrap();
    let start = slot.consistent_point;
    let mut stream = connection.start(SLOT, start, PUBLICATION).await.unwrap();
    server.postgres.stop().await.unwrap();
    let error = loop {
        match timeout(LIMIT, stream.next()).await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.class(), Class::Retryable, "{error:?}");
}
