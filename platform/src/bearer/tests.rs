//! Which tokens are trusted, and how a request without one is refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::access::Identity;
use crate::access::grants::Grants;

/// `{"alg":"none"}` and `{"alg":"RS256"}`, as a token's first part.
const NONE_HEADER: &str = "eyJhbGciOiJub25lIn0";
const RS256_HEADER: &str = "eyJhbGciOiJSUzI1NiJ9";

const MINUTE: Duration = Duration::from_mins(1);

fn secret() -> Secret {
    Secret::new("a-secret-of-at-least-32-bytes-length")
}

fn signed(algorithm: Algorithm, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret().expose().as_bytes());
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
}

fn verify(token: &str) -> Result<Claims, Rejected> {
    Verifier::hs256(&secret()).verify(token)
}

fn verify_claims(claims: &Value) -> Result<Claims, Rejected> {
    verify(&signed(Algorithm::HS256, claims))
}

#[test]
fn a_good_token_says_who_calls() {
    let claims = verify(&sign_hs256(&secret(), "ann", &[], MINUTE)).unwrap();
    assert_eq!(claims.sub, "ann");
    assert!((now() + 50..=now() + 60).contains(&claims.exp));
    let more = json!({"sub": "ann", "exp": now() + 60, "nbf": now() - 60, "role": "x"});
    assert_eq!(verify_claims(&more).unwrap().sub, "ann");
}

#[test]
fn times_need_not_be_whole_seconds() {
    let at = |seconds: f64| {
        let claims = json!({"sub": "ann", "exp": seconds, "iat": 1_000_000_000.25});
        verify_claims(&claims)
    };
    let claims = at(4_000_000_000.75).unwrap();
    assert_eq!(
        (claims.exp, claims.iat),
        (4_000_000_000, Some(1_000_000_000))
    );
    assert_eq!(at(1_000_000_000.75), Err(Rejected::Expired));
    assert!(at(-1.5).is_err());
    assert!(at(1e300).is_err());
}

