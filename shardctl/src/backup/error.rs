//! What keeps a backup from being taken, or put back.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use topology::ShardId;
use topology::store;

/// Why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody said where etcd is.
    #[error("no address of etcd is given")]
    NoEtcd,
    /// An address that is none.
    #[error(transparent)]
    BadEtcd(#[from] store::etcd::InvalidConfig),
    /// The files of TLS to etcd.
    #[error(transparent)]
    Tls(#[from] platform::tls::Error),
    /// etcd.
    #[error("cannot {what}: {source}")]
    Store {
        /// What was to be done.
        what: &'static str,
        /// Why not.
        source: store::Error,
    },
    /// What etcd holds is not a topology.
    #[error("the topology in etcd is not usable: {reason}")]
    Topology {
        /// Why.
        reason: String,
    },
    /// There is nothing to back up.
    #[error("no shard is registered")]
    NoShards,
    /// Rows lie on two shards while a job has them.
    #[error("reshard job {id} is not over ({state}): its rows lie on two shards")]
    Job {
        /// The job.
        id: String,
        /// What it came to so far.
        state: String,
    },
    /// A shard came or went while the others were being copied.
    #[error("the shards changed while they were copied")]
    ShardsChanged,
    /// The topology changes all the time.
    #[error("the topology changed at each of {attempts} attempts")]
    Restless {
        /// How many.
        attempts: u32,
    },
    /// A shard.
    #[error("shard {shard}: cannot {what}: {reason}")]
    Shard {
        /// Which.
        shard: ShardId,
        /// What was to be done.
        what: &'static str,
        /// What PostgreSQL says.
        reason: String,
    },
    /// A shard that does not answer.
    #[error("shard {shard}: {what} took longer than {limit:?}")]
    Late {
        /// Which.
        shard: ShardId,
        /// What was to be done.
        what: &'static str,
        /// How long it may take.
        limit: Duration,
    },
    /// A transaction that is decided, and that nobody finishes.
    #[error("transaction {name} is committed, and still prepared on shard {shard} after {limit:?}")]
    Unfinished {
        /// Where.
        shard: ShardId,
        /// Its name.
        name: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// A program.
    #[error("{program} cannot be run: {source}")]
    Program {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A file or folder.
    #[error("{}: cannot {what}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was to be done.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A backup that is not what was written.
    #[error("{}: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A mapping on the command line.
    #[error("{text:?} is not {form}")]
    Mapping {
        /// As it was given.
        text: String,
        /// What it should be.
        form: &'static str,
    },
    /// A shard that is not in the backup.
    #[error("the backup holds no shard {shard:?}")]
    NoSuchShard {
        /// As it was given.
        shard: String,
    },
    /// Something is where a backup is to go.
    #[error("{place} is not empty: {found}")]
    NotFresh {
        /// Where.
        place: String,
        /// What is there.
        found: String,
    },
    /// A backup of the other method.
    #[error("the backup was taken by {method}: {reason}")]
    OtherMethod {
        /// Its method.
        method: &'static str,
        /// What follows.
        reason: &'static str,
    },
}

impl Error {
    pub(super) fn store(what: &'static str) -> impl FnOnce(store::Error) -> Self {
        move |source| Self::Store { what, source }
    }

    pub(super) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File {
            path: path.to_owned(),
            what,
            source,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NoEtcd => "name etcd with --etcd or ETCD_ENDPOINTS",
            Self::Job { .. } => {
                "wait for it, or end it: shardctl reshard finish, cancel or rollback"
            }
            Self::ShardsChanged | Self::Restless { .. } => "take it again when nothing is changed",
            Self::Shard { .. } | Self::Late { .. } => {
                "DB_USERNAME and DB_PASSWORD log in; PGSSLMODE and the like hold"
            }
            Self::Unfinished { .. } => "a manager that leads finishes it: shardctl status",
            Self::Program { .. } => "install the client programs of the shards' PostgreSQL version",
            Self::Damaged { .. } => "restore another backup",
            Self::NotFresh { .. } => "restore into fresh servers only",
            Self::BadEtcd(_)
            | Self::Tls(_)
            | Self::Store { .. }
            | Self::Topology { .. }
            | Self::NoShards
            | Self::File { .. }
            | Self::Mapping { .. }
            | Self::NoSuchShard { .. }
            | Self::OtherMethod { .. } => return None,
        })
    }
}
