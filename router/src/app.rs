//! The process: puts the parts together, runs them, and ends them in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Extension;
use platform::access::gate::Gate;
use platform::bearer::{KeySet, Verifier};
use platform::metrics::requests::Requests;
use platform::probe::Readiness;
use platform::rates::{Limiter, Tries};
use platform::serve::{Limits, Listener};
use platform::tls::{Acceptor, Alpn};
use platform::{Shutdown, TaskGroup, telemetry, trace};
use tokio::net::TcpListener;
use topology::access;
use topology::records::Incarnation;
use topology::store::etcd::EtcdStore;
use topology::store::{MeteredStore, Store};
use topology::watch::{Backoff, Follower};

use crate::audit::{Courier, Inbox};
use crate::auth::{self, Users};
use crate::barrier::Barrier;
use crate::cache::Cache;
use crate::config::Config;
use crate::console::Reload;
use crate::core::Core;
use crate::exec::Executor;
use crate::hold::Holding;
use crate::ids::Ids;
use crate::ingress::Doors;
use crate::managers::Managers;
use crate::metrics::Metrics;
use crate::moving::Moving;
use crate::peers::Peers;
use crate::pool::settings::Startups;
use crate::pool::{self, Credentials, Dialer, Presence};
use crate::schema::Schema;
use crate::session::{Forwarder, Front, Lobby, Notifiers, Roll, Statements, cancel};
use crate::threads::Threads;
use crate::twopc::TwoPhase;
use crate::view::Keeper;
use crate::{health, ingress, replica};

mod files;
mod watched;

use files::Files;

/// The version that probes and `/` report.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Between being told to end and taking no more clients, so that a load balancer sees the probe
/// first.
const PROBE_GRACE: Duration = Duration::from_millis(500);

/// Longest time that a request of the HTTP or gRPC front may take until its answer begins.
const MAX_REQUEST: Duration = Duration::from_secs(3600);

/// Runs a router until SIGTERM or SIGINT, then drains it.
///
/// # Errors
/// What keeps it from starting.
pub async fn run(config: Config, path: &Path) -> anyhow::Result<()> {
    let shown = &config.observability;
    let file = shown.log_file.as_deref();
    let log = telemetry::Config::new(&shown.log_level, shown.log_format, file);
    let logging = telemetry::init(&log)?;
    let _unsent = trace::start_if(shown.enable_tracing, "sharding-router", VERSION)
        .context("observability.enable_tracing")?;
    tracing::info!(version = VERSION, config = %path.display(), "starting");
    warn_about(&config);
    let registry = platform::metrics::new_registry("router");
    let reloading = (path.to_owned(), logging);
    // The fronts end first; what they stand on ends once they have drained.
    let (fronts, ground) = (Shutdown::new(), Shutdown::new());
    let files = Files::load(&config, &registry)?;
    let parts = Parts::build(&config, &registry, reloading, (&fronts, &files))?;
    let (serving, tasks) = (TaskGroup::new(), TaskGroup::new());
    let readiness = parts.readiness.clone();
    let sockets = Sockets::bind(&config, parts.tls.as_ref()).await?;
    let threads = Threads::start(config.pgwire.threads, &ground).context("start threads")?;
    sockets.start(&config, &parts, threads, &serving, &fronts);
    let metrics = (&*config.http.host, config.observability.metrics_port);
    let tls = parts.tls.clone();
    let tls = tls.filter(|_| config.observability.metrics_tls);
    let metrics = Listener::bind(metrics, tls).await?;
    let health = platform::probe::health_router(VERSION, readiness.clone());
    let shown = platform::probe::metrics_router(registry).merge(health);
    tasks.spawn(
        "metrics",
        serve_metrics(metrics, shown, tasks.clone(), ground.clone()),
    );
    let hangup = platform::lifecycle::hangup().context("signal handlers")?;
    tasks.spawn("TLS files", files.renewal.run(hangup, ground.clone()));
    parts.start(&tasks, &ground);
    platform::lifecycle::terminated()
        .await
        .context("signal handlers")?;
    tracing::info!("told to end: no more clients, running transactions go on");
    readiness.drain();
    tokio::time::sleep(PROBE_GRACE).await;
    fronts.request();
    if let Err(unfinished) = serving.wait(config.shutdown.drain_deadline).await {
        tracing::warn!(?unfinished, "cutting what did not end in time");
    }
    ground.request();
    // Nothing here holds a client's work any more.
    let _ended = tasks.wait(Duration::from_secs(5)).await;
    tracing::info!("ended");
    Ok(())
}

