//! TLS, tokens and the credentials for shards: section `security` of the file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use platform::Secret;
use platform::config::Section;

use crate::auth::issuer::Lifetimes;

/// Section `security`, and the shards' credentials from the environment.
#[derive(Debug, Clone)]
pub struct Security {
    pub tls: Option<platform::tls::ServerConfig>,
    /// The authority of the other managers' certificates; without it they must show the same
    /// certificate as this one.
    pub tls_ca_path: Option<PathBuf>,
    /// Whether calls need a token or a key.
    pub enable_rbac: bool,
    /// Which tokens are trusted.
    pub tokens: platform::bearer::Settings,
    /// How long those are good that a login gives.
    pub lifetimes: Lifetimes,
    /// Where audit entries are written as well, one JSON object a line.
    pub audit_log_path: Option<PathBuf>,
    /// User for the shards, from `DB_USERNAME`.
    pub shard_user: String,
    /// Password for the shards, from `DB_PASSWORD`.
    pub shard_password: Option<Secret>,
}

impl Security {
    pub(super) fn read(root: &mut Section, env: &BTreeMap<String, String>) -> Self {
        let mut section = root.section("security");
        let enable_tls = section.boolean("enable_tls", false);
        let cert = section.text("tls_cert_path", "/etc/ssl/certs/server.crt");
        let key = section.text("tls_key_path", "/etc/ssl/private/server.key");
        let client_ca = section.optional_text("tls_client_ca_path");
        let tls_ca_path = section.optional_text("tls_ca_path").map(PathBuf::from);
        let enable_rbac = section.boolean("enable_rbac", true);
        let jwt_secret = section.secret("jwt_secret");
        let jwt_secret = jwt_secret.or_else(|| from_env(env, "JWT_SECRET").map(Secret::new));
        let tokens = platform::bearer::Settings::read(&mut section, jwt_secret, env, enable_rbac);
        let lifetimes = lifetimes(&mut section);
        let audit_log_path = section.optional_text("audit_log_path");
        section.finish();
        let tls = enable_tls.then(|| platform::tls::ServerConfig {
            cert_path: PathBuf::from(cert),
            key_path: PathBuf::from(key),
            client_ca_path: client_ca.map(PathBuf::from),
        });
        Self {
            tls,
            tls_ca_path,
            enable_rbac,
            tokens,
            lifetimes,
            audit_log_path: audit_log_path
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            shard_user: from_env(env, "DB_USERNAME").unwrap_or_else(|| "postgres".to_owned()),
            shard_password: from_env(env, "DB_PASSWORD").map(Secret::new),
        }
    }
}

fn lifetimes(section: &mut Section) -> Lifetimes {
    let default = Lifetimes::default();
    let lifetimes = Lifetimes {
        access: section.duration("access_token_ttl", default.access, false),
        refresh: section.duration("refresh_token_ttl", default.refresh, false),
    };
    let bounds = Duration::from_secs(1)..=Duration::from_hours(90 * 24);
    for (name, lifetime) in [
        ("access_token_ttl", lifetimes.access),
        ("refresh_token_ttl", lifetimes.refresh),
    ] {
        if !bounds.contains(&lifetime) {
            section.violation(name, "must be from 1s to 90 days");
        }
    }
    lifetimes
}

/// A variable that is set and not empty.
fn from_env(env: &BTreeMap<String, String>, name: &str) -> Option<String> {
    env.get(name).filter(|value| !value.is_empty()).cloned()
}
