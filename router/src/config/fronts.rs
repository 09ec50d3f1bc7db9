//! Where clients come in: HTTP, the Postgres wire protocol, gRPC.

use std::collections::BTreeMap;
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
    pub auth: AuthMethod,
    pub users: Vec<User>,
    /// Whether clients in clear are refused; none was said, and then they are where there is TLS.
    pub require_tls: Option<bool>,
    /// Sessions at once; the next one is refused with 53300.
    pub max_client_connections: u32,
    /// Prepared statements of one session; the next one is refused with 54000.
    pub max_prepared_statements: u32,
    /// Longest message of a client; a longer one ends its session.
    pub max_message_bytes: u64,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// `host:port` where the other routers reach this front.
    pub advertise_address: String,
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
            auth: method,
            users,
            require_tls: section
                .has("require_tls")
                .then(|| section.boolean("require_tls", true)),
            max_client_connections: section.count("max_client_connections", 10_000, 1, 1_000_000),
            max_prepared_statements: section.count("max_prepared_statements", 1_000, 1, 100_000),
            max_message_bytes: section.size("max_message_bytes", 64 << 20),
            login_timeout: section.duration("login_timeout", Duration::from_secs(30), false),
        };
        section.finish();
        config
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
