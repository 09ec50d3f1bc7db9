//! A throw-away PostgreSQL server: its own data folder, a loopback port that it keeps over
//! restarts, no durability.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::Context as _;

use crate::authority::Access;
use crate::folder::Folder;
use crate::namespace::Namespace;
use crate::pg::Address;
use crate::port::Port;
use crate::process::{Custody, Process, Signal, children_of, guard};
use crate::wait;

/// The superuser of every server.
pub const USER: &str = "postgres";
/// Its password, asked for where [`Auth::Scram`] is on.
pub const PASSWORD: &str = "a password of tests";
/// A database that every server has, besides `postgres`.
pub const DATABASE: &str = "app";

/// What a server asks of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auth {
    /// Nothing.
    #[default]
    Trust,
    /// SCRAM-SHA-256 with [`PASSWORD`].
    Scram,
    /// The same, and TLS: there are no rules but `hostssl`.
    ScramUnderTls,
}

/// What may differ between servers.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the server asks of its clients.
    pub auth: Auth,
    /// Further lines of postgresql.conf, as name and value.
    pub settings: Vec<(&'static str, String)>,
    /// What the harness itself trusts, for [`Auth::ScramUnderTls`].
    pub access: Option<Access>,
    /// The network that the server is in, where that is not the machine's.
    pub network: Option<Arc<Namespace>>,
}

/// A PostgreSQL server; ends and is removed with its value.
#[derive(Debug)]
pub struct Postgres {
    // First, so that the server has ended before its folder goes.
    process: Option<Process>,
    data: PathBuf,
    port: Port,
    auth: Auth,
    access: Option<Access>,
    network: Option<Arc<Namespace>>,
    folder: Arc<Folder>,
}

