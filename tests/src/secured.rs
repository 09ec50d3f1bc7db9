//! A system in which every connection is under TLS and asks both sides for a certificate: what each
//! part is given for it. Secrets are in files.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::authority::{Access, Authority, Identity, text};
use crate::folder::Folder;
use crate::postgres::{Auth, Options};
use crate::program::{Program, lay_over};
use crate::{etcd, postgres};

/// What the parts share.
#[derive(Debug)]
pub struct Secured {
    /// How the harness is let in.
    pub access: Access,
    /// What routers and managers show, and serve with.
    pub program: Identity,
    passwords: Vec<(&'static str, PathBuf)>,
    _folder: Arc<Folder>,
}

impl Secured {
    pub(crate) fn new(authority: &Authority) -> anyhow::Result<Self> {
        let folder = Folder::shared()?;
        let mut passwords = Vec::new();
        for (variable, value) in [
            ("ETCD_PASSWORD_FILE", etcd::LOGIN.1),
            ("DB_PASSWORD_FILE", postgres::PASSWORD),
        ] {
            let path = folder.fresh("password");
            std::fs::write(&path, format!("{value}\n"))?;
            passwords.push((variable, path));
        }
        Ok(Self {
            access: authority.access("harness")?,
            program: authority.issue("program")?,
            passwords,
            _folder: folder,
        })
    }

    /// Servers that only let in who speaks TLS and knows the password.
    pub(crate) fn postgres(&self, authority: &Authority) -> anyhow::Result<Options> {
        Ok(Options {
            auth: Auth::ScramUnderTls,
            settings: authority.postgres()?,
            access: Some(self.access.clone()),
            network: None,
        })
    }

    /// A configuration of router or manager, with `extra` laid over it.
    #[must_use]
    pub fn configure(&self, extra: &Value) -> Value {
        let (root, own) = (text(&self.access.root), &self.program);
        let (certificate, key) = (text(&own.certificate), text(&own.key));
        let mut config = json!({
            "metadata": {
                "tls_ca_path": root, "tls_cert_path": certificate, "tls_key_path": key,
            },
            "security": {
                "enable_tls": true, "tls_cert_path": certificate, "tls_key_path": key,
                "tls_client_ca_path": root, "tls_ca_path": root,
            },
            "shards_tls": { "sslmode": "verify-full", "root_cert_path": root },
            "observability": { "metrics_tls": true },
        });
        lay_over(&mut config, extra);
        config
    }

    /// Gives a program its users, and files with their passwords.
    pub(crate) fn credentials(&self, program: &mut Program) {
        program.set_environment("ETCD_USERNAME", etcd::LOGIN.0);
        program.unset_environment("DB_PASSWORD");
        for (variable, path) in &self.passwords {
            program.set_environment(variable, &text(path));
        }
    }
}
