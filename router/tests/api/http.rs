//! The shapes of the HTTP front, and where its statements run.

use std::time::Duration;

use axum::body::Body;
use platform::Secret;
use platform::bearer::sign_hs256;
use router::ingress::{self, Doors};
use serde_json::json;
use tower::ServiceExt as _;

use crate::access::guarded;
use crate::setup::{Router, answer};

#[tokio::test]
async fn a_row_is_written_and_read_on_the_shard_of_its_key() {
    let router = Router::with_tables(2).await;
    let mut seen = std::collections::BTreeSet::new();
    for customer in 1..=20_i64 {
        let insert = "INSERT INTO orders (customer_id, id, note) VALUES ($1, $2, $3)";
        let written = router
            .query(insert, json!([customer, 1, "first"]))
            .await
            .ok();
        assert_eq!(written["command_tag"], "INSERT 0 1");
        assert_eq!(written["row_count"], 1);
        assert_eq!(written["columns"], json!([]));
        assert_eq!(written["rows"], json!([]));
        let read = json!({
            "shard_key": customer,
            "query": "SELECT customer_id, note FROM orders WHERE customer_id = $1",
            "params": [customer],
            "consistency": "eventual",
        });
        let read = router.execute(&read).await.ok();
        assert_eq!(
            read["rows"],
            json!([{ "customer_id": customer, "note": "first" }])
        );
        assert_eq!(read["row_count"], 1);
        assert_eq!(read["command_tag"], "SELECT 1");
        let column = json!({ "name": "customer_id", "type_oid": 20, "type": "int8" });
        assert_eq!(read["columns"][0], column);
        assert!(read["latency_ms"].as_f64().unwrap() > 0.0);
        assert_eq!(read["shard_id"], written["shard_id"]);
        let located = router.shard_of(&customer.to_string()).await;
        assert_eq!(read["shard_id"], located);
        seen.insert(located);
    }
    assert_eq!(seen.len(), 2);
    let counts: Vec<String> = futures_util::future::join_all(
        router
            .shards
            .iter()
            .map(|shard| async { shard.psql("SELECT count(*) FROM orders").await }),
    )
    .await
    .into_iter()
    .map(Result::unwrap)
    .collect();
    let total: i64 = counts
        .iter()
        .map(|count| count.parse::<i64>().unwrap())
        .sum();
    assert_eq!(total, 20, "{counts:?}");
}

