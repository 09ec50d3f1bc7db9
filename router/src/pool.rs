//! Backends of the shards: one bounded bb8 pool for each server, connected over the raw wire.
//!
//! A backend is lent to one session for one transaction. Whoever borrows it must say that it is
//! idle and reset before it goes back (I6); otherwise it is closed.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use platform::trace::{self, Role};
use topology::{Endpoint, Shard, ShardId};

use crate::threads;

mod backend;
mod connect;
mod dial;
mod gate;
mod heir;
mod lane;
mod lease;
mod manager;
pub mod metrics;
mod operate;
mod presence;
mod roster;
pub mod settings;
mod shelf;
mod succession;
pub mod traced;

pub use backend::{Backend, CancelTarget, Held, Traffic};
pub use connect::{ConnectError, Credentials, would_be_misread};
pub use dial::Dialer;
pub use gate::NotPaused;
pub use lane::MAX_REQUEST_BYTES;
pub use lane::pace::Pace;
pub use lane::{Baton, Place, Request, Turn, watch};
pub use lease::Lease;
pub use operate::Standing;
pub use presence::Presence;
pub use roster::Listed;
pub use succession::Succession;

use gate::{Gate, Turned};
use lane::Lanes;
use manager::Connector;
use settings::Settings;
use shelf::{Kept, Shelf};

/// Enough for a new backend of a server that is well.
const AT_ONCE: Duration = Duration::from_millis(500);

/// What every pool of this router shares.
#[derive(Debug, Clone)]
pub struct Config {
    /// Backends of one pool.
    pub max_connections: u32,
    /// A backend is closed once it is this old and idle.
    pub connection_ttl: Duration,
    /// Connecting, login included.
    pub connect_timeout: Duration,
    /// Waiting for a free backend.
    pub checkout_timeout: Duration,
    /// Waiting for another primary where one cannot be reached.
    pub failover_wait: Duration,
    /// Sessions that may wait for a backend of one pool at a time.
    pub max_waiting: u32,
    /// Prepared statements kept on one backend.
    pub max_prepared_statements: u32,
    /// User and password.
    pub credentials: Credentials,
    /// In clear or under TLS.
    pub dialer: Dialer,
    /// Whose backends they are.
    pub presence: Presence,
}

/// Why there is no backend.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The shard could not be connected to.
    #[error("shard {shard} is not reachable: {reason}")]
    Unreachable {
        /// The shard.
        shard: ShardId,
        /// What the network or the shard said; no secret in it.
        reason: String,
    },
    /// All backends were in use for the whole waiting time.
    #[error("no backend of shard {shard} was free within {waited:?}")]
    Exhausted {
        /// The shard.
        shard: ShardId,
        /// How long was waited.
        waited: Duration,
    },
    /// As many wait as may.
    #[error("{waiting} clients wait for a backend of shard {shard} already")]
    Crowded {
        /// The shard.
        shard: ShardId,
        /// The limit.
        waiting: u32,
    },
    /// The server left the topology while a backend of it was waited for.
    #[error("shard {shard} left its server while a backend was waited for")]
    Retired {
        /// The shard.
        shard: ShardId,
    },
    /// An operator has paused the shard's pool.
    #[error("shard {shard} is paused and was not resumed within {waited:?}")]
    Paused {
        /// The shard.
        shard: ShardId,
        /// How long was waited.
        waited: Duration,
    },
}

/// The backends of one server.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    shard: ShardId,
    endpoint: Endpoint,
    config: Config,
    metrics: metrics::OfShard,
    connector: Connector,
    gate: Gate,
    shelf: Shelf,
    lanes: Lanes,
    backends: bb8::Pool<Connector>,
    succession: Succession,
    /// Set once its connections were cut: it lends nothing any more.
    cut: AtomicBool,
}

impl Pool {
    /// Who this router is to the shard.
    #[must_use]
    pub fn presence(&self) -> &Presence {
        &self.shared.config.presence
    }

    /// An empty pool of a shard's primary; connects when it is first asked.
    #[must_use]
    pub fn new(shard: &Shard, config: Config, metrics: &metrics::Metrics) -> Self {
        let endpoint = shard.primary_endpoint.clone();
        let succession = Succession::of(shard);
        let connector = Connector::of_primary(&endpoint, &succession, &config);
        let of = (shard.id.clone(), endpoint, succession);
        Self::of(of, config, connector, metrics)
    }

