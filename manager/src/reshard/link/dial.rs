//! Opens a socket to a shard, under TLS where that is wanted. Speaks no further than SSLRequest.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use platform::tls::client::Connector;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use wire::frontend::encode;
use wire::startup::{ENCRYPTION_ACCEPTED, ENCRYPTION_REFUSED};

use super::Fault;

/// A shard that went away without a word is noticed within a quarter of a minute.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(5))
    .with_interval(Duration::from_secs(2))
    .with_retries(3);
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(15);

/// A socket to a shard.
#[derive(Debug)]
pub(super) enum Socket {
    /// In clear.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects. It has no time-out of its own.
pub(super) async fn dial(tls: Option<&Connector>, host: &str, port: u16) -> Result<Socket, Fault> {
    let stream = connect(host, port).await?;
    let Some(tls) = tls else {
        return Ok(Socket::Plain(stream));
    };
    match encrypt(tls, host, stream).await {
        // As libpq does: in clear, on a connection of its own.
        Err(Fault::Tls(reason)) if !tls.is_required() => {
            tracing::debug!(host, port, reason, "no TLS, going on in clear");
            Ok(Socket::Plain(connect(host, port).await?))
        }
        encrypted => encrypted,
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, Fault> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_LIMIT))?;
    Ok(stream)
}

async fn encrypt(tls: &Connector, host: &str, mut stream: TcpStream) -> Result<Socket, Fault> {
    let mut request = BytesMut::new();
    encode::ssl_request(&mut request);
    stream.write_all_buf(&mut request).await?;
    // One byte and no more: what follows is the handshake's (CVE-2021-23222).
    match stream.read_u8().await? {
        ENCRYPTION_ACCEPTED => match tls.connect(host, stream).await {
            Ok(stream) => Ok(Socket::Tls(Box::new(stream))),
            Err(error) => Err(Fault::Tls(error.to_string())),
        },
        ENCRYPTION_REFUSED if tls.is_required() => Err(Fault::Unsupported(
            "the server offers no TLS and shards_tls.sslmode requires it",
        )),
        ENCRYPTION_REFUSED => Ok(Socket::Plain(stream)),
        _ => Err(Fault::Protocol(
            "the answer to SSLRequest is neither S nor N".to_owned(),
        )),
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => {
                let mut stream = Pin::new(stream.as_mut());
                // Records that were written may still be here; their answer would never come.
                if let Poll::Ready(Err(error)) = stream.as_mut().poll_flush(context) {
                    return Poll::Ready(Err(error));
                }
                stream.poll_read(context, buffer)
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}
