//! A shard's server, as PostgreSQL's own programs reach it.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use topology::{Endpoint, ShardId, Snapshot};

use super::Error;
use super::psql::Psql;

/// Where Debian and others keep the programs of each version.
const FOLDER: &str = "/usr/lib/postgresql";

/// A short question.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// What roles and databases may have set for applications.
const OPTIONS: &str = "-c statement_timeout=0 -c lock_timeout=0 \
    -c idle_in_transaction_session_timeout=0 -c default_transaction_read_only=off \
    -c default_transaction_isolation=read\\ committed -c client_min_messages=warning";

/// A server.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) shard: ShardId,
    pub(super) endpoint: Endpoint,
    /// PostgreSQL's major version.
    pub(super) major: u32,
}

impl Server {
    /// The primaries of all shards.
    pub(super) async fn of_all(snapshot: &Snapshot) -> Result<Vec<Self>, Error> {
        let mut servers = Vec::new();
        for shard in snapshot.shards() {
            let endpoint = shard.primary_endpoint.clone();
            servers.push(Self::ask(shard.id.clone(), endpoint).await?);
        }
        Ok(servers)
    }

    /// Asks a server what it is.
    pub(super) async fn ask(shard: ShardId, endpoint: Endpoint) -> Result<Self, Error> {
        let mut server = Self {
            shard,
            endpoint,
            major: 0,
        };
        let what = "ask for its version";
        let sql = "SELECT current_setting('server_version_num')::int / 10000, pg_is_in_recovery()";
        let answer = Psql::open(&server)?.ask(what, sql, LIMIT).await?;
        let line = answer.first().map(String::as_str).unwrap_or_default();
        let refused = |reason: String| Error::Shard {
            shard: server.shard.clone(),
            what,
            reason,
        };
        match line.split_once('|') {
            Some((major, "f")) => {
                let major = major
                    .parse()
                    .map_err(|_| refused(format!("it says {line:?}")))?;
                server.major = major;
                Ok(server)
            }
            Some((_, "t")) => Err(refused("it is a replica, or still recovering".to_owned())),
            Some(_) | None => Err(refused(format!("it says {line:?}"))),
        }
    }

    /// One of PostgreSQL's programs on this server's database. Credentials go by the environment,
    /// which other users of the host cannot read.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(find(program, self.major));
        command
            .env("PGHOST", self.endpoint.host())
            .env("PGPORT", self.endpoint.port().to_string())
            .env("PGDATABASE", self.endpoint.database())
            .env("PGAPPNAME", "shardctl-backup")
            .env("PGOPTIONS", OPTIONS)
            .env("PGCLIENTENCODING", "UTF8")
            .env("LC_ALL", "C");
        for (ours, theirs) in [("DB_USERNAME", "PGUSER"), ("DB_PASSWORD", "PGPASSWORD")] {
            if let Some(value) = std::env::var_os(ours).filter(|value| !value.is_empty()) {
                command.env(theirs, value);
            }
        }
        if std::env::var_os("PGCONNECT_TIMEOUT").is_none() {
            command.env("PGCONNECT_TIMEOUT", "10");
        }
        command.arg("--no-password").stdin(Stdio::null());
        command.kill_on_drop(true);
        command
    }

    /// Runs a program to its end.
    pub(super) async fn run(
        &self,
        what: &'static str,
        mut command: Command,
    ) -> Result<Output, Error> {
        let program = command.as_std().get_program().to_owned();
        let output = command.output().await.map_err(|source| Error::Program {
            program: program.to_string_lossy().into_owned(),
            source,
        })?;
        if output.status.success() {
            return Ok(output);
        }
        Err(self.refused(what, &output))
    }

    /// What a program complained of.
    pub(super) fn refused(&self, what: &'static str, output: &Output) -> Error {
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said.lines().rev().take(5).collect();
        let said: Vec<&str> = said.into_iter().rev().collect();
        Error::Shard {
            shard: self.shard.clone(),
            what,
            reason: said.join("; "),
        }
    }
}

/// The program of a version, or of the oldest later one; what PATH has where there is none.
pub(super) fn find(program: &str, major: u32) -> PathBuf {
    let folders = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = folders
        .filter_map(|folder| {
            let version = folder.file_name().to_str()?.parse().ok()?;
            let path = folder.path().join("bin").join(program);
            path.exists().then_some((version, path))
        })
        .filter(|(version, _)| *version >= major)
        .collect();
    found.sort();
    let first = found.into_iter().next().map(|(_, path)| path);
    first.unwrap_or_else(|| Path::new(program).to_owned())
}