impl Postgres {
    /// Starts a server that trusts its clients.
    ///
    /// # Errors
    /// When PostgreSQL is not installed or does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Starts a server.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(options: Options) -> anyhow::Result<Self> {
        Self::start_at(Port::take()?, options).await
    }

    /// Starts a server on a port.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_at(port: Port, options: Options) -> anyhow::Result<Self> {
        let folder = Folder::shared()?;
        let path = folder.path().to_owned();
        let template = folder
            .template
            .get_or_try_init(|| async move { make_template(&path) });
        let template = template.await?.clone();
        let data = folder.fresh("postgres");
        run(Command::new("cp").arg("-a").arg(&template).arg(&data))?;
        configure(&data, port.number(), &options)?;
        let mut server = Self {
            process: None,
            data,
            port,
            auth: options.auth,
            access: options.access,
            network: options.network,
            folder,
        };
        server.restart().await?;
        Ok(server)
    }

    /// Starts a server on a data folder that `make` makes; its name is handed to it.
    ///
    /// # Errors
    /// What `make` says, and as [`Self::start`].
    pub async fn on_data_made_by(
        make: impl AsyncFnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let folder = Folder::shared()?;
        let (data, port) = (folder.fresh("postgres"), Port::take()?);
        make(&data).await?;
        if let Some(user) = server_user() {
            let owner = format!("{user}:{user}");
            run(Command::new("chown").arg("-R").arg(owner).arg(&data))?;
        }
        let mut file = std::fs::File::options()
            .append(true)
            .open(data.join("postgresql.conf"))?;
        writeln!(file, "port = {}", port.number())?;
        let mut server = Self {
            process: None,
            data,
            port,
            auth: Auth::Trust,
            access: None,
            network: None,
            folder,
        };
        server.restart().await?;
        Ok(server)
    }

    /// Starts a server that follows `primary` by streaming replication.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn replica_of(primary: &Self) -> anyhow::Result<Self> {
        let folder = Folder::shared()?;
        let (data, port) = (folder.fresh("replica"), Port::take()?);
        let address = primary.address();
        make_folder(&data)?;
        let mut backup = Command::new(bin()?.join("pg_basebackup"));
        // The configuration file comes along, and with it the settings of the primary.
        backup
            .args([
                "-h",
                &address.host.to_string(),
                "-U",
                USER,
                "-X",
                "stream",
                "-c",
                "fast",
                "-R",
            ])
            .args(["--no-sync", "-p", &address.port.to_string(), "-D"])
            .arg(&data);
        if let Some(password) = &address.password {
            backup.env("PGPASSWORD", password);
        }
        run(&mut guard(&backup, custody()))?;
        let mut file = std::fs::File::options()
            .append(true)
            .open(data.join("postgresql.conf"))?;
        let host = Ipv4Addr::LOCALHOST;
        writeln!(
            file,
            "listen_addresses = '{host}'\nport = {}",
            port.number()
        )?;
        let mut server = Self {
            process: None,
            data,
            port,
            auth: primary.auth,
            access: primary.access.clone(),
            network: None,
            folder,
        };
        server.restart().await?;
        Ok(server)
    }

    /// Where clients connect to, as the superuser, in the database [`DATABASE`].
    #[must_use]
    pub fn address(&self) -> Address {
        Address {
            host: self.host(),
            port: self.port.number(),
            user: USER.to_owned(),
            password: (self.auth != Auth::Trust).then(|| PASSWORD.to_owned()),
            database: DATABASE.to_owned(),
            access: self.access.clone(),
        }
    }

    /// The address as operators register it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!(
            "postgres://{}:{}/{DATABASE}",
            self.host(),
            self.port.number()
        )
    }

    fn host(&self) -> Ipv4Addr {
        host(self.network.as_deref())
    }

    /// The process id of the postmaster.
    ///
    /// # Errors
    /// When it does not run.
    pub fn id(&self) -> anyhow::Result<u32> {
        Ok(self.process.as_ref().context("postgres does not run")?.id())
    }

    /// Connects with tokio-postgres.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
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

    /// Starts the server again on its port and its data; ends it first where it runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        let mut command = Command::new(bin()?.join("postgres"));
        command.arg("-D").arg(&self.data);
        let log = self.data.with_extension("log");
        let mut process = match &self.network {
            None => Process::start(command, custody(), &log)?,
            Some(network) => {
                // Only root enters it; the server's user is changed to within.
                let custody = Custody {
                    user: None,
                    ..custody()
                };
                let guarded = guard(&command, self::custody());
                Process::start(network.enter(&guarded), custody, &log)?
            }
        };
        let address = self.address();
        process
            .ready(wait::START, || async {
                if address.access.is_some() {
                    return address.psql("SELECT 1").await.map(drop);
                }
                address.client().await?.simple_query("SELECT 1").await?;
                Ok(())
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends the server at once but in its own way: running transactions are lost.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::Quit)?;
            process.ended(wait::START).await?;
        }
        Ok(())
    }

    /// Kills the server and all its backends as a power cut would.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("postgres does not run")?;
        let backends = children_of(process.id());
        process.signal_all(Signal::Kill)?;
        process.ended(wait::START).await?;
        wait::until("end of the backends", wait::START, || {
            let left = backends
                .iter()
                .any(|id| Path::new(&format!("/proc/{id}")).exists());
            std::future::ready(if left {
                Err(anyhow::anyhow!("some run"))
            } else {
                Ok(())
            })
        })
        .await
    }

    /// Freezes the server and its backends: connections stay, nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process
            .as_ref()
            .context("postgres does not run")?
            .signal_all(Signal::Stop)
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process
            .as_ref()
            .context("postgres does not run")?
            .signal_all(Signal::Continue)
    }

    /// What the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.process = None;
        release_shared_memory(&self.data);
        self.folder.discard(&self.data);
    }
}

/// A killed server leaves its System V segment behind, which only a restart would find.
fn release_shared_memory(data: &Path) {
    let Ok(text) = std::fs::read_to_string(data.join("postmaster.pid")) else {
        return;
    };
    let segment = text
        .lines()
        .nth(6)
        .and_then(|line| line.split_whitespace().nth(1));
    if let Some(segment) = segment {
        drop(
            Command::new("ipcrm")
                .args(["-m", segment])
                .stderr(Stdio::null())
                .status(),
        );
    }
}

