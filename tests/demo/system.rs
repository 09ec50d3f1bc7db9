//! The demo's servers and programs, on the documented ports where those are free.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use serde_json::Value;
use tests::folder::Folder;
use tests::port::Port;
use tests::postgres::{DATABASE, Options, USER};
use tests::program::{Ports, executable};
use tests::{Etcd, Manager, Postgres, Router, wait};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::{Progress, say};

/// All that runs; it ends with this value.
pub(crate) struct System {
    // Clients before servers.
    pub(crate) routers: Vec<Router>,
    pub(crate) managers: Vec<Manager>,
    pub(crate) shards: Vec<Postgres>,
    pub(crate) etcd: Etcd,
}

/// The shards that there are at first.
pub(crate) const FIRST: [&str; 2] = ["shard-1", "shard-2"];
/// The one that is added under load.
pub(crate) const ADDED: &str = "shard-3";

impl System {
    pub(crate) async fn start(progress: &Progress) -> anyhow::Result<Self> {
        let etcd = Etcd::start_at(Port::prefer(2379)?).await?;
        progress.done(&format!("etcd is up at {}", etcd.endpoint()));
        let mut shards = Vec::new();
        for port in [5441, 5442, 5443] {
            shards.push(Postgres::start_at(Port::prefer(port)?, Options::default()).await?);
        }
        let endpoints: Vec<String> = shards.iter().map(Postgres::endpoint).collect();
        progress.done(&format!("PostgreSQL is up at {}", endpoints.join(", ")));
        let mut managers = Vec::new();
        for (http, grpc, metrics) in [(8081, 50052, 9091), (8083, 50054, 9093)] {
            let ports = Ports::prefer(http, grpc, metrics)?;
            let mut manager =
                Manager::from_file(&config("manager.json")?, ports, &etcd.endpoint())?;
            manager.0.launch()?;
            managers.push(manager);
        }
        for manager in &mut managers {
            manager.0.ready().await?;
        }
        progress.done("two managers are up");
        let mut system = Self {
            routers: Vec::new(),
            managers,
            shards,
            etcd,
        };
        for (name, server) in FIRST.iter().zip(&system.shards) {
            system
                .shardctl_when_led(&["shards", "add", name, &server.endpoint()])
                .await?;
        }
        progress.done(&format!("{} are registered", FIRST.join(" and ")));
        for (pgwire, http, grpc, metrics) in [(6432, 8080, 50051, 9090), (6433, 8082, 50053, 9092)]
        {
            let ports = Ports::prefer(http, grpc, metrics)?;
            let file = config("router.json")?;
            let mut router =
                Router::from_file(&file, ports, Port::prefer(pgwire)?, &system.etcd.endpoint())?;
            router.program.start().await?;
            system.routers.push(router);
        }
        progress.done("two routers are up");
        Ok(system)
    }

    pub(crate) fn router(&self, number: usize) -> anyhow::Result<&Router> {
        self.routers.get(number).context("two routers were started")
    }

    fn shardctl_command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let managers = self.managers.iter().map(|manager| manager.0.grpc());
        let managers = managers.collect::<Vec<_>>().join(",");
        let mut command = Command::new(executable("shardctl")?);
        command
            .env("SHARDCTL_MANAGER", managers)
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Runs shardctl and returns what it prints.
    pub(crate) async fn shardctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.shardctl_command(arguments)?.output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let line = arguments.join(" ");
        anyhow::ensure!(
            output.status.success(),
            "shardctl {line}: {}",
            errors.trim_end()
        );
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    /// Runs shardctl as if by hand: the command, how far it is, and what it prints.
    pub(crate) async fn shardctl_shown(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let line = arguments.join(" ");
        say(&format!("\n$ shardctl {line}"));
        let mut command = self.shardctl_command(arguments)?;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let errors = child.stderr.take().context("stderr is a pipe")?;
        let mut lines = BufReader::new(errors).lines();
        let told = async {
            while let Some(line) = lines.next_line().await? {
                say(&line);
            }
            Ok::<_, std::io::Error>(())
        };
        let (told, output) = tokio::join!(told, child.wait_with_output());
        told?;
        let output = output?;
        say(String::from_utf8_lossy(&output.stdout).trim_end());
        anyhow::ensure!(
            output.status.success(),
            "shardctl {line}: {}",
            output.status
        );
        Ok(())
    }

    /// As [`Self::shardctl`], with its JSON read.
    pub(crate) async fn shardctl_json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let text = self
            .shardctl(&[&["--output", "json"], arguments].concat())
            .await?;
        serde_json::from_str(&text).with_context(|| format!("shardctl printed {text}"))
    }

    /// As [`Self::shardctl`]; waits while the managers have not elected anybody yet.
    pub(crate) async fn shardctl_when_led(&self, arguments: &[&str]) -> anyhow::Result<String> {
        wait::until("a leading manager", wait::START, || {
            self.shardctl(arguments)
        })
        .await
    }

    pub(crate) fn addresses(&self) -> String {
        let mut lines = vec![String::new(), "Try:".to_owned()];
        let shardctl = executable("shardctl").map(|path| path.display().to_string());
        let shardctl = shardctl.unwrap_or_else(|_| "shardctl".to_owned());
        let managers = self.managers.iter().map(|manager| manager.0.grpc());
        let managers = managers.collect::<Vec<_>>().join(",");
        for router in &self.routers {
            let port = router.address().port;
            lines.push(format!(
                "  psql -h 127.0.0.1 -p {port} -U {USER} {DATABASE}"
            ));
        }
        if let Some(router) = self.routers.first() {
            let execute = format!("{}/v1/execute", router.program.http());
            lines.push(format!(
                "  curl -s {execute} -H 'content-type: application/json' -d '{{\"query\": \
                 \"SELECT * FROM customers WHERE customer_id = $1\", \"params\": [42]}}'"
            ));
            lines.push(format!(
                "  curl -s '{}/v1/shard-for-key?key=42'",
                router.program.http()
            ));
        }
        lines.push(format!("  export SHARDCTL_MANAGER={managers}"));
        for arguments in [
            "status",
            "route 42",
            "tables count",
            "plan drain shard-1",
            "reshard drain shard-1 --wait",
        ] {
            lines.push(format!("  {shardctl} {arguments}"));
        }
        lines.push(String::new());
        for (name, programs) in [
            (
                "router",
                self.routers
                    .iter()
                    .map(|router| &router.program)
                    .collect::<Vec<_>>(),
            ),
            (
                "manager",
                self.managers.iter().map(|manager| &manager.0).collect(),
            ),
        ] {
            for program in programs {
                let (http, grpc, metrics) = (program.http(), program.grpc(), program.metrics_url());
                lines.push(format!(
                    "{name:8} HTTP {http}  gRPC {grpc}  metrics {metrics}"
                ));
            }
        }
        lines.push(format!("etcd     {}", self.etcd.endpoint()));
        if let Ok(folder) = Folder::shared() {
            lines.push(format!("logs     {}", folder.path().display()));
        }
        lines.join("\n")
    }
}

/// A file of `configs/`, found from the place where this program is run or was built.
fn config(name: &str) -> anyhow::Result<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../configs")
        .join(name);
    let here = Path::new("configs").join(name);
    let file = if here.exists() { here } else { built };
    file.canonicalize()
        .with_context(|| format!("find configs/{name}"))
}
