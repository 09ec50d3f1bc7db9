//! The programs under test: router, manager and shardctl, as built next to the tests.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::authority::Access;
use crate::folder::Folder;
use crate::http;
use crate::pg::Address;
use crate::port::Port;
use crate::process::{Custody, Process, Signal};
use crate::{postgres, wait};

/// Cargo's target folder, found from the running test program: `<target>/<profile>/deps/<test>`.
///
/// # Errors
/// When the test program lies elsewhere.
pub fn target_folder() -> anyhow::Result<PathBuf> {
    let profile = profile_folder()?;
    Ok(profile
        .parent()
        .context("a profile's folder has a parent")?
        .to_owned())
}

fn profile_folder() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this.parent().context("a program has a folder")?;
    let in_subfolder = ["deps", "examples"]
        .iter()
        .any(|name| folder.ends_with(name));
    let profile = if in_subfolder {
        folder.parent()
    } else {
        Some(folder)
    };
    Ok(profile.context("the subfolder has a parent")?.to_owned())
}

/// A program of this workspace.
///
/// # Errors
/// When it has not been built.
pub fn executable(name: &str) -> anyhow::Result<PathBuf> {
    let path = profile_folder()?.join(name);
    anyhow::ensure!(
        path.exists(),
        "{name} is not built: run `cargo build --workspace --bins`"
    );
    Ok(path)
}

/// Where a program listens.
#[derive(Debug)]
pub struct Ports {
    /// REST, HTTP, probes.
    pub http: Port,
    /// gRPC.
    pub grpc: Port,
    /// Metrics.
    pub metrics: Port,
}

impl Ports {
    /// Any free ones.
    ///
    /// # Errors
    /// When none is free.
    pub fn take() -> anyhow::Result<Self> {
        Ok(Self {
            http: Port::take()?,
            grpc: Port::take()?,
            metrics: Port::take()?,
        })
    }

    /// These, or others in the place of those that are not free.
    ///
    /// # Errors
    /// When none is free.
    pub fn prefer(http: u16, grpc: u16, metrics: u16) -> anyhow::Result<Self> {
        Ok(Self {
            http: Port::prefer(http)?,
            grpc: Port::prefer(grpc)?,
            metrics: Port::prefer(metrics)?,
        })
    }
}

/// A router or a manager: a process with a configuration file and three ports that it keeps over
/// restarts.
#[derive(Debug)]
pub struct Program {
    // First, so that it has ended before its folder goes.
    process: Option<Process>,
    name: &'static str,
    config: PathBuf,
    log: PathBuf,
    environment: Vec<(String, String)>,
    /// Where the program is, when it is not the one that was built beside the tests.
    programs: Option<PathBuf>,
    ports: Ports,
    /// Whether its fronts are under TLS.
    is_secured: bool,
    _folder: Arc<Folder>,
}

impl Program {
    fn prepare(name: &'static str) -> anyhow::Result<Self> {
        let folder = Folder::shared()?;
        let config = folder.fresh(name).with_extension("json");
        Self::at(name, config, Ports::take()?, folder)
    }

