//! A certificate authority made by `scripts/certs.sh`, for servers and clients of one test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::postgres;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/certs.sh");

/// An authority; its files go with the test process's folder.
#[derive(Debug)]
pub struct Authority {
    path: PathBuf,
    _folder: Arc<Folder>,
}

/// A certificate for 127.0.0.1, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// What a client trusts, and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The authority of the server's certificate.
    pub root: PathBuf,
    /// Its own certificate.
    pub identity: Option<Identity>,
}

impl Authority {
    /// Makes an authority.
    ///
    /// # Errors
    /// When `openssl` is not installed.
    pub fn new() -> anyhow::Result<Self> {
        let folder = Folder::shared()?;
        let path = folder.fresh("authority");
        let authority = Self {
            path,
            _folder: folder,
        };
        authority.make(&[], "1")?;
        Ok(authority)
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.path.join("ca.crt")
    }

    /// A certificate with this common name, in the place of the last one with that name.
    ///
    /// # Errors
    /// When `openssl` refuses.
    pub fn issue(&self, name: &str) -> anyhow::Result<Identity> {
        self.make(&[name], "2")
    }

    /// A certificate that has ended already.
    ///
    /// # Errors
    /// When `openssl` refuses.
    pub fn expired(&self, name: &str) -> anyhow::Result<Identity> {
        self.make(&[name], "-1")
    }

    /// What a client with this name is given to be let in where all is under TLS.
    ///
    /// # Errors
    /// When `openssl` refuses.
    pub fn access(&self, name: &str) -> anyhow::Result<Access> {
        Ok(Access {
            root: self.root(),
            identity: Some(self.issue(name)?),
        })
    }

    /// Settings that let a PostgreSQL server offer TLS under a certificate of its own.
    ///
    /// # Errors
    /// When `openssl` refuses, or the server cannot be given the key.
    pub fn postgres(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let Identity { certificate, key } = self.issue("postgres")?;
        if let Some(user) = postgres::server_user() {
            run(Command::new("chown").arg(user).arg(&key))?;
        }
        Ok(vec![
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", text(&certificate)),
            ("ssl_key_file", text(&key)),
        ])
    }

    /// The section `security` that lets a router serve under a certificate of its own, and ask
    /// clients for one of this authority.
    ///
    /// # Errors
    /// When `openssl` refuses.
    pub fn router(&self, asks_clients: bool) -> anyhow::Result<Value> {
        let Identity { certificate, key } = self.issue("router")?;
        let mut section = json!({
            "enable_tls": true,
            "tls_cert_path": text(&certificate),
            "tls_key_path": text(&key),
        });
        if asks_clients {
            section["tls_client_ca_path"] = json!(text(&self.root()));
        }
        Ok(section)
    }

    fn make(&self, name: &[&str], days: &str) -> anyhow::Result<Identity> {
        let mut command = Command::new(SCRIPT);
        command.arg(&self.path).args(name).env("DAYS", days);
        run(&mut command)?;
        let name = name.first().unwrap_or(&"ca");
        Ok(Identity {
            certificate: self.path.join(format!("{name}.crt")),
            key: self.path.join(format!("{name}.key")),
        })
    }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("run {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{}: {said}", program.display());
    Ok(())
}
