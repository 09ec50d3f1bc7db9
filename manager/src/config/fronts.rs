//! Where clients and the other managers come in: HTTP and gRPC.

use std::collections::BTreeMap;
use std::time::Duration;

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
            && advertise::split(address).is_none()
        {
            section.violation("advertise_address", "must be host:port");
        }
        section.finish();
        let advertise_host = advertise::host(&host, env);
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
        match &self.advertise_address {
            Some(address) => address.clone(),
            None => advertise::join(&self.advertise_host, port),
        }
    }
}
