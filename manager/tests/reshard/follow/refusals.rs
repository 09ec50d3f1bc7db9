//! What stops a follower: it names the table and the row, and leaves the mirror as it was.

use std::sync::Arc;

use manager::reshard::apply::Error;
use manager::reshard::follow::Follow;
use manager::reshard::session::Class;
use tokio::time::timeout;
use topology::KeyType;

use super::{Field, LIMIT};
use crate::setup::{self, moved};

const SCHEMA: &str = "CREATE TABLE t (k bigint PRIMARY KEY, n bigint NOT NULL, s text)";

async fn field() -> Field {
    Field::new(SCHEMA, vec![moved("t", "k", KeyType::Bigint)], 1).await
}

async fn stopped(follow: Follow) -> Arc<Error> {
    let error = timeout(LIMIT, follow.error()).await.unwrap();
    follow.stop().await;
    error
}

/// A key that moves.
fn key() -> i64 {
    setup::keys().0[3]
}

#[tokio::test]
async fn a_row_that_is_there_already_stops_it() {
    let (field, key) = (field().await, key());
    let follow = field.follow();
    field
        .owner
        .psql("INSERT INTO t SELECT i, 0 FROM generate_series(2000, 2100) i")
        .await;
    field.synced(&follow).await;
    field.mirrors[0]
        .psql(&format!("INSERT INTO t VALUES ({key}, 7)"))
        .await;
    let sql = format!(
        "INSERT INTO t SELECT i, 0 FROM generate_series(3000, 3100) i; \
         BEGIN; INSERT INTO t SELECT i, 0 FROM generate_series(4000, 4100) i; \
         INSERT INTO t VALUES ({key}, 0); COMMIT"
    );
    field.owner.psql(&sql).await;
    let error = stopped(follow).await;
    assert_eq!(error.class(), Class::Fatal);
    let text = error.to_string();
    assert!(
        text.contains("public.t") && text.contains(&format!("(k)=({key})")),
        "{text}"
    );
    assert!(
        text.contains("insert") && text.contains("duplicate key"),
        "{text}"
    );
    let left = field.mirrors[0]
        .psql(
            "SELECT n FROM t WHERE k = {key}"
                .replace("{key}", &key.to_string())
                .as_str(),
        )
        .await;
    assert_eq!(left, "7");
    let half = field.mirrors[0]
        .psql("SELECT count(*) FROM t WHERE k BETWEEN 4000 AND 4100")
        .await;
    assert_eq!(half, "0");
    // Nothing is repaired by trying again.
    let again = stopped(field.follow()).await;
    assert!(matches!(*again, Error::Conflict { .. }), "{again:?}");
}

#[tokio::test]
async fn a_row_that_is_not_there_stops_it() {
    for change in ["UPDATE t SET n = 1 WHERE k =", "DELETE FROM t WHERE k ="] {
        let (field, key) = (field().await, key());
        let follow = field.follow();
        field
            .owner
            .psql("INSERT INTO t SELECT i, 0 FROM generate_series(0, 1000) i")
            .await;
        field.synced(&follow).await;
        field.mirrors[0]
            .psql(&format!("DELETE FROM t WHERE k = {key}"))
            .await;
        field.owner.psql(&format!("{change} {key}")).await;
        let text = stopped(follow).await.to_string();
        assert!(
            text.contains(&format!("(k)=({key}): it is not there")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn truncate_and_changed_columns_stop_it() {
    let field = field().await;
    let follow = field.follow();
    field
        .owner
        .psql("INSERT INTO t SELECT i, 0 FROM generate_series(0, 1000) i")
        .await;
    field.synced(&follow).await;
    field.owner.psql("TRUNCATE t").await;
    let error = stopped(follow).await;
    assert!(matches!(*error, Error::Truncated { .. }), "{error:?}");

    let field = self::field().await;
    let follow = field.follow();
    field
        .owner
        .psql("INSERT INTO t SELECT i, 0 FROM generate_series(0, 1000) i")
        .await;
    field.synced(&follow).await;
    field
        .owner
        .psql("ALTER TABLE t ADD more int; UPDATE t SET more = 1")
        .await;
    let error = stopped(follow).await;
    assert!(matches!(*error, Error::SchemaChanged { .. }), "{error:?}");
}

#[tokio::test]
async fn tables_that_differ_or_do_not_tell_their_key_are_refused() {
    let field = field().await;
    field.mirrors[0].psql("ALTER TABLE t DROP s").await;
    let follow = field.follow();
    field
        .owner
        .psql("INSERT INTO t SELECT i, 0 FROM generate_series(0, 1000) i")
        .await;
    let error = stopped(follow).await;
    assert!(matches!(*error, Error::Mirror { .. }), "{error:?}");

    let schema = "CREATE TABLE t (id bigint PRIMARY KEY, k bigint NOT NULL)";
    let field = Field::new(schema, vec![moved("t", "k", KeyType::Bigint)], 1).await;
    let follow = field.follow();
    field.owner.psql("INSERT INTO t VALUES (1, 1)").await;
    let error = stopped(follow).await;
    assert!(matches!(*error, Error::Unfit { .. }), "{error:?}");
}

#[tokio::test]
async fn a_later_term_stops_it() {
    let field = field().await;
    let follow = field.follow();
    field
        .owner
        .psql("INSERT INTO t SELECT i, 0 FROM generate_series(0, 1000) i")
        .await;
    field.synced(&follow).await;
    let raise = format!("SELECT vg.raise_term({})", setup::TERM.0 + 1);
    field.mirrors[0].psql(&raise).await;
    field.owner.psql("UPDATE t SET n = 1").await;
    let error = stopped(follow).await;
    assert_eq!(error.class(), Class::StaleTerm, "{error:?}");
    let changed = field.mirrors[0]
        .psql("SELECT count(*) FROM t WHERE n = 1")
        .await;
    assert_eq!(changed, "0");
}

#[tokio::test]
async fn a_slot_that_is_gone_and_a_mirror_that_went_back_are_not_gone_over() {
    let field = field().await;
    let follow = field.follow();
    field
        .owner
        .psql("INSERT INTO t SELECT i, 0 FROM generate_series(0, 1000) i")
        .await;
    field.synced(&follow).await;
    // Until the slot was told.
    let sql = "SELECT confirmed_flush_lsn > restart_lsn + 16 FROM pg_replication_slots";
    tests::wait::until("a confirmation", LIMIT, || async {
        let told = field.owner.psql(sql).await;
        anyhow::ensure!(told == "t" && follow.position().confirmed >= follow.position().applied);
        Ok(())
    })
    .await
    .unwrap();
    follow.stop().await;
    let origin = field.leg.origin(&field.owner.shard.id);
    let back = format!(
        "SELECT pg_replication_origin_drop('{origin}'); \
         SELECT pg_replication_origin_create('{origin}'); \
         SELECT pg_replication_origin_advance('{origin}', '0/10')"
    );
    tests::wait::until("the end of the lane's session", LIMIT, || async {
        field.mirrors[0].postgres.psql(&back).await
    })
    .await
    .unwrap();
    let error = stopped(field.follow()).await;
    assert!(matches!(*error, Error::MirrorLost { .. }), "{error:?}");
    let drop_slot = format!("SELECT pg_drop_replication_slot('{}')", field.leg.slot());
    field.owner.psql(&drop_slot).await;
    let error = stopped(field.follow()).await;
    assert!(matches!(*error, Error::Slot { .. }), "{error:?}");
}
