//! A certificate authority made by the `openssl` command, for servers and clients of one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::postgres;

const OPENSSL_CONFIG: &str = "\
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = keyCertSign
[leaf]
subjectAltName = IP:127.0.0.1
";

/// An authority; its files go with the test process's folder.
#[derive(Debug)]
pub struct Authority {
    path: PathBuf,
    _folder: Arc<Folder>,
}

/// A certificate for 127.0.0.1, and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes an authority.
    ///
    /// # Errors
    /// When `openssl` is not installed.
    pub fn new() -> anyhow::Result<Self> {
        let folder = Folder::shared()?;
        let path = folder.fresh("authority");
        fs::create_dir(&path)?;
        fs::write(path.join("openssl.cnf"), OPENSSL_CONFIG)?;
        let authority = Self {
            path,
            _folder: folder,
        };
        authority.request("ca", "ca", &[])?;
        Ok(authority)
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.path.join("ca.crt")
    }

    /// A certificate with this common name.
    ///
    /// # Errors
    /// When `openssl` refuses.
    pub fn issue(&self, name: &str) -> anyhow::Result<Identity> {
        self.request(name, "leaf", &["-CA", "ca.crt", "-CAkey", "ca.key"])?;
        Ok(Identity {
            certificate: self.path.join(format!("{name}.crt")),
            key: self.path.join(format!("{name}.key")),
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

    fn request(&self, name: &str, extensions: &str, signer: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new("openssl");
        command.current_dir(&self.path);
        command.args(["req", "-x509", "-nodes", "-days", "2"]);
        command.args(["-config", "openssl.cnf", "-extensions", extensions]);
        command.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-subj", &format!("/CN={name}")]);
        command.args(["-out", &format!("{name}.crt")]);
        command.args(["-keyout", &format!("{name}.key")]);
        run(command.args(signer))
    }
}

fn text(path: &Path) -> String {
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