/// The folder with PostgreSQL's own programs.
///
/// # Errors
/// When none is installed.
pub fn bin() -> anyhow::Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    if let Some(newest) = found.pop() {
        return Ok(newest);
    }
    let output = Command::new("pg_config").arg("--bindir").output();
    let output =
        output.context("PostgreSQL is not installed: run `make test` or scripts/tools.sh")?;
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// Whom servers run as, if not as the tests do: they refuse to run as root.
pub(crate) fn server_user() -> Option<&'static str> {
    is_root().then_some(USER)
}

/// Who runs what refuses to run as root, and how it ends.
#[must_use]
pub fn custody() -> Custody {
    Custody {
        user: server_user(),
        farewell: Signal::Quit,
    }
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    line.is_some_and(|ids| ids.split_whitespace().next() == Some("0"))
}

/// An empty folder of the servers' user.
fn make_folder(path: &Path) -> anyhow::Result<()> {
    let mut create = Command::new("install");
    create.args(["-d", "-m", "700"]);
    if let Some(user) = custody().user {
        create.args(["-o", user, "-g", user]);
    }
    run(create.arg(path))
}

/// initdb takes seconds, a copy of its result does not.
fn make_template(folder: &Path) -> anyhow::Result<PathBuf> {
    let template = folder.join("template");
    make_folder(&template)?;
    let mut initdb = Command::new(bin()?.join("initdb"));
    initdb.args([
        "-U",
        USER,
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
        // Many servers, little data: the smallest segments there are.
        "--wal-segsize=1",
        "-D",
    ]);
    run(&mut guard(initdb.arg(&template), custody()))?;
    let mut single = Command::new(bin()?.join("postgres"));
    single
        .args(["--single", "-F", "-D"])
        .arg(&template)
        .arg("postgres");
    let mut single = guard(&single, custody());
    single
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = single.spawn()?;
    let sql = format!("CREATE DATABASE {DATABASE};\nALTER USER {USER} PASSWORD '{PASSWORD}';\n");
    child
        .stdin
        .take()
        .context("single-user mode takes input")?
        .write_all(sql.as_bytes())?;
    anyhow::ensure!(
        child.wait()?.success(),
        "single-user mode of PostgreSQL ended with an error"
    );
    Ok(template)
}

/// Where a server in a network listens.
fn host(network: Option<&Namespace>) -> Ipv4Addr {
    network.map_or(Ipv4Addr::LOCALHOST, Namespace::address)
}

/// Without fsync a commit still survives the death of the server, which is all that tests cause;
/// without synchronous_commit it would not.
fn configure(data: &Path, port: u16, options: &Options) -> anyhow::Result<()> {
    let host = host(options.network.as_deref());
    let mut text = format!(
        "\nlisten_addresses = '{host}'\nport = {port}\nunix_socket_directories = ''\n\
         fsync = off\nfull_page_writes = off\nshared_buffers = '32MB'\n\
         wal_level = logical\nmax_prepared_transactions = 64\nmax_connections = 100\n\
         log_statement = 'none'\nlog_line_prefix = '%m %p %a '\n"
    );
    for (name, value) in &options.settings {
        writeln!(text, "{name} = '{}'", value.replace('\'', "''"))?;
    }
    let mut file = std::fs::File::options()
        .append(true)
        .open(data.join("postgresql.conf"))?;
    file.write_all(text.as_bytes())?;
    let (kind, method) = match options.auth {
        Auth::Trust => ("host", "trust"),
        Auth::Scram => ("host", "scram-sha-256"),
        Auth::ScramUnderTls => ("hostssl", "scram-sha-256"),
    };
    // A replica, which has the same file, may be in another network.
    let sources = ["127.0.0.1/32", "198.18.0.0/15"];
    let sources = sources
        .iter()
        .take(1 + usize::from(options.network.is_some()));
    let mut rules = String::new();
    for source in sources {
        for database in ["all", "replication"] {
            writeln!(rules, "{kind} {database} all {source} {method}")?;
        }
    }
    std::fs::write(data.join("pg_hba.conf"), rules)?;
    Ok(())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("start {:?}", command.get_program()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "{:?}: {errors}",
        command.get_program()
    );
    Ok(())
}
