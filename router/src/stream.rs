//! A socket in clear or under TLS, of a client or of a shard. In clear it costs one match a call.

use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, BytesMut};
use futures_util::FutureExt as _;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// A socket.
#[derive(Debug)]
pub enum Stream {
    /// In clear.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What [`Stream::transfer`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// This much was written.
    Out(usize),
    /// This much was read; nothing at the end of the stream.
    In(usize),
}

impl Stream {
    /// Under TLS, on either side of it.
    pub fn tls(stream: impl Into<TlsStream<TcpStream>>) -> Self {
        Self::Tls(Box::new(stream.into()))
    }

    /// The socket itself, for its addresses.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Whether anything, an end included, has come that was not read. Costs no system call when
    /// nothing has.
    pub fn has_news(&mut self) -> bool {
        let mut byte = [0_u8; 1];
        // Nobody waits for an idle socket.
        let mut context = Context::from_waker(Waker::noop());
        match self {
            // The reactor has noted readiness already; only then is the socket asked.
            Self::Plain(stream) => match stream.poll_read_ready(&mut context) {
                Poll::Pending => false,
                Poll::Ready(_) => {
                    let read = stream.try_read(&mut byte);
                    !matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
                }
            },
            // A record that carries no data, such as a ticket, is no news.
            Self::Tls(stream) => stream.read(&mut byte).now_or_never().is_some(),
        }
    }

    /// Has the present runtime listen to the socket; nothing may be under way on it.
    ///
    /// # Errors
    /// When there is no file descriptor left, and under TLS, whose state is bound to its socket.
    pub fn settle(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => {
                // A runtime lets a socket go only with its value: so this one is doubled.
                let doubled = SockRef::from(&*stream).try_clone()?;
                *stream = TcpStream::from_std(doubled.into())?;
                Ok(())
            }
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether the peer will send no more, however much of what it sent is still to be read. Costs
    /// no system call.
    pub fn is_closed_by_peer(&self) -> bool {
        let socket = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        let ready = socket.ready(Interest::READABLE).now_or_never();
        matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
    }

    /// Writes what the socket takes without being waited for; how much that was. Under TLS it is
    /// nothing.
    ///
    /// # Errors
    /// What the socket says.
    pub fn write_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => match stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                written => written,
            },
            Self::Tls(_) => Ok(0),
        }
    }

    /// Writes from `outbound` if there is something; while that cannot go on, or there is nothing,
    /// reads into `inbound`. Cancel-safe.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn transfer(
        &mut self,
        outbound: &mut BytesMut,
        inbound: &mut BytesMut,
    ) -> io::Result<Moved> {
        std::future::poll_fn(|context| {
            if !outbound.is_empty()
                && let Poll::Ready(written) = Pin::new(&mut *self).poll_write(context, outbound)
            {
                let written = written?;
                outbound.advance(written);
                return Poll::Ready(Ok(Moved::Out(written)));
            }
            let read = pin!(self.read_buf(inbound)).poll(context);
            read.map_ok(Moved::In)
        })
        .await
    }
}

impl AsyncRead for Stream {
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

impl AsyncWrite for Stream {
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
