//! For tests: a certificate authority made by the `openssl` command in a directory of its own,
//! which goes away with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsConnector;

use crate::tls::ServerConfig;

const OPENSSL_CONFIG: &str = "\
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = keyCertSign
[leaf]
subjectAltName = DNS:localhost,IP:127.0.0.1
";

const EC: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];

#[derive(Debug)]
pub(crate) struct Authority {
    directory: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("platform-tls-{}-{count}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let authority = Self { directory };
        authority.write("openssl.cnf", OPENSSL_CONFIG);
        authority.request("ca", "ca", &EC, &[]);
        authority
    }

    /// Makes `<name>.crt` and `<name>.key`, signed by the authority.
    pub(crate) fn issue(&self, name: &str) -> ServerConfig {
        self.issue_with_key(name, &EC)
    }

    /// As [`Self::issue`], with a key of another kind.
    pub(crate) fn issue_with_key(&self, name: &str, key: &[&str]) -> ServerConfig {
        let signer = ["-CA", "ca.crt", "-CAkey", "ca.key"];
        self.request(name, "leaf", key, &signer);
        ServerConfig {
            cert_path: self.path(&format!("{name}.crt")),
            key_path: self.path(&format!("{name}.key")),
            client_ca_path: None,
        }
    }

    fn request(&self, name: &str, extensions: &str, key: &[&str], signer: &[&str]) {
        let (subject, crt, key_file) = (
            format!("/CN={name}"),
            format!("{name}.crt"),
            format!("{name}.key"),
        );
        let fixed = [
            "req",
            "-x509",
            "-nodes",
            "-days",
            "2",
            "-config",
            "openssl.cnf",
        ];
        let named = ["-extensions", extensions, "-subj", &subject];
        let files = ["-out", &crt, "-keyout", &key_file];
        self.openssl(&[&fixed[..], &named, &files, key, signer].concat());
    }

    pub(crate) fn openssl(&self, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(&self.directory);
        let output = command.output().expect("the openssl command is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {said}");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    /// A client that trusts this authority, shows a certificate if it has one, and offers these
    /// protocols.
    pub(crate) fn client(&self, identity: Option<&ServerConfig>, alpn: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.path("ca.crt"))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let key = PrivateKeyDer::from_pem_file(&files.key_path).unwrap();
                let chain = vec![certificate(&files.cert_path)];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).unwrap();
    }
}

pub(crate) fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}