#[tokio::test]
async fn keys_of_every_digit_route_as_the_shard_reads_them() {
    let router = Router::with_tables(2).await;
    for key in [i64::MAX, i64::MIN, 9_007_199_254_740_993] {
        let insert = format!(
            r#"{{"shard_key":{key},"query":"INSERT INTO orders (customer_id, id, note) VALUES ($1,1,$2)","params":[{key},null]}}"#
        );
        let written = router.post(insert).await.ok();
        let select = format!(
            r#"{{"query":"SELECT customer_id FROM orders WHERE customer_id = ANY($1)","params":[[{key}]]}}"#
        );
        let read = router.post(select).await;
        assert_eq!(read.ok()["shard_id"], written["shard_id"]);
        assert!(
            read.text
                .contains(&format!(r#""rows":[{{"customer_id":{key}}}]"#)),
            "{}",
            read.text
        );
    }
    for word in ["5", "true", "h\u{e9}llo \"quoted\" \\"] {
        let insert = "INSERT INTO words (word, meaning) VALUES ($1, $2) RETURNING word, meaning";
        let written = router
            .query(insert, json!([word, { "of": word }]))
            .await
            .ok();
        assert_eq!(
            written["rows"],
            json!([{ "word": word, "meaning": { "of": word } }])
        );
        let hinted = json!({
            "shard_key": word,
            "query": "SELECT meaning->>'of' AS word FROM words WHERE word = $1",
            "params": [word],
            "options": { "group": "texts" },
        });
        assert_eq!(
            router.execute(&hinted).await.ok()["rows"],
            json!([{ "word": word }])
        );
    }
}

#[tokio::test]
async fn a_key_is_located_by_its_group() {
    let router = Router::start(2).await;
    let located = router
        .get("/v1/shard-for-key?key=9223372036854775807")
        .await;
    assert!(
        located.text.contains(r#""key":9223372036854775807"#),
        "{}",
        located.text
    );
    let located = located.ok();
    assert_eq!(located["group"], "default");
    assert_eq!(located["epoch"], 7);
    assert!(located["token"].is_u64() && located["vnode"].is_u64());
    let word = router
        .get("/v1/shard-for-key?key=a%20b&group=texts")
        .await
        .ok();
    assert_eq!(word["key"], "a b");
    let error = router.get("/v1/shard-for-key?key=x").await.error(400);
    assert_eq!(error["sqlstate"], "22P02");
    let error = router
        .get("/v1/shard-for-key?key=1&group=none")
        .await
        .error(404);
    assert_eq!(error["sqlstate"], "42704");
    assert!(error["message"].as_str().unwrap().contains("none"));
    router.get("/v1/shard-for-key").await.error(400);
    router.get("/v1/shard-for-key?key=1&grp=2").await.error(400);
}

#[tokio::test]
async fn the_paths_around_statements_answer() {
    let router = Router::start(1).await;
    assert_eq!(router.get("/health").await.text, "OK");
    assert_eq!(router.get("/v1/health").await.ok()["status"], "healthy");
    router.get("/healthz").await;
    router.get("/readyz").await.ok();
    let index = router.get("/").await.ok();
    assert_eq!(index["name"], "sharding-router");
    assert!(index["version"].is_string());
    assert_eq!(router.get("/nothing").await.error(404)["code"], "not_found");
    assert_eq!(router.get("/v1/execute").await.status, 405);
}

#[tokio::test]
async fn wrong_bodies_are_refused_before_anything_runs() {
    let router = Router::start(1).await;
    let error = router
        .post(r#"{"query":"SELECT 1","parms":[]}"#.to_owned())
        .await
        .error(400);
    assert!(
        error["message"].as_str().unwrap().contains("parms"),
        "{error}"
    );
    router.post("{".to_owned()).await.error(400);
    router
        .post(r#"{"query":"SELECT 1","shard_key":null}"#.to_owned())
        .await
        .error(400);
    let plain = http::Request::post("/v1/execute")
        .body(Body::from("{}"))
        .unwrap();
    router.send(plain).await.error(415);
    let limits = ingress::Limits {
        max_body_bytes: 64,
        ..ingress::Limits::default()
    };
    let doors = Doors {
        limits,
        ..Doors::open()
    };
    let long = json!({ "query": "SELECT $1", "params": ["x".repeat(100)] }).to_string();
    let long = http::Request::post("/v1/execute")
        .header("content-type", "application/json")
        .body(Body::from(long))
        .unwrap();
    let refused = router.http(&doors).oneshot(long).await.unwrap();
    answer(refused).await.unwrap().error(413);
}

#[tokio::test]
async fn a_token_is_needed_where_a_verifier_is_given() {
    let router = Router::start(1).await;
    let secret = Secret::new("0123456789abcdef0123456789abcdef");
    let app = router.http(&guarded(&secret));
    let token = sign_hs256(&secret, "tester", &["reader"], Duration::from_secs(60));
    let request = |path: &str, token: Option<&str>| {
        let mut request = http::Request::get(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.body(Body::empty()).unwrap()
    };
    for (path, token, status) in [
        ("/v1/shard-for-key?key=1", None, 401),
        ("/v1/shard-for-key?key=1", Some("wrong"), 401),
        ("/v1/shard-for-key?key=1", Some(token.as_str()), 200),
        ("/", None, 401),
        ("/v1/health", None, 200),
        ("/health", None, 200),
        ("/readyz", None, 200),
        ("/healthz", None, 200),
    ] {
        let response = app.clone().oneshot(request(path, token)).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path} {token:?}");
    }
    let statement = http::Request::post("/v1/execute")
        .header("content-type", "application/json")
        .body(Body::from(r#"{"query":"SELECT 1"}"#))
        .unwrap();
    let refused = answer(app.oneshot(statement).await.unwrap()).await.unwrap();
    assert_eq!(refused.error(401)["code"], "unauthenticated");
}

#[tokio::test]
async fn rows_are_objects_or_arrays_and_no_column_is_lost() {
    let router = Router::start(1).await;
    let sql = "SELECT 1 AS a, 2 AS a, 9007199254740993::bigint AS b";
    let objects = router.query(sql, json!([])).await;
    assert!(
        objects
            .text
            .contains(r#"{"a":1,"a_2":2,"b":9007199254740993}"#),
        "{}",
        objects.text
    );
    assert_eq!(objects.ok()["columns"][1]["name"], "a_2");
    let options = json!({ "rows": "arrays", "numbers_as_strings": true });
    let arrays = router
        .execute(&json!({ "query": sql, "options": options }))
        .await
        .ok();
    assert_eq!(arrays["rows"], json!([[1, 2, "9007199254740993"]]));
    assert_eq!(arrays["columns"][1]["name"], "a");
    let none = router
        .query("SELECT FROM generate_series(1, 2)", json!([]))
        .await
        .ok();
    assert_eq!(none["rows"], json!([{}, {}]));
    assert_eq!(none["row_count"], 2);
}
