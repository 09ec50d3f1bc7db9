//! Where a request's id comes from and where it goes.

use axum::body::{Body, to_bytes};
use axum::middleware::from_fn;
use axum::routing::get;
use axum::{Extension, Router};
use http::HeaderMap;
use tower::ServiceExt as _;

use super::*;
use crate::captured_log::CapturedLog;

fn app() -> Router {
    let seen = async |Extension(id): Extension<RequestId>, headers: HeaderMap| {
        assert_eq!(headers[HEADER], id.as_str(), "what is sent on is the same");
        tracing::info!("handled");
        (
            [("x-request-id", "the handler's own")],
            id.as_str().to_owned(),
        )
    };
    let fails = async || StatusCode::INTERNAL_SERVER_ERROR;
    Router::new()
        .route("/", get(seen))
        .route("/fails", get(fails))
        .layer(from_fn(assign))
}

async fn id_of(app: Router, given: Option<&[u8]>) -> String {
    let mut request = Request::new(Body::empty());
    if let Some(given) = given {
        let given = HeaderValue::from_bytes(given).unwrap();
        request.headers_mut().insert(HEADER, given);
    }
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.headers().get_all(HEADER).iter().count(), 1);
    let answered = response.headers()[HEADER].to_str().unwrap().to_owned();
    let bytes = to_bytes(response.into_body(), 1 << 10).await.unwrap();
    assert_eq!(answered.as_bytes(), bytes, "handler and client see one id");
    answered
}

#[tokio::test]
async fn a_client_s_id_is_taken_and_answered() {
    let longest = "x".repeat(MAX_BYTES);
    for id in ["a", "7f3b-~!", &longest] {
        assert_eq!(id_of(app(), Some(id.as_bytes())).await, id);
    }
}

#[tokio::test]
async fn a_request_without_a_usable_id_gets_a_random_one() {
    let too_long = "x".repeat(MAX_BYTES + 1);
    let unusable = [&b""[..], b"a b", b"a\tb", b"\xff", too_long.as_bytes()];
    let mut ids = vec![id_of(app(), None).await];
    for given in unusable {
        ids.push(id_of(app(), Some(given)).await);
    }
    for id in &ids {
        assert_eq!(id.len(), 32, "{id}");
        assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "no id comes twice");
}

#[tokio::test]
async fn the_middleware_can_stand_twice() {
    let twice = app().layer(from_fn(assign));
    assert_eq!(id_of(twice, Some(b"mine")).await, "mine");
}

#[tokio::test]
async fn every_line_of_a_request_carries_its_id_and_none_its_query() {
    let log = CapturedLog::begin();
    let request = http::Request::get("/?key=hunter2").header(HEADER, "mine");
    let request = request.body(Body::empty()).unwrap();
    drop(app().oneshot(request).await.unwrap());
    let text = log.text();
    for line in ["handled", "request answered"] {
        let line = text.lines().find(|l| l.contains(line)).unwrap();
        assert!(line.contains("\"request_id\":\"mine\""), "{line}");
        assert!(line.contains("\"path\":\"/\""), "{line}");
    }
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn an_answer_that_tells_of_a_defect_is_a_warning() {
    let log = CapturedLog::begin();
    let request = http::Request::get("/fails").body(Body::empty()).unwrap();
    drop(app().oneshot(request).await.unwrap());
    assert!(log.text().contains("\"level\":\"WARN\""), "{}", log.text());
}