#[test]
fn the_scheme_has_any_case_and_spaces_around_the_token_mean_nothing() {
    for header in ["bearer abc", "BEARER   abc  "] {
        assert_eq!(token_of(Some(header)), Ok("abc"), "{header}");
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
    let other = sign_hs256(&Secret::new("another"), "ann", &[], MINUTE);
    assert_eq!(verify(&other), Err(Rejected::Untrusted));
    let token = sign_hs256(&secret(), "ann", &[], MINUTE);
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
    let token = sign_hs256(&secret(), "ann", &[], MINUTE);
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
fn what_a_token_says_must_be_understood_is_not() {
    let key = EncodingKey::from_secret(secret().expose().as_bytes());
    let header = Header {
        crit: Some(vec!["exp".to_owned()]),
        ..Header::new(Algorithm::HS256)
    };
    let claims = json!({"sub": "ann", "exp": now() + 60});
    let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
    assert_eq!(verify(&token), Err(Rejected::Untrusted));
}

#[test]
fn a_token_needs_its_claims() {
    for claims in [
        json!({"sub": "ann"}),
        json!({"exp": now() + 60}),
        json!({"sub": "ann", "exp": "tomorrow"}),
        json!({"sub": 7, "exp": now() + 60}),
        json!({"sub": "key:0123456789abcdef", "exp": now() + 60}),
        json!({"sub": "idp:ann", "exp": now() + 60}),
        json!({"sub": "ann\nbob", "exp": now() + 60}),
        json!([]),
    ] {
        assert_eq!(verify_claims(&claims), Err(Rejected::Malformed), "{claims}");
    }
    let for_another = json!({"sub": "ann", "exp": now() + 60, "aud": "elsewhere"});
    assert_eq!(verify_claims(&for_another), Err(Rejected::Untrusted));
}

#[test]
fn what_is_no_token_is_refused_with_a_reason() {
    for (header, rejected) in [
        (None, Rejected::Missing),
        (Some(""), Rejected::NotBearer),
        (Some("Bearer"), Rejected::NotBearer),
        (Some("Bearer  "), Rejected::NotBearer),
        (Some("Basic YTpi"), Rejected::NotBearer),
    ] {
        assert_eq!(token_of(header), Err(rejected), "{header:?}");
        assert_eq!(rejected.kind(), Kind::Unauthenticated);
    }
    for token in ["abc", "a.b.c", &"x".repeat(MAX_TOKEN_BYTES + 1)] {
        assert_eq!(verify(token), Err(Rejected::Malformed), "{token}");
    }
    let verifier = Verifier::hs256(&secret());
    assert_eq!(format!("{verifier:?}"), "bearer::Verifier");
}

#[test]
fn roles_and_groups_are_read_in_each_spelling_and_those_of_others_are_passed_over() {
    use crate::access::Role::{Operator, Viewer, Writer};
    for (claims, roles) in [
        (json!({"role": "operator"}), vec![Operator]),
        (
            json!({"roles": ["viewer", "writer", "root"]}),
            vec![Viewer, Writer],
        ),
        (
            json!({"role": ["viewer"], "roles": "writer"}),
            vec![Viewer, Writer],
        ),
        (json!({"role": "Admin"}), vec![]),
        (json!({}), vec![]),
    ] {
        let mut all = json!({"sub": "ann", "exp": now() + 60, "groups": ["a"]});
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let claims = verify_claims(&all).unwrap();
        assert_eq!(claims.known_roles(), BTreeSet::from_iter(roles), "{all}");
        assert_eq!(claims.groups, Some(vec!["a".to_owned()]));
    }
}

#[test]
fn the_previous_secret_is_accepted_and_the_present_one_signs() {
    let (old, new) = (secret(), Secret::new("another-secret-of-at-least-32-bytes"));
    let settings = Settings {
        secrets: vec![new.clone(), old.clone()],
        ..Settings::default()
    };
    let verifier = Verifier::try_new(&settings).unwrap();
    for secret in [&old, &new] {
        assert!(
            verifier
                .verify(&sign_hs256(secret, "ann", &[], MINUTE))
                .is_ok()
        );
    }
    let third = Secret::new("a-third-secret-of-at-least-32-bytes!");
    let token = sign_hs256(&third, "ann", &[], MINUTE);
    assert_eq!(verifier.verify(&token), Err(Rejected::Untrusted));
}

#[test]
fn a_configured_issuer_and_audience_must_be_named() {
    let settings = Settings {
        secrets: vec![secret()],
        issuer: Some("us".to_owned()),
        audience: Some("here".to_owned()),
        ..Settings::default()
    };
    let verifier = Verifier::try_new(&settings).unwrap();
    let verify = |iss: Value, aud: Value| {
        let claims = json!({"sub": "ann", "exp": now() + 60, "iss": iss, "aud": aud});
        verifier.verify(&signed(Algorithm::HS256, &claims))
    };
    assert!(verify(json!("us"), json!("here")).is_ok());
    assert!(verify(json!("us"), json!(["there", "here"])).is_ok());
    assert_eq!(
        verify(json!("them"), json!("here")),
        Err(Rejected::Untrusted)
    );
    assert_eq!(
        verify(json!("us"), json!("there")),
        Err(Rejected::Untrusted)
    );
    assert!(verify(Value::Null, json!("here")).is_err());
    assert!(verify(json!("us"), Value::Null).is_err());
}

/// A private key made by the `openssl` command, in the form that the library reads.
fn private_key() -> Vec<u8> {
    let make = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 | \
                openssl pkcs8 -topk8 -nocrypt -outform DER";
    let output = std::process::Command::new("sh").args(["-c", make]).output();
    let output = output.expect("there is a shell, and the openssl command is installed");
    assert!(
        !output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

#[test]
fn whoever_a_provider_calls_by_the_name_of_an_account_is_somebody_else() {
    let theirs = Claims {
        jti: Some("t1".to_owned()),
        version: Some(0),
        ..Claims::new("ann", MINUTE)
    };
    let theirs = theirs.of_a_provider();
    let ours = Claims {
        jti: Some("t1".to_owned()),
        version: Some(0),
        ..Claims::new("ann", MINUTE)
    };
    assert_eq!(Identity::of_claims(theirs.clone()).actor, "idp:ann");
    let grants = |revoked: &str, floor: u64| Grants {
        revoked: [revoked.to_owned()].into(),
        floors: [("ann".to_owned(), floor)].into(),
        ..Grants::none()
    };
    // The end of the account's sessions, or of one of its tokens, is not the end of theirs.
    for ended in [grants("t1", 0), grants("-", 1)] {
        assert_eq!(ended.check(&ours), Err(Rejected::Revoked));
        assert_eq!(ended.check(&theirs), Ok(()));
    }
    let ended = grants(theirs.jti.as_deref().unwrap(), 0);
    assert_eq!(ended.check(&theirs), Err(Rejected::Revoked));
    assert_eq!(ended.check(&ours), Ok(()));
}

#[test]
fn tokens_of_an_identity_provider_are_checked_by_its_key_set_and_no_public_key_is_a_secret() {
    use jsonwebtoken::jwk::{Jwk, JwkSet};
    let ec = private_key();
    let ec = EncodingKey::from_ec_der(&ec);
    let mut public = Jwk::from_encoding_key(&ec, Algorithm::ES256).unwrap();
    public.common.key_id = Some("k1".to_owned());
    let set = JwkSet { keys: vec![public] };
    let name = format!("jwks-{}-{}.json", std::process::id(), rand::random::<u32>());
    let path = std::env::temp_dir().join(name);
    let text = serde_json::to_string(&set).unwrap();
    std::fs::write(&path, &text).unwrap();
    let settings = Settings {
        secrets: vec![secret()],
        key_set: Some(KeySetSettings {
            path: path.clone(),
            issuer: Some("https://idp".to_owned()),
            audience: None,
        }),
        ..Settings::default()
    };
    let verifier = Verifier::try_new(&settings).unwrap();
    std::fs::remove_file(&path).unwrap();
    let token = |id: Option<&str>, issuer: &str| {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = id.map(str::to_owned);
        let claims = json!({"sub": "ann", "exp": now() + 60, "iss": issuer, "role": "viewer"});
        jsonwebtoken::encode(&header, &claims, &ec).unwrap()
    };
    for id in [None, Some("k1")] {
        let claims = verifier.verify(&token(id, "https://idp")).unwrap();
        assert_eq!(claims.sub, "idp:ann");
    }
    for wrong in [
        token(Some("k2"), "https://idp"),
        token(None, "https://else"),
    ] {
        assert_eq!(verifier.verify(&wrong), Err(Rejected::Untrusted));
    }
    // The public key, taken for a secret by whoever forges a token.
    let forged = Secret::new(text);
    let forged = sign_hs256(&forged, "ann", &["admin"], MINUTE);
    assert_eq!(verifier.verify(&forged), Err(Rejected::Untrusted));
    assert!(
        verifier
            .verify(&sign_hs256(&secret(), "ann", &[], MINUTE))
            .is_ok()
    );
}
