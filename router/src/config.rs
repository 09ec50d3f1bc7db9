//! The router's configuration, typed and validated. Field names are those of the JSON file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use platform::Secret;
use platform::config::{Field, Section, Violations, describe, with_files};
use platform::cors::Origins;
use platform::rates::{self, Rate};
use platform::telemetry::Format;
use platform::tls::client::ClientConfig;
pub use topology::store::etcd::settings::Settings as Metadata;

mod audit;
mod fronts;
mod sharding;

#[cfg(test)]
mod tests;

pub use fronts::{AuthMethod, Grpc, Http, PgWire, TimeLimits, User};
pub use sharding::{ReplicaPolicy, Sharding};

/// Prefix of environment variables that override single fields.
pub const ENV_PREFIX: &str = "ROUTER";

/// What one client may ask of the HTTP and gRPC fronts unless section `limits` says otherwise.
const LIMITS: rates::Limits = rates::Limits {
    requests: Rate {
        per_second: 2_000,
        burst: 4_000,
    },
    rejections: Rate {
        per_second: 1,
        burst: 20,
    },
    door: Rate {
        per_second: 10,
        burst: 20,
    },
    at_a_time: 4_096,
};

/// Everything that the router is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    pub http: Http,
    pub pgwire: PgWire,
    pub grpc: Grpc,
    /// Where the topology is.
    pub metadata: Metadata,
    pub sharding: Sharding,
    /// TLS to the shards.
    pub shards_tls: ClientConfig,
    pub security: Security,
    /// What goes on record of who is let in.
    pub audit: crate::audit::Settings,
    /// What one client may ask of the HTTP and gRPC fronts.
    pub limits: rates::Limits,
    /// Which web pages may read answers.
    pub cors: Origins,
    pub observability: Observability,
    pub shutdown: Shutdown,
}

/// TLS, tokens and the credentials for shards.
#[derive(Debug, Clone)]
pub struct Security {
    pub tls: Option<platform::tls::ServerConfig>,
    /// The authority of managers' certificates; without it they must show the same certificate as
    /// this router.
    pub tls_ca_path: Option<PathBuf>,
    pub enable_rbac: bool,
    /// Which tokens are trusted.
    pub tokens: platform::bearer::Settings,
    /// User and password for the shards, from `DB_USERNAME` and `DB_PASSWORD`.
    pub shard_user: String,
    pub shard_password: Option<Secret>,
}

/// Logs, metrics, traces.
#[derive(Debug, Clone)]
pub struct Observability {
    pub metrics_port: u16,
    /// Whether metrics are under TLS as the other fronts are.
    pub metrics_tls: bool,
    pub enable_tracing: bool,
    pub log_level: String,
    pub log_format: Format,
    /// A file that is logged to beside standard output.
    pub log_file: Option<String>,
    /// How long a request may take a shard without being logged.
    pub slow_query: Duration,
}

/// How the process ends.
#[derive(Debug, Clone, Copy)]
pub struct Shutdown {
    /// How long running transactions may go on after SIGTERM.
    pub drain_deadline: Duration,
}

impl Config {
    /// Reads the file at `path` under the environment `env`.
    ///
    /// # Errors
    /// Every violation at once.
    pub fn load(path: &Path, env: &BTreeMap<String, String>) -> Result<Self, Violations> {
        with_files(ENV_PREFIX, env, |env| {
            platform::config::load(path, ENV_PREFIX, env, |root| Self::read(root, env))
        })
    }

    /// As [`Self::load`], from a text.
    ///
    /// # Errors
    /// Every violation at once.
    pub fn parse(text: &str, env: &BTreeMap<String, String>) -> Result<Self, Violations> {
        with_files(ENV_PREFIX, env, |env| {
            platform::config::parse(text, ENV_PREFIX, env, |root| Self::read(root, env))
        })
    }

    /// Every field, with its type and default.
    #[must_use]
    pub fn fields() -> Vec<Field> {
        describe(|root| Self::read(root, &BTreeMap::new()))
    }

