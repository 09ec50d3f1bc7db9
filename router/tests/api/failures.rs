//! What a client is told when its statement does not run, or not to its end.

use serde_json::json;

use crate::setup::Router;

#[tokio::test]
async fn what_the_shard_says_is_passed_on() {
    let router = Router::with_tables(1).await;
    let insert = "INSERT INTO orders (customer_id, id, note) VALUES (1, 1, 'a')";
    router.query(insert, json!([])).await.ok();
    let error = router.query(insert, json!([])).await.error(409);
    assert_eq!(error["sqlstate"], "23505");
    assert_eq!(error["code"], "conflict");
    assert!(error["message"].as_str().unwrap().contains("orders_pkey"));
    assert!(error["detail"].as_str().unwrap().contains("already exists"));
    let error = router
        .query(
            "SELECT nothing FROM orders WHERE customer_id = 1",
            json!([]),
        )
        .await
        .error(400);
    assert_eq!(error["sqlstate"], "42703");
    let error = router.query("SELEC 1", json!([])).await.error(400);
    assert_eq!(error["sqlstate"], "42601");
    let metrics = platform::metrics::encode(&router.registry);
    assert!(
        metrics.contains(r#"shard_queries_total{shard_id="a",status="error"} 2"#),
        "{metrics}"
    );
    assert!(
        metrics.contains(r#"router_errors_total{sqlstate="42601"} 1"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_error_at_commit_is_an_error_of_the_statement() {
    let router = Router::with_tables(1).await;
    let constraint = "ALTER TABLE orders ADD CONSTRAINT c EXCLUDE USING btree (customer_id WITH =, note WITH =) \
                      DEFERRABLE INITIALLY DEFERRED";
    router.shards[0].psql(constraint).await.unwrap();
    let insert = "INSERT INTO orders (customer_id, id, note) VALUES (1, $1, 'a')";
    router.query(insert, json!([1])).await.ok();
    let error = router.query(insert, json!([2])).await.error(409);
    assert_eq!(error["sqlstate"], "23P01");
    assert_eq!(
        router.shards[0]
            .psql("SELECT count(*) FROM orders")
            .await
            .unwrap(),
        "1"
    );
}

#[tokio::test]
async fn what_needs_a_session_is_refused() {
    let router = Router::with_tables(2).await;
    for sql in [
        "BEGIN",
        "COMMIT",
        "SET search_path TO x",
        "RESET ALL",
        "DISCARD ALL",
        "LISTEN a",
        "PREPARE p AS SELECT 1",
        "COPY orders TO STDOUT",
        "DECLARE c CURSOR FOR SELECT 1",
        "SELECT pg_advisory_lock(1)",
        "SELECT set_config('search_path', 'x', false)",
        "SELECT a.id FROM orders a, orders b",
    ] {
        let error = router.query(sql, json!([])).await.error(501);
        assert_eq!(error["sqlstate"], "0A000", "{sql}");
        assert!(error["hint"].is_string(), "{sql}: {error}");
    }
    for sql in ["", "SELECT 1; SELECT 2"] {
        assert_eq!(
            router.query(sql, json!([])).await.error(400)["sqlstate"],
            "42601"
        );
    }
    router.query("SHOW server_version", json!([])).await.ok();
    router.query("EXPLAIN SELECT 1", json!([])).await.ok();
}

#[tokio::test]
async fn a_hint_that_contradicts_the_statement_is_refused() {
    let router = Router::with_tables(2).await;
    let body = |key: serde_json::Value| json!({ "shard_key": key, "query": "SELECT * FROM orders WHERE customer_id = 1" });
    router.execute(&body(json!(1))).await.ok();
    router.execute(&body(json!("1"))).await.ok();
    assert!(router.execute(&body(json!(2))).await.status >= 400);
    let error = router.execute(&body(json!("x"))).await.error(400);
    assert_eq!(error["sqlstate"], "22P02");
    let all = json!({ "shard_key": 1, "query": "SELECT count(*) AS n FROM orders" });
    let counted = router.execute(&all).await.ok();
    assert_eq!(counted["shard_id"], router.shard_of("1").await);
    // Where nothing depends on the key, it need not be of the default group's type.
    router
        .execute(&json!({ "shard_key": "x", "query": "SELECT 1" }))
        .await
        .ok();
    let strict =
        json!({ "shard_key": "x", "query": "SELECT 1", "options": { "group": "default" } });
    router.execute(&strict).await.error(400);
    let error = json!({ "query": "SELECT 1", "options": { "group": "none" } });
    assert_eq!(router.execute(&error).await.error(404)["sqlstate"], "42704");
}

#[tokio::test]
async fn a_dead_shard_is_named_and_the_others_answer() {
    let mut router = Router::with_tables(2).await;
    let (mut dead, mut alive) = (None, None);
    for key in 1..100 {
        match router.shard_of(&key.to_string()).await.as_str() {
            "b" => dead = Some(key),
            _ => alive = Some(key),
        }
    }
    let (dead, alive) = (dead.unwrap(), alive.unwrap());
    router.shards[1].kill().await.unwrap();
    let select = "SELECT * FROM orders WHERE customer_id = $1";
    // The pool may hold backends that died with the shard.
    for _ in 0..2 {
        let error = router.query(select, json!([dead])).await.error(503);
        assert_eq!(error["sqlstate"], "08006");
        assert!(
            error["message"].as_str().unwrap().contains("shard b"),
            "{error}"
        );
    }
    router.query(select, json!([alive])).await.ok();
    for _ in 0..4 {
        assert_eq!(
            router.query("SELECT 1 AS n", json!([])).await.ok()["shard_id"],
            "a"
        );
    }
    let ddl = router
        .query("CREATE TABLE t (a int)", json!([]))
        .await
        .error(503);
    assert!(ddl["message"].as_str().unwrap().contains("shard b"));
    router.shards[1].restart().await.unwrap();
    router.query(select, json!([dead])).await.ok();
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_stopped_and_undone() {
    let router = Router::with_tables(1).await;
    let slow = json!({ "query": "SELECT pg_sleep(30)", "options": { "timeout_ms": 200 } });
    let error = router.execute(&slow).await.error(504);
    assert_eq!(error["sqlstate"], "57014");
    assert_eq!(error["code"], "timeout");
    router.quiet().await;
    router.shards[0]
        .psql(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_sleep(30); RETURN NEW; END'; \
             CREATE TRIGGER slow BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await
        .unwrap();
    let write = json!({
        "query": "INSERT INTO orders (customer_id, id, note) VALUES (1, 1, 'a')",
        "options": { "timeout_ms": 200 },
    });
    // Not "unknown": the shard has confirmed that it stopped.
    assert_eq!(router.execute(&write).await.error(504)["sqlstate"], "57014");
    assert_eq!(
        router.shards[0]
            .psql("SELECT count(*) FROM orders")
            .await
            .unwrap(),
        "0"
    );
    router.query("SELECT 1", json!([])).await.ok();
}

#[tokio::test]
async fn a_write_whose_shard_dies_is_called_unknown() {
    let mut router = Router::with_tables(1).await;
    router.shards[0]
        .psql(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_sleep(30); RETURN NEW; END'; \
             CREATE TRIGGER slow BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await
        .unwrap();
    let executor = std::sync::Arc::clone(&router.executor);
    let write = router.tasks.spawn("write", async move {
        let sql = "INSERT INTO orders (customer_id, id, note) VALUES (1, 1, 'a')".to_owned();
        let request = router::exec::Request {
            sql,
            ..router::exec::Request::default()
        };
        let mut rows = executor.execute(request).await?;
        rows.discard().await
    });
    tests::wait::until("the write", tests::wait::SETTLE, || async {
        anyhow::ensure!(router.busy(0).await != "0", "not running");
        Ok(())
    })
    .await
    .unwrap();
    router.shards[0].kill().await.unwrap();
    let error = write.await.unwrap().unwrap_err();
    assert_eq!(error.sqlstate(), "08007", "{error}");
}
