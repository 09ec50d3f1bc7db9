//! A throw-away etcd server of one member, on loopback ports that it keeps over restarts.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::Context as _;

use crate::folder::Folder;
use crate::port::Port;
use crate::process::{Custody, Process, Signal};
use crate::{http, program, wait};

/// An etcd server; ends and is removed with its value.
#[derive(Debug)]
pub struct Etcd {
    process: Option<Process>,
    data: PathBuf,
    client_port: Port,
    peer_port: Port,
    _folder: Arc<Folder>,
}

impl Etcd {
    /// Starts an empty server.
    ///
    /// # Errors
    /// When etcd is not installed or does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_at(Port::take()?).await
    }

    /// Starts an empty server whose clients connect to `client_port`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_at(client_port: Port) -> anyhow::Result<Self> {
        let folder = Folder::shared()?;
        let mut etcd = Self {
            process: None,
            data: folder.fresh("etcd"),
            client_port,
            peer_port: Port::take()?,
            _folder: folder,
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
        let client = format!("http://{}", self.endpoint());
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
            .args(["--endpoints", &self.endpoint()])
            .args(arguments);
        let output = command.output().context("run etcdctl")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "etcdctl {arguments:?}: {errors}");
        Ok(String::from_utf8(output.stdout)?)
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
