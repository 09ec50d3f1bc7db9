//! TLS of a client's connection: begun directly or after SSLRequest, and what its certificate
//! says. Knows nothing of what is spoken inside.

use std::io;

use platform::tls::Acceptor;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use wire::startup::{ENCRYPTION_ACCEPTED, ENCRYPTION_REFUSED};

use crate::stream::Stream;

/// The type of a TLS record that holds a handshake; no start-up packet begins with it, since it
/// would be hundreds of megabytes long.
const HANDSHAKE_RECORD: u8 = 0x16;

/// The protocol that a client must ask for when it begins with TLS (`sslnegotiation=direct`), so
/// that it cannot be lured here from another protocol's port.
const PROTOCOL: &[u8] = b"postgresql";

/// Looks whether a fresh connection begins with TLS at once.
///
/// # Errors
/// When it is gone, or its handshake fails.
pub(super) async fn begin(stream: TcpStream, tls: Option<&Acceptor>) -> io::Result<Stream> {
    let Some(acceptor) = tls else {
        return Ok(Stream::Plain(stream));
    };
    let mut first = [0_u8; 1];
    if stream.peek(&mut first).await? == 0 || first != [HANDSHAKE_RECORD] {
        return Ok(Stream::Plain(stream));
    }
    let stream = acceptor.accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() != Some(PROTOCOL) {
        let text = "TLS was begun directly and without asking for the protocol postgresql";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(Stream::tls(stream))
}

/// Answers SSLRequest: with a handshake where that is possible.
///
/// # Errors
/// When the connection is gone, or its handshake fails.
pub(super) async fn answer(stream: Stream, tls: Option<&Acceptor>) -> io::Result<Stream> {
    match (stream, tls) {
        (Stream::Plain(mut plain), Some(acceptor)) => {
            plain.write_all(&[ENCRYPTION_ACCEPTED]).await?;
            Ok(Stream::tls(acceptor.accept(plain).await?))
        }
        (stream, _) => refuse(stream).await,
    }
}

/// Declines encryption; the client goes on without it, or leaves.
///
/// # Errors
/// When the connection is gone.
pub(super) async fn refuse(mut stream: Stream) -> io::Result<Stream> {
    stream.write_all(&[ENCRYPTION_REFUSED]).await?;
    stream.flush().await?;
    Ok(stream)
}

/// The common name in the certificate that the client has shown and has the key of.
pub(super) fn common_name(stream: &Stream) -> Option<String> {
    match stream {
        Stream::Plain(_) => None,
        Stream::Tls(stream) => {
            let leaf = stream.get_ref().1.peer_certificates()?.first()?;
            platform::tls::subject::common_name(leaf)
        }
    }
}
