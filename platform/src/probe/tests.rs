//! What the probes answer as conditions come and go.

use axum::body::{Body, to_bytes};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::metrics::new_registry;

async fn ask(app: Router, path: &str) -> (u16, String) {
    let request = http::Request::get(path).body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn ask_json(readiness: &Readiness, path: &str) -> (u16, Value) {
    let (status, text) = ask(health_router("1.2.3", readiness.clone()), path).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn a_process_without_conditions_is_ready() {
    let readiness = Readiness::new();
    assert!(readiness.is_ready() && !readiness.is_draining());
    let ready = json!({"ready": true, "not_ready": {}});
    assert_eq!(ask_json(&readiness, "/readyz").await, (200, ready));
    let healthy = json!({"status": "healthy", "version": "1.2.3"});
    assert_eq!(ask_json(&readiness, "/v1/health").await, (200, healthy));
}

#[tokio::test]
async fn a_condition_that_is_not_met_is_named_with_its_reason() {
    let readiness = Readiness::new();
    let clone = readiness.clone();
    clone.set("topology", Err("no snapshot yet".to_owned()));
    clone.set("listener", Ok(()));
    assert!(!readiness.is_ready());
    let unmet = json!({"ready": false, "not_ready": {"topology": "no snapshot yet"}});
    assert_eq!(ask_json(&readiness, "/readyz").await, (503, unmet));
    let (status, _) = ask_json(&readiness, "/v1/health").await;
    assert_eq!(status, 200, "a restart would not mend a condition");
    readiness.set("topology", Ok(()));
    assert_eq!(ask_json(&readiness, "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_process_that_drains_is_not_ready_any_more() {
    let readiness = Readiness::new();
    readiness.clone().drain();
    readiness.set("topology", Ok(()));
    assert!(readiness.is_draining() && !readiness.is_ready());
    let (status, body) = ask_json(&readiness, "/readyz").await;
    assert_eq!(status, 503);
    assert_eq!(body["not_ready"]["draining"], "the process is stopping");
    let draining = json!({"status": "draining", "version": "1.2.3"});
    assert_eq!(ask_json(&readiness, "/v1/health").await, (503, draining));
}

#[tokio::test]
async fn who_answers_is_alive_even_while_it_drains() {
    let readiness = Readiness::new();
    readiness.drain();
    let app = health_router("1.2.3", readiness);
    assert_eq!(ask(app.clone(), "/healthz").await, (200, "ok".to_owned()));
    assert_eq!(ask(app.clone(), "/health").await, (200, "OK".to_owned()));
    let request = http::Request::get("/healthz").body(Body::empty()).unwrap();
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn a_condition_is_logged_when_it_changes_and_not_each_time_it_is_set() {
    let log = crate::captured_log::CapturedLog::begin();
    let readiness = Readiness::new();
    for _ in 0..3 {
        readiness.set("topology", Err("no snapshot yet".to_owned()));
    }
    for _ in 0..3 {
        readiness.set("topology", Ok(()));
    }
    let text = log.text();
    assert_eq!(text.matches("condition not met").count(), 1, "{text}");
    assert_eq!(text.matches("condition met").count(), 1, "{text}");
}

#[tokio::test]
async fn metrics_are_served_in_the_text_form() {
    let app = metrics_router(new_registry("router"));
    let request = http::Request::get("/metrics").body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()[CONTENT_TYPE], prometheus::TEXT_FORMAT);
    let (status, text) = ask(app, "/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("router_build_info"), "{text}");
}