    fn read(root: &mut Section, env: &BTreeMap<String, String>) -> Self {
        let config = Self {
            http: Http::read(root),
            pgwire: PgWire::read(root, env),
            grpc: Grpc::read(root),
            metadata: Metadata::read(root, env),
            sharding: Sharding::read(root),
            shards_tls: ClientConfig::read(root.section("shards_tls")),
            security: Security::read(root, env),
            audit: audit::read(root),
            observability: Observability::read(root, env),
            limits: rates::Limits::read(root, LIMITS),
            cors: Origins::read(root),
            shutdown: Shutdown::read(root),
        };
        config.check_encryption(root);
        config
    }

    /// What the Postgres front asks of its clients and only TLS can give.
    fn check_encryption(&self, root: &Section) {
        let tls = self.security.tls.as_ref();
        if self.pgwire.require_tls == Some(true) && tls.is_none() {
            root.violation("pgwire.require_tls", "needs security.enable_tls");
        }
        let asks = tls.is_some_and(|tls| tls.client_ca_path.is_some());
        if self.pgwire.auth == AuthMethod::Cert && !asks {
            root.violation(
                "pgwire.auth.method",
                "cert needs security.enable_tls and security.tls_client_ca_path",
            );
        }
    }
}

impl Security {
    fn read(root: &mut Section, env: &BTreeMap<String, String>) -> Self {
        let mut section = root.section("security");
        let enable_tls = section.boolean("enable_tls", false);
        let cert = section.text("tls_cert_path", "/etc/ssl/certs/server.crt");
        let key = section.text("tls_key_path", "/etc/ssl/private/server.key");
        let client_ca = section.optional_text("tls_client_ca_path");
        let tls_ca_path = section.optional_text("tls_ca_path").map(PathBuf::from);
        let enable_rbac = section.boolean("enable_rbac", true);
        let jwt_secret = section.secret("jwt_secret");
        let jwt_secret = jwt_secret.or_else(|| env.get("JWT_SECRET").map(Secret::new));
        let tokens = platform::bearer::Settings::read(&mut section, jwt_secret, env, enable_rbac);
        // The manager's file may be shared with the router's; the router keeps no audit log.
        section.optional_text("audit_log_path");
        for name in ["access_token_ttl", "refresh_token_ttl"] {
            section.optional_text(name);
        }
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
            shard_user: env
                .get("DB_USERNAME")
                .cloned()
                .unwrap_or_else(|| "postgres".to_owned()),
            shard_password: env
                .get("DB_PASSWORD")
                .filter(|p| !p.is_empty())
                .map(Secret::new),
        }
    }
}

impl Observability {
    fn read(root: &mut Section, env: &BTreeMap<String, String>) -> Self {
        let mut section = root.section("observability");
        let metrics_port = section.port("metrics_port", 9090);
        let metrics_tls = section.boolean("metrics_tls", false);
        let enable_tracing = section.boolean("enable_tracing", false);
        let mut log_level = section.text("log_level", "info");
        if let Some(level) = env.get("LOG_LEVEL").filter(|level| !level.is_empty()) {
            log_level.clone_from(level);
        }
        if let Err(error) = platform::telemetry::check_level(&log_level) {
            section.violation("log_level", error.to_string());
        }
        let log_format = section.choice("log_format", &Format::WORDS, Format::default());
        let log_file = section.optional_text("log_file");
        let slow_query = section.duration("slow_query", Duration::from_secs(5), false);
        section.finish();
        Self {
            metrics_port,
            metrics_tls,
            enable_tracing,
            log_level,
            log_format,
            log_file,
            slow_query,
        }
    }
}

impl Shutdown {
    fn read(root: &mut Section) -> Self {
        let mut section = root.section("shutdown");
        let drain_deadline = section.duration("drain_deadline", Duration::from_secs(30), true);
        section.finish();
        Self { drain_deadline }
    }
}
