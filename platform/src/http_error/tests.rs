//! The one form of an error, whatever went wrong before or in a handler.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use http::header::ALLOW;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

#[derive(Debug, Deserialize)]
struct Wanted {
    count: u32,
}

fn app() -> Router {
    let body = async |Json(wanted): Json<Wanted>| Json(json!({ "count": wanted.count }));
    let query = async |Query(wanted): Query<Wanted>| wanted.count.to_string();
    let path = async |Path(count): Path<u32>| count.to_string();
    let defect = async || {
        let error = std::io::Error::other("disk 7 is on fire");
        Err::<(), _>(ApiError::internal(&error))
    };
    Router::new()
        .route("/body", post(body))
        .route("/query", get(query))
        .route("/path/{count}", get(path))
        .route("/defect", get(defect))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(64))
}

/// Status, `code` and `message` of an error; panics if the answer has another form.
async fn error(response: Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    let text = |name: &str| body["error"][name].as_str().unwrap().to_owned();
    let (code, message) = (text("code"), text("message"));
    assert_eq!(body, json!({"error": {"code": code, "message": message}}));
    (status, code, message)
}

async fn get_error(path: &str) -> (u16, String, String) {
    let request = http::Request::get(path).body(Body::empty()).unwrap();
    error(app().oneshot(request).await.unwrap()).await
}

fn post_json(content_type: &str, body: &str) -> Request {
    let request = http::Request::post("/body").header(CONTENT_TYPE, content_type);
    request.body(Body::from(body.to_owned())).unwrap()
}

async fn post_error(content_type: &str, body: &str) -> (u16, String, String) {
    let response = app().oneshot(post_json(content_type, body)).await.unwrap();
    error(response).await
}

fn owned(status: u16, code: &str, message: &str) -> (u16, String, String) {
    (status, code.to_owned(), message.to_owned())
}

#[tokio::test]
async fn every_kind_has_its_status_and_code() {
    for kind in Kind::ALL {
        let answer = error(ApiError::new(kind, "why").into_response()).await;
        assert_eq!(answer, owned(kind.http_status(), kind.as_str(), "why"));
        assert_eq!(status_of(kind).as_u16(), kind.http_status());
    }
    assert_eq!(ApiError::new(Kind::Invalid, "why").to_string(), "why");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_the_form() {
    let missing = get_error("/nowhere?secret=1").await;
    assert_eq!(missing, owned(404, "not_found", "no such path: /nowhere"));
    let request = http::Request::delete("/body").body(Body::empty()).unwrap();
    let response = app().oneshot(request).await.unwrap();
    assert_eq!(response.headers()[ALLOW], "POST");
    let message = "DELETE is not possible on /body";
    assert_eq!(
        error(response).await,
        owned(405, "method_not_allowed", message)
    );
}

#[tokio::test]
async fn a_good_body_is_taken_and_a_bad_one_answered_in_the_form() {
    let good = post_json("application/json; charset=utf-8", r#"{"count": 7}"#);
    let response = app().oneshot(good).await.unwrap();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    assert_eq!(&bytes[..], br#"{"count":7}"#);

    let too_long = format!("{{\"count\": {}}}", "1".repeat(80));
    let message = "the body is longer than is accepted";
    assert_eq!(
        post_error("application/json", &too_long).await,
        owned(413, "resource_exhausted", message)
    );
    let message = "the body must be JSON, with the header content-type: application/json";
    assert_eq!(
        post_error("text/plain", "{}").await,
        owned(415, "invalid_argument", message)
    );
    for body in ["", "{", "[]", "{}", r#"{"count": -1}"#, r#"{"count": "7"}"#] {
        let (status, code, message) = post_error("application/json", body).await;
        let answer = (status, code.as_str());
        assert_eq!(answer, (400, "invalid_argument"), "{body}: {message}");
        assert!(!message.is_empty());
    }
}

#[tokio::test]
async fn a_bad_query_or_path_is_answered_in_the_form() {
    for path in ["/query", "/query?count=many", "/path/many", "/path/%ff"] {
        let (status, code, message) = get_error(path).await;
        let answer = (status, code.as_str());
        assert_eq!(answer, (400, "invalid_argument"), "{path}: {message}");
    }
}

#[tokio::test]
async fn a_defect_is_logged_and_not_told() {
    let log = crate::captured_log::CapturedLog::begin();
    let message = "internal error, see the server's log";
    assert_eq!(get_error("/defect").await, owned(500, "internal", message));
    assert!(log.text().contains("disk 7 is on fire"), "{}", log.text());
}

#[tokio::test]
async fn a_refusal_speaks_as_its_request_does() {
    let rest = refuse(false, Kind::Timeout, "too late");
    assert_eq!(error(rest).await, owned(504, "timeout", "too late"));
    let grpc = refuse(true, Kind::Timeout, "50% of \u{fc}\n");
    assert_eq!(grpc.status(), StatusCode::OK);
    let headers = grpc.headers();
    assert_eq!(headers[CONTENT_TYPE], "application/grpc");
    assert_eq!(headers["grpc-status"], "4");
    assert_eq!(headers["grpc-message"], "50%25 of %C3%BC%0A");
    let body = to_bytes(grpc.into_body(), 1).await.unwrap();
    assert!(body.is_empty(), "trailers only");
}

#[test]
fn a_grpc_call_is_told_by_its_content_type() {
    let is = |value: &'static str| {
        let value = HeaderValue::from_static(value);
        is_grpc(&HeaderMap::from_iter([(CONTENT_TYPE, value)]))
    };
    assert!(is("application/grpc") && is("application/grpc+proto"));
    assert!(!is("application/json") && !is("text/plain"));
    assert!(!is_grpc(&HeaderMap::new()));
}

#[tokio::test]
async fn a_refusal_does_not_repeat_what_stood_in_the_wrong_place() {
    let secrets = [
        r#""hunter2""#,
        r#"{"count": "hunter2"}"#,
        r#"{"count": "hunter2, expected hunter2"}"#,
        r#"{"count": ["hunter2", "invalid type: hunter2"]}"#,
    ];
    for body in secrets {
        let (status, _, message) = post_error("application/json", body).await;
        assert_eq!(status, 400);
        assert!(message.contains("invalid type, expected "), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    let (_, _, message) = post_error("application/json", r#"{"count": -31337}"#).await;
    assert!(message.contains("invalid value, expected u32"), "{message}");
    assert!(!message.contains("31337"), "{message}");
}
