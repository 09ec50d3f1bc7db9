//! Every route of REST and every method of gRPC, with each kind of credential; made from the
//! tables that the fronts are made from.

use std::collections::BTreeSet;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use platform::Secret;
use platform::access::Need;
use platform::access::gate::Gate;
use platform::bearer::{Settings, Verifier};
use serde_json::{Value, json};
use tests::credentials::{Expected, cases, methods_of, of_grpc, of_http};
use topology::access::View;
use tower::ServiceExt as _;

use super::{Manager, SECRET, guarded, leading, request};
use crate::auth::Auth;
use crate::auth::issuer::{Issuer, Lifetimes};
use crate::auth::password::Passwords;
use crate::grpc::methods::METHODS;
use crate::rest::routes::{openapi_document, routes};

/// What tokens are made and checked by; a gate that is shut looks at the grants of this manager.
pub(super) fn auth(gate: Gate, grants: View) -> Auth {
    let settings = Settings {
        secrets: vec![Secret::new(SECRET)],
        ..Settings::default()
    };
    let verifier = Verifier::try_new(&settings).unwrap();
    let gate = if gate.is_open() {
        gate
    } else {
        Gate::new(verifier.clone(), grants.shared())
    };
    Auth {
        passwords: Passwords::new(),
        issuer: Issuer::new(&settings, verifier, Lifetimes::default()),
        grants,
        gate,
    }
}

impl Manager {
    /// Sends a request with a token or a key.
    async fn as_holder(
        &self,
        credential: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = request(method, path, body);
        let header = http::HeaderValue::try_from(format!("Bearer {credential}")).unwrap();
        request.headers_mut().insert("authorization", header);
        self.send(request).await
    }
}

fn gate() -> Gate {
    Gate::of_tokens(Verifier::hs256(&Secret::new(SECRET)))
}

#[tokio::test(start_paused = true)]
async fn each_route_lets_in_whom_its_row_says() {
    let manager = guarded(gate()).await;
    let mut tried = 0;
    for route in routes() {
        for case in cases(&Secret::new(SECRET), route.need) {
            let path = route.path.replace(['{', '}'], "");
            let mut request = Request::builder().method(route.method.clone()).uri(path);
            if let Some(header) = &case.header {
                request = request.header("authorization", header);
            }
            let request = request.body(Body::empty()).unwrap();
            let response = manager.app.clone().oneshot(request).await.unwrap();
            let status = response.status();
            let done = of_http(status.as_u16());
            assert_eq!(
                done,
                case.expected,
                "{}: {}: {status}",
                route.name(),
                case.name
            );
            assert_ne!(status, StatusCode::NOT_IMPLEMENTED);
            tried += 1;
        }
    }
    assert!(tried > 500, "{tried}");
}

#[tokio::test(start_paused = true)]
async fn each_method_lets_in_whom_its_row_says() {
    let manager = guarded(gate()).await;
    for method in METHODS {
        for case in cases(&Secret::new(SECRET), method.need) {
            let request = Request::post(method.path).header("content-type", "application/grpc");
            let request = case.header.iter().fold(request, |request, header| {
                request.header("authorization", header)
            });
            // An empty message.
            let request = request.body(Body::from(vec![0_u8; 5])).unwrap();
            let response = manager.grpc.clone().oneshot(request).await.unwrap();
            let status = response.headers().get("grpc-status");
            let done = of_grpc(status.and_then(|status| status.to_str().ok()));
            // A login without a name is refused by itself, and not at the gate.
            let is_own = method.need == Need::Nothing && done == Expected::Unauthenticated;
            assert!(
                done == case.expected || is_own,
                "{}: {}: {status:?}",
                method.path,
                case.name
            );
        }
    }
}

#[test]
fn every_method_of_the_descriptors_is_in_the_table() {
    let in_table: BTreeSet<&str> = METHODS.iter().map(|method| method.path).collect();
    assert_eq!(in_table.len(), METHODS.len());
    let described = methods_of("sharding.manager.v1");
    let described: BTreeSet<&str> = described.iter().map(String::as_str).collect();
    assert_eq!(in_table, described);
}

