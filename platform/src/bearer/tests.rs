//! Which tokens are trusted, and how a request without one is refused.

use axum::body::{Body, to_bytes};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Extension, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

/// `{"alg":"none"}` and `{"alg":"RS256"}`, as a token's first part.
const NONE_HEADER: &str = "eyJhbGciOiJub25lIn0";
const RS256_HEADER: &str = "eyJhbGciOiJSUzI1NiJ9";

const MINUTE: Duration = Duration::from_mins(1);

fn secret() -> Secret {
    Secret::new("a-secret-of-at-least-32-bytes-length")
}

fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.unwrap().as_secs()
}

fn signed(algorithm: Algorithm, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret().expose().as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

fn verify(token: &str) -> Result<Claims, Rejected> {
    Verifier::hs256(&secret()).verify(Some(&format!("Bearer {token}")))
}

fn verify_claims(claims: &Value) -> Result<Claims, Rejected> {
    verify(&signed(Algorithm::HS256, claims))
}

#[test]
fn a_good_token_says_who_calls() {
    let claims = verify(&sign_hs256(&secret(), "ann", MINUTE)).unwrap();
    assert_eq!(claims.sub, "ann");
    assert!((now() + 50..=now() + 60).contains(&claims.exp));
    let more = json!({"sub": "ann", "exp": now() + 60, "nbf": now() - 60, "role": "x"});
    assert_eq!(verify_claims(&more).unwrap().sub, "ann");
}

#[test]
fn the_scheme_has_any_case_and_spaces_around_the_token_mean_nothing() {
    let verifier = Verifier::hs256(&secret());
    let token = sign_hs256(&secret(), "ann", MINUTE);
    for header in [format!("bearer {token}"), format!("BEARER   {token}  ")] {
        assert!(verifier.verify(Some(&header)).is_ok(), "{header}");
    }
}

#[test]
fn clocks_may_differ_by_half_a_minute() {
    let expired = |ago: u64| verify_claims(&json!({"sub": "ann", "exp": now() - ago}));
    assert!(expired(20).is_ok());
    assert_eq!(expired(40), Err(Rejected::Expired));
    let early = |by: u64| {
        let claims = json!({"sub": "ann", "exp": now() + 300, "nbf": now() + by});
        verify_claims(&claims)
    };
    assert!(early(20).is_ok());
    assert_eq!(early(40), Err(Rejected::Expired));
}

#[test]
fn another_secret_and_any_change_make_a_token_worthless() {
    let other = sign_hs256(&Secret::new("another"), "ann", MINUTE);
    assert_eq!(verify(&other), Err(Rejected::Untrusted));
    let token = sign_hs256(&secret(), "ann", MINUTE);
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        panic!("a token has three parts");
    };
    let forged = signed(Algorithm::HS256, &json!({"sub": "root", "exp": now() + 60}));
    let forged_claims = forged.split('.').nth(1).unwrap();
    let forged = format!("{header}.{forged_claims}.{signature}");
    assert_eq!(verify(&forged), Err(Rejected::Untrusted));
    assert!(verify(&format!("{header}.{claims}.")).is_err());
}

#[test]
fn other_algorithms_are_refused_whoever_signed() {
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let token = signed(algorithm, &json!({"sub": "ann", "exp": now() + 60}));
        assert_eq!(verify(&token), Err(Rejected::Untrusted), "{algorithm:?}");
    }
    let token = sign_hs256(&secret(), "ann", MINUTE);
    let (_, claims_and_signature) = token.split_once('.').unwrap();
    let (claims, _) = claims_and_signature.split_once('.').unwrap();
    for forged in [
        format!("{NONE_HEADER}.{claims}."),
        format!("{NONE_HEADER}.{claims_and_signature}"),
        format!("{RS256_HEADER}.{claims_and_signature}"),
    ] {
        let rejected = verify(&forged).unwrap_err();
        assert!(
            matches!(rejected, Rejected::Untrusted | Rejected::Malformed),
            "{forged}: {rejected}"
        );
    }
}

#[test]
fn a_token_needs_its_claims() {
    for claims in [
        json!({"sub": "ann"}),
        json!({"exp": now() + 60}),
        json!({"sub": "ann", "exp": "tomorrow"}),
        json!({"sub": 7, "exp": now() + 60}),
        json!([]),
    ] {
        assert_eq!(verify_claims(&claims), Err(Rejected::Malformed), "{claims}");
    }
    let for_another = json!({"sub": "ann", "exp": now() + 60, "aud": "elsewhere"});
    assert_eq!(verify_claims(&for_another), Err(Rejected::Untrusted));
}

#[test]
fn what_is_no_token_is_refused_with_a_reason() {
    let verifier = Verifier::hs256(&secret());
    let long = format!("Bearer {}", "x".repeat(MAX_TOKEN_BYTES + 1));
    for (header, rejected) in [
        (None, Rejected::Missing),
        (Some(""), Rejected::NotBearer),
        (Some("Bearer"), Rejected::NotBearer),
        (Some("Bearer  "), Rejected::NotBearer),
        (Some("Basic YTpi"), Rejected::NotBearer),
        (Some("Bearer abc"), Rejected::Malformed),
        (Some("Bearer a.b.c"), Rejected::Malformed),
        (Some(long.as_str()), Rejected::Malformed),
    ] {
        assert_eq!(verifier.verify(header), Err(rejected), "{header:?}");
        assert_eq!(rejected.kind(), Kind::Unauthenticated);
    }
    assert_eq!(format!("{verifier:?}"), "bearer::Verifier");
}

fn app(verifier: Option<Verifier>) -> Router {
    let who = async |claims: Option<Extension<Claims>>| {
        claims.map_or_else(|| "nobody".to_owned(), |claims| claims.0.sub)
    };
    Router::new()
        .route("/who", get(who))
        .layer(from_fn_with_state(verifier, require))
}

fn request(headers: &[(&str, &str)]) -> Request {
    let mut request = http::Request::get("/who");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

async fn text(response: Response) -> String {
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_handler_learns_who_calls() {
    let app = app(Some(Verifier::hs256(&secret())));
    let token = sign_hs256(&secret(), "ann", MINUTE);
    let with_token = request(&[("authorization", &format!("Bearer {token}"))]);
    let response = app.oneshot(with_token).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "ann");
}

#[tokio::test]
async fn without_a_verifier_every_request_passes() {
    let response = app(None).oneshot(request(&[])).await.unwrap();
    assert_eq!(text(response).await, "nobody");
}

#[tokio::test]
async fn a_request_without_a_token_is_challenged() {
    let app = app(Some(Verifier::hs256(&secret())));
    let response = app.clone().oneshot(request(&[])).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
    let body: Value = serde_json::from_str(&text(response).await).unwrap();
    let error = json!({"code": "unauthenticated", "message": "a bearer token is needed"});
    assert_eq!(body, json!({ "error": error }));

    let not_text = HeaderValue::from_bytes(b"Bearer \xff").unwrap();
    let mut binary = request(&[]);
    binary.headers_mut().insert(AUTHORIZATION, not_text);
    let response = app.oneshot(binary).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_grpc_call_without_a_token_is_refused_in_its_own_form() {
    let app = app(Some(Verifier::hs256(&secret())));
    let call = request(&[(CONTENT_TYPE.as_str(), "application/grpc+proto")]);
    let response = app.oneshot(call).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "16");
    assert_eq!(
        response.headers()["grpc-message"],
        "a bearer token is needed"
    );
    assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
}
