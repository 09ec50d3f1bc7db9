//! Connects to servers that speak HTTP/2 under TLS from the first byte, such as etcd, in the form
//! that tonic asks for.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{ClientConfig, Error, Part, Renewable};

/// Connects to such a server. Clones share what was read of the files, and each renewal.
#[derive(Debug, Clone)]
pub struct Connector(super::Connector);

impl Connector {
    /// Reads the files; none where no TLS is wanted.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(files: &ClientConfig) -> Result<Option<Self>, Error> {
        Ok(super::Connector::speaking(b"h2", files)?.map(Self))
    }

    async fn connect(self, server: Uri) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let Target { host, port, .. } = Target::of(&server)?;
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        Ok(TokioIo::new(self.0.connect(&host, stream).await?))
    }
}

impl Renewable for Connector {
    fn files(&self) -> Vec<(Part, PathBuf)> {
        self.0.files()
    }

    fn renew(&self) -> Result<(), Error> {
        self.0.renew()
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        Box::pin(self.clone().connect(server))
    }
}

/// Where an address leads, and what the certificate there has to name.
pub(in crate::tls) struct Target {
    pub(in crate::tls) host: String,
    pub(in crate::tls) port: u16,
    pub(in crate::tls) name: ServerName<'static>,
}

impl Target {
    pub(in crate::tls) fn of(server: &Uri) -> io::Result<Self> {
        let invalid = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text.to_owned());
        let host = server.host();
        let host = host.ok_or_else(|| invalid("the address has no host"))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = server.port_u16();
        let port = port.ok_or_else(|| invalid("the address has no port"))?;
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| invalid("the address is no host name"))?;
        Ok(Self { host, port, name })
    }
}
