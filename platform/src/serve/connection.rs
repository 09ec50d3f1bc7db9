//! One HTTP connection from its acceptance to its end.
//!
//! A connection on which no request is running is only kept for a bounded time; that alone stops
//! clients that connect and say nothing, or send a request's head byte by byte.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::stall::WriteTimeout;
use super::{Limits, PeerAddr, Slot};
use crate::{Shutdown, TaskGroup, tls};

/// How long a connection without a running request lives once it is asked to end: enough for an
/// HTTP/2 client to answer a GOAWAY.
const HANG_UP_GRACE: Duration = Duration::from_secs(1);

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
    pub(super) _slot: Slot,
}

impl Connection {
    pub(super) async fn run(self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(peer = %self.peer, %error, "connection ended early");
            return;
        }
        let limits = &self.shared.limits;
        let stream = WriteTimeout::new(stream, limits.write_timeout);
        let Some(tls) = &self.shared.tls else {
            return self.serve(stream).await;
        };
        let handshake = tokio::time::timeout(limits.tls_handshake_timeout, tls.accept(stream));
        let secured = tokio::select! {
            biased; // Nothing is lost with a client that has asked nothing.
            () = self.shutdown.requested() => return,
            secured = handshake => secured,
        };
        match secured {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => tracing::debug!(peer = %self.peer, %error, "TLS handshake refused"),
            Err(_) => tracing::debug!(peer = %self.peer, "TLS handshake timed out"),
        }
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let activity = Arc::new(Activity::new());
        let service = service_fn(|mut request: Request<Incoming>| {
            let running = Running::begin(&activity);
            request.extensions_mut().insert(PeerAddr(self.peer));
            let app = self.shared.app.clone();
            async move {
                let response = app.oneshot(request).await?;
                Ok::<_, Infallible>(response.map(|body| Answer {
                    body,
                    _running: running,
                }))
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
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let cut = self.cut.clone();
        let stream = async move {
            // A stream does not end with its connection's future.
            cut.run_until_cancelled(stream).await;
        };
        drop(self.tasks.spawn("http stream", stream));
    }
}

/// Whether requests are running on a connection, and since when not.
struct Activity {
    opened_at: Instant,
    running: AtomicUsize,
    /// When the last request ended, in milliseconds after `opened_at`, rounded up; 0 before.
    ended_after_ms: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            opened_at: Instant::now(),
            running: AtomicUsize::new(0),
            ended_after_ms: AtomicU64::new(0),
        }
    }

    /// Until when the connection may stay as it is. While a request runs that is never reached.
    fn quiet_until(&self, limits: &Limits, asked_to_end_at: Option<Instant>) -> Instant {
        let patience = if asked_to_end_at.is_some() {
            HANG_UP_GRACE
        } else {
            limits.idle_timeout
        };
        if self.running.load(Ordering::Acquire) > 0 {
            return Instant::now() + patience;
        }
        let ended_after = Duration::from_millis(self.ended_after_ms.load(Ordering::Acquire));
        let quiet_since = self.opened_at + ended_after;
        match asked_to_end_at {
            Some(asked_at) => quiet_since.max(asked_at) + patience,
            None if ended_after.is_zero() => self.opened_at + limits.header_read_timeout,
            None => quiet_since + patience,
        }
    }
}

/// One running request; it ends when its answer is written or given up.
struct Running(Arc<Activity>);

impl Running {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(activity))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let open_for = self.0.opened_at.elapsed().as_millis();
        let ended_after = u64::try_from(open_for)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        self.0.ended_after_ms.store(ended_after, Ordering::Release);
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An answer's body, with its request counted as running until it is sent.
struct Answer {
    body: Body,
    _running: Running,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
