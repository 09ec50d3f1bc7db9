//! One HTTP connection from its acceptance to its end.
//!
//! A connection on which no request is running is only kept for a bounded time; that alone stops
//! clients that connect and say nothing, or send a request's head byte by byte.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::activity::{Activity, Running};
use super::answer::{self, Answer};
use super::stall::WriteTimeout;
use super::{Held, Limits, PeerAddr};
use crate::{Shutdown, TaskGroup, headers, tls};

/// HTTP/2 clients are asked for a sign of life this often, and cut when none comes.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What all connections of a listener have in common.
pub(super) struct Shared {
    pub(super) app: Router,
    pub(super) tls: Option<tls::Acceptor>,
    pub(super) limits: Limits,
    pub(super) tasks: TaskGroup,
    /// Ends connections at once, at the drain deadline.
    pub(super) cut: CancellationToken,
}

pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: SocketAddr,
    pub(super) shutdown: Shutdown,
    /// Given back when the connection has ended.
    pub(super) _held: Held,
}

impl Connection {
    pub(super) async fn run(self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(peer = %self.peer, %error, "connection ended early");
            return;
        }
        let limits = &self.shared.limits;
        let stream = WriteTimeout::new(stream, limits.write_timeout);
        let is_write_blocked = stream.blocked_flag();
        let Some(tls) = &self.shared.tls else {
            return self.serve(stream, is_write_blocked).await;
        };
        let handshake = tokio::time::timeout(limits.tls_handshake_timeout, tls.accept(stream));
        let secured = tokio::select! {
            biased; // Nothing is lost with a client that has asked nothing.
            () = self.shutdown.requested() => return,
            secured = handshake => secured,
        };
        match secured {
            Ok(Ok(stream)) => self.serve(stream, is_write_blocked).await,
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "TLS handshake refused"),
            Err(_) => tracing::debug!(peer = %self.peer, "TLS handshake timed out"),
        }
    }

    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        is_write_blocked: Arc<AtomicBool>,
    ) {
        let activity = Arc::new(Activity::new(is_write_blocked));
        let is_secured = self.shared.tls.is_some();
        let service = service_fn(|mut request: Request<Incoming>| {
            let running = Running::begin(&activity);
            request.extensions_mut().insert(PeerAddr(self.peer));
            let app = self.shared.app.clone();
            async move {
                let mut response = app.oneshot(request).await?;
                if is_secured {
                    headers::stay_secured(response.headers_mut());
                }
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, running)))
            }
        });
        let builder = self.builder();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        self.drive(pin!(connection), &activity).await;
    }

    fn builder(&self) -> auto::Builder<Streams> {
        let Shared {
            limits, tasks, cut, ..
        } = &*self.shared;
        let streams = Streams {
            tasks: tasks.clone(),
            cut: cut.clone(),
            write_timeout: limits.write_timeout,
        };
        let mut builder = auto::Builder::new(streams);
        // The time for reading heads is kept by `drive`: hyper's own would also run, and close
        // the connection, between the requests of a connection that is kept alive.
        builder
            .http1()
            .header_read_timeout(None)
            .max_buf_size(limits.max_header_bytes.max(8 << 10));
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX));
        builder
    }

    async fn drive<C>(&self, mut connection: Pin<&mut C>, activity: &Activity)
    where
        C: GracefulConnection,
        C::Error: std::fmt::Display,
    {
        let mut asked_to_end_at = None;
        loop {
            let quiet_until = activity.quiet_until(&self.shared.limits, asked_to_end_at);
            tokio::select! {
                biased; // The deadline outranks work, and work outranks hanging up.
                () = self.shared.cut.cancelled() => return,
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %self.peer, %error, "connection ended early");
                    }
                    return;
                }
                () = self.shutdown.requested(), if asked_to_end_at.is_none() => {}
                () = tokio::time::sleep_until(quiet_until) => {
                    if activity.quiet_until(&self.shared.limits, asked_to_end_at) > Instant::now() {
                        continue;
                    }
                    if asked_to_end_at.is_some() {
                        return;
                    }
                }
            }
            connection.as_mut().graceful_shutdown();
            asked_to_end_at = Some(Instant::now());
        }
    }
}

/// Runs HTTP/2's streams in the group that shutdown waits for.
#[derive(Clone)]
struct Streams {
    tasks: TaskGroup,
    cut: CancellationToken,
    write_timeout: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let cut = self.cut.clone();
        let stream = answer::drive(stream, self.write_timeout);
        let stream = async move {
            // A stream does not end with its connection's future.
            cut.run_until_cancelled(stream).await;
        };
        drop(self.tasks.spawn("http stream", stream));
    }
}
