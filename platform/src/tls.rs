//! TLS on the server's side: certificate, key and client CA from files, replaceable while the
//! process runs. The other side is in [`client`]; who a certificate speaks of in [`subject`].
//!
//! TLS 1.2 and 1.3 with the ring provider, which is passed explicitly, so that nothing depends on
//! a process-wide default. What is spoken inside (HTTP, PostgreSQL) only shows in [`Alpn`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub mod client;
pub mod expiry;
pub mod peer;
pub mod renewal;
pub mod subject;

use renewal::{Part, Renewable};

/// A larger file is no certificate or key.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where a server's TLS files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// The certificate and its chain, leaf first, in PEM form.
    pub cert_path: PathBuf,
    /// The leaf's private key, not encrypted, in PEM form.
    pub key_path: PathBuf,
    /// The authorities of clients' certificates, in PEM form; where it is given, a client without
    /// a certificate is refused.
    pub client_ca_path: Option<PathBuf>,
}

/// What is wrong with a client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// None was shown.
    Missing,
    /// It is not of an authority that is trusted here, or its time is over.
    Invalid,
}

/// Whether a handshake failed for want of a certificate, and how.
#[must_use]
pub fn certificate_fault(failed: &io::Error) -> Option<CertificateFault> {
    let reason = failed.get_ref()?.downcast_ref::<rustls::Error>()?;
    match reason {
        rustls::Error::NoCertificatesPresented => Some(CertificateFault::Missing),
        rustls::Error::InvalidCertificate(_) => Some(CertificateFault::Invalid),
        _ => None,
    }
}

/// What TLS files can have wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("TLS file {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is far larger than certificates are.
    #[error("TLS file {} is larger than {MAX_FILE_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A file is damaged PEM.
    #[error("TLS file {} is not valid PEM", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A file holds no certificate.
    #[error("TLS file {} holds no certificate in PEM form", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A file holds no private key.
    #[error("TLS file {} holds no private key in PEM form (an encrypted key cannot be used)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is not the certificate's.
    #[error("TLS key {} does not match the certificate {}", key_path.display(), cert_path.display())]
    KeyMismatch {
        /// The key's file.
        key_path: PathBuf,
        /// The certificate's file.
        cert_path: PathBuf,
    },
    /// The certificate or the key is of a kind or form that cannot be used.
    #[error("TLS certificate {} with key {} cannot be used", cert_path.display(), key_path.display())]
    Unusable {
        /// The certificate's file.
        cert_path: PathBuf,
        /// The key's file.
        key_path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A file of authorities of servers holds something that is no authority.
    #[error("TLS file {} holds no usable authority: {reason}", path.display())]
    BadAuthority {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file of client authorities holds something that is no authority.
    #[error("TLS file {} holds no usable client authority: {reason}", path.display())]
    BadClientCa {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// The protocols that are offered inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Alpn {
    /// HTTP/2 and HTTP/1.1.
    #[default]
    Http,
    /// PostgreSQL's wire protocol, for clients that begin with TLS directly.
    Postgres,
    /// No negotiation.
    None,
}

impl Alpn {
    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Self::Postgres => vec![b"postgresql".to_vec()],
            Self::None => Vec::new(),
        }
    }
}

/// Accepts TLS connections. Clones share the loaded files and each reload of them.
#[derive(Clone)]
pub struct Acceptor {
    files: Arc<ServerConfig>,
    loaded: Arc<ArcSwap<Loaded>>,
    alpn: Alpn,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            files,
            loaded: _,
            alpn,
        } = self;
        f.debug_struct("Acceptor")
            .field("files", files)
            .field("alpn", alpn)
            .finish()
    }
}

impl Acceptor {
    /// Reads the files; for HTTP ([`Alpn::Http`]).
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(files: &ServerConfig) -> Result<Self, Error> {
        let loaded = Arc::new(ArcSwap::from_pointee(Loaded::read(files)?));
        Ok(Self {
            files: Arc::new(files.clone()),
            loaded,
            alpn: Alpn::Http,
        })
    }

