//! Where clients come in: HTTP, the Postgres wire protocol, gRPC.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use platform::Secret;
use platform::advertise;
use platform::config::Section;

/// The HTTP front: section `server` of the file.
#[derive(Debug, Clone)]
pub struct Http {
    pub host: String,
    pub port: u16,
    pub read_timeout: Duration,
    pub write_timeout: Duration,
    pub idle_timeout: Duration,
}

/// The Postgres front.
#[derive(Debug, Clone)]
pub struct PgWire {
    pub host: String,
    pub port: u16,
    /// Threads that run sessions.
    pub threads: u32,
    pub auth: AuthMethod,
    pub users: Vec<User>,
    /// Whether clients in clear are refused; none was said, and then they are where there is TLS.
    pub require_tls: Option<bool>,
    /// Sessions at once; the next one is refused with 53300.
    pub max_client_connections: u32,
    /// Prepared statements of one session; the next one is refused with 54000.
    pub max_prepared_statements: u32,
    /// Whether short reads of several clients stand in one line before a backend.
    pub share_backends: bool,
    /// Longest message of a client; a longer one ends its session.
    pub max_message_bytes: u64,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// `host:port` where the other routers reach this front.
    pub advertise_address: String,
    /// What of a session is limited in time beyond its login.
    pub limits: TimeLimits,
    /// Who may use the admin console; see [`PgWire::is_admin`].
    pub admin_users: Vec<String>,
    /// Other names under which the shards' database is served.
    pub databases: Vec<String>,
}

/// Time limits of a session; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeLimits {
    /// Between two transactions of a client.
    pub client_idle: Option<Duration>,
    /// From sending a request to a shard to the end of its answer.
    pub query: Option<Duration>,
    /// Between two messages of a client that holds a transaction or a backend.
    pub idle_in_transaction: Option<Duration>,
    /// A transaction as a whole.
    pub transaction: Option<Duration>,
}

/// How clients of the Postgres front prove who they are. A password never travels in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// Nobody proves anything: for a laptop.
    Trust,
    /// SCRAM-SHA-256 against the users of the configuration.
    ScramSha256,
    /// A certificate whose common name is the user's.
    Cert,
}

/// A user of the Postgres front.
#[derive(Debug, Clone)]
pub struct User {
    pub name: String,
    /// The password, or PostgreSQL's SCRAM verifier of it (`SCRAM-SHA-256$...`).
    pub password: Secret,
}

/// The gRPC front.
#[derive(Debug, Clone)]
pub struct Grpc {
    pub host: String,
    pub port: u16,
}

impl Http {
    pub(super) fn read(root: &mut Section) -> Self {
        let mut section = root.section("server");
        let config = Self {
            host: section.text("host", "0.0.0.0"),
            port: section.port("port", 8080),
            read_timeout: section.duration("read_timeout", Duration::from_secs(30), false),
            write_timeout: section.duration("write_timeout", Duration::from_secs(30), false),
            idle_timeout: section.duration("idle_timeout", Duration::from_secs(120), false),
        };
        section.finish();
        config
    }
}

impl PgWire {
    pub(super) fn read(root: &mut Section, env: &BTreeMap<String, String>) -> Self {
        let mut section = root.section("pgwire");
        let mut auth = section.section("auth");
        let methods = [
            ("trust", AuthMethod::Trust),
            ("scram-sha-256", AuthMethod::ScramSha256),
            ("cert", AuthMethod::Cert),
        ];
        let method = auth.choice("method", &methods, AuthMethod::ScramSha256);
        let users = auth
            .sections("users")
            .into_iter()
            .filter_map(User::read)
            .collect();
        auth.finish();
        let (host, port) = (section.text("host", "0.0.0.0"), section.port("port", 6432));
        let advertise_address = section.optional_text("advertise_address");
        if advertise_address
            .as_deref()
            .is_some_and(|address| advertise::split(address).is_none())
        {
            section.violation("advertise_address", "must be host:port");
        }
        let config = Self {
            advertise_address: advertise_address
                .unwrap_or_else(|| advertise::join(&advertise::host(&host, env), port)),
            host,
            port,
            threads: section.count("threads", usual_threads(), 1, 64),
            auth: method,
            users,
            require_tls: section
                .has("require_tls")
                .then(|| section.boolean("require_tls", true)),
            max_client_connections: section.count("max_client_connections", 10_000, 1, 1_000_000),
            max_prepared_statements: section.count("max_prepared_statements", 1_000, 1, 100_000),
            share_backends: section.boolean("share_backends", true),
            max_message_bytes: section.size("max_message_bytes", 64 << 20),
            login_timeout: section.duration("login_timeout", Duration::from_secs(30), false),
            limits: TimeLimits::read(&mut section),
            admin_users: section.texts("admin_users", &[]),
            databases: section.texts("databases", &[]),
        };
        section.finish();
        config
    }
}

impl PgWire {
    /// Whether a user who has proved who it is may use the admin console: only those that are
    /// listed. Where nobody is listed and nobody proves anything, everybody may.
    #[must_use]
    pub fn is_admin(&self, user: &str) -> bool {
        let anybody = self.admin_users.is_empty() && self.auth == AuthMethod::Trust;
        anybody || self.admin_users.iter().any(|name| name == user)
    }
}

/// Half of the cores that the process may use: the kernel's share of a query is larger than the
/// router's.
fn usual_threads() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    u32::try_from(cores / 2).map_or(1, |half| half.clamp(1, 64))
}

impl TimeLimits {
    fn read(section: &mut Section) -> Self {
        let client_idle = section.duration("client_idle_timeout", Duration::ZERO, true);
        let query = section.duration("query_timeout", Duration::ZERO, true);
        let inactive = section.duration("idle_in_transaction_timeout", Duration::ZERO, true);
        let transaction = section.duration("transaction_timeout", Duration::ZERO, true);
        let limit = |time: Duration| (!time.is_zero()).then_some(time);
        Self {
            client_idle: limit(client_idle),
            query: limit(query),
            idle_in_transaction: limit(inactive),
            transaction: limit(transaction),
        }
    }
}

impl User {
    fn read(mut section: Section) -> Option<Self> {
        let name = section
            .optional_text("name")
            .filter(|name| !name.is_empty());
        if name.is_none() {
            section.violation("name", "must name the user");
        }
        let password = section.secret("password");
        if password.is_none() {
            section.violation("password", "must hold the password or its SCRAM verifier");
        }
        section.finish();
        Some(Self {
            name: name?,
            password: password?,
        })
    }
}

impl Grpc {
    pub(super) fn read(root: &mut Section) -> Self {
        let mut section = root.section("grpc");
        let config = Self {
            host: section.text("host", "0.0.0.0"),
            port: section.port("port", 50051),
        };
        section.finish();
        config
    }
}
