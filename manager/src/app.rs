//! Builds everything in order and stops it in the opposite one; the only file that knows all
//! modules.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use platform::access::gate::Gate;
use platform::bearer::{self, Verifier};
use platform::probe::{Readiness, health_router, metrics_router};
use platform::rates::Limiter;
use platform::serve::{self, Limits, Listener};
use platform::{Shutdown, TaskGroup, http_error, lifecycle, telemetry, tls, trace};
use topology::access;
use topology::store::{EtcdStore, MeteredStore, Store, etcd};
use topology::watch::{Backoff, Follower};

use crate::auth::Auth;
use crate::auth::issuer::Issuer;
use crate::auth::password::Passwords;
use crate::config::Config;
use crate::failover::Promoter;
use crate::forward::Forwarder;
use crate::leader::{self, Candidate, Identity};
use crate::metrics::Metrics;
use crate::reshard::api::Jobs;
use crate::reshard::copy::keeper::Keepers;
use crate::reshard::schema::Tools;
use crate::reshard::session::Sessions;
use crate::service::{self, Service};
use crate::shards::Shards;
use crate::shards::health::{Health, Prober};
use crate::shards::tls::Tls;
use crate::{audit, backup_age, commit, failover, grpc, recovery, reshard, rest, shards};

mod files;
mod report;
mod watched;

use files::Files;

/// How long the tasks that no request waits for may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// Between being told to end and taking no more requests, so that a load balancer sees the probe
/// change first: a connection that is on its way when its port closes is lost.
const PROBE_GRACE: Duration = Duration::from_millis(500);

