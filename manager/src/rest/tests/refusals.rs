//! Who is let in, and that who is not is on record.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use platform::Secret;
use platform::access::gate::Gate;
use platform::bearer::{Verifier, sign_hs256};
use serde_json::json;

use super::{SECRET, code, request, start};

#[tokio::test(start_paused = true)]
async fn refusals_are_on_record_and_the_log_checks_out() {
    let secret = Secret::new(SECRET);
    let manager = start(true, Gate::of_tokens(Verifier::hs256(&secret))).await;
    let token = sign_hs256(&secret, "alice", &["operator"], Duration::from_secs(60));
    let as_alice = |mut request: Request<Body>| {
        let bearer = http::HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        request.headers_mut().insert("authorization", bearer);
        request
    };
    assert_eq!(manager.get("/shards").await.0.as_u16(), 401);
    let body = json!({ "name": "x", "primary_endpoint": "nowhere" });
    let wrong = as_alice(request(Method::POST, "/shards", Some(&body)));
    assert_eq!(manager.send(wrong).await.0.as_u16(), 400);
    let entries = loop {
        let listing = as_alice(request(Method::GET, "/audit?result=refused", None));
        let (_, audit) = manager.send(listing).await;
        let entries = audit["entries"].as_array().unwrap().clone();
        if entries.len() == 2 {
            break entries;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(entries[1]["actor"], "anonymous");
    assert_eq!(entries[1]["action"], "GET /api/v1/shards");
    assert_eq!(entries[1]["detail"]["status"], 401);
    assert_eq!(entries[0]["actor"], "alice");
    assert_eq!(entries[0]["action"], "POST /api/v1/shards");
    let checked = as_alice(request(Method::GET, "/audit/verify", None));
    let (_, found) = manager.send(checked).await;
    assert_eq!(
        (&found["is_intact"], &found["chained"]),
        (&json!(true), &json!(2))
    );
    let wrong = as_alice(request(Method::GET, "/audit?since=yesterday", None));
    assert_eq!(manager.send(wrong).await.0.as_u16(), 400);
}

#[tokio::test(start_paused = true)]
async fn with_a_secret_every_call_needs_a_token_whose_subject_is_audited() {
    let secret = Secret::new(SECRET);
    let manager = start(true, Gate::of_tokens(Verifier::hs256(&secret))).await;
    let (status, answer) = manager.get("/shards").await;
    assert_eq!((status.as_u16(), code(&answer)), (401, "unauthenticated"));
    let token = sign_hs256(&secret, "alice", &["operator"], Duration::from_secs(60));
    let bearer = http::HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    let body = json!({ "name": "x", "primary_endpoint": "postgres://db/app" });
    let mut create = request(Method::POST, "/shards", Some(&body));
    create.headers_mut().insert("authorization", bearer.clone());
    assert_eq!(manager.send(create).await.0, StatusCode::CREATED);
    let mut audit = request(Method::GET, "/audit", None);
    audit.headers_mut().insert("authorization", bearer);
    assert_eq!(manager.send(audit).await.1["entries"][0]["actor"], "alice");
}
