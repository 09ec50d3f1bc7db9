//! Schema changes: on every shard or on none.

use router::exec::everywhere::{self, Change, Failure};
use router::pool::settings::Settings;
use router::query::{NewTables, analyze};
use router::route;
use serde_json::json;
use topology::Snapshot;

use crate::setup::Router;

#[tokio::test]
async fn a_schema_change_is_on_every_shard() {
    let router = Router::start(3).await;
    let created = router
        .query("CREATE TABLE orders (customer_id bigint)", json!([]))
        .await
        .ok();
    assert_eq!(created["command_tag"], "CREATE TABLE");
    assert_eq!(created["shard_id"], "*");
    for shard in &router.shards {
        let exists = shard.psql("SELECT to_regclass('orders') IS NOT NULL").await;
        assert_eq!(exists.unwrap(), "t");
    }
    router.quiet().await;
}

#[tokio::test]
async fn what_one_shard_refuses_is_on_none() {
    let router = Router::start(3).await;
    router.shards[2]
        .psql("CREATE TABLE orders (a int)")
        .await
        .unwrap();
    let error = router
        .query("CREATE TABLE orders (customer_id bigint)", json!([]))
        .await;
    assert_eq!(error.error(400)["sqlstate"], "42P07");
    for shard in router.shards.iter().take(2) {
        let exists = shard.psql("SELECT to_regclass('orders') IS NOT NULL").await;
        assert_eq!(exists.unwrap(), "f");
    }
    router.quiet().await;
    let metrics = platform::metrics::encode(&router.registry);
    assert!(
        metrics.contains(r#"shard_connections_active{shard_id="c"} 0"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn the_first_shards_notices_and_the_sessions_settings_hold() {
    let router = Router::start(2).await;
    let core = router.executor.core();
    let serving = core.view.load();
    let mut settings = Settings::default();
    settings.insert_value("search_path", "other");
    for shard in &router.shards {
        shard.psql("CREATE SCHEMA other").await.unwrap();
    }
    let sql = "CREATE TABLE IF NOT EXISTS t (a int)";
    everywhere::run(core, &serving, &settings, &change(sql))
        .await
        .unwrap();
    let frames = everywhere::run(core, &serving, &settings, &change(sql))
        .await
        .unwrap();
    let tags: Vec<u8> = frames_of(&frames);
    assert_eq!(tags, b"NC");
    for shard in &router.shards {
        let exists = shard
            .psql("SELECT to_regclass('other.t') IS NOT NULL")
            .await;
        assert_eq!(exists.unwrap(), "t");
    }
    let failure = everywhere::run(core, &serving, &settings, &change("DROP TABLE none")).await;
    match failure.unwrap_err() {
        Failure::Shard(frame) => assert_eq!(frames_of(&frame), b"E"),
        Failure::Own(error) => panic!("{error}"),
    }
}

fn change(sql: &str) -> Change {
    let analysis = analyze(sql).unwrap();
    let setting = route::Setting {
        snapshot: &Snapshot::default(),
        search_path: &["public"],
        new_tables: NewTables::Unregistered,
    };
    Change::of(&analysis.statements, sql, &setting).unwrap()
}

fn frames_of(mut bytes: &[u8]) -> Vec<u8> {
    let mut tags = Vec::new();
    while let Ok(Some(frame)) = wire::Frame::parse(bytes, 1 << 20) {
        tags.push(frame.tag());
        bytes = &bytes[frame.bytes().len()..];
    }
    assert!(bytes.is_empty());
    tags
}

#[tokio::test]
async fn changes_of_the_same_table_at_the_same_time_do_not_lock_each_other_out() {
    let router = Router::with_tables(3).await;
    let change = |column: usize| {
        let router = &router;
        async move {
            let sql = format!("ALTER TABLE orders ADD COLUMN c{column} int");
            router.query(&sql, json!([])).await.ok();
        }
    };
    futures_util::future::join_all((0..12).map(change)).await;
    for shard in &router.shards {
        let sql = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'orders'";
        assert_eq!(shard.psql(sql).await.unwrap(), "15");
    }
}

#[tokio::test]
async fn a_schema_change_that_waits_for_a_lock_times_out() {
    let router = Router::with_tables(2).await;
    let holder = router.shards[1].client().await.unwrap();
    holder
        .batch_execute("BEGIN; LOCK TABLE orders")
        .await
        .unwrap();
    let body = json!({
        "query": "ALTER TABLE orders ADD COLUMN more int",
        "options": { "timeout_ms": 300 },
    });
    assert_eq!(router.execute(&body).await.error(504)["sqlstate"], "57014");
    holder.batch_execute("ROLLBACK").await.unwrap();
    router.quiet().await;
    router
        .query("ALTER TABLE orders ADD COLUMN more int", json!([]))
        .await
        .ok();
}

#[tokio::test]
async fn a_commit_that_fails_on_one_shard_names_it() {
    let router = Router::start(2).await;
    let sabotage = "CREATE TABLE once (a int UNIQUE DEFERRABLE INITIALLY DEFERRED); \
        CREATE FUNCTION twice() RETURNS event_trigger LANGUAGE plpgsql AS \
        'BEGIN INSERT INTO once VALUES (1), (1); END'; \
        CREATE EVENT TRIGGER twice ON ddl_command_end WHEN TAG IN ('CREATE TABLE') \
        EXECUTE FUNCTION twice()";
    router.shards[1].psql(sabotage).await.unwrap();
    let error = router
        .query("CREATE TABLE t (a int)", json!([]))
        .await
        .error(500);
    assert_eq!(
        (&error["code"], &error["sqlstate"]),
        (&json!("outcome_unknown"), &json!("08007"))
    );
    assert!(
        error["message"].as_str().unwrap().ends_with(": b"),
        "{error}"
    );
    for (shard, exists) in router.shards.iter().zip(["t", "f"]) {
        let there = shard
            .psql("SELECT to_regclass('t') IS NOT NULL")
            .await
            .unwrap();
        assert_eq!(there, exists);
    }
    // Where every shard refuses its commit, it is the shard's own error.
    router.shards[0].psql(sabotage).await.unwrap();
    let error = router
        .query("CREATE TABLE u (a int)", json!([]))
        .await
        .error(409);
    assert_eq!(error["sqlstate"], "23505");
    router.quiet().await;
}