#[tokio::test(start_paused = true)]
async fn the_document_that_is_served_describes_every_route_and_no_other() {
    let manager = leading().await;
    let (status, served) = manager.get("/openapi.json").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(served, openapi_document());
    let described: BTreeSet<String> = served["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let routes: BTreeSet<String> = routes()
        .iter()
        .map(super::super::routes::Route::name)
        .collect();
    assert_eq!(described, routes);
    let text = served.to_string();
    let schemas = served["components"]["schemas"].as_object().unwrap();
    for rest in text.split("#/components/schemas/").skip(1) {
        let name = rest.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
    let secured = &served["paths"]["/api/v1/shards"]["post"];
    assert_eq!(secured["x-needs"], "operator");
    assert_eq!(
        served["paths"]["/api/v1/auth/login"]["post"]["security"],
        Value::Null
    );
    assert!(schemas["NewShard"]["properties"]["primary_endpoint"].is_object());
}

#[tokio::test]
async fn the_first_administrator_is_created_once_and_sessions_end() {
    let manager = guarded(gate()).await;
    let body = json!({ "name": "root", "password": "correct horse" });
    let short = json!({ "name": "root", "password": "short" });
    assert_eq!(
        manager.post("/auth/setup", &short).await.0,
        StatusCode::BAD_REQUEST
    );
    let (status, made) = manager.post("/auth/setup", &body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!(made["account"]["roles"], json!(["admin"]));
    let again = json!({ "name": "other", "password": "correct horse" });
    assert_eq!(
        manager.post("/auth/setup", &again).await.0,
        StatusCode::CONFLICT
    );
    let wrong = json!({ "name": "root", "password": "wrong horse" });
    let unknown = json!({ "name": "nobody", "password": "correct horse" });
    for body in [&wrong, &unknown, &json!({ "name": "a/b", "password": "x" })] {
        let (status, answer) = manager.post("/auth/login", body).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{answer}");
    }
    let (status, session) = manager.post("/auth/login", &body).await;
    assert_eq!(status, StatusCode::OK);
    let token = session["access_token"].as_str().unwrap();
    let (_, me) = manager.as_holder(token, "GET", "/auth/me", None).await;
    assert_eq!(
        me,
        json!({ "name": "root", "roles": ["admin"], "groups": null })
    );
    let refresh = json!({ "refresh_token": session["refresh_token"] });
    let (status, next) = manager.post("/auth/refresh", &refresh).await;
    assert_eq!(status, StatusCode::OK, "{next}");
    let second = next["access_token"].as_str().unwrap();
    let (status, _) = manager
        .as_holder(second, "POST", "/auth/logout", None)
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    // The session is over with all of its tokens.
    for token in [token, second] {
        let (status, _) = manager.as_holder(token, "GET", "/auth/me", None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn a_refresh_token_that_is_used_twice_ends_its_session() {
    let manager = guarded(gate()).await;
    let root = json!({ "name": "root", "password": "correct horse" });
    let (_, first) = manager.post("/auth/setup", &root).await;
    let refresh = json!({ "refresh_token": first["refresh_token"] });
    let (status, next) = manager.post("/auth/refresh", &refresh).await;
    assert_eq!(status, StatusCode::OK, "{next}");
    let (_, other) = manager.post("/auth/login", &root).await;
    for _ in 0..2 {
        let (status, _) = manager.post("/auth/refresh", &refresh).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    // Neither who used it first nor who used it second has anything of it.
    let later = json!({ "refresh_token": next["refresh_token"] });
    let (status, _) = manager.post("/auth/refresh", &later).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    for session in [&first, &next] {
        let token = session["access_token"].as_str().unwrap();
        let (status, _) = manager.as_holder(token, "GET", "/auth/me", None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let token = other["access_token"].as_str().unwrap();
    let path = "/audit?action=refresh_token_reused";
    let (status, audit) = manager.as_holder(token, "GET", path, None).await;
    assert_eq!(status, StatusCode::OK, "another login is not touched");
    assert_eq!(audit["entries"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn accounts_and_keys_do_what_their_roles_say_until_they_are_taken_away() {
    let manager = guarded(gate()).await;
    let root = json!({ "name": "root", "password": "correct horse" });
    let (_, session) = manager.post("/auth/setup", &root).await;
    let root = session["access_token"].as_str().unwrap();
    let last = manager
        .as_holder(root, "DELETE", "/auth/accounts/root", None)
        .await;
    assert_eq!(last.0, StatusCode::CONFLICT, "{}", last.1);
    let eve = json!({ "name": "eve", "password": "12345678", "roles": ["viewer"] });
    let made = manager
        .as_holder(root, "POST", "/auth/accounts", Some(&eve))
        .await;
    assert_eq!(made.0, StatusCode::CREATED, "{}", made.1);
    let login = json!({ "name": "eve", "password": "12345678" });
    let (_, session) = manager.post("/auth/login", &login).await;
    let eve = session["access_token"].as_str().unwrap();
    assert_eq!(
        manager.as_holder(eve, "GET", "/shards", None).await.0,
        StatusCode::OK
    );
    let group = json!({ "name": "g", "key_type": "text" });
    let refused = manager
        .as_holder(eve, "POST", "/groups", Some(&group))
        .await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN);
    let raise = json!({ "roles": ["operator"] });
    let raised = manager
        .as_holder(root, "PATCH", "/auth/accounts/eve", Some(&raise))
        .await;
    assert_eq!(raised.0, StatusCode::OK, "{}", raised.1);
    // What she was given before is over.
    assert_eq!(
        manager.as_holder(eve, "GET", "/shards", None).await.0,
        StatusCode::UNAUTHORIZED
    );
    let key = json!({ "name": "ci", "role": "operator" });
    let (status, made) = manager
        .as_holder(root, "POST", "/auth/keys", Some(&key))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    let created = manager
        .as_holder(key, "POST", "/groups", Some(&group))
        .await;
    assert_eq!(created.0, StatusCode::CREATED, "{}", created.1);
    let refused = manager.as_holder(key, "GET", "/auth/keys", None).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN);
    let (_, audit) = manager
        .as_holder(root, "GET", "/audit?action=create_group", None)
        .await;
    assert_eq!(audit["entries"][0]["actor"], format!("key:{id}"));
    let (_, audit) = manager.as_holder(root, "GET", "/audit", None).await;
    let text = audit.to_string();
    for secret in [key, "12345678", "correct horse", "argon2id"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    let path = format!("/auth/keys/{id}");
    let gone = manager.as_holder(root, "DELETE", &path, None).await;
    assert_eq!(gone.0, StatusCode::NO_CONTENT);
    assert_eq!(
        manager.as_holder(key, "GET", "/shards", None).await.0,
        StatusCode::UNAUTHORIZED
    );
}
