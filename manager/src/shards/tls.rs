//! TLS to the shards in the form that tokio-postgres asks for. Where TLS is preferred, a handshake
//! that goes wrong is an error here: tokio-postgres goes on in clear only when a shard has no TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use platform::tls::client::Connector;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::client;

/// How shards are connected to.
#[derive(Debug, Clone, Default)]
pub struct Tls(Option<Connector>);

impl Tls {
    /// In clear, unless it is given how to encrypt.
    #[must_use]
    pub fn new(connector: Option<Connector>) -> Self {
        Self(connector)
    }

    /// What performs the handshakes; none where connections are in clear.
    pub(crate) fn connector(&self) -> Option<&Connector> {
        self.0.as_ref()
    }

    /// What tokio-postgres has to ask a shard for.
    pub(super) fn mode(&self) -> SslMode {
        match &self.0 {
            None => SslMode::Disable,
            Some(connector) if connector.is_required() => SslMode::Require,
            Some(_) => SslMode::Prefer,
        }
    }
}

impl<S> MakeTlsConnect<S> for Tls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type TlsConnect = ToHost;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<ToHost> {
        Ok(ToHost {
            connector: self.0.clone(),
            host: host.to_owned(),
        })
    }
}

/// A handshake with one shard that is still to come.
#[derive(Debug)]
pub struct ToHost {
    connector: Option<Connector>,
    host: String,
}

impl<S> TlsConnect<S> for ToHost
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let Self { connector, host } = self;
            let connector = connector.ok_or(io::ErrorKind::Unsupported)?;
            connector.connect(&host, stream).await.map(Encrypted)
        })
    }
}

/// A shard's socket under TLS.
#[derive(Debug)]
pub struct Encrypted<S>(client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(context)
    }
}