/// What keeps the manager from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Logging.
    #[error(transparent)]
    Telemetry(#[from] telemetry::Error),
    /// Traces.
    #[error("observability.enable_tracing")]
    Trace(#[from] trace::Error),
    /// The TLS files.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The etcd endpoints.
    #[error("metadata.endpoints: {0}")]
    Metadata(#[from] etcd::InvalidConfig),
    /// A port.
    #[error(transparent)]
    Listen(#[from] serve::Error),
    /// The keys of an identity provider.
    #[error(transparent)]
    KeySet(#[from] bearer::InvalidKeySet),
    /// The metrics' names.
    #[error("metrics are not usable")]
    Metrics(#[from] prometheus::Error),
    /// The gRPC descriptors.
    #[error(transparent)]
    Descriptors(#[from] grpc::InvalidDescriptors),
    /// The signal handlers.
    #[error("signals cannot be handled")]
    Signals(#[from] std::io::Error),
}

impl Error {
    /// Whether another configuration would help.
    #[must_use]
    pub fn is_of_config(&self) -> bool {
        match self {
            Self::Telemetry(_)
            | Self::Trace(_)
            | Self::Tls(_)
            | Self::Metadata(_)
            | Self::KeySet(_) => true,
            Self::Listen(_) | Self::Metrics(_) | Self::Descriptors(_) | Self::Signals(_) => false,
        }
    }
}

/// The bound ports.
struct Ports {
    http: Listener,
    grpc: Listener,
    metrics: Listener,
}

/// Who is told to stop, in this order.
#[derive(Default)]
struct Stops {
    /// The fronts.
    serving: Shutdown,
    /// Election, topology, probes: requests that are still running need them.
    background: Shutdown,
}

/// What is running.
struct Running {
    readiness: Readiness,
    servers: TaskGroup,
    tasks: TaskGroup,
    stops: Stops,
}

/// Runs the manager until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting.
pub async fn run(config: Config, path: PathBuf) -> Result<(), Error> {
    let shown = &config.observability;
    let file = shown.log_file.as_deref();
    let log = telemetry::Config::new(&shown.log_level, shown.log_format, file);
    let logging = telemetry::init(&log)?;
    let _open_files = platform::descriptors::raise();
    let _unsent = trace::start_if(
        shown.enable_tracing,
        "sharding-manager",
        env!("CARGO_PKG_VERSION"),
    )?;
    let hangup = lifecycle::hangup()?;
    let running = start(&config, logging.clone()).await?;
    let stop_following = running.stops.background.clone();
    let follow = watched::follow(hangup, path, logging, stop_following);
    drop(running.tasks.spawn("hangup", follow));
    lifecycle::terminated().await?;
    stop(running, config.shutdown.drain_deadline).await;
    Ok(())
}

async fn start(config: &Config, logging: telemetry::Handle) -> Result<Running, Error> {
    let metrics = Metrics::try_new()?;
    let files = Files::load(config, &metrics.registry)?;
    let store: Arc<dyn Store> = Arc::new(EtcdStore::connect(files.etcd.clone())?);
    let store: Arc<dyn Store> = Arc::new(MeteredStore::register(store, &metrics.registry)?);
    let ports = bind(config, files.acceptor.clone()).await?;
    let grpc_address = config.grpc.advertised(ports.grpc.local_addr().port());
    let running = Running {
        readiness: Readiness::new(),
        servers: TaskGroup::new(),
        tasks: TaskGroup::new(),
        stops: Stops::default(),
    };
    let backups = backup_age::BackupAge::register(Arc::clone(&store), &metrics.registry)?;
    let background = running.stops.background.clone();
    drop(running.tasks.spawn("backup age", backups.run(background)));
    let service = operations(config, (store, &files), &metrics, grpc_address, &running).await?;
    // The audit file is opened for each line: SIGHUP means nothing but the files of TLS.
    let (hangup, background) = (lifecycle::hangup()?, running.stops.background.clone());
    drop(
        running
            .tasks
            .spawn("TLS files", files.renewal.run(hangup, background)),
    );
    let (reporter, health) = tonic_health::server::health_reporter();
    let report = report::Report {
        topology: service.topology.clone(),
        leader: service.leader.clone(),
        metrics: metrics.clone(),
        readiness: running.readiness.clone(),
        grpc: reporter,
    };
    let background = running.stops.background.clone();
    drop(running.tasks.spawn("report", report.run(background)));

    let service = Service::new(service);
    let version = env!("CARGO_PKG_VERSION");
    let http = rest::router(service.clone(), &metrics)
        .layer(Extension(logging))
        .merge(health_router(version, running.readiness.clone()))
        .fallback(http_error::not_found);
    let http = config.cors.apply(http);
    let grpc = grpc::router(service, &metrics, health)?;
    let scrape = metrics_router(metrics.registry)
        .merge(health_router(version, running.readiness.clone()))
        .fallback(http_error::not_found);
    tracing::info!(
        http = %ports.http.local_addr(), grpc = %ports.grpc.local_addr(),
        metrics = %ports.metrics.local_addr(), tls = ports.http.is_tls(), "manager started"
    );
    spawn_server(config, &running, "http server", (ports.http, http));
    spawn_server(config, &running, "grpc server", (ports.grpc, grpc));
    spawn_server(config, &running, "metrics server", (ports.metrics, scrape));
    Ok(running)
}

async fn bind(config: &Config, tls: Option<tls::Acceptor>) -> Result<Ports, serve::Error> {
    let http = (config.http.host.as_str(), config.http.port);
    let grpc = (config.grpc.host.as_str(), config.grpc.port);
    let metrics = (config.http.host.as_str(), config.observability.metrics_port);
    let metrics_tls = tls.clone().filter(|_| config.observability.metrics_tls);
    Ok(Ports {
        http: Listener::bind(http, tls.clone()).await?,
        grpc: Listener::bind(grpc, tls).await?,
        // Collectors scrape without credentials, and nothing there is secret.
        metrics: Listener::bind(metrics, metrics_tls).await?,
    })
}

/// Starts the tasks that follow the store and the shards, and gives what the fronts need of them.
async fn operations(
    config: &Config,
    (store, files): (Arc<dyn Store>, &Files),
    metrics: &Metrics,
    grpc_address: String,
    running: &Running,
) -> Result<service::Parts, Error> {
    let (tasks, shutdown) = (&running.tasks, &running.stops.background);
    let identity = identity(grpc_address);
    let (follower, topology) = Follower::new(Arc::clone(&store), Backoff::default());
    topology::watch::metrics::register(&topology, &metrics.registry)?;
    let ttl = config.leader.lease_ttl;
    let (candidate, leader) = Candidate::new(Arc::clone(&store), identity.clone(), ttl);
    let shards_config = shards_config(config, files);
    let shards = Shards::new(shards_config.clone(), tasks.clone());
    let interval = config.shards.probe_interval;
    let gauges = metrics.shard_health.clone();
    let gauges = shards::metrics::Metrics::register(&metrics.registry, gauges)?;
    let (prober, health) = Prober::new(shards.clone(), topology.clone(), interval, gauges);
    let audit_file = audit_file(config).await;
    drop(tasks.spawn("topology", follower.run(shutdown.clone())));
    drop(tasks.spawn("election", candidate.run(shutdown.clone())));
    drop(tasks.spawn("shard probes", prober.run(shutdown.clone())));
    let writer = Arc::new(commit::Writer::new(Arc::clone(&store), audit_file));
    let auth = auth(config, &store, running).await?;
    let refusals = audited(config, (&store, &writer), &leader, running);
    let context = Arc::new(reshard::driver::Context {
        store: Arc::clone(&store),
        writer: Arc::clone(&writer),
        topology: topology.clone(),
        sessions: Sessions::new(shards_config.clone(), tasks.clone()),
        tools: Tools::new(shards_config, config.shards_tls.clone()),
        tasks: tasks.clone(),
        settings: job_settings(config),
        metrics: metrics.reshard.clone(),
        keepers: Keepers::default(),
    });
    drop(tasks.spawn("kept snapshots", kept_snapshots(&context, running)));
    metrics.reshard.wal_limit(context.settings.max_wal_retained);
    let recovery = recovering(&context, &leader, metrics)?;
    drop(tasks.spawn("recovery", recovery.run(shutdown.clone())));
    let (jobs, worker) = reshard::supervisor::supervise(Arc::clone(&context), leader.clone());
    drop(tasks.spawn("reshard", worker.run(shutdown.clone())));
    let jobs: Arc<dyn Jobs> = Arc::new(jobs);
    let health_of = (shards.clone(), health.clone());
    let promoter = promotions((config, running), &context, (&leader, &jobs), health_of);
    Ok(service::Parts {
        writer,
        forwarder: Forwarder::new(identity.id.clone(), files.managers.clone()),
        store,
        topology,
        leader,
        identity,
        shards,
        sessions: context.sessions.clone(),
        health,
        max_wal_retained: context.settings.max_wal_retained,
        vnode_count: config.sharding.vnode_count,
        jobs,
        promoter,
        auth,
        refusals,
        limiter: Limiter::new(config.limits),
        stopping: running.stops.serving.clone(),
        tasks: tasks.clone(),
    })
}

/// What keeps the snapshots of copies that any manager runs.
fn kept_snapshots(
    context: &reshard::driver::Context,
    running: &Running,
) -> impl Future<Output = ()> + Send + use<> {
    reshard::copy::keeper::tend(
        context.keepers.clone(),
        context.sessions.config().clone(),
        (Arc::clone(&context.store), context.topology.clone()),
        running.stops.background.clone(),
    )
}

/// What ends what routers have prepared and left.
fn recovering(
    context: &reshard::driver::Context,
    leader: &leader::View,
    metrics: &Metrics,
) -> Result<recovery::Recovery, Error> {
    Ok(recovery::Recovery::new(
        Arc::clone(&context.store),
        context.topology.clone(),
        leader.clone(),
        context.sessions.clone(),
        recovery::metrics::Metrics::register(&metrics.registry)?,
    ))
}

/// How shards are reached.
fn shards_config(config: &Config, files: &Files) -> shards::Config {
    let security = &config.security;
    shards::Config {
        user: security.shard_user.clone(),
        password: security.shard_password.clone(),
        tls: Tls::new(files.shards.clone()),
        connect_timeout: config.shards.connect_timeout,
        statement_timeout: config.shards.statement_timeout,
    }
}

/// Starts what promotes by itself, and gives what promotes by request.
fn promotions(
    (config, running): (&Config, &Running),
    context: &reshard::driver::Context,
    (leader, jobs): (&leader::View, &Arc<dyn Jobs>),
    (shards, health): (Shards, Health),
) -> Promoter {
    let promoter = Promoter::new(failover::Context {
        store: Arc::clone(&context.store),
        writer: Arc::clone(&context.writer),
        topology: context.topology.clone(),
        leader: leader.clone(),
        shards,
        sessions: context.sessions.clone(),
        health,
        jobs: Arc::clone(jobs),
        tasks: running.tasks.clone(),
        settings: config.failover.clone(),
    });
    let automat = failover::auto::Automat::new(promoter.clone());
    let shutdown = running.stops.background.clone();
    drop(running.tasks.spawn("failover", automat.run(shutdown)));
    promoter
}

async fn audit_file(config: &Config) -> Option<audit::File> {
    let path = config.security.audit_log_path.clone()?;
    let file = audit::File::new(path, config.audit.rotation);
    file.check().await;
    Some(file)
}

/// What jobs may take of the shards.
fn job_settings(config: &Config) -> reshard::driver::Settings {
    let resharding = &config.resharding;
    reshard::driver::Settings {
        max_wal_retained: resharding.max_wal_retained,
        copy_workers: resharding.copy_workers,
        copy_limits: reshard::copy::governor::Limits {
            replica_lag: resharding.max_replica_lag,
            latency: resharding.max_latency,
        },
        ..reshard::driver::Settings::default()
    }
}

/// Follows who may come in, and makes what lets them in.
async fn auth(config: &Config, store: &Arc<dyn Store>, running: &Running) -> Result<Auth, Error> {
    let (tasks, shutdown) = (&running.tasks, &running.stops.background);
    let (follower, grants) = access::Follower::new(Arc::clone(store));
    drop(tasks.spawn("grants", follower.run(shutdown.clone())));
    let security = &config.security;
    // Hashing the stand-in takes its time.
    let passwords = tokio::task::spawn_blocking(Passwords::new).await;
    let passwords = passwords.unwrap_or_default();
    if !security.enable_rbac {
        tracing::warn!(
            "SECURITY: security.enable_rbac is false: whoever reaches the ports may do everything"
        );
        return Ok(Auth {
            passwords,
            issuer: None,
            grants,
            gate: Gate::open(),
        });
    }
    let verifier = Verifier::try_new(&security.tokens)?;
    if let Some(keys) = verifier.key_set() {
        drop(tasks.spawn("key set", keys.follow(shutdown.clone())));
    }
    Ok(Auth {
        passwords,
        issuer: Issuer::new(&security.tokens, verifier.clone(), security.lifetimes),
        gate: Gate::new(verifier, grants.shared()),
        grants,
    })
}

/// Starts the tasks that write to the audit log by themselves.
fn audited(
    config: &Config,
    (store, writer): (&Arc<dyn Store>, &Arc<commit::Writer>),
    leader: &leader::View,
    running: &Running,
) -> audit::refusals::Recorder {
    let (tasks, shutdown) = (&running.tasks, &running.stops.background);
    let collector =
        audit::inbox::Collector::new(Arc::clone(store), Arc::clone(writer), leader.clone());
    drop(tasks.spawn("router events", collector.run(shutdown.clone())));
    let (recorder, scribe) = audit::refusals::recorder(Arc::clone(writer), leader.clone());
    drop(tasks.spawn("refusals", scribe.run(shutdown.clone())));
    let keeper = audit::retention::keep(
        config.audit.retention,
        Arc::clone(writer),
        leader.clone(),
        shutdown.clone(),
    );
    drop(tasks.spawn("audit retention", keeper));
    recorder
}

/// Unique for each start, and telling where the process is.
fn identity(grpc_address: String) -> Identity {
    let host = grpc_address
        .rsplit_once(':')
        .map_or(grpc_address.as_str(), |(host, _)| host);
    let random = uuid::Uuid::new_v4().simple().to_string();
    let start: String = random.chars().take(8).collect();
    Identity {
        id: format!("{host}-{start}"),
        grpc_address,
    }
}

fn spawn_server(
    config: &Config,
    running: &Running,
    name: &'static str,
    (listener, app): (Listener, axum::Router),
) {
    let limits = Limits {
        header_read_timeout: config.http.read_timeout,
        request_timeout: config.http.read_timeout,
        write_timeout: config.http.write_timeout,
        idle_timeout: config.http.idle_timeout,
        ..Limits::default()
    };
    let (tasks, shutdown) = (running.servers.clone(), running.stops.serving.clone());
    let deadline = config.shutdown.drain_deadline;
    let server = async move {
        serve::serve(listener, app, limits, &tasks, shutdown, deadline).await;
    };
    drop(running.servers.spawn(name, server));
}

/// Fronts first, so that their last requests still find a leader; then the election, which hands
/// the lead over at once by resigning.
async fn stop(running: Running, drain_deadline: Duration) {
    let Running {
        readiness,
        servers,
        tasks,
        stops,
    } = running;
    tracing::info!("stopping");
    readiness.drain();
    tokio::time::sleep(PROBE_GRACE).await;
    stops.serving.request();
    if let Err(unfinished) = servers.wait(drain_deadline + STOP_DEADLINE).await {
        tracing::warn!(error = %unfinished, "requests cut");
    }
    stops.background.request();
    if let Err(unfinished) = tasks.wait(STOP_DEADLINE).await {
        tracing::warn!(error = %unfinished, "tasks cut");
    }
    tracing::info!("stopped");
}
