//! Whether a backup is what was written: each file by its checksum, and what PostgreSQL's own
//! programs and etcd's own checksum say of theirs.

use std::collections::BTreeMap;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::Error;
use super::copy::{DUMP, folder_of};
use super::files::{self, Sum};
use super::manifest::{Manifest, ShardCopy};
use super::physical::{BASE, WAL};
use super::stored::SNAPSHOT;
use crate::args::backup::Method;

/// What was found, and found good.
#[derive(Debug)]
pub struct Verified {
    /// What it holds.
    pub manifest: Manifest,
    /// Objects that the dumps hold; 0 for data folders.
    pub objects: usize,
}

/// Checks a backup.
///
/// # Errors
/// The first thing that is not as it was written.
pub async fn verify(folder: &Path) -> Result<Verified, Error> {
    let manifest = Manifest::read(folder)?;
    compare(folder, &manifest.files, &files::sums(folder).await?)?;
    snapshot(&folder.join(SNAPSHOT))?;
    let mut objects = 0;
    for shard in &manifest.shards {
        let part = folder_of(folder, &shard.id);
        match manifest.method {
            Method::Dump => objects += dump(shard, &part.join(DUMP)).await?,
            Method::Basebackup => base(shard, &part).await?,
        }
    }
    Ok(Verified { manifest, objects })
}

fn compare(folder: &Path, written: &[Sum], found: &[Sum]) -> Result<(), Error> {
    let found: BTreeMap<&str, &Sum> = found.iter().map(|it| (it.path.as_str(), it)).collect();
    let damaged = |path: &str, reason: String| Error::Damaged {
        path: folder.join(path),
        reason,
    };
    for sum in written {
        match found.get(sum.path.as_str()) {
            None => return Err(damaged(&sum.path, "it is missing".to_owned())),
            Some(it) if it.bytes != sum.bytes => {
                let reason = format!("{} bytes, written were {}", it.bytes, sum.bytes);
                return Err(damaged(&sum.path, reason));
            }
            Some(it) if it.sha256 != sum.sha256 => {
                return Err(damaged(&sum.path, "its checksum is another".to_owned()));
            }
            Some(_) => {}
        }
    }
    let known: Vec<&str> = written.iter().map(|sum| sum.path.as_str()).collect();
    match found.keys().find(|path| !known.contains(path)) {
        Some(path) => Err(damaged(path, "it is not in the manifest".to_owned())),
        None => Ok(()),
    }
}

/// etcd puts a SHA-256 of all that comes before at the end.
fn snapshot(path: &Path) -> Result<(), Error> {
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    let damaged = |reason: &str| Error::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let split = bytes.len().checked_sub(32);
    let split = split.and_then(|at| bytes.split_at_checked(at));
    let (data, sum) = split.ok_or_else(|| damaged("it is too short for a snapshot"))?;
    if Sha256::digest(data).as_slice() != sum {
        return Err(damaged("it is not a whole snapshot of etcd"));
    }
    Ok(())
}

/// Reads a dump's table of contents.
async fn dump(shard: &ShardCopy, path: &Path) -> Result<usize, Error> {
    let mut command = Command::new(super::server::find("pg_restore", shard.major));
    command.arg("--list").arg(path);
    let output = run(command).await?;
    let text = String::from_utf8_lossy(&output);
    Ok(text.lines().filter(|line| !line.starts_with(';')).count())
}

/// Compares a data folder with the manifest that `pg_basebackup` has written for it.
async fn base(shard: &ShardCopy, part: &Path) -> Result<(), Error> {
    let mut command = Command::new(super::server::find("pg_verifybackup", shard.major));
    command
        .args(["--quiet", "--no-parse-wal", "--wal-directory"])
        .arg(part.join(WAL))
        .arg(part.join(BASE));
    run(command).await.map(drop)
}

async fn run(mut command: Command) -> Result<Vec<u8>, Error> {
    let program = command.as_std().get_program().to_owned();
    let path = command.as_std().get_args().last().map(Path::new);
    let path = path.map(Path::to_path_buf).unwrap_or_default();
    let output = command.kill_on_drop(true).output().await;
    let output = output.map_err(|source| Error::Program {
        program: program.to_string_lossy().into_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(Error::Damaged {
        path,
        reason: reason.lines().next().unwrap_or_default().to_owned(),
    })
}