fn warn_about(config: &Config) {
    if !config.security.enable_rbac {
        tracing::warn!(
            "SECURITY: security.enable_rbac is false: whoever reaches the HTTP and gRPC ports may \
             do everything"
        );
    }
    if config.pgwire.auth == crate::config::AuthMethod::Trust {
        tracing::warn!("pgwire.auth.method is trust: whoever reaches the port is let in");
    } else if config.pgwire.auth == crate::config::AuthMethod::ScramSha256
        && config.pgwire.users.is_empty()
    {
        tracing::info!("pgwire.auth.users is empty: only users in etcd can log in");
    }
}

/// The parts that the fronts share.
struct Parts {
    core: Arc<Core>,
    front: Arc<Front>,
    peers: Peers,
    barrier: Barrier,
    follower: Follower,
    users: auth::follower::Follower,
    keeper: Keeper,
    topology: topology::watch::View,
    readiness: Readiness,
    logging: telemetry::Handle,
    hangup: tokio::signal::unix::Signal,
    tls: Option<Acceptor>,
    doors: Doors,
    keepers: Keepers,
    courier: Courier,
}

/// The least room for clients that are about to log in: those that are one too many are to be told.
const MIN_LOGINS: u32 = 256;

/// How many clients may be about to log in: as many as may be logged in, where the process may have
/// so many sockets, and a quarter of those that it may have else.
fn room_for_logins(config: &Config, descriptors: Option<u64>) -> usize {
    let wanted = u64::from(config.pgwire.max_client_connections.max(MIN_LOGINS));
    let room = descriptors.map_or(wanted, |most| wanted.min(most / 4));
    if room < wanted {
        tracing::warn!(
            open_files = descriptors,
            sessions = wanted,
            "the limit of open files is low for pgwire.max_client_connections"
        );
    }
    usize::try_from(room).unwrap_or(usize::MAX)
}

/// What the pools of all servers share.
fn pool_config(config: &Config, files: &Files, presence: Presence) -> pool::Config {
    pool::Config {
        max_connections: config.sharding.max_connections,
        connection_ttl: config.sharding.connection_ttl,
        connect_timeout: config.sharding.connect_timeout,
        checkout_timeout: config.sharding.checkout_timeout,
        failover_wait: config.sharding.failover_wait,
        max_waiting: config.sharding.max_waiting,
        max_prepared_statements: config.pgwire.max_prepared_statements,
        credentials: Credentials {
            user: config.security.shard_user.clone(),
            password: config.security.shard_password.clone(),
        },
        dialer: Dialer::new(files.shards.clone()),
        presence,
    }
}

/// What stands before the HTTP and gRPC fronts, and what keeps it up to date.
fn doors(
    config: &Config,
    store: &Arc<dyn Store>,
    (registry, audit): (&prometheus::Registry, Inbox),
) -> anyhow::Result<(Doors, Keepers)> {
    let (follower, grants) = access::Follower::new(Arc::clone(store));
    let (gate, key_set) = if config.security.enable_rbac {
        let verifier = Verifier::try_new(&config.security.tokens)?;
        let key_set = verifier.key_set();
        (Gate::new(verifier, grants.shared()), key_set)
    } else {
        (Gate::open(), None)
    };
    let doors = Doors {
        gate,
        limiter: Limiter::new(config.limits),
        cors: config.cors.clone(),
        limits: ingress::Limits {
            body_timeout: config.http.read_timeout,
            ..ingress::Limits::default()
        },
        requests: Requests::register(registry, "router")?,
        audit: Some(audit),
    };
    Ok((doors, Keepers { follower, key_set }))
}

/// The store, whose calls are counted.
fn store(files: &Files, registry: &prometheus::Registry) -> anyhow::Result<Arc<dyn Store>> {
    let store: Arc<dyn Store> = Arc::new(EtcdStore::connect(files.etcd.clone())?);
    Ok(Arc::new(MeteredStore::register(store, registry)?))
}

/// What goes on record of who is let in, and what takes it to etcd.
fn audited(
    config: &Config,
    registry: &prometheus::Registry,
    (store, incarnation): (&Arc<dyn Store>, Incarnation),
) -> anyhow::Result<(Inbox, Courier)> {
    let address = config.pgwire.advertise_address.clone();
    let inbox = Inbox::register(config.audit, &address, registry)?;
    let courier = Courier::new(inbox.clone(), Arc::clone(store), (incarnation, address));
    Ok((inbox, courier))
}

