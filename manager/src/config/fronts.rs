//! Where clients and the other managers come in: HTTP and gRPC.

use std::collections::BTreeMap;
use std::time::Duration;

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

/// The gRPC front.
#[derive(Debug, Clone)]
pub struct Grpc {
    pub host: String,
    pub port: u16,
    /// `host:port` where the other managers reach this one; without it, [`Self::advertised`]
    /// makes one of the host alone.
    pub advertise_address: Option<String>,
    /// The host that is advertised where `advertise_address` is not given.
    advertise_host: String,
}

impl Http {
    pub(super) fn read(root: &mut Section) -> Self {
        let mut section = root.section("server");
        let config = Self {
            host: section.text("host", "0.0.0.0"),
            port: section.port("port", 8081),
            read_timeout: section.duration("read_timeout", Duration::from_secs(30), false),
            write_timeout: section.duration("write_timeout", Duration::from_secs(30), false),
            idle_timeout: section.duration("idle_timeout", Duration::from_secs(120), false),
        };
        section.finish();
        config
    }
}

impl Grpc {
    pub(super) fn read(root: &mut Section, env: &BTreeMap<String, String>) -> Self {
        let mut section = root.section("grpc");
        let host = section.text("host", "0.0.0.0");
        let port = section.port("port", 50052);
        let advertise_address = section.optional_text("advertise_address");
        if let Some(address) = &advertise_address
            && !is_host_and_port(address)
        {
            section.violation("advertise_address", "must be host:port");
        }
        section.finish();
        let advertise_host = advertise_host(&host, env);
        Self {
            host,
            port,
            advertise_address,
            advertise_host,
        }
    }

    /// The address that goes into the leader's record, for a listener on `port`.
    #[must_use]
    pub fn advertised(&self, port: u16) -> String {
        let host = &self.advertise_host;
        match &self.advertise_address {
            Some(address) => address.clone(),
            None if host.contains(':') => format!("[{host}]:{port}"),
            None => format!("{host}:{port}"),
        }
    }
}

/// The address that is listened on, if it is one; else the host's name, which containers set.
fn advertise_host(host: &str, env: &BTreeMap<String, String>) -> String {
    let is_any = matches!(host, "" | "0.0.0.0" | "::" | "[::]");
    if !is_any {
        return host.trim_matches(['[', ']']).to_owned();
    }
    let name = env.get("HOSTNAME").filter(|name| !name.is_empty());
    name.cloned().unwrap_or_else(|| "127.0.0.1".to_owned())
}

fn is_host_and_port(text: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_authority = text.parse::<http::uri::Authority>().is_ok() && !text.contains('@');
    let parts = text.rsplit_once(':');
    is_authority && parts.is_some_and(|(host, port)| !host.is_empty() && is_port(port))
}
