//! Who is let in.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use http::StatusCode;
use tower::ServiceExt as _;

use super::gate::{Gate, Guard, check};
use super::grants::{Grants, Key, NewKey, id_of};
use super::*;
use crate::Secret;
use crate::bearer::{Claims, Rejected, Verifier, now, sign};
use crate::captured_log::CapturedLog;
use crate::request_id::assign;

const MINUTE: Duration = Duration::from_mins(1);

fn secret() -> Secret {
    Secret::new("a-secret-of-at-least-32-bytes-length")
}

fn app(gate: Gate, need: Need) -> Router {
    let who = async |identity: Option<axum::Extension<Identity>>| {
        identity.map_or_else(|| "nobody".to_owned(), |identity| identity.0.actor)
    };
    let guard = Guard { gate, need };
    Router::new()
        .route("/", get(who))
        .layer(from_fn_with_state(guard, check))
}

async fn status(app: &Router, headers: &[(&str, &str)]) -> StatusCode {
    let mut request = http::Request::get("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request: Request = request.body(Body::empty()).unwrap();
    app.clone().oneshot(request).await.unwrap().status()
}

#[test]
fn each_ladder_includes_what_is_below_and_nothing_of_the_other() {
    let included = |role: Role| {
        let all = Role::ALL
            .into_iter()
            .filter(|needed| role.includes(*needed));
        all.collect::<Vec<_>>()
    };
    assert_eq!(
        included(Role::Admin),
        [Role::Viewer, Role::Operator, Role::Admin]
    );
    assert_eq!(included(Role::Viewer), [Role::Viewer]);
    assert_eq!(included(Role::Writer), [Role::Reader, Role::Writer]);
    assert_eq!(included(Role::Reader), [Role::Reader]);
}

#[tokio::test]
async fn a_key_opens_by_either_header_until_it_expires_or_is_gone() {
    let NewKey { id, key, hash } = NewKey::random();
    let key = key.expose();
    assert_eq!(id_of(key), Some(id.as_str()));
    let known = Key {
        hash,
        roles: [Role::Operator].into(),
        scope: Scope::All,
        expires_at: Some(now() + 60),
    };
    let with = |known: Option<Key>| {
        let keys = known.into_iter().map(|key| (id.clone(), key)).collect();
        let grants = Grants {
            keys,
            ..Grants::none()
        };
        let grants = Arc::new(ArcSwap::from_pointee(grants));
        app(
            Gate::new(Verifier::hs256(&secret()), grants),
            Need::Role(Role::Viewer),
        )
    };
    let bearer = format!("Bearer {key}");
    let (all_but_one, last) = key.split_at(key.len() - 1);
    let other = if last == "0" { "1" } else { "0" };
    let wrong = format!("{all_but_one}{other}");
    let app = with(Some(known.clone()));
    assert_eq!(status(&app, &[("authorization", &bearer)]).await, 200);
    assert_eq!(status(&app, &[("x-api-key", key)]).await, 200);
    assert_eq!(status(&app, &[("x-api-key", &wrong)]).await, 401);
    assert_eq!(status(&with(None), &[("x-api-key", key)]).await, 401);
    let expired = Key {
        expires_at: Some(now()),
        ..known
    };
    assert_eq!(
        status(&with(Some(expired)), &[("x-api-key", key)]).await,
        401
    );
}

#[test]
fn a_token_ends_by_its_id_its_session_or_its_account_and_nobody_comes_in_before_that_is_known() {
    let claims = Claims {
        jti: Some("t".to_owned()),
        sid: Some("s".to_owned()),
        version: Some(5),
        ..Claims::new("ann", MINUTE)
    };
    let mut grants = Grants::default();
    assert_eq!(grants.check(&claims), Err(Rejected::NotReady));
    grants.is_loaded = true;
    assert_eq!(grants.check(&claims), Ok(()));
    for id in ["t", "s"] {
        let mut grants = grants.clone();
        grants.revoked.insert(id.to_owned());
        assert_eq!(grants.check(&claims), Err(Rejected::Revoked), "{id}");
    }
    grants.floors.insert("ann".to_owned(), 5);
    assert_eq!(grants.check(&claims), Ok(()));
    grants.floors.insert("ann".to_owned(), 6);
    assert_eq!(grants.check(&claims), Err(Rejected::Revoked));
}

#[tokio::test]
async fn a_refusal_says_who_it_was() {
    let app = app(
        Gate::of_tokens(Verifier::hs256(&secret())),
        Need::Role(Role::Admin),
    );
    let token = sign(&secret(), &Claims::new("ann", MINUTE));
    let request = http::Request::get("/").header("authorization", format!("Bearer {token}"));
    let response = app
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    let identity = response.extensions().get::<Identity>().unwrap();
    assert_eq!(identity.actor, "ann");
}

#[tokio::test]
async fn an_open_gate_lets_everybody_in() {
    let app = app(Gate::open(), Need::Role(Role::Admin));
    assert_eq!(status(&app, &[]).await, StatusCode::OK);
}

#[tokio::test]
async fn the_line_of_a_request_says_who_sent_it() {
    let log = CapturedLog::begin();
    let gate = Gate::of_tokens(Verifier::hs256(&secret()));
    let guarded = app(gate, Need::Identity).layer(from_fn(assign));
    let token = sign(&secret(), &Claims::new("ann", MINUTE));
    status(&guarded, &[("authorization", &format!("Bearer {token}"))]).await;
    status(&guarded, &[]).await;
    let text = log.text();
    let answered = text.lines().filter(|it| it.contains("request answered"));
    let named: Vec<bool> = answered
        .map(|it| it.contains("\"actor\":\"ann\""))
        .collect();
    assert_eq!(named, [true, false], "{text}");
}