/// What keeps the gate up to date.
struct Keepers {
    follower: access::Follower,
    key_set: Option<KeySet>,
}

impl Keepers {
    fn start(self, tasks: &TaskGroup, ground: &Shutdown) {
        tasks.spawn("grants", self.follower.run(ground.clone()));
        if let Some(key_set) = self.key_set {
            tasks.spawn("key set", key_set.follow(ground.clone()));
        }
    }
}

fn managers(config: &Config, files: &Files, store: Arc<dyn Store>) -> Managers {
    let security = &config.security;
    let tokens = security.enable_rbac.then(|| security.tokens.clone());
    Managers::new(store, files.managers.clone(), tokens)
}

/// The users of the file.
fn users(config: &Config) -> anyhow::Result<Arc<Users>> {
    let users = Users::try_new(&config.pgwire.users);
    let users = users.map_err(|reason| anyhow::anyhow!("pgwire.auth.users: {reason}"))?;
    Ok(Arc::new(users))
}

/// Ready for nothing until topology and users have been read.
fn nothing_read() -> Readiness {
    let readiness = Readiness::new();
    for part in ["topology", "users"] {
        readiness.set(part, Err("not read yet".to_owned()));
    }
    readiness
}

impl Parts {
    fn build(
        config: &Config,
        registry: &prometheus::Registry,
        (path, logging): (PathBuf, telemetry::Handle),
        (fronts, files): (&Shutdown, &Files),
    ) -> anyhow::Result<Self> {
        let store = store(files, registry)?;
        let (follower, topology) = Follower::new(Arc::clone(&store), Backoff::default());
        topology::watch::metrics::register(&topology, registry)?;
        let barrier = Barrier::default();
        let address = config.pgwire.advertise_address.clone();
        let peers = Peers::new(Arc::clone(&store), address, barrier.applied());
        let metrics = Metrics::register(registry)?;
        metrics.client_limit(config.pgwire.max_client_connections);
        let presence = Presence::new(peers.incarnation(), barrier.clone());
        let pool = pool_config(config, files, presence);
        let holding = Holding::register(config.sharding.hold, registry, fronts.clone())?;
        let moving = Moving::register(config.sharding.hold, registry, fronts.clone())?;
        let (keeper, view) = Keeper::new(
            topology.clone(),
            (pool, config.sharding.replicas),
            pool::metrics::Metrics::register(registry)?,
            metrics.clone(),
            (holding.clone(), moving.clone(), barrier.clone()),
        );
        let users = users(config)?;
        let tls = files.acceptor.clone();
        let (audit, courier) = audited(config, registry, (&store, peers.incarnation()))?;
        let (doors, keepers) = doors(config, &store, (registry, audit.clone()))?;
        let stored_users = auth::follower::Follower::new(Arc::clone(&store), Arc::clone(&users));
        let core = Arc::new(Core {
            ids: Ids::new(Arc::clone(&store)),
            managers: managers(config, files, Arc::clone(&store)),
            store,
            cache: Cache::new(config.sharding.max_cached_statements),
            schema: Schema::default(),
            config: config.clone(),
            view,
            holding,
            moving,
            metrics,
            replicas: replica::metrics::Metrics::register(registry)?,
            twopc: TwoPhase::register(peers.incarnation(), registry)?,
        });
        let front = Arc::new(Front {
            core: Arc::clone(&core),
            users,
            statements: Statements::default(),
            startups: Startups::default(),
            sessions: cancel::Registry::default(),
            roll: Roll::default(),
            notifiers: Notifiers::default(),
            reload: Reload::new(path, config.clone(), tls.clone(), logging.clone()),
            forwarder: Forwarder::new(peers.clone(), Dialer::new(files.routers.clone())),
            slots: Front::slots(config.pgwire.max_client_connections),
            lobby: Lobby::new(room_for_logins(config, platform::descriptors::raise())),
            tries: Tries::new(config.limits.rejections),
            audit,
        });
        Ok(Self {
            core,
            front,
            peers,
            barrier,
            follower,
            users: stored_users,
            keeper,
            topology,
            readiness: nothing_read(),
            logging,
            hangup: platform::lifecycle::hangup().context("signal handlers")?,
            tls,
            doors,
            keepers,
            courier,
        })
    }