    fn at(
        name: &'static str,
        config: PathBuf,
        ports: Ports,
        folder: Arc<Folder>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            process: None,
            name,
            config,
            log: folder.fresh(name).with_extension("log"),
            environment: Vec::new(),
            programs: None,
            ports,
            is_secured: false,
            _folder: folder,
        })
    }

    /// A program with a configuration file as it is; only where it listens and where etcd is come
    /// from the environment.
    fn from_file(
        name: &'static str,
        file: &Path,
        ports: Ports,
        etcd: &str,
    ) -> anyhow::Result<Self> {
        let mut program = Self::at(name, file.to_owned(), ports, Folder::shared()?)?;
        let prefix = name.to_uppercase();
        for (field, port) in [
            ("SERVER__PORT", program.ports.http.number()),
            ("GRPC__PORT", program.ports.grpc.number()),
            (
                "OBSERVABILITY__METRICS_PORT",
                program.ports.metrics.number(),
            ),
        ] {
            program.set_environment(&format!("{prefix}__{field}"), &port.to_string());
        }
        program.set_environment("ETCD_ENDPOINTS", etcd);
        Ok(program)
    }

    /// The configuration that both programs share, with `extra` laid over it.
    fn configure(&mut self, etcd: &str, extra: &Value) -> anyhow::Result<()> {
        let mut config = json!({
            "server": { "host": "127.0.0.1", "port": self.ports.http.number() },
            "grpc": { "host": "127.0.0.1", "port": self.ports.grpc.number() },
            "metadata": { "type": "etcd", "endpoints": [etcd], "timeout": "5s" },
            "security": { "enable_tls": false, "enable_rbac": false },
            "observability": { "metrics_port": self.ports.metrics.number(), "log_level": "info" },
        });
        lay_over(&mut config, extra);
        std::fs::write(&self.config, serde_json::to_string_pretty(&config)?)?;
        Ok(())
    }

    /// `http://127.0.0.1:port` of its HTTP server, or https.
    #[must_use]
    pub fn http(&self) -> String {
        self.origin(&self.ports.http)
    }

    /// `http://127.0.0.1:port` of its gRPC server, or https.
    #[must_use]
    pub fn grpc(&self) -> String {
        self.origin(&self.ports.grpc)
    }

    /// `http://127.0.0.1:port/metrics`, or https.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        format!("{}/metrics", self.origin(&self.ports.metrics))
    }

    fn origin(&self, port: &Port) -> String {
        let scheme = if self.is_secured { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", port.number())
    }

    /// Says that all its fronts are under TLS, metrics too, and how the harness is let in.
    pub fn secure(&mut self, access: &Access) {
        self.is_secured = true;
        for port in [&self.ports.http, &self.ports.grpc, &self.ports.metrics] {
            http::secure(&self.origin(port), access.clone());
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The text of its metrics.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let answer = http::get(&self.metrics_url()).await?;
        anyhow::ensure!(
            answer.status.is_success(),
            "metrics answer {}",
            answer.status
        );
        Ok(answer.body)
    }

    /// Waits until the program says that it has seen an epoch.
    ///
    /// # Errors
    /// When it does not within [`wait::SETTLE`].
    pub async fn has_seen(&self, epoch: u64) -> anyhow::Result<()> {
        let what = format!("epoch {epoch} at {}", self.http());
        wait::until(&what, wait::SETTLE, async || {
            let metrics = self.metrics().await?;
            let line = metrics
                .lines()
                .find_map(|line| line.strip_prefix("catalog_version "));
            let seen: u64 = line.context("no catalog_version in the metrics")?.parse()?;
            anyhow::ensure!(seen >= epoch, "it is at epoch {seen}");
            Ok(())
        })
        .await
    }

    /// Starts the program and waits until it says that it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.launch()?;
        self.ready().await
    }

    /// Starts the program without waiting for anything.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        self.process = None;
        let mut command = Command::new(self.executable()?);
        command.env("CONFIG_PATH", &self.config);
        command
            .env("DB_USERNAME", postgres::USER)
            .env("DB_PASSWORD", postgres::PASSWORD);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start(command, Custody::SELF, &self.log)?);
        Ok(())
    }

    fn executable(&self) -> anyhow::Result<PathBuf> {
        self.programs.as_ref().map_or_else(
            || executable(self.name),
            |folder| Ok(folder.join(self.name)),
        )
    }

    /// Takes the program of this folder at the next start; without one, that of this build.
    pub fn run_from(&mut self, folder: Option<&Path>) {
        self.programs = folder.map(Path::to_owned);
    }

    /// Waits until the program says that it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let url = format!("{}/readyz", self.http());
        let process = self
            .process
            .as_mut()
            .context("the program was not started")?;
        process
            .ready(wait::START, || async {
                let answer = http::get(&url).await?;
                anyhow::ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
                Ok(())
            })
            .await
    }

    /// Asks the program to end and waits for it.
    ///
    /// # Errors
    /// When it does not run or does not end.
    pub async fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::Term)?;
        self.ended().await
    }

    /// Waits for the program's end.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let mut process = self.process.take().context("the program does not run")?;
        process.ended(wait::START).await
    }

    /// Kills the program.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::Kill)?;
        self.ended().await.map(drop)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process
            .as_ref()
            .context("the program does not run")?
            .signal(signal)
    }

    /// Freezes the program: its connections stay, nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::Stop)
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::Continue)
    }

    /// Whether the program is frozen, whoever did it.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        let id = self.process.as_ref().map_or(0, Process::id);
        let status = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses.
        let state = status.rsplit_once(") ").map(|(_, rest)| rest);
        state.is_some_and(|state| state.starts_with('T'))
    }

    /// Fails, with the end of its log, unless the program runs.
    ///
    /// # Errors
    /// When it does not run.
    pub fn check_running(&mut self) -> anyhow::Result<()> {
        self.process
            .as_mut()
            .context("the program was not started")?
            .check_running()
    }

    /// The process id.
    ///
    /// # Errors
    /// When it does not run.
    pub fn id(&self) -> anyhow::Result<u32> {
        Ok(self
            .process
            .as_ref()
            .context("the program does not run")?
            .id())
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sets an environment variable for the next start.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Takes a variable away that programs are given else.
    pub fn unset_environment(&mut self, name: &str) {
        self.environment.push((name.to_owned(), String::new()));
    }

    /// Its configuration file, which a test may rewrite before a start.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }
}

