//! Serving an axum router (and so tonic's services) over HTTP/1 and HTTP/2, in clear or inside
//! TLS: bounded in connections and in every wait, and drained at the end.
//!
//! One connection's life is in `connection`; what is served is the caller's.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::{Shutdown, TaskGroup, request_id, tls};

mod activity;
mod answer;
mod connection;
mod guard;
pub(crate) mod places;
mod stall;

use places::{Place, Places};

/// The client's address, found among a request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// What one listener spends on its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Those of one address; further ones are closed at once.
    pub max_connections_per_address: usize,
    /// Requests at a time on one HTTP/2 connection.
    pub max_streams: u32,
    /// The length of a request's head.
    pub max_header_bytes: usize,
    /// From accepting a connection until TLS is set up.
    pub tls_handshake_timeout: Duration,
    /// From then until the head of the first request is read.
    pub header_read_timeout: Duration,
    /// From the end of a request until the head of the next one is read.
    pub idle_timeout: Duration,
    /// From a request's head until the head of its answer, so that reading the request's body is
    /// included and streaming an answer is not.
    pub request_timeout: Duration,
    /// How long a client may take no byte of an answer. It costs an HTTP/2 client the stream, and
    /// the connection if it is the connection that stands still.
    pub write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            // A load balancer is one address.
            max_connections_per_address: 2_048,
            max_streams: 256,
            max_header_bytes: 64 << 10,
            tls_handshake_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Clocks end long after a year from now, but not after any time.
    fn within_a_year(self) -> Self {
        const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        Self {
            tls_handshake_timeout: self.tls_handshake_timeout.min(YEAR),
            header_read_timeout: self.header_read_timeout.min(YEAR),
            idle_timeout: self.idle_timeout.min(YEAR),
            request_timeout: self.request_timeout.min(YEAR),
            write_timeout: self.write_timeout.min(YEAR),
            ..self
        }
    }
}

/// What can prevent listening.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address does not resolve, is in use, or is not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address as it was given.
        address: Address,
        /// Why.
        source: io::Error,
    },
}

/// Where to listen: `"host:port"` or `(host, port)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<&String> for Address {
    fn from(text: &String) -> Self {
        Self(text.clone())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

impl From<(&str, u16)> for Address {
    fn from((host, port): (&str, u16)) -> Self {
        // A bare IPv6 address needs brackets before a port.
        if host.contains(':') && !host.starts_with('[') {
            Self(format!("[{host}]:{port}"))
        } else {
            Self(format!("{host}:{port}"))
        }
    }
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local_addr: SocketAddr,
    tls: Option<tls::Acceptor>,
}

impl Listener {
    /// Binds an address; clients must speak TLS if an acceptor is given.
    ///
    /// # Errors
    /// Names the address.
    pub async fn bind(
        address: impl Into<Address>,
        tls: Option<tls::Acceptor>,
    ) -> Result<Self, Error> {
        let address = address.into();
        let bound = async {
            let socket = TcpListener::bind(&address.0).await?;
            let local_addr = socket.local_addr()?;
            Ok((socket, local_addr))
        };
        match bound.await {
            Ok((socket, local_addr)) => Ok(Self {
                socket,
                local_addr,
                tls,
            }),
            Err(source) => Err(Error::Bind { address, source }),
        }
    }

    /// The address that is bound, with the port that the system chose if 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Whether clients must speak TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

/// Serves `app` until the shutdown is requested; then accepts no more, lets running requests
/// finish, and cuts what is left when `drain_deadline` has passed.
///
/// Each request gets an id ([`request_id`]), the client's address ([`PeerAddr`]), a time-out and
/// an answer even if its handler panics. To answer probes while it drains, the program drains
/// [`crate::probe::Readiness`] some time before it requests this shutdown.
pub async fn serve(
    listener: Listener,
    app: Router,
    limits: Limits,
    tasks: &TaskGroup,
    shutdown: Shutdown,
    drain_deadline: Duration,
) {
    let Listener {
        socket,
        local_addr,
        tls,
    } = listener;
    let limits = limits.within_a_year();
    let app = app
        .layer(from_fn_with_state(limits.request_timeout, guard::bound))
        .layer(from_fn(request_id::assign));
    let slots = Slots::new(limits.max_connections);
    let places = Places::new(limits.max_connections_per_address);
    let cut = CancellationToken::new();
    let shared = Arc::new(connection::Shared {
        app,
        tls,
        limits,
        tasks: tasks.clone(),
        cut: cut.clone(),
    });
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    loop {
        // The slot is taken before the connection: those beyond the limit stay in the kernel's
        // queue instead of being accepted and left waiting.
        let accepted = tokio::select! {
            biased; // A requested shutdown is not delayed by clients that keep coming.
            () = shutdown.requested() => break,
            accepted = accept(&socket, &slots, &mut backoff) => accepted,
        };
        let (stream, peer, slot) = accepted;
        let Some(place) = places.take(peer.ip()) else {
            tracing::debug!(%peer, "connection closed: its address has too many");
            continue;
        };
        let connection = connection::Connection {
            shared: Arc::clone(&shared),
            peer,
            shutdown: shutdown.clone(),
            _held: (slot, place),
        };
        drop(tasks.spawn("http connection", connection.run(stream)));
    }
    drop(socket);
    if tokio::time::timeout(drain_deadline, slots.all_free())
        .await
        .is_err()
    {
        let count = slots.taken();
        tracing::warn!(address = %local_addr, count, "connections cut at the drain deadline");
        cut.cancel();
        slots.all_free().await;
    }
}

/// The next connection with its slot. Errors of the listening socket do not end the loop: most
/// concern one client, the others (no file descriptors, no memory) pass.
async fn accept(
    socket: &TcpListener,
    slots: &Slots,
    backoff: &mut Backoff,
) -> (TcpStream, SocketAddr, Slot) {
    let slot = slots.take().await;
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                backoff.reset();
                return (stream, peer, slot);
            }
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, attempt = backoff.attempt(), "connection not accepted");
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Held by a connection for as long as it is open.
type Slot = tokio::sync::OwnedSemaphorePermit;

/// What a connection holds.
type Held = (Slot, Place);

/// A bounded number of slots for connections.
struct Slots {
    free: Arc<Semaphore>,
    count: u32,
}

impl Slots {
    fn new(count: usize) -> Self {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let count = u32::try_from(count).map_or(most, |count| count.clamp(1, most));
        let free = Arc::new(Semaphore::new(usize::try_from(count).unwrap_or(usize::MAX)));
        Self { free, count }
    }

    async fn take(&self) -> Slot {
        let slot = Arc::clone(&self.free).acquire_owned().await;
        slot.expect("the semaphore of slots is never closed")
    }

    async fn all_free(&self) {
        let all = self.free.acquire_many(self.count).await;
        drop(all.expect("the semaphore of slots is never closed"));
    }

    fn taken(&self) -> usize {
        usize::try_from(self.count).unwrap_or(usize::MAX) - self.free.available_permits()
    }
}

#[cfg(test)]
mod tests;
