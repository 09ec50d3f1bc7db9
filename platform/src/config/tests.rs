//! Reading configurations: what is taken, what is refused, and what is never shown.

use std::error::Error as _;

use proptest::prelude::*;

use super::*;

/// The router's file of the first deployments, which must load unchanged.
const ROUTER: &str = r#"{
  "server": {"host": "0.0.0.0", "port": 8080,
    "read_timeout": "30s", "write_timeout": "30s", "idle_timeout": "120s"},
  "metadata": {"type": "etcd",
    "endpoints": ["etcd-1:2379", "etcd-2:2379", "etcd-3:2379"], "timeout": "5s"},
  "sharding": {"strategy": "hash", "hash_function": "murmur3", "vnode_count": 256,
    "replica_policy": "replica_ok", "max_connections": 100, "connection_ttl": "5m"},
  "security": {"enable_tls": true, "enable_rbac": true, "jwt_secret": "${JWT_SECRET}"},
  "observability": {"metrics_port": 9090, "enable_tracing": true, "log_level": "info"}
}"#;

/// The manager's file of the first deployments, which must load unchanged.
const MANAGER: &str = r#"{
  "server": {"host": "0.0.0.0", "port": 8081,
    "read_timeout": "30s", "write_timeout": "30s", "idle_timeout": "120s"},
  "metadata": {"type": "etcd",
    "endpoints": ["etcd-1:2379", "etcd-2:2379", "etcd-3:2379"], "timeout": "5s"},
  "security": {"enable_tls": true, "enable_rbac": true, "jwt_secret": "${JWT_SECRET}",
    "audit_log_path": "/var/log/sharding/audit.log"},
  "observability": {"metrics_port": 9091, "enable_tracing": true, "log_level": "info"}
}"#;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// Reads a text with the prefix `ROUTER` and no environment.
fn built<T>(text: &str, build: impl FnOnce(&mut Section) -> T) -> Result<T, Violations> {
    parse(text, "ROUTER", &env(&[]), build)
}

/// The violations of a text, as `path: rule` lines.
fn refused(text: &str, build: impl FnOnce(&mut Section)) -> Vec<String> {
    refused_in(&[], text, build)
}