/// A manager.
#[derive(Debug)]
pub struct Manager(pub Program);

impl Manager {
    /// A manager that is not started.
    ///
    /// # Errors
    /// When no port is free or the configuration cannot be written.
    pub fn prepare(etcd: &str, extra: &Value) -> anyhow::Result<Self> {
        let mut program = Program::prepare("manager")?;
        let mut config = json!({
            "grpc": { "advertise_address": format!("127.0.0.1:{}", program.ports.grpc.number()) },
            "leader": { "lease_ttl": "2s" },
            // Tests ask again and again until something has happened.
            "limits": { "requests_per_second": 0 },
        });
        lay_over(&mut config, extra);
        program.configure(etcd, &config)?;
        Ok(Self(program))
    }

    /// A manager with this configuration file.
    ///
    /// # Errors
    /// When no folder can be made for its log.
    pub fn from_file(file: &Path, ports: Ports, etcd: &str) -> anyhow::Result<Self> {
        let mut program = Program::from_file("manager", file, ports, etcd)?;
        let address = format!("127.0.0.1:{}", program.ports.grpc.number());
        program.set_environment("MANAGER__GRPC__ADVERTISE_ADDRESS", &address);
        Ok(Self(program))
    }

    /// `http://127.0.0.1:port/api/v1` + path.
    #[must_use]
    pub fn api(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.0.http())
    }
}

/// A router.
#[derive(Debug)]
pub struct Router {
    /// Its process and its HTTP and gRPC addresses.
    pub program: Program,
    pgwire: Port,
    /// How clients are let in under TLS.
    access: Option<Access>,
}

/// A user of a router that asks for SCRAM-SHA-256.
pub const ROUTER_USER: (&str, &str) = ("alice", "a password of alice");

impl Router {
    /// A router that is not started; it trusts its clients unless `extra` says otherwise.
    ///
    /// # Errors
    /// When no port is free or the configuration cannot be written.
    pub fn prepare(etcd: &str, extra: &Value) -> anyhow::Result<Self> {
        let mut program = Program::prepare("router")?;
        let pgwire = Port::take()?;
        let mut config = json!({
            "pgwire": {
                "host": "127.0.0.1",
                "port": pgwire.number(),
                "auth": { "method": "trust" },
            },
            "sharding": { "max_connections": 20, "connection_ttl": "5m" },
        });
        lay_over(&mut config, extra);
        program.configure(etcd, &config)?;
        Ok(Self {
            program,
            pgwire,
            access: None,
        })
    }

    /// A router with this configuration file.
    ///
    /// # Errors
    /// When no folder can be made for its log.
    pub fn from_file(file: &Path, ports: Ports, pgwire: Port, etcd: &str) -> anyhow::Result<Self> {
        let mut program = Program::from_file("router", file, ports, etcd)?;
        program.set_environment("ROUTER__PGWIRE__PORT", &pgwire.number().to_string());
        Ok(Self {
            program,
            pgwire,
            access: None,
        })
    }

    /// As [`Program::secure`], for PostgreSQL clients too.
    pub fn secure(&mut self, access: &Access) {
        self.program.secure(access);
        self.access = Some(access.clone());
    }

    /// Where PostgreSQL clients connect to.
    #[must_use]
    pub fn address(&self) -> Address {
        Address {
            host: Ipv4Addr::LOCALHOST,
            port: self.pgwire.number(),
            user: postgres::USER.to_owned(),
            password: None,
            database: postgres::DATABASE.to_owned(),
            access: self.access.clone(),
        }
    }

    /// Connects with tokio-postgres.
    ///
    /// # Errors
    /// When the router refuses or does not answer.
    pub async fn client(&self) -> anyhow::Result<tokio_postgres::Client> {
        self.address().client().await
    }

    /// Runs SQL with psql.
    ///
    /// # Errors
    /// When psql ends with an error.
    pub async fn psql(&self, sql: &str) -> anyhow::Result<String> {
        self.address().psql(sql).await
    }

    /// Sends `body` to `POST /v1/execute`.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn execute(&self, body: &Value) -> anyhow::Result<http::Answer> {
        http::post(&format!("{}/v1/execute", self.program.http()), body).await
    }
}

/// Merges objects field by field; anything else is replaced.
pub(crate) fn lay_over(base: &mut Value, extra: &Value) {
    match (base, extra) {
        (Value::Object(base), Value::Object(extra)) => {
            for (name, value) in extra {
                lay_over(base.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (base, extra) => *base = extra.clone(),
    }
}
