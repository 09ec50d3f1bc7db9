//! The manager's configuration, typed and validated. Field names are those of the JSON file.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use platform::config::{Field, Section, Violations, describe, with_files};
use platform::cors::Origins;
use platform::rates::Limits;
use platform::telemetry::Format;
use platform::tls::client::ClientConfig;
pub use topology::store::etcd::settings::Settings as Metadata;

mod audit;
mod failover;
mod fronts;
mod limits;
mod security;

#[cfg(test)]
mod tests;

pub use audit::Audit;
pub use fronts::{Grpc, Http};
pub use security::Security;

/// Prefix of environment variables that override single fields.
pub const ENV_PREFIX: &str = "MANAGER";

/// Everything that the manager is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    pub http: Http,
    pub grpc: Grpc,
    /// Where the topology is.
    pub metadata: Metadata,
    pub sharding: Sharding,
    pub leader: Leader,
    pub shards: Shards,
    /// TLS to the shards.
    pub shards_tls: ClientConfig,
    pub resharding: Resharding,
    pub failover: crate::failover::Settings,
    pub security: Security,
    pub audit: Audit,
    pub limits: Limits,
    /// Which web pages may read answers.
    pub cors: Origins,
    pub observability: Observability,
    pub shutdown: Shutdown,
}

/// What a shard gets unless its registration says otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Sharding {
    pub vnode_count: u32,
}

/// The election.
#[derive(Debug, Clone, Copy)]
pub struct Leader {
    /// How long the others wait for a leader that has gone silent.
    pub lease_ttl: Duration,
}

/// The manager's own look at the shards.
#[derive(Debug, Clone, Copy)]
pub struct Shards {
    /// Connecting to a shard, login included.
    pub connect_timeout: Duration,
    /// One question to a shard, such as counting a table's rows.
    pub statement_timeout: Duration,
    /// From one probe of a shard to the next.
    pub probe_interval: Duration,
}

/// What jobs that move data may take of the shards.
#[derive(Debug, Clone, Copy)]
pub struct Resharding {
    /// Bytes of its log that a shard keeps for a job at most; over it the job is given up.
    pub max_wal_retained: u64,
    /// Ranges of a shard that are copied at a time.
    pub copy_workers: NonZeroUsize,
    /// A copy waits while a replica is further behind.
    pub max_replica_lag: Duration,
    /// A copy slows down while a shard takes longer to answer.
    pub max_latency: Duration,
}

/// Logs and metrics.
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
}

/// How the process ends.
#[derive(Debug, Clone, Copy)]
pub struct Shutdown {
    /// How long running requests may go on after SIGTERM.
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
        Self {
            http: Http::read(root),
            grpc: Grpc::read(root, env),
            metadata: Metadata::read(root, env),
            sharding: Sharding::read(root),
            leader: Leader::read(root),
            shards: Shards::read(root),
            shards_tls: ClientConfig::read(root.section("shards_tls")),
            resharding: Resharding::read(root),
            failover: failover::read(root),
            security: Security::read(root, env),
            audit: Audit::read(root),
            limits: Limits::read(root, limits::DEFAULTS),
            cors: Origins::read(root),
            observability: Observability::read(root, env),
            shutdown: Shutdown::read(root),
        }
    }
}

impl Sharding {
    fn read(root: &mut Section) -> Self {
        let mut section = root.section("sharding");
        section.choice("strategy", &[("hash", ())], ());
        section.choice("hash_function", &[("murmur3", ())], ());
        let vnode_count = section.count("vnode_count", 256, 1, crate::control::MAX_VNODE_COUNT);
        section.finish();
        Self { vnode_count }
    }
}

impl Leader {
    fn read(root: &mut Section) -> Self {
        let mut section = root.section("leader");
        let lease_ttl = section.duration("lease_ttl", Duration::from_secs(5), false);
        // etcd counts leases in whole seconds.
        if lease_ttl.subsec_nanos() != 0 || !(1..=60).contains(&lease_ttl.as_secs()) {
            section.violation("lease_ttl", "must be whole seconds from 1s to 60s");
        }
        section.finish();
        Self { lease_ttl }
    }
}

impl Shards {
    fn read(root: &mut Section) -> Self {
        let mut section = root.section("shards");
        let config = Self {
            connect_timeout: section.duration("connect_timeout", Duration::from_secs(3), false),
            statement_timeout: section.duration(
                "statement_timeout",
                Duration::from_secs(20),
                false,
            ),
            probe_interval: section.duration("probe_interval", Duration::from_secs(5), false),
        };
        section.finish();
        config
    }
}

impl Resharding {
    fn read(root: &mut Section) -> Self {
        let mut section = root.section("resharding");
        let max_wal_retained = section.size("max_wal_retained", 16 << 30);
        let copy_workers = section.count("copy_workers", 2, 1, 32);
        let max_replica_lag = section.duration("max_replica_lag", Duration::from_secs(5), false);
        let max_latency = section.duration("max_latency", Duration::from_millis(250), false);
        section.finish();
        let copy_workers = usize::try_from(copy_workers).unwrap_or(1);
        Self {
            max_wal_retained,
            max_replica_lag,
            max_latency,
            copy_workers: NonZeroUsize::new(copy_workers).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

impl Observability {
    fn read(root: &mut Section, env: &BTreeMap<String, String>) -> Self {
        let mut section = root.section("observability");
        let metrics_port = section.port("metrics_port", 9091);
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
        section.finish();
        Self {
            metrics_port,
            metrics_tls,
            enable_tracing,
            log_level,
            log_format,
            log_file,
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