fn refused_in(pairs: &[(&str, &str)], text: &str, build: impl FnOnce(&mut Section)) -> Vec<String> {
    let violations = parse(text, "ROUTER", &env(pairs), build).unwrap_err();
    violations.to_string().lines().map(str::to_owned).collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Common {
    port: u16,
    idle_timeout: Duration,
    endpoints: Vec<String>,
    jwt_secret: Option<Secret>,
    metrics_port: u16,
}

fn read_common(root: &mut Section) -> Common {
    let second = Duration::from_secs(1);
    let mut server = root.section("server");
    assert_eq!(server.text("host", ""), "0.0.0.0");
    let port = server.port("port", 1);
    for name in ["read_timeout", "write_timeout"] {
        let timeout = server.duration(name, second, false);
        assert_eq!(timeout.as_secs(), 30);
    }
    let idle_timeout = server.duration("idle_timeout", second, false);
    server.finish();
    let mut metadata = root.section("metadata");
    assert!(metadata.choice("type", &[("etcd", true)], false));
    let endpoints = metadata.texts("endpoints", &[]);
    assert_eq!(metadata.duration("timeout", second, false).as_secs(), 5);
    metadata.finish();
    let mut security = root.section("security");
    assert!(security.boolean("enable_tls", false) && security.boolean("enable_rbac", false));
    let jwt_secret = security.secret("jwt_secret");
    if security.has("audit_log_path") {
        let path = security.optional_text("audit_log_path");
        assert_eq!(path.as_deref(), Some("/var/log/sharding/audit.log"));
    }
    security.finish();
    let mut observability = root.section("observability");
    let metrics_port = observability.port("metrics_port", 1);
    assert!(observability.boolean("enable_tracing", false));
    assert_eq!(observability.text("log_level", ""), "info");
    observability.finish();
    Common {
        port,
        idle_timeout,
        endpoints,
        jwt_secret,
        metrics_port,
    }
}

#[test]
fn the_files_of_the_first_deployments_load_unchanged() {
    let env = env(&[("JWT_SECRET", "a-secret")]);
    let (router, connection_ttl) = parse(ROUTER, "ROUTER", &env, |root| {
        let mut sharding = root.section("sharding");
        assert_eq!(sharding.text("strategy", ""), "hash");
        assert_eq!(sharding.text("hash_function", ""), "murmur3");
        assert_eq!(sharding.count("vnode_count", 1, 1, 4_096), 256);
        assert_eq!(sharding.text("replica_policy", ""), "replica_ok");
        assert_eq!(sharding.count("max_connections", 1, 1, 10_000), 100);
        let connection_ttl = sharding.duration("connection_ttl", Duration::ZERO, true);
        sharding.finish();
        (read_common(root), connection_ttl)
    })
    .unwrap();
    assert_eq!(connection_ttl, Duration::from_mins(5));
    let manager = parse(MANAGER, "MANAGER", &env, read_common).unwrap();
    assert_eq!((router.port, router.metrics_port), (8080, 9090));
    assert_eq!((manager.port, manager.metrics_port), (8081, 9091));
    for common in [router, manager] {
        assert_eq!(common.idle_timeout, Duration::from_mins(2));
        assert_eq!(common.endpoints.len(), 3);
        assert_eq!(common.jwt_secret, Some(Secret::new("a-secret")));
    }
}

#[test]
fn every_violation_is_reported_at_once_with_its_path() {
    let text = r#"{
        "server": {"port": 70000, "read_timeout": "soon", "colour": "red"},
        "security": {"enable_tls": "maybe", "jwt_secret": "${UNSET}"},
        "shards": [{"name": 7}, 8],
        "extra": {}
    }"#;
    let lines = refused(text, |root| {
        let mut server = root.section("server");
        assert_eq!(server.port("port", 8080), 8080);
        server.duration("read_timeout", Duration::ZERO, false);
        server.finish();
        let mut security = root.section("security");
        security.boolean("enable_tls", true);
        security.secret("jwt_secret");
        security.violation("jwt_secret", "must be at least 32 bytes long");
        security.finish();
        for mut shard in root.sections("shards") {
            shard.text("name", "");
            shard.finish();
        }
    });
    assert_eq!(
        lines,
        [
            "security.jwt_secret: names the environment variable UNSET, which is not set",
            "server.port: must be a whole number from 0 to 65535",
            "server.read_timeout: must be a time such as \"5s\", \"250ms\" or \"2m\"",
            "server.colour: is not a known key",
            "security.enable_tls: must be true or false",
            "security.jwt_secret: must be at least 32 bytes long",
            "shards[1]: must be an object",
            "shards[0].name: must be a text",
            "extra: is not a known key",
        ]
    );
}

#[test]
fn what_is_absent_has_its_default() {
    let second = Duration::from_secs(1);
    built("{}", |root| {
        let mut absent = root.section("absent");
        assert_eq!(absent.text("a", "b"), "b");
        assert_eq!(absent.texts("a", &["b"]), ["b"]);
        assert_eq!(
            (absent.optional_text("a"), absent.secret("a")),
            (None, None)
        );
        assert!(absent.boolean("a", true) && !absent.has("a"));
        assert_eq!((absent.number("a", 7, 8, 9), absent.port("a", 80)), (7, 80));
        assert_eq!((absent.size("a", 5), absent.count("a", 6, 0, 9)), (5, 6));
        assert_eq!(absent.duration("a", second, false), second);
        assert_eq!(absent.choice("a", &[("x", 1)], 2), 2);
        assert!(absent.sections("a").is_empty());
        absent.finish();
    })
    .unwrap();
}