    /// The same certificate, offered for another protocol.
    #[must_use]
    pub fn with_alpn(&self, alpn: Alpn) -> Self {
        Self {
            alpn,
            ..self.clone()
        }
    }

    /// The present configuration, for a caller that drives TLS itself.
    #[must_use]
    pub fn rustls_config(&self) -> Arc<rustls::ServerConfig> {
        let loaded = self.loaded.load();
        let config = match self.alpn {
            Alpn::Http => &loaded.http,
            Alpn::Postgres => &loaded.postgres,
            Alpn::None => &loaded.plain,
        };
        Arc::clone(config)
    }

    /// Performs the handshake. It has no time-out of its own.
    ///
    /// # Errors
    /// What rustls or the stream says.
    pub async fn accept<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsAcceptor::from(self.rustls_config()).accept(stream).await
    }
}

/// For all clones; connections that are open keep what they have.
impl Renewable for Acceptor {
    fn files(&self) -> Vec<(Part, PathBuf)> {
        let ServerConfig {
            cert_path,
            key_path,
            client_ca_path,
        } = &*self.files;
        let mut files = vec![
            (Part::Certificate, cert_path.clone()),
            (Part::Key, key_path.clone()),
        ];
        files.extend(client_ca_path.clone().map(|path| (Part::Authority, path)));
        files
    }

    fn renew(&self) -> Result<(), Error> {
        self.loaded.store(Arc::new(Loaded::read(&self.files)?));
        Ok(())
    }
}

/// One reading of the files, as the configuration of each protocol.
struct Loaded {
    http: Arc<rustls::ServerConfig>,
    postgres: Arc<rustls::ServerConfig>,
    plain: Arc<rustls::ServerConfig>,
}

impl Loaded {
    fn read(files: &ServerConfig) -> Result<Self, Error> {
        let base = rustls_config(files)?;
        let of = |alpn: Alpn| {
            let mut config = base.clone();
            config.alpn_protocols = alpn.protocols();
            Arc::new(config)
        };
        Ok(Self {
            http: of(Alpn::Http),
            postgres: of(Alpn::Postgres),
            plain: of(Alpn::None),
        })
    }
}

fn rustls_config(files: &ServerConfig) -> Result<rustls::ServerConfig, Error> {
    let ServerConfig {
        cert_path,
        key_path,
        client_ca_path,
    } = files;
    let chain = certificates(cert_path)?;
    let key = private_key(key_path)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = match client_ca_path {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(path) => client_verifier(path, Arc::clone(&provider))?,
    };
    let unusable = |source: rustls::Error| match source {
        rustls::Error::InconsistentKeys(_) => Error::KeyMismatch {
            key_path: key_path.clone(),
            cert_path: cert_path.clone(),
        },
        source => {
            let (cert_path, key_path) = (cert_path.clone(), key_path.clone());
            Error::Unusable {
                cert_path,
                key_path,
                source,
            }
        }
    };
    rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(clients)
                .with_single_cert(chain, key)
        })
        .map_err(unusable)
}

fn client_verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let bad = |reason: String| Error::BadClientCa {
        path: path.to_owned(),
        reason,
    };
    let roots = Arc::new(roots(path, bad)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
    verifier.map_err(|error| bad(error.to_string()))
}

/// The certificates of a file as those that others are held against.
fn roots(path: &Path, bad: impl Fn(String) -> Error) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.map_err(|error| bad(error.to_string()))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|source| Error::NotPem {
        path: path.to_owned(),
        source,
    })?;
    if chain.is_empty() {
        return Err(Error::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(chain)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let path_owned = || path.to_owned();
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => Error::NoKey { path: path_owned() },
        source => Error::NotPem {
            path: path_owned(),
            source,
        },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    use std::io::Read as _;
    let unreadable = |source| Error::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
        return Err(Error::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
