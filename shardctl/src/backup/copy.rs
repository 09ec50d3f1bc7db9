//! Copies of the shards as they are at the point: by `pg_dump`, or by what `physical` does.

use std::path::{Path, PathBuf};

use tokio::task::JoinSet;

use super::Error;
use super::physical::Physical;
use super::point::Point;
use super::server::Server;
use crate::args::backup::Method;

/// The folder of the shards.
pub(super) const SHARDS: &str = "shards";

/// A shard's dump, in its folder.
pub(super) const DUMP: &str = "data.dump";

/// The roles of a shard's server, in its folder.
pub(super) const ROLES: &str = "roles.sql";

/// The copies that are being made.
#[derive(Debug)]
pub(super) enum Copies {
    /// Begin with the point.
    Dumps,
    /// Began before.
    Physical(Vec<Physical>),
}

/// A shard's folder in a backup.
pub(super) fn folder_of(backup: &Path, shard: &str) -> PathBuf {
    backup.join(SHARDS).join(shard)
}

impl Copies {
    /// Does what comes before the point.
    pub(super) async fn begin(
        method: Method,
        servers: &[Server],
        backup: &Path,
    ) -> Result<Self, Error> {
        for server in servers {
            let folder = folder_of(backup, server.shard.as_str());
            std::fs::create_dir_all(&folder).map_err(Error::file("create", &folder))?;
        }
        match method {
            Method::Dump => Ok(Self::Dumps),
            Method::Basebackup => {
                let mut copying = JoinSet::new();
                for (index, server) in servers.iter().cloned().enumerate() {
                    let folder = folder_of(backup, server.shard.as_str());
                    copying.spawn(async move { (index, Physical::begin(&server, &folder).await) });
                }
                let mut begun = Vec::new();
                while let Some(one) = copying.join_next().await {
                    let (index, copy) = one.map_err(lost)?;
                    begun.push((index, copy?));
                }
                begun.sort_by_key(|(index, _)| *index);
                Ok(Self::Physical(
                    begun.into_iter().map(|(_, it)| it).collect(),
                ))
            }
        }
    }

    /// Does what comes after it.
    pub(super) async fn finish(
        &mut self,
        servers: &[Server],
        point: &Point,
        backup: &Path,
    ) -> Result<(), Error> {
        match self {
            Self::Dumps => dump_all(servers, point, backup).await,
            Self::Physical(copies) => {
                let both = servers.iter().zip(copies).zip(&point.moments);
                for ((server, copy), moment) in both {
                    copy.finish(server, &moment.lsn).await?;
                }
                Ok(())
            }
        }
    }
}

/// Every shard has a server of its own: all at once.
async fn dump_all(servers: &[Server], point: &Point, backup: &Path) -> Result<(), Error> {
    let mut dumps = JoinSet::new();
    for (server, moment) in servers.iter().zip(&point.moments) {
        let folder = folder_of(backup, server.shard.as_str());
        let (server, snapshot) = (server.clone(), moment.snapshot.clone());
        dumps.spawn(async move { dump(&server, &snapshot, &folder).await });
    }
    while let Some(dumped) = dumps.join_next().await {
        dumped.map_err(lost)??;
    }
    Ok(())
}

async fn dump(server: &Server, snapshot: &str, folder: &Path) -> Result<(), Error> {
    let mut command = server.command("pg_dump");
    command
        .args(["--format=custom", "--lock-wait-timeout=60s"])
        // The managers' own: made anew by the next leader.
        .arg("--exclude-schema=vg")
        .arg(format!("--snapshot={snapshot}"))
        .arg("--file")
        .arg(folder.join(DUMP));
    server.run("dump it", command).await?;
    roles(server, folder).await
}

/// Roles are the server's, not the database's. Their passwords only a superuser can read.
async fn roles(server: &Server, folder: &Path) -> Result<(), Error> {
    let mut first = None;
    for with in [None, Some("--no-role-passwords")] {
        let mut command = server.command("pg_dumpall");
        command.arg("--roles-only").args(with);
        command.arg("--file").arg(folder.join(ROLES));
        match server.run("dump its roles", command).await {
            Ok(_) => return Ok(()),
            Err(error) => first = first.or(Some(error)),
        }
    }
    first.map_or(Ok(()), Err)
}

/// A task that panicked or was cut off; none does.
pub(super) fn lost(error: tokio::task::JoinError) -> Error {
    Error::Program {
        program: "a copy".to_owned(),
        source: std::io::Error::other(error),
    }
}
