//! TLS towards PostgreSQL servers, as libpq's `sslmode` means it. Negotiating it (SSLRequest and
//! its answer) is the caller's; so is going on in clear where [`Mode::Prefer`] allows it. Servers
//! that speak HTTP/2 under TLS from the first byte are connected to by [`http2`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::renewal::{Part, Renewable};
use super::{Error, certificates, private_key, roots};
use crate::config::Section;

pub mod http2;

/// How much encryption is wanted; libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// None.
    Disable,
    /// Where the server has it, else in clear. The server's certificate is not looked at.
    Prefer,
    /// Always; the certificate is looked at only where an authority is given.
    Require,
    /// Always, and an authority must have issued the certificate.
    VerifyCa,
    /// Always, and an authority must have issued the certificate for the server's host.
    VerifyFull,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate and its chain, leaf first, in PEM form.
    pub cert_path: PathBuf,
    /// The leaf's private key, not encrypted, in PEM form.
    pub key_path: PathBuf,
}

/// What is wanted of servers, and what they are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// How much encryption.
    pub mode: Mode,
    /// The authorities of servers' certificates, in PEM form.
    pub root_cert_path: Option<PathBuf>,
    /// What a server is shown that asks for a certificate.
    pub identity: Option<Identity>,
}

impl ClientConfig {
    /// Reads a section of a configuration file: `sslmode`, `root_cert_path`, `cert_path` and
    /// `key_path`.
    #[must_use]
    pub fn read(mut section: Section) -> Self {
        let modes = [
            ("disable", Mode::Disable),
            ("prefer", Mode::Prefer),
            ("require", Mode::Require),
            ("verify-ca", Mode::VerifyCa),
            ("verify-full", Mode::VerifyFull),
        ];
        let mode = section.choice("sslmode", &modes, Mode::Prefer);
        let root_cert_path = section.optional_text("root_cert_path").map(PathBuf::from);
        match (mode, &root_cert_path) {
            (Mode::VerifyCa | Mode::VerifyFull, None) => section.violation(
                "root_cert_path",
                "must name the authorities for sslmode verify-ca and verify-full",
            ),
            // A mode that goes on in clear after a failed check would make the check worthless.
            (Mode::Disable | Mode::Prefer, Some(_)) => section.violation(
                "root_cert_path",
                "has no effect unless sslmode is require, verify-ca or verify-full",
            ),
            (Mode::Require | Mode::VerifyCa | Mode::VerifyFull, Some(_))
            | (Mode::Disable | Mode::Prefer | Mode::Require, None) => {}
        }
        let cert = section.optional_text("cert_path").map(PathBuf::from);
        let key = section.optional_text("key_path").map(PathBuf::from);
        if cert.is_some() != key.is_some() {
            section.violation("cert_path", "and key_path must be given together");
        }
        section.finish();
        let identity = cert.zip(key).map(|(cert_path, key_path)| Identity {
            cert_path,
            key_path,
        });
        Self {
            mode,
            root_cert_path,
            identity,
        }
    }
}

/// Performs handshakes with servers. Clones share what was read of the files, and each renewal.
#[derive(Clone)]
pub struct Connector {
    shared: Arc<Shared>,
}

struct Shared {
    files: ClientConfig,
    /// What is spoken inside.
    protocol: &'static [u8],
    config: ArcSwap<rustls::ClientConfig>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tls::client::Connector({:?})", self.shared.files.mode)
    }
}

impl Connector {
    /// Reads the files, for PostgreSQL; none where no TLS is wanted.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(files: &ClientConfig) -> Result<Option<Self>, Error> {
        Self::speaking(b"postgresql", files)
    }

    /// Reads the files, for HTTP/1.1; none where no TLS is wanted.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn for_http(files: &ClientConfig) -> Result<Option<Self>, Error> {
        Self::speaking(b"http/1.1", files)
    }

    fn speaking(protocol: &'static [u8], files: &ClientConfig) -> Result<Option<Self>, Error> {
        if files.mode == Mode::Disable {
            return Ok(None);
        }
        let shared = Arc::new(Shared {
            files: files.clone(),
            protocol,
            config: ArcSwap::from_pointee(handshakes(files, protocol)?),
        });
        Ok(Some(Self { shared }))
    }

    /// Whether a server without TLS must be left.
    #[must_use]
    pub fn is_required(&self) -> bool {
        match self.shared.files.mode {
            Mode::Disable | Mode::Prefer => false,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => true,
        }
    }

    /// Performs the handshake. It has no time-out of its own.
    ///
    /// # Errors
    /// What rustls or the stream says.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        TlsConnector::from(self.shared.config.load_full())
            .connect(name, stream)
            .await
    }
}

impl Renewable for Connector {
    fn files(&self) -> Vec<(Part, PathBuf)> {
        let ClientConfig {
            mode: _,
            root_cert_path,
            identity,
        } = &self.shared.files;
        let mut files = Vec::new();
        if let Some(identity) = identity {
            files.push((Part::Certificate, identity.cert_path.clone()));
            files.push((Part::Key, identity.key_path.clone()));
        }
        files.extend(root_cert_path.clone().map(|path| (Part::Authority, path)));
        files
    }

    fn renew(&self) -> Result<(), Error> {
        let config = handshakes(&self.shared.files, self.shared.protocol)?;
        self.shared.config.store(Arc::new(config));
        Ok(())
    }
}

/// Reads the files.
fn handshakes(files: &ClientConfig, protocol: &[u8]) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let root_cert_path = files.root_cert_path.as_deref();
    let chain = root_cert_path
        .map(|path| chain_verifier(path, Arc::clone(&provider)))
        .transpose()?;
    let verifier = Verifier {
        chain,
        checks_host: files.mode == Mode::VerifyFull,
        provider: Arc::clone(&provider),
    };
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("the ring provider has suites of both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &files.identity {
        None => config.with_no_client_auth(),
        Some(Identity {
            cert_path,
            key_path,
        }) => config
            .with_client_auth_cert(certificates(cert_path)?, private_key(key_path)?)
            .map_err(|source| Error::Unusable {
                cert_path: cert_path.clone(),
                key_path: key_path.clone(),
                source,
            })?,
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    // PostgreSQL resumes no sessions, and other connections last.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn chain_verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let bad = |reason: String| Error::BadAuthority {
        path: path.to_owned(),
        reason,
    };
    let roots = Arc::new(roots(path, bad)?);
    WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| bad(error.to_string()))
}

/// Looks at a server's certificate as far as the mode asks for it.
#[derive(Debug)]
struct Verifier {
    /// None takes any certificate.
    chain: Option<Arc<WebPkiServerVerifier>>,
    checks_host: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is the last thing that is checked: all the rest was right.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_host => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests;
