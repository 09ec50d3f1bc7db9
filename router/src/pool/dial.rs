//! Opens a connection to a PostgreSQL server, under TLS where that is wanted. Speaks no further
//! than SSLRequest.

use std::time::Duration;

use bytes::BytesMut;
use platform::tls::client::Connector;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wire::frontend::encode;
use wire::startup::{ENCRYPTION_ACCEPTED, ENCRYPTION_REFUSED};

use super::connect::ConnectError;
use crate::stream::Stream;

/// How a shard's machine that went away without a word is noticed while a session waits for an
/// answer of it: within about a minute and a half.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// How servers are connected to: login and cancel requests alike.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    /// None connects in clear.
    tls: Option<Connector>,
}

impl Dialer {
    /// A dialer that connects in clear unless it is given how to encrypt.
    #[must_use]
    pub fn new(tls: Option<Connector>) -> Self {
        Self { tls }
    }

    /// Connects. It has no time-out of its own.
    ///
    /// # Errors
    /// When nobody listens, or the server and the router do not agree about TLS.
    pub async fn dial(&self, host: &str, port: u16) -> Result<Stream, ConnectError> {
        let stream = connect(host, port).await?;
        let Some(tls) = &self.tls else {
            return Ok(Stream::Plain(stream));
        };
        match encrypt(tls, host, stream).await {
            // As libpq does: in clear, on a connection of its own.
            Err(ConnectError::Tls(reason)) if !tls.is_required() => {
                tracing::debug!(host, port, reason, "no TLS, going on in clear");
                Ok(Stream::Plain(connect(host, port).await?))
            }
            encrypted => encrypted,
        }
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
    Ok(stream)
}

async fn encrypt(
    tls: &Connector,
    host: &str,
    mut stream: TcpStream,
) -> Result<Stream, ConnectError> {
    let mut request = BytesMut::new();
    encode::ssl_request(&mut request);
    stream.write_all_buf(&mut request).await?;
    // One byte and no more: what follows is the handshake's (CVE-2021-23222).
    match stream.read_u8().await? {
        ENCRYPTION_ACCEPTED => match tls.connect(host, stream).await {
            Ok(stream) => Ok(Stream::tls(stream)),
            Err(error) => Err(ConnectError::Tls(error.to_string())),
        },
        ENCRYPTION_REFUSED if tls.is_required() => Err(ConnectError::Unsupported(
            "the server offers no TLS and shards_tls.sslmode requires it",
        )),
        ENCRYPTION_REFUSED => Ok(Stream::Plain(stream)),
        _ => Err(ConnectError::Protocol(
            "the answer to SSLRequest is neither S nor N".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::TaskGroup;
    use platform::tls::client::{ClientConfig, Mode};
    use tokio::net::TcpListener;

    /// A server that answers each connection's SSLRequest with these bytes, then `Z` once it is
    /// sent anything more. Whoever dials may not take a byte after the answer for its own.
    async fn server(answer: &'static [u8]) -> (u16, TaskGroup) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tasks = TaskGroup::new();
        drop(tasks.spawn("server", async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0_u8; 8];
                if stream.read_exact(&mut request).await.is_ok() && request[4..] != [0; 4] {
                    stream.write_all(answer).await.unwrap();
                    let _sent = stream.read_u8().await;
                    let _written = stream.write_all(b"Z").await;
                }
            }
        }));
        (port, tasks)
    }

    fn dialer(mode: Mode) -> Dialer {
        let config = ClientConfig {
            mode,
            root_cert_path: None,
            identity: None,
        };
        Dialer::new(Connector::load(&config).unwrap())
    }

    #[tokio::test]
    async fn a_server_without_tls_is_left_only_where_tls_is_required() {
        let (port, _tasks) = server(b"N").await;
        let preferring = dialer(Mode::Prefer).dial("127.0.0.1", port).await;
        assert!(matches!(preferring, Ok(Stream::Plain(_))), "{preferring:?}");
        let requiring = dialer(Mode::Require).dial("127.0.0.1", port).await;
        let error = requiring.unwrap_err().to_string();
        assert!(error.contains("offers no TLS"), "{error}");
    }

    #[tokio::test]
    async fn a_handshake_that_goes_wrong_ends_in_clear_only_where_tls_is_preferred() {
        let (port, _tasks) = server(b"Sthis is no TLS").await;
        let preferring = dialer(Mode::Prefer).dial("127.0.0.1", port).await;
        assert!(matches!(preferring, Ok(Stream::Plain(_))), "{preferring:?}");
        let requiring = dialer(Mode::Require).dial("127.0.0.1", port).await;
        assert!(
            matches!(requiring, Err(ConnectError::Tls(_))),
            "{requiring:?}"
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_a_violation() {
        let (port, _tasks) = server(b"E").await;
        let dialed = dialer(Mode::Prefer).dial("127.0.0.1", port).await;
        assert!(
            matches!(dialed, Err(ConnectError::Protocol(_))),
            "{dialed:?}"
        );
    }
}
