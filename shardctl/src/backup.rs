//! Backups of the whole system: etcd and all shards at one point, at which each transaction on
//! several shards is there whole or not at all.
//!
//! `point` finds the point, `copy` copies the shards as they are there, `manifest` says what a
//! backup holds, `verify` checks one, `restore` puts one into fresh servers. It talks to etcd and to
//! the shards by itself, so that it needs no manager; to the shards through PostgreSQL's own
//! programs, whose variables for TLS and passwords hold.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use topology::keys;
use topology::records::{LastBackup, encode};
use topology::store::{EtcdStore, Op, Store as _, Txn};

use crate::args::backup::{Create, Method, Place};

mod copy;
mod error;
mod files;
mod folder;
mod manifest;
mod physical;
mod point;
mod psql;
mod restore;
mod server;
mod stored;
mod verify;

pub use error::Error;
pub use manifest::{Manifest, ShardCopy};
pub use restore::{Restored, restore};
pub use verify::{Verified, verify};

use copy::Copies;
use server::Server;
use stored::Stored;

/// How often a point is looked for again because the topology changed meanwhile.
const MAX_ATTEMPTS: u32 = 5;

/// A connection to etcd, for whoever looks at it by its own addresses.
///
/// # Errors
/// When no address is given, or one is none.
pub fn stored_at(place: &Place) -> Result<EtcdStore, Error> {
    Ok(Stored::connect(place)?.store)
}

/// A backup that is complete.
#[derive(Debug)]
pub struct Created {
    /// Where it lies.
    pub folder: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    /// Older ones that were removed.
    pub removed: Vec<PathBuf>,
}

/// Begins a folder with the time as its name; waits while another backup has that of this second.
async fn begin(to: &Path) -> Result<(SystemTime, String, folder::Work), Error> {
    loop {
        let started_at = SystemTime::now();
        let id = humantime::format_rfc3339_seconds(started_at).to_string();
        let id = id.replace(['-', ':'], "");
        if let Some(work) = folder::Work::begin(to, &id)? {
            return Ok((started_at, id, work));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Takes a backup.
///
/// # Errors
/// What keeps it from being complete; nothing is left in the folder then.
pub async fn create(options: &Create, to: &Path) -> Result<Created, Error> {
    let stored = Stored::connect(&options.place)?;
    let seen = stored.settled().await?;
    let servers = Server::of_all(&seen.snapshot).await?;
    let (started_at, id, work) = begin(to).await?;
    // What copies while the shards go on; its WAL reaches up to the point.
    let mut copies = Copies::begin(options.method, &servers, work.path()).await?;
    let mut attempt = 1;
    let (mut point, seen) = loop {
        let before = stored.settled().await?;
        if before.shards() != seen.shards() {
            return Err(Error::ShardsChanged);
        }
        let point = point::find(&servers, options.method, &id).await?;
        let after = stored.settled().await?;
        if before.epoch == after.epoch {
            stored.save(&after, work.path()).await?;
            if stored.settled().await?.epoch == after.epoch {
                break (point, after);
            }
        }
        if attempt == MAX_ATTEMPTS {
            return Err(Error::Restless { attempts: attempt });
        }
        attempt += 1;
    };
    copies.finish(&servers, &point, work.path()).await?;
    point.end().await?;
    // A dump reads definitions as they are when it comes to them.
    stored.settled().await?;
    let manifest = Manifest {
        format: manifest::FORMAT,
        id: id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        method: options.method,
        started_at: said(started_at),
        point_at: said(point.at),
        finished_at: said(SystemTime::now()),
        fence_ms: point.fence.as_secs_f64() * 1000.0,
        epoch: seen.epoch.0,
        revision: seen.revision.0,
        shards: point.copies(&servers),
        files: files::sums(work.path()).await?,
    };
    manifest.write(work.path())?;
    let folder = work.complete()?;
    let record = LastBackup {
        id,
        point_at: point.at,
        finished_at: SystemTime::now(),
        epoch: seen.epoch,
        bytes: manifest.bytes(),
    };
    let put = Op::put(keys::LAST_BACKUP, encode(&record));
    let recorded = stored.store.commit(Txn {
        compares: Vec::new(),
        ops: vec![put],
    });
    recorded.await.map_err(Error::store("record the backup"))?;
    let removed = folder::prune(to, options.keep)?;
    Ok(Created {
        folder,
        manifest,
        removed,
    })
}

fn said(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// The words of a method.
#[must_use]
pub fn word(method: Method) -> &'static str {
    match method {
        Method::Dump => "dump",
        Method::Basebackup => "basebackup",
    }
}

/// Until a deadline that begins now.
fn until(limit: Duration) -> Instant {
    Instant::now() + limit
}
