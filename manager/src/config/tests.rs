use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Config;

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../configs")
        .join(name)
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn the_production_file_loads_as_printed() {
    let env = environment(&[("JWT_SECRET", SECRET), ("DB_PASSWORD", "s3cret")]);
    let config = Config::load(&file("manager.prod.json"), &env).unwrap();
    assert_eq!(
        (config.http.host.as_str(), config.http.port),
        ("0.0.0.0", 8081)
    );
    assert_eq!(
        (config.grpc.port, config.observability.metrics_port),
        (50052, 9091)
    );
    assert_eq!(config.metadata.endpoints.len(), 3);
    assert_eq!(config.sharding.vnode_count, 256);
    assert_eq!(
        config.security.tokens.secrets.first().unwrap().expose(),
        SECRET
    );
    assert!(config.security.tls.is_some());
    let audit_log = config.security.audit_log_path.as_deref();
    assert_eq!(audit_log, Some(Path::new("/var/log/sharding/audit.log")));
    let shown = format!("{config:?}");
    assert!(
        !shown.contains(SECRET) && !shown.contains("s3cret"),
        "{shown}"
    );
}

#[test]
fn the_local_file_loads_with_an_empty_environment() {
    let config = Config::load(&file("manager.json"), &environment(&[])).unwrap();
    assert!(config.security.tls.is_none() && !config.security.enable_rbac);
    assert_eq!(config.metadata.endpoints, ["127.0.0.1:2379"]);
    assert_eq!(config.security.shard_user, "postgres");
}

#[test]
fn an_empty_object_is_a_whole_configuration_but_for_the_secret_of_tokens() {
    let violations = Config::parse("{}", &environment(&[])).unwrap_err();
    assert_eq!(violations.0.len(), 1, "{violations}");
    let env = environment(&[("JWT_SECRET", SECRET)]);
    let config = Config::parse("{}", &env).unwrap();
    assert!(config.security.enable_rbac);
    assert_eq!(config.leader.lease_ttl, Duration::from_secs(5));
    assert_eq!(config.grpc.advertised(50052), "127.0.0.1:50052");
}

#[test]
fn the_production_file_needs_the_secret_that_it_names() {
    let violations = Config::load(&file("manager.prod.json"), &environment(&[])).unwrap_err();
    let text = violations.to_string();
    assert!(text.contains("JWT_SECRET, which is not set"), "{text}");
    assert!(text.contains("security.jwt_secret"), "{text}");
}

#[test]
fn every_violation_is_reported_at_once_with_its_path() {
    let text = r#"{
        "server": { "port": 70000, "read_timeout": "soon", "colour": "red" },
        "grpc": { "advertise_address": "nowhere" },
        "metadata": { "type": "consul", "endpoints": [] },
        "sharding": { "vnode_count": 0 },
        "leader": { "lease_ttl": "1500ms" },
        "shards": { "probe_interval": "0s" },
        "security": { "enable_rbac": true, "jwt_secret": "short" },
        "observability": { "log_level": "inof" },
        "shutdown": { "drain_deadline": 5 },
        "storage": {}
    }"#;
    let violations = Config::parse(text, &environment(&[])).unwrap_err();
    let mut paths: Vec<_> = violations.0.iter().map(|v| v.path.as_str()).collect();
    paths.sort_unstable();
    let expected = [
        "grpc.advertise_address",
        "leader.lease_ttl",
        "metadata.endpoints",
        "metadata.type",
        "observability.log_level",
        "security.jwt_secret",
        "server.colour",
        "server.port",
        "server.read_timeout",
        "sharding.vnode_count",
        "shards.probe_interval",
        "shutdown.drain_deadline",
        "storage",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn the_environment_overrides_the_file() {
    let env = environment(&[
        ("ETCD_ENDPOINTS", "a:2379, b:2379"),
        ("LOG_LEVEL", "debug"),
        ("MANAGER__SERVER__PORT", "9000"),
        ("DB_USERNAME", "sharding_user"),
    ]);
    let config = Config::load(&file("manager.json"), &env).unwrap();
    assert_eq!(config.metadata.endpoints, ["a:2379", "b:2379"]);
    assert_eq!(config.observability.log_level, "debug");
    assert_eq!(config.http.port, 9000);
    assert_eq!(config.security.shard_user, "sharding_user");
}

#[test]
fn the_advertised_address_is_the_best_that_is_known() {
    let cases = [
        (r#"{}"#, &[][..], "127.0.0.1:50052"),
        (r#"{}"#, &[("HOSTNAME", "manager-0")][..], "manager-0:50052"),
        (
            r#"{"grpc":{"host":"10.0.0.7"}}"#,
            &[("HOSTNAME", "x")][..],
            "10.0.0.7:50052",
        ),
        (r#"{"grpc":{"host":"fd00::7"}}"#, &[][..], "[fd00::7]:50052"),
        (
            r#"{"grpc":{"advertise_address":"m0.internal:7000"}}"#,
            &[("HOSTNAME", "x")][..],
            "m0.internal:7000",
        ),
    ];
    for (text, env, expected) in cases {
        let mut env = environment(env);
        env.insert("JWT_SECRET".to_owned(), SECRET.to_owned());
        let config = Config::parse(text, &env).unwrap();
        assert_eq!(config.grpc.advertised(50052), expected, "{text}");
    }
}
