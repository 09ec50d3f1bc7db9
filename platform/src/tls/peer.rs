//! TLS from one program of the system to a manager: the same files that the program serves with.
//!
//! They usually share one certificate, often one that names none of them; a manager is trusted
//! when it shows, and has the key of, the very certificate that we have, or one that the
//! configured authority issued for its host.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::http2::Target;
use super::renewal::{Part, Renewable};
use super::{Error, ServerConfig, certificates, private_key, roots};

/// Connects to a manager; the form that tonic asks for. Clones share what was read of the files,
/// and each renewal.
#[derive(Clone)]
pub struct Connector(Arc<Shared>);

struct Shared {
    files: ServerConfig,
    authority: Option<PathBuf>,
    config: ArcSwap<ClientConfig>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tls::Connector")
    }
}

impl Connector {
    /// Reads the program's own files, and an authority for certificates other than its own.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(files: &ServerConfig, authority: Option<&Path>) -> Result<Self, Error> {
        let config = ArcSwap::from_pointee(handshakes(files, authority)?);
        let (files, authority) = (files.clone(), authority.map(Path::to_owned));
        Ok(Self(Arc::new(Shared {
            files,
            authority,
            config,
        })))
    }

    async fn connect(self, peer: Uri) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let Target { host, port, name } = Target::of(&peer)?;
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        let handshake = TlsConnector::from(self.0.config.load_full()).connect(name, stream);
        Ok(TokioIo::new(handshake.await?))
    }
}

impl Renewable for Connector {
    fn files(&self) -> Vec<(Part, PathBuf)> {
        let Shared {
            files, authority, ..
        } = &*self.0;
        let mut all = vec![
            (Part::Certificate, files.cert_path.clone()),
            (Part::Key, files.key_path.clone()),
        ];
        all.extend(authority.clone().map(|path| (Part::Authority, path)));
        all
    }

    fn renew(&self) -> Result<(), Error> {
        let config = handshakes(&self.0.files, self.0.authority.as_deref())?;
        self.0.config.store(Arc::new(config));
        Ok(())
    }
}

/// Reads the files.
fn handshakes(files: &ServerConfig, authority: Option<&Path>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&files.cert_path)?;
    let own = chain.first().cloned().ok_or_else(|| Error::NoCertificate {
        path: files.cert_path.clone(),
    })?;
    let unusable = |source: rustls::Error| Error::Unusable {
        cert_path: files.cert_path.clone(),
        key_path: files.key_path.clone(),
        source,
    };
    let authority = authority
        .map(|path| authority_verifier(path, Arc::clone(&provider)))
        .transpose()?;
    let verifier = PeerVerifier {
        own,
        authority,
        provider: Arc::clone(&provider),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = if files.client_ca_path.is_some() {
        let key = private_key(&files.key_path)?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(unusable)?
    } else {
        builder.with_no_client_auth()
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, peer: Uri) -> Self::Future {
        Box::pin(self.clone().connect(peer))
    }
}

fn authority_verifier(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let bad = |reason: String| Error::BadClientCa {
        path: path.to_owned(),
        reason,
    };
    let roots = Arc::new(roots(path, bad)?);
    WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| bad(error.to_string()))
}

#[derive(Debug)]
struct PeerVerifier {
    own: CertificateDer<'static>,
    authority: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // Only who has our key can finish the handshake with our certificate.
        if *end_entity == self.own {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.authority {
            Some(authority) => authority.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
            None => Err(CertificateError::UnknownIssuer.into()),
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