#[test]
fn values_of_another_type_are_refused() {
    let text = r#"{"a": 1, "b": {}, "c": [1], "d": "x", "e": null, "f": -1, "g": 1.5,
                   "h": true, "i": "warm", "j": 5, "k": [], "l": 3}"#;
    let lines = refused(text, |root| {
        root.optional_text("a");
        root.texts("b", &[]);
        root.texts("c", &[]);
        root.section("d").finish();
        root.boolean("e", true);
        root.number("f", 0, 0, 9);
        root.number("g", 0, 0, 9);
        root.size("h", 0);
        root.choice("i", &[("hot", 1), ("cold", 2)], 1);
        root.duration("j", Duration::ZERO, true);
        root.secret("k");
        root.choice("l", &[("hot", 1)], 1);
    });
    let size = "must be a size such as \"64MiB\", \"1GiB\" or a number of bytes";
    assert_eq!(
        lines,
        [
            "a: must be a text".to_owned(),
            "b: must be a list of texts".to_owned(),
            "c: must be a list of texts".to_owned(),
            "d: must be an object".to_owned(),
            "e: must be true or false".to_owned(),
            "f: must be a whole number from 0 to 9".to_owned(),
            "g: must be a whole number from 0 to 9".to_owned(),
            format!("h: {size}"),
            "i: must be one of hot, cold".to_owned(),
            "j: must be a time such as \"5s\", \"250ms\" or \"2m\"".to_owned(),
            "k: must be a text".to_owned(),
            "l: must be one of hot".to_owned(),
        ]
    );
    let lines = refused(r#"{"a": {}}"#, |root| {
        assert!(root.sections("a").is_empty());
    });
    assert_eq!(lines, ["a: must be a list of objects"]);
}

