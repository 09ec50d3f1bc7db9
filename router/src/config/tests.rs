use std::collections::BTreeMap;

use platform::tls::client::Mode;

use super::Config;

/// What the default of `enable_rbac` asks for.
fn with_secret() -> BTreeMap<String, String> {
    BTreeMap::from([("JWT_SECRET".to_owned(), "0123456789".repeat(4))])
}

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, &with_secret()).map_err(|violations| violations.to_string())
}

#[test]
fn an_empty_file_prefers_tls_to_the_shards_and_has_none_for_clients() {
    let config = parse("{}").unwrap();
    assert_eq!(config.shards_tls.mode, Mode::Prefer);
    assert_eq!(config.pgwire.require_tls, None);
    assert!(config.security.tls.is_none());
}

#[test]
fn what_only_tls_can_give_is_not_asked_for_without_it() {
    let cert = r#"{"pgwire":{"auth":{"method":"cert"}},"security":{"enable_tls":true}}"#;
    for (text, field) in [
        (r#"{"pgwire":{"require_tls":true}}"#, "pgwire.require_tls"),
        (cert, "pgwire.auth.method"),
        (
            r#"{"shards_tls":{"sslmode":"verify-full"}}"#,
            "shards_tls.root_cert_path",
        ),
    ] {
        let violations = parse(text).unwrap_err();
        assert!(violations.contains(field), "{violations}");
    }
    let whole = cert.replace("true}", r#"true,"tls_client_ca_path":"ca"}"#);
    parse(&whole).unwrap();
    parse(r#"{"pgwire":{"require_tls":false}}"#).unwrap();
}

#[test]
fn the_address_for_other_routers_is_the_best_that_is_known() {
    for (text, host, expected) in [
        ("{}", None, "127.0.0.1:6432"),
        ("{}", Some("router-0"), "router-0:6432"),
        (
            r#"{"pgwire":{"host":"::1","port":7}}"#,
            Some("x"),
            "[::1]:7",
        ),
        (
            r#"{"pgwire":{"advertise_address":"r0.internal:7000"}}"#,
            Some("x"),
            "r0.internal:7000",
        ),
    ] {
        let env = host.map(|host| ("HOSTNAME".to_owned(), host.to_owned()));
        let env = env.into_iter().chain(with_secret()).collect();
        let config = Config::parse(text, &env).unwrap();
        assert_eq!(config.pgwire.advertise_address, expected, "{text}");
    }
    let violations = parse(r#"{"pgwire":{"advertise_address":"nowhere"}}"#).unwrap_err();
    assert!(
        violations.contains("pgwire.advertise_address"),
        "{violations}"
    );
}

#[test]
fn a_level_of_logs_that_is_none_is_a_violation() {
    let said = parse(r#"{ "observability": { "log_level": "inof" } }"#).unwrap_err();
    assert!(said.contains("observability.log_level"), "{said}");
    let said = parse(r#"{ "observability": { "log_format": "xml" } }"#).unwrap_err();
    assert!(said.contains("must be one of auto, json, text"), "{said}");
}
