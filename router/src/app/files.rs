//! All TLS files of the router, read once and again when they are replaced.

use platform::tls::renewal::Renewal;
use platform::tls::{Acceptor, client, peer};
use prometheus::Registry;
use topology::store::etcd;

use crate::config::Config;

/// What was read, for each use.
pub(super) struct Files {
    /// The fronts.
    pub(super) acceptor: Option<Acceptor>,
    /// Towards managers, where they serve TLS.
    pub(super) managers: Option<peer::Connector>,
    /// Towards the shards.
    pub(super) shards: Option<client::Connector>,
    /// Towards other routers, with what they ask of a client.
    pub(super) routers: Option<client::Connector>,
    /// Towards etcd.
    pub(super) etcd: etcd::Config,
    pub(super) renewal: Renewal,
}

impl Files {
    pub(super) fn load(config: &Config, registry: &Registry) -> anyhow::Result<Self> {
        let security = &config.security;
        let mut renewal = Renewal::register(registry)?;
        let acceptor = security.tls.as_ref().map(Acceptor::load).transpose()?;
        let authority = security.tls_ca_path.as_deref();
        let managers = security.tls.as_ref();
        let managers = managers.map(|files| peer::Connector::load(files, authority));
        let managers = managers.transpose()?;
        let shards = client::Connector::load(&config.shards_tls)?;
        let routers = to_routers(config)?;
        let etcd = config.metadata.load()?;
        if let Some(acceptor) = &acceptor {
            renewal.add("fronts", acceptor.clone());
        }
        if let Some(managers) = &managers {
            renewal.add("managers", managers.clone());
        }
        if let Some(shards) = &shards {
            renewal.add("shards", shards.clone());
        }
        if let Some(routers) = &routers {
            renewal.add("routers", routers.clone());
        }
        if let Some(etcd) = &etcd.tls {
            renewal.add("etcd", etcd.clone());
        }
        Ok(Self {
            acceptor,
            managers,
            shards,
            routers,
            etcd,
            renewal,
        })
    }
}

/// How the fronts of other routers are connected to: as their clients may, under TLS if this router
/// serves it, since they share a configuration.
fn to_routers(config: &Config) -> Result<Option<client::Connector>, platform::tls::Error> {
    let Some(own) = &config.security.tls else {
        return Ok(None);
    };
    let identity = own.client_ca_path.is_some().then(|| client::Identity {
        cert_path: own.cert_path.clone(),
        key_path: own.key_path.clone(),
    });
    client::Connector::load(&client::ClientConfig {
        mode: client::Mode::Prefer,
        root_cert_path: None,
        identity,
    })
}