    /// As [`Self::new`], of backends on which transactions only read.
    #[must_use]
    pub fn read_only(
        shard: ShardId,
        endpoint: Endpoint,
        config: Config,
        metrics: &metrics::Metrics,
    ) -> Self {
        let connector = Connector::read_only(&endpoint, &config);
        let of = (shard, endpoint, Succession::default());
        Self::of(of, config, connector, metrics)
    }

    fn of(
        (shard, endpoint, succession): (ShardId, Endpoint, Succession),
        config: Config,
        connector: Connector,
        metrics: &metrics::Metrics,
    ) -> Self {
        let backends = bb8::Pool::builder()
            .max_size(config.max_connections)
            .test_on_check_out(false)
            .max_lifetime(config.connection_ttl)
            .idle_timeout(config.connection_ttl)
            .connection_timeout(config.checkout_timeout)
            .retry_connection(false)
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .build_unchecked(connector.clone());
        let (all, metrics) = (metrics, metrics.of_shard(&shard));
        let gate = Gate::new(config.max_connections, config.max_waiting);
        let shared = Shared {
            shard,
            endpoint,
            config,
            metrics,
            connector,
            gate,
            shelf: Shelf::default(),
            lanes: Lanes::default(),
            backends,
            succession,
            cut: AtomicBool::new(false),
        };
        let shared = Arc::new(shared);
        all.track(&shared);
        Self { shared }
    }

    /// The server behind the pool.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// The shard that the server belongs to.
    #[must_use]
    pub fn shard(&self) -> &ShardId {
        &self.shared.shard
    }

    /// Whether it is the pool of this server of this shard.
    #[must_use]
    pub fn is_of(&self, shard: &ShardId, endpoint: &Endpoint) -> bool {
        self.shared.shard == *shard && self.shared.endpoint == *endpoint
    }

