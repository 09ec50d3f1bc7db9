//! Pure: the configuration as lines of key and value, without secrets.

use std::time::Duration;

use platform::tls::client::Mode;

use crate::config::{AuthMethod, Config, Observability, ReplicaPolicy};

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// Its path in the file.
    pub(super) key: &'static str,
    /// Its value, or how many there are of what is secret.
    pub(super) value: String,
    /// Whether RELOAD applies it.
    pub(super) changeable: bool,
}

/// All fields but those that hold secrets.
pub(super) fn list(config: &Config) -> Vec<Setting> {
    let mut list = fronts(config);
    list.extend(ground(config));
    list
}

fn fixed(key: &'static str, value: &impl ToString) -> Setting {
    Setting {
        key,
        value: value.to_string(),
        changeable: false,
    }
}

fn changeable(key: &'static str, value: &impl ToString) -> Setting {
    Setting {
        changeable: true,
        ..fixed(key, value)
    }
}

fn time(time: Duration) -> String {
    format!("{time:?}")
}

fn limit(limit: Option<Duration>) -> String {
    limit.map_or_else(|| "0s".to_owned(), time)
}

fn fronts(config: &Config) -> Vec<Setting> {
    let (http, pgwire, grpc) = (&config.http, &config.pgwire, &config.grpc);
    let auth = match pgwire.auth {
        AuthMethod::Trust => "trust",
        AuthMethod::ScramSha256 => "scram-sha-256",
        AuthMethod::Cert => "cert",
    };
    let limits = pgwire.limits;
    vec![
        fixed("server.host", &http.host),
        fixed("server.port", &http.port),
        fixed("server.read_timeout", &time(http.read_timeout)),
        fixed("server.write_timeout", &time(http.write_timeout)),
        fixed("server.idle_timeout", &time(http.idle_timeout)),
        fixed("pgwire.host", &pgwire.host),
        fixed("pgwire.port", &pgwire.port),
        fixed("pgwire.threads", &pgwire.threads),
        fixed("pgwire.auth.method", &auth),
        changeable(
            "pgwire.auth.users",
            &format!("{} users", pgwire.users.len()),
        ),
        fixed("pgwire.admin_users", &pgwire.admin_users.join(",")),
        fixed("pgwire.databases", &pgwire.databases.join(",")),
        fixed(
            "pgwire.max_client_connections",
            &pgwire.max_client_connections,
        ),
        fixed(
            "pgwire.max_prepared_statements",
            &pgwire.max_prepared_statements,
        ),
        fixed("pgwire.max_message_bytes", &pgwire.max_message_bytes),
        fixed("pgwire.login_timeout", &time(pgwire.login_timeout)),
        fixed("pgwire.advertise_address", &pgwire.advertise_address),
        fixed(
            "pgwire.require_tls",
            &pgwire.require_tls.unwrap_or(config.security.tls.is_some()),
        ),
        fixed("pgwire.client_idle_timeout", &limit(limits.client_idle)),
        fixed("pgwire.query_timeout", &limit(limits.query)),
        fixed(
            "pgwire.idle_in_transaction_timeout",
            &limit(limits.idle_in_transaction),
        ),
        fixed("pgwire.transaction_timeout", &limit(limits.transaction)),
        fixed("grpc.host", &grpc.host),
        fixed("grpc.port", &grpc.port),
    ]
}

fn ground(config: &Config) -> Vec<Setting> {
    let (metadata, sharding, security) = (&config.metadata, &config.sharding, &config.security);
    let policy = match sharding.replicas.policy {
        ReplicaPolicy::ReplicaOk => "replica_ok",
        ReplicaPolicy::PrimaryOnly => "primary_only",
    };
    let mode = match config.shards_tls.mode {
        Mode::Disable => "disable",
        Mode::Prefer => "prefer",
        Mode::Require => "require",
        Mode::VerifyCa => "verify-ca",
        Mode::VerifyFull => "verify-full",
    };
    let mut list = vec![
        fixed("shards_tls.sslmode", &mode),
        fixed("metadata.endpoints", &metadata.endpoints.join(",")),
        fixed("metadata.timeout", &time(metadata.timeout)),
        fixed("metadata.username", &metadata.user()),
        fixed("metadata.tls_ca_path", &metadata.authority()),
        fixed("sharding.replica_policy", &policy),
        fixed("sharding.max_replica_lag", &time(sharding.replicas.max_lag)),
        fixed("sharding.hold.max_waiting", &sharding.hold.max_waiting),
        fixed("sharding.hold.max_bytes", &sharding.hold.max_bytes),
        fixed("sharding.hold.max_wait", &time(sharding.hold.max_wait)),
        fixed("sharding.max_connections", &sharding.max_connections),
        fixed("sharding.connection_ttl", &time(sharding.connection_ttl)),
        fixed("sharding.connect_timeout", &time(sharding.connect_timeout)),
        fixed(
            "sharding.checkout_timeout",
            &time(sharding.checkout_timeout),
        ),
        fixed("sharding.max_waiting", &sharding.max_waiting),
        fixed(
            "sharding.max_cached_statements",
            &sharding.max_cached_statements,
        ),
        fixed("security.enable_tls", &security.tls.is_some()),
        fixed("security.enable_rbac", &security.enable_rbac),
        fixed("audit.logins", &config.audit.logins),
        fixed("audit.repeat_interval", &time(config.audit.repeat_interval)),
        fixed(
            "shutdown.drain_deadline",
            &time(config.shutdown.drain_deadline),
        ),
    ];
    if let Some(tls) = &security.tls {
        let client_ca = tls.client_ca_path.as_ref();
        let client_ca = client_ca.map(|path| path.display().to_string());
        list.extend([
            fixed("security.tls_cert_path", &tls.cert_path.display()),
            fixed("security.tls_key_path", &tls.key_path.display()),
            fixed(
                "security.tls_client_ca_path",
                &client_ca.unwrap_or_default(),
            ),
        ]);
    }
    list.extend(shown(&config.observability));
    list
}

/// What a router shows of itself.
fn shown(observability: &Observability) -> [Setting; 7] {
    [
        fixed("observability.metrics_port", &observability.metrics_port),
        fixed("observability.metrics_tls", &observability.metrics_tls),
        fixed(
            "observability.enable_tracing",
            &observability.enable_tracing,
        ),
        changeable("observability.log_level", &observability.log_level),
        fixed(
            "observability.log_format",
            &observability.log_format.as_str(),
        ),
        fixed(
            "observability.log_file",
            &observability.log_file.as_deref().unwrap_or_default(),
        ),
        fixed("observability.slow_query", &time(observability.slow_query)),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn no_secret_is_listed() {
        let env = BTreeMap::from([
            ("DB_PASSWORD".to_owned(), "hidden".to_owned()),
            ("JWT_SECRET".to_owned(), "hidden".repeat(8)),
        ]);
        let text = r#"{"pgwire": {"auth": {"users": [{"name": "a", "password": "hidden"}]}}}"#;
        let config = Config::parse(text, &env).unwrap();
        let list = list(&config);
        assert!(
            list.iter()
                .any(|setting| setting.key == "pgwire.auth.users")
        );
        assert!(list.iter().all(|setting| !setting.value.contains("hidden")));
    }
}
