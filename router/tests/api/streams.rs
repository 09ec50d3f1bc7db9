//! Results longer than anybody's memory, slow clients and clients that go away.

use http_body_util::BodyExt as _;
use platform::Shutdown;
use platform::serve::{self, Listener};
use router::ingress::Doors;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use crate::setup::{Router, answer};

/// 100,000 rows of a kilobyte.
const LONG: &str = "SELECT g, repeat('x', 1000) AS t FROM generate_series(1, 100000) AS g";

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn request(sql: &str) -> http::Request<axum::body::Body> {
    http::Request::post("/v1/execute")
        .header("content-type", "application/json")
        .body(json!({ "query": sql }).to_string().into())
        .unwrap()
}

#[tokio::test]
async fn a_long_result_is_streamed_in_bounded_memory() {
    let router = Router::start(1).await;
    router.query("SELECT 1", json!([])).await.ok();
    // Other tests of this process take memory meanwhile; the result is longer than all of it.
    let before = resident_kib();
    let app = router.http(&Doors::open());
    let mut body = app.oneshot(request(LONG)).await.unwrap().into_body();
    let (mut bytes, mut most, mut last) = (0, 0, Vec::new());
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        bytes += data.len();
        assert!(data.len() < 256 << 10, "a part of {} bytes", data.len());
        most = most.max(resident_kib());
        last = data.to_vec();
    }
    assert!(bytes > 100_000_000, "{bytes}");
    assert!(
        most < before + (64 << 10),
        "{before} KiB grew to {most} KiB"
    );
    let last = String::from_utf8(last).unwrap();
    assert!(
        last.contains(r#"],"row_count":100000,"#) && last.ends_with('}'),
        "{last}"
    );
    assert!(last.contains(r#""command_tag":"SELECT 100000""#), "{last}");
    router.quiet().await;
}

#[tokio::test]
async fn an_answer_that_is_dropped_stops_its_statement() {
    let router = Router::start(1).await;
    let app = router.http(&Doors::open());
    let mut body = app.oneshot(request(LONG)).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(router.busy(0).await, "1");
    drop(body);
    router.quiet().await;
    // The pool is whole again.
    router.query("SELECT 1", json!([])).await.ok();
}

#[tokio::test]
async fn a_client_that_goes_away_stops_its_statement() {
    let router = Router::start(1).await;
    let listener = Listener::bind("127.0.0.1:0", None).await.unwrap();
    let address = listener.local_addr();
    let shutdown = Shutdown::new();
    let serving = serve::serve(
        listener,
        router.http(&Doors::open()),
        serve::Limits::default(),
        &router.tasks,
        shutdown.clone(),
        std::time::Duration::from_secs(1),
    );
    let client = async {
        for sql in [LONG, "SELECT pg_sleep(60)"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let body = json!({ "query": sql, "options": { "timeout_ms": 60_000 } }).to_string();
            let length = body.len();
            let head = format!(
                "POST /v1/execute HTTP/1.1\r\nhost: router\r\n\
                 content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            if sql == LONG {
                let mut some = [0_u8; 1000];
                stream.read_exact(&mut some).await.unwrap();
                assert!(some.starts_with(b"HTTP/1.1 200"));
            }
            tests::wait::until("the statement", tests::wait::SETTLE, || async {
                anyhow::ensure!(router.busy(0).await == "1", "not running");
                Ok(())
            })
            .await
            .unwrap();
            drop(stream);
            router.quiet().await;
        }
        shutdown.request();
    };
    tokio::join!(serving, client);
}

#[tokio::test]
async fn an_error_after_the_first_rows_breaks_the_answer_off() {
    let router = Router::start(1).await;
    let sql =
        "SELECT 1 / (100000 - g) AS v, repeat('x', 100) AS t FROM generate_series(1, 100000) AS g";
    let app = router.http(&Doors::open());
    let response = app.oneshot(request(sql)).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(answer(response).await.is_none());
    // Before the first row the status says it.
    let error = router
        .query("SELECT 1 / 0 AS v", json!([]))
        .await
        .error(400);
    assert_eq!(error["sqlstate"], "22012");
}

#[tokio::test]
async fn a_value_of_megabytes_comes_whole_both_ways() {
    let router = Router::start(1).await;
    let long = "\u{e9}\"".repeat(2 << 20);
    let answer = router
        .query("SELECT $1::text AS v", json!([long]))
        .await
        .ok();
    assert_eq!(answer["rows"][0]["v"].as_str().unwrap().len(), long.len());
    assert!(answer["rows"][0]["v"] == long);
}