    /// How many backends there are, and how many of them are idle.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        let state = self.shared.backends.state();
        let idle = state.idle_connections + self.shared.shelf.len();
        (state.connections, idle)
    }

    /// Borrows a backend: an idle one, or a new one, or the next that is given back. Whoever asks
    /// first is served first.
    ///
    /// # Errors
    /// [`Error::Unreachable`] as soon as connecting fails while no backend lives, and
    /// [`Error::Exhausted`] or [`Error::Paused`] after the waiting time; [`Error::Crowded`] at
    /// once; [`Error::Retired`] when the pool is.
    pub async fn checkout_once(&self) -> Result<Lease, Error> {
        let shared = &self.shared;
        if self.is_barred() {
            let (shard, reason) = (
                shared.shard.clone(),
                "a replica is being promoted".to_owned(),
            );
            return Err(Error::Unreachable { shard, reason });
        }
        let lease = self.borrow_traced().await?;
        // Should it have been cut meanwhile, nothing is sent to its server any more.
        if self.is_cut() {
            let shard = shared.shard.clone();
            return Err(Error::Retired { shard });
        }
        Ok(lease)
    }

    async fn borrow_traced(&self) -> Result<Lease, Error> {
        let span = trace::child("pool wait", Role::Internal);
        let Some(mut span) = span else {
            return self.borrow().await;
        };
        span.set("sharding.shard_id", self.shared.shard.to_string());
        let borrowed = Box::pin(self.borrow()).await;
        if borrowed.is_err() {
            span.fail("no_backend");
        }
        borrowed
    }

    async fn borrow(&self) -> Result<Lease, Error> {
        let shared = &self.shared;
        let entered = shared
            .gate
            .enter(shared.config.checkout_timeout, &shared.metrics);
        let pass = entered.await.map_err(|turned| self.turned(turned))?;
        while let Some(backend) = shared.shelf.take() {
            if let Some(backend) = in_order(backend) {
                return Ok(Lease::new(backend, self.clone(), pass));
            }
        }
        // It is seldom met and large.
        let backend = Box::pin(self.seek_backend()).await?;
        Ok(Lease::new(backend, self.clone(), pass))
    }

    /// A backend of bb8: an idle one, or a new one, or the next that is given back.
    async fn seek_backend(&self) -> Result<Kept, Error> {
        let shelf = &self.shared.shelf;
        let _seeker = shelf.seek();
        loop {
            let backend = match shelf.take() {
                Some(backend) => backend,
                None => self.next_backend().await?,
            };
            if let Some(backend) = in_order(backend) {
                return Ok(backend);
            }
        }
    }

    /// A place behind others on a backend that somebody has; none where there is no room, or
    /// nothing is to be sent.
    #[must_use]
    pub fn join(&self, request: &Request<'_>) -> Option<Place> {
        let shared = &self.shared;
        if threads::present() == 0 || self.is_cut() || shared.gate.is_closed() {
            return None;
        }
        shared.lanes.join(request, shared.gate.is_busy())
    }

    /// Lets others join on a backend with these settings and statements; none where nobody else
    /// asks the pool, or there are lanes enough.
    #[must_use]
    pub fn open_lane(&self, settings: &Arc<Settings>, held: &Arc<Held>) -> Option<Baton> {
        let shared = &self.shared;
        let is_watched = threads::present() != 0;
        if !is_watched || !shared.gate.is_shared() || shared.gate.is_closed() {
            return None;
        }
        shared.lanes.open(settings, held)
    }

    /// Takes a backend back, to be lent again at once if it may be.
    fn take_back(&self, backend: Kept) {
        if backend.reusable && !backend.is_outdated() {
            backend.end_loan();
            // Dropped, it goes to bb8.
            drop(self.shared.shelf.put(backend));
        }
    }

    /// Lets bb8 look at the backends that are idle: it closes those that are too old, or have been
    /// idle for too long. To be called from time to time.
    pub fn tidy(&self) {
        drop(self.shared.shelf.clear());
    }

    /// The topology has another server in its place, or none: whoever waits is to ask anew.
    pub fn retire(&self) {
        self.shared.gate.retire();
    }

    /// The counters of its shard.
    #[must_use]
    pub fn metrics(&self) -> &metrics::OfShard {
        &self.shared.metrics
    }

    /// As [`Self::checkout`], for a caller that has another pool to ask: none when all backends are
    /// in use, or no answer comes at once.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn checkout_at_once(&self) -> Result<Option<Lease>, Error> {
        let (connections, idle) = self.size();
        if idle == 0 && connections >= self.shared.config.max_connections {
            return Ok(None);
        }
        match tokio::time::timeout(AT_ONCE, self.checkout_once()).await {
            Ok(Ok(lease)) => Ok(Some(lease)),
            Ok(Err(
                Error::Exhausted { .. }
                | Error::Crowded { .. }
                | Error::Paused { .. }
                | Error::Retired { .. },
            ))
            | Err(_) => Ok(None),
            Ok(Err(error @ Error::Unreachable { .. })) => Err(error),
        }
    }

    fn turned(&self, turned: Turned) -> Error {
        let config = &self.shared.config;
        let (shard, waited) = (self.shared.shard.clone(), config.checkout_timeout);
        match turned {
            Turned::Full => Error::Crowded {
                shard,
                waiting: config.max_waiting,
            },
            Turned::Late if self.shared.gate.is_closed() => Error::Paused { shard, waited },
            Turned::Late => Error::Exhausted { shard, waited },
            Turned::Retired => Error::Retired { shard },
        }
    }

    async fn next_backend(&self) -> Result<Kept, Error> {
        let shared = &self.shared;
        let mut failures = shared.connector.failures();
        let get = shared.backends.get_owned();
        tokio::pin!(get);
        loop {
            tokio::select! {
                // A backend that is there wins over a failure that was noted meanwhile.
                biased;
                got = &mut get => {
                    return got.map_err(|_| self.give_up());
                }
                () = shared.gate.retired() => {
                    return Err(Error::Retired { shard: shared.shard.clone() });
                }
                changed = failures.changed() => {
                    if changed.is_ok() && shared.backends.state().connections == 0 {
                        let reason = failures.borrow_and_update().to_string();
                        return Err(Error::Unreachable { shard: shared.shard.clone(), reason });
                    }
                }
            }
        }
    }

    fn give_up(&self) -> Error {
        let (shard, waited) = (
            self.shared.shard.clone(),
            self.shared.config.checkout_timeout,
        );
        if self.shared.backends.state().connections == 0 {
            let reason = self.shared.connector.failures().borrow().to_string();
            return Error::Unreachable { shard, reason };
        }
        Error::Exhausted { shard, waited }
    }
}

/// A backend that may be lent; one that may not is closed.
fn in_order(mut backend: Kept) -> Option<Kept> {
    if backend.is_stale() || backend.is_outdated() {
        backend.reusable = false;
        return None;
    }
    backend.settle();
    Some(backend)
}