#[test]
fn bounds_are_inclusive() {
    let number = |text: &str| built(text, |root| root.number("n", 0, 5, 9)).ok();
    assert_eq!(number(r#"{"n": 5}"#), Some(5));
    assert_eq!(number(r#"{"n": 9}"#), Some(9));
    assert_eq!(number(r#"{"n": 4}"#), None);
    assert_eq!(number(r#"{"n": 10}"#), None);
    assert_eq!(number(r#"{"n": 18446744073709551616}"#), None);
}

#[test]
fn times_have_a_unit_and_an_upper_bound() {
    let time = |text: &str, zero_ok| {
        let text = serde_json::json!({ "t": text }).to_string();
        let read = built(&text, |root| root.duration("t", Duration::MAX, zero_ok));
        read.map_err(|violations| violations.0.first().unwrap().rule.clone())
    };
    assert_eq!(time("250ms", false), Ok(Duration::from_millis(250)));
    assert_eq!(time("1m 30s", false), Ok(Duration::from_secs(90)));
    assert_eq!(time("0s", true), Ok(Duration::ZERO));
    assert_eq!(time("0s", false).unwrap_err(), "must be longer than zero");
    assert_eq!(time("3650days", false), Ok(MAX_DURATION));
    let too_long = "must be at most ten years";
    assert_eq!(time("3651days", false).unwrap_err(), too_long);
    let rule = "must be a time such as \"5s\", \"250ms\" or \"2m\"";
    for wrong in ["", "5", "-5s", "5 parsecs", "99999999999999999999s"] {
        assert_eq!(time(wrong, true).unwrap_err(), rule, "{wrong:?}");
    }
}

#[test]
fn sizes_have_binary_units() {
    for (text, bytes) in [
        ("0", Some(0)),
        ("17", Some(17)),
        ("17B", Some(17)),
        ("64KiB", Some(65_536)),
        ("64 MiB", Some(67_108_864)),
        ("1GiB", Some(1_073_741_824)),
        ("64MB", None),
        ("64mib", None),
        ("MiB", None),
        ("-1", None),
        ("1.5MiB", None),
        ("17179869184GiB", None),
    ] {
        assert_eq!(parse_size(text), bytes, "{text:?}");
    }
    let read = built(r#"{"s": 4096}"#, |root| root.size("s", 0));
    assert_eq!(read, Ok(4_096));
}

#[test]
fn a_text_with_commas_is_a_list() {
    let read = built(r#"{"l": " a:1 ,b:2,, "}"#, |root| root.texts("l", &[]));
    assert_eq!(read.unwrap(), ["a:1", "b:2"]);
}

#[test]
fn variables_are_expanded_wherever_a_text_is() {
    let env = env(&[("USER", "ann"), ("PORT", "6432"), ("EMPTY", "")]);
    let text = r#"{"url": "pg://${USER}:${PORT}/", "list": ["x", "${USER}"],
                   "port": "${PORT}", "secret": "${EMPTY}", "plain": "$USER {USER} $$", "not": "$${USER}"}"#;
    parse(text, "ROUTER", &env, |root| {
        assert_eq!(root.text("url", ""), "pg://ann:6432/");
        assert_eq!(root.texts("list", &[]), ["x", "ann"]);
        assert_eq!(root.port("port", 0), 6_432);
        assert_eq!(root.secret("secret"), None, "an empty secret is none");
        assert_eq!(root.text("plain", ""), "$USER {USER} $$");
        assert_eq!(root.text("not", ""), "${USER}");
    })
    .unwrap();
}

#[test]
fn what_a_variable_holds_is_not_expanded_again() {
    let env = env(&[("A", "${B}"), ("B", "b")]);
    let read = parse(r#"{"a": "${A}"}"#, "ROUTER", &env, |root| {
        root.text("a", "")
    });
    assert_eq!(read.unwrap(), "${B}");
}

#[test]
fn a_variable_that_cannot_be_expanded_is_named_without_any_value() {
    let text = r#"{"a": ["${UNSET}", "${hunter2 }", "${hunter2"]}"#;
    let lines = refused(text, |root| drop(root.texts("a", &[])));
    assert_eq!(
        lines,
        [
            "a[0]: names the environment variable UNSET, which is not set",
            "a[1]: has a \"${...}\" that names no environment variable",
            "a[2]: has a \"${\" without \"}\"; write \"$${\" to mean it",
        ]
    );
}

#[test]
fn variables_of_the_environment_override_fields() {
    let env = env(&[
        ("ROUTER__SERVER__PORT", "9000"),
        ("ROUTER__SERVER__READ_TIMEOUT", "7s"),
        ("ROUTER__METADATA__ENDPOINTS", "a:1,b:2"),
        ("ROUTER__SECURITY__ENABLE_TLS", "false"),
        ("ROUTER__SECURITY__JWT_SECRET", "pa${NOT_EXPANDED}ss"),
        ("ROUTER__LIMIT", "2MiB"),
        ("MANAGER__SERVER__PORT", "1"),
        ("ROUTER_SERVER_PORT", "2"),
    ]);
    let text = r#"{"server": {"port": 8080},
                   "security": {"enable_tls": true, "jwt_secret": "${NOT_NEEDED}"}}"#;
    parse(text, "ROUTER", &env, |root| {
        let mut server = root.section("server");
        assert_eq!(server.port("port", 0), 9_000);
        let timeout = server.duration("read_timeout", Duration::ZERO, true);
        assert_eq!(timeout.as_secs(), 7);
        server.finish();
        let mut metadata = root.section("metadata");
        assert_eq!(metadata.texts("endpoints", &[]), ["a:1", "b:2"]);
        metadata.finish();
        let mut security = root.section("security");
        assert!(!security.boolean("enable_tls", true));
        let secret = security.secret("jwt_secret").unwrap();
        assert_eq!(secret.expose(), "pa${NOT_EXPANDED}ss");
        security.finish();
        assert_eq!(root.size("limit", 0), 2 << 20);
    })
    .unwrap();
}

#[test]
fn an_override_of_nothing_is_refused() {
    let pairs = [
        ("ROUTER__SERVER__COLOUR", "red"),
        ("ROUTER__SERVER__PORT__MINOR", "1"),
        ("ROUTER__SERVER____PORT", "2"),
        ("ROUTER__", "3"),
    ];
    let lines = refused_in(&pairs, r#"{"server": {"port": 1}}"#, |root| {
        let mut server = root.section("server");
        server.port("port", 0);
        server.finish();
    });
    let rule = "overrides no field: its name must be that of a section and a field";
    assert_eq!(
        lines,
        [
            format!("ROUTER__: {rule}"),
            format!("ROUTER__SERVER____PORT: {rule}"),
            format!("ROUTER__SERVER__PORT__MINOR: {rule}"),
            "server.colour: is not a known key".to_owned(),
        ]
    );
}

#[test]
fn a_text_that_is_no_json_object_is_refused() {
    let refused = |text: &str| built(text, |_| ()).unwrap_err().to_string();
    assert!(refused("{\"a\": }").starts_with("(file): is not JSON: "));
    assert_eq!(refused("[]"), "(file): must be a JSON object");
    let deep = "[".repeat(100_000);
    assert!(refused(&deep).contains("recursion limit"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let path = std::env::temp_dir().join(format!("platform-config-{}", std::process::id()));
    let load = |env| load(&path, "ROUTER", &env, |root| root.port("port", 0));
    let missing = load(env(&[])).unwrap_err();
    let path_text = path.display().to_string();
    assert_eq!(missing.0.first().unwrap().path, path_text);
    assert!(missing.source().is_none());
    std::fs::write(&path, r#"{"port": 5}"#).unwrap();
    assert_eq!(load(env(&[])), Ok(5));
    std::fs::write(&path, "[]").unwrap();
    let list = load(env(&[])).unwrap_err().to_string();
    assert_eq!(list, format!("{path_text}: must be a JSON object"));
    std::fs::write(&path, " ".repeat(1 << 21)).unwrap();
    let large = load(env(&[])).unwrap_err().to_string();
    assert_eq!(large, format!("{path_text}: is larger than 1048576 bytes"));
    std::fs::write(&path, b"\xff").unwrap();
    let binary = load(env(&[])).unwrap_err().to_string();
    assert!(binary.contains("UTF-8"), "{binary}");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_secret_is_never_shown() {
    let env = env(&[("KEY", "hunter2"), ("ROUTER__PASSWORD", "hunter2")]);
    let text = r#"{"key": "${KEY}", "list": "hunter2", "port": "hunter2", "choice": "hunter2",
                   "time": "hunter2", "size": "hunter2", "flag": "hunter2", "hunter3": "hunter2"}"#;
    let mut shown = String::new();
    let violations = parse(text, "ROUTER", &env, |root| {
        shown = format!("{root:?}");
        shown += &format!("{:?}{:?}", root.secret("key"), root.secret("password"));
        root.section("list").finish();
        root.port("port", 0);
        root.choice("choice", &[("x", 0)], 0);
        root.duration("time", Duration::ZERO, true);
        root.size("size", 0);
        root.boolean("flag", true);
    })
    .unwrap_err();
    shown += &format!("{violations:?} {violations}");
    assert_eq!(violations.0.len(), 7, "{violations}");
    assert!(shown.contains("Some(***)Some(***)"), "{shown}");
    assert!(shown.contains("hunter3"), "keys are shown: {shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

proptest! {
    #[test]
    fn a_text_without_a_variable_is_taken_as_it_is(given in "[^$]{0,20}") {
        let text = serde_json::json!({ "t": given }).to_string();
        prop_assert_eq!(built(&text, |root| root.text("t", "")), Ok(given));
    }

    #[test]
    fn any_text_is_read_or_refused(given in "[${}A-Z]{0,12}", file in ".{0,40}") {
        let text = serde_json::json!({ "t": given }).to_string();
        drop(built(&text, |root| root.text("t", "")));
        drop(built(&file, |_| ()));
        prop_assert!(parse_size(&file).is_none_or(|size| file.contains(char::is_numeric) || size == 0));
    }
}
