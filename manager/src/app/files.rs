//! All TLS files of the manager, read once and again when they are replaced.

use platform::tls;
use platform::tls::renewal::Renewal;
use prometheus::Registry;
use topology::store::etcd;

use super::Error;
use crate::config::Config;

/// What was read, for each use.
pub(super) struct Files {
    /// The fronts.
    pub(super) acceptor: Option<tls::Acceptor>,
    /// Towards the other managers, where managers serve TLS.
    pub(super) managers: Option<tls::peer::Connector>,
    /// Towards the shards.
    pub(super) shards: Option<tls::client::Connector>,
    /// Towards etcd.
    pub(super) etcd: etcd::Config,
    pub(super) renewal: Renewal,
}

impl Files {
    pub(super) fn load(config: &Config, registry: &Registry) -> Result<Self, Error> {
        let security = &config.security;
        let mut renewal = Renewal::register(registry)?;
        let acceptor = security.tls.as_ref().map(tls::Acceptor::load).transpose()?;
        let authority = security.tls_ca_path.as_deref();
        let managers = security.tls.as_ref();
        let managers = managers.map(|files| tls::peer::Connector::load(files, authority));
        let managers = managers.transpose()?;
        let shards = tls::client::Connector::load(&config.shards_tls)?;
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
        if let Some(etcd) = &etcd.tls {
            renewal.add("etcd", etcd.clone());
        }
        Ok(Self {
            acceptor,
            managers,
            shards,
            etcd,
            renewal,
        })
    }
}