    /// Starts what the fronts stand on.
    fn start(self, tasks: &TaskGroup, ground: &Shutdown) {
        let Self {
            core,
            front,
            peers,
            barrier,
            follower,
            users,
            keeper,
            topology,
            readiness,
            logging,
            hangup,
            tls: _,
            doors: _,
            keepers,
            courier,
        } = self;
        keepers.start(tasks, ground);
        tasks.spawn("audit events", courier.run(ground.clone()));
        tasks.spawn(
            "hangup",
            watched::follow(hangup, Arc::clone(&front), logging, ground.clone()),
        );
        tasks.spawn("topology", follower.run(ground.clone()));
        tasks.spawn("users", users.run(ground.clone()));
        tasks.spawn("peers", peers.run(ground.clone()));
        tasks.spawn("barrier", barrier.run(ground.clone()));
        tasks.spawn("moving", core.moving.clone().run(ground.clone()));
        tasks.spawn("pools", keeper.run(ground.clone()));
        let (ids, stop) = (Arc::clone(&core), ground.clone());
        tasks.spawn("ids", async move { ids.ids.run(stop).await });
        tasks.spawn(
            "replicas",
            replica::prober::run(Arc::clone(&core), ground.clone()),
        );
        tasks.spawn("health", health::run(core, ground.clone()));
        let ground = ground.clone();
        tasks.spawn("readiness", async move {
            let loaded = async {
                topology.loaded().await;
                readiness.set("topology", Ok(()));
                front.users.read().await;
                readiness.set("users", Ok(()));
            };
            tokio::select! {
                () = ground.requested() => {}
                () = loaded => {}
            }
        });
    }
}

/// The bound ports of the fronts.
struct Sockets {
    http: Listener,
    grpc: Listener,
    pgwire: TcpListener,
}

impl Sockets {
    async fn bind(config: &Config, tls: Option<&Acceptor>) -> anyhow::Result<Self> {
        let http = (&*config.http.host, config.http.port);
        let http = Listener::bind(http, tls.map(|tls| tls.with_alpn(Alpn::Http))).await?;
        let grpc = (&*config.grpc.host, config.grpc.port);
        let grpc = Listener::bind(grpc, tls.map(|tls| tls.with_alpn(Alpn::Http))).await?;
        let (host, port) = (&*config.pgwire.host, config.pgwire.port);
        let pgwire = TcpListener::bind((host, port))
            .await
            .with_context(|| format!("cannot listen on {host}:{port}"))?;
        let bound = pgwire.local_addr()?;
        let (on_http, on_grpc) = (http.local_addr(), grpc.local_addr());
        tracing::info!(http = %on_http, grpc = %on_grpc, pgwire = %bound, "listening");
        Ok(Self { http, grpc, pgwire })
    }

    fn start(
        self,
        config: &Config,
        parts: &Parts,
        threads: Threads,
        serving: &TaskGroup,
        shutdown: &Shutdown,
    ) {
        let executor = Arc::new(Executor::new(Arc::clone(&parts.core), serving.clone()));
        let readiness = parts.readiness.clone();
        let doors = &parts.doors;
        let http = ingress::http::router(Arc::clone(&executor), readiness.clone(), doors)
            .layer(Extension(parts.logging.clone()));
        let grpc = ingress::grpc::router(executor, readiness, doors);
        serve_requests("http", self.http, http, config, serving, shutdown);
        serve_requests("grpc", self.grpc, grpc, config, serving, shutdown);
        let tls = parts.tls.as_ref().map(|tls| tls.with_alpn(Alpn::Postgres));
        let front = Arc::clone(&parts.front);
        let tasks = (serving.clone(), threads);
        let pgwire = ingress::pg::serve(self.pgwire, front, tls, tasks, shutdown.clone());
        serving.spawn("pgwire", pgwire);
    }
}

fn serve_requests(
    name: &'static str,
    listener: Listener,
    app: axum::Router,
    config: &Config,
    serving: &TaskGroup,
    shutdown: &Shutdown,
) {
    let limits = Limits {
        // Statements have time-outs of their own, which a request may raise up to this.
        request_timeout: MAX_REQUEST,
        header_read_timeout: config.http.read_timeout,
        write_timeout: config.http.write_timeout,
        idle_timeout: config.http.idle_timeout,
        ..Limits::default()
    };
    let deadline = config.shutdown.drain_deadline;
    let (tasks, shutdown) = (serving.clone(), shutdown.clone());
    serving.spawn(name, async move {
        platform::serve::serve(listener, app, limits, &tasks, shutdown, deadline).await;
    });
}

async fn serve_metrics(
    listener: Listener,
    app: axum::Router,
    tasks: TaskGroup,
    shutdown: Shutdown,
) {
    let deadline = Duration::from_secs(1);
    platform::serve::serve(listener, app, Limits::default(), &tasks, shutdown, deadline).await;
}
