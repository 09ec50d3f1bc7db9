//! A throw-away etcd server of one member, on loopback ports that it keeps over restarts.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::Context as _;

use crate::authority::{Access, Authority, Identity};
use crate::folder::Folder;
use crate::port::Port;
use crate::process::{Custody, Process, Signal};
use crate::{http, program, wait};

/// The user of routers and managers where etcd asks for one, and its password.
pub const LOGIN: (&str, &str) = ("sharding", "etcd-password-of-tests");

/// The password of etcd's `root`.
const ROOT_PASSWORD: &str = "root-password-of-tests";

/// How long a login holds while it is not used, in seconds: shorter than programs are ever idle.
const LOGIN_TTL: &str = "1";

/// An etcd server; ends and is removed with its value.
#[derive(Debug)]
pub struct Etcd {
    process: Option<Process>,
    data: PathBuf,
    /// Under TLS, its own certificate, and what the harness shows it.
    secured: Option<(Identity, Access)>,
    asks_for_login: bool,
    client_port: Port,
    peer_port: Port,
    folder: Arc<Folder>,
}

impl Etcd {
    /// Starts an empty server.
    ///
    /// # Errors
    /// When etcd is not installed or does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_at(Port::take()?).await
    }

    /// Starts an empty server under TLS, which asks clients for a certificate of the same
    /// authority, and for [`LOGIN`]: that user may read and write below `/sharding/v1/` only.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_secured(authority: &Authority) -> anyhow::Result<Self> {
        let secured = (authority.issue("etcd")?, authority.access("etcdctl")?);
        let mut etcd = Self::start_with(Port::take()?, Some(secured)).await?;
        let (user, password) = LOGIN;
        for line in [
            "role add sharding",
            "role grant-permission sharding readwrite --prefix /sharding/v1/",
            &format!("user add {user}:{password}"),
            &format!("user grant-role {user} sharding"),
            &format!("user add root:{ROOT_PASSWORD}"),
            "user grant-role root root",
            "auth enable",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            etcd.etcdctl(&words)?;
        }
        etcd.asks_for_login = true;
        Ok(etcd)
    }

    /// Starts an empty server whose clients connect to `client_port`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_at(client_port: Port) -> anyhow::Result<Self> {
        Self::start_with(client_port, None).await
    }

    async fn start_with(
        client_port: Port,
        secured: Option<(Identity, Access)>,
    ) -> anyhow::Result<Self> {
        let folder = Folder::shared()?;
        let mut etcd = Self {
            process: None,
            data: folder.fresh("etcd"),
            secured,
            asks_for_login: false,
            client_port,
            peer_port: Port::take()?,
            folder,
        };
        etcd.restart().await?;
        Ok(etcd)
    }

    /// `127.0.0.1:port`, as configurations name it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client_port.number())
    }

    /// The process id.
    ///
    /// # Errors
    /// When it does not run.
    pub fn id(&self) -> anyhow::Result<u32> {
        Ok(self.process.as_ref().context("etcd does not run")?.id())
    }

    /// Starts the server again on its ports and its data; kills it first where it runs.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process = None;
        let scheme = if self.secured.is_some() {
            "https"
        } else {
            "http"
        };
        let client = format!("{scheme}://{}", self.endpoint());
        let peer = format!("http://127.0.0.1:{}", self.peer_port.number());
        let mut command = Command::new(executable("etcd")?);
        command
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--name", "test", "--log-level", "warn"]);
        command.args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ]);
        command.args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ]);
        command.args([
            "--initial-cluster",
            &format!("test={peer}"),
            "--unsafe-no-fsync",
        ]);
        if let Some((own, access)) = &self.secured {
            command.arg("--cert-file").arg(&own.certificate);
            command.arg("--key-file").arg(&own.key);
            command.arg("--trusted-ca-file").arg(&access.root);
            command.args(["--client-cert-auth", "--auth-token-ttl", LOGIN_TTL]);
            // Logins that take seconds on a busy machine are not what is tested.
            command.args(["--bcrypt-cost", "4"]);
            http::secure(&client, access.clone());
        }
        let log = self.data.with_extension("log");
        let mut process = Process::start(command, Custody::SELF, &log)?;
        let url = format!("{client}/health");
        process
            .ready(wait::START, || async {
                let health = http::get(&url).await?.expect(200)?;
                anyhow::ensure!(health["health"] == "true", "etcd answers {health}");
                Ok(())
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills the server.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("etcd does not run")?;
        process.signal(Signal::Kill)?;
        process.ended(wait::START).await?;
        Ok(())
    }

    /// Freezes the server: connections stay, nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process
            .as_ref()
            .context("etcd does not run")?
            .signal(Signal::Stop)
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process
            .as_ref()
            .context("etcd does not run")?
            .signal(Signal::Continue)
    }

    /// Runs etcdctl on this server and returns its output.
    ///
    /// # Errors
    /// When it ends with an error.
    pub fn etcdctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(executable("etcdctl")?);
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.endpoint()]);
        if let Some((_, access)) = &self.secured {
            command.arg("--cacert").arg(&access.root);
            if let Some(identity) = &access.identity {
                command.arg("--cert").arg(&identity.certificate);
                command.arg("--key").arg(&identity.key);
            }
        }
        if self.asks_for_login {
            command.env("ETCDCTL_USER", format!("root:{ROOT_PASSWORD}"));
        }
        command.args(arguments);
        let output = command.output().context("run etcdctl")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "etcdctl {arguments:?}: {errors}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.process = None;
        self.folder.discard(&self.data);
    }
}

/// An etcd program: the one that scripts/tools.sh unpacked, else the one on PATH.
fn executable(name: &str) -> anyhow::Result<PathBuf> {
    let unpacked = program::target_folder()?.join("tools/etcd").join(name);
    Ok(if unpacked.exists() {
        unpacked
    } else {
        PathBuf::from(name)
    })
}
