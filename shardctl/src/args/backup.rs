//! The arguments about backups.

use std::path::PathBuf;

use clap::{Args as Flags, Subcommand, ValueEnum};
use platform::tls::client::Identity;

use crate::help;

/// Takes a backup, unless a subcommand says otherwise.
#[derive(Debug, Clone, Flags)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Backup {
    #[command(flatten)]
    pub create: Create,
    #[command(subcommand)]
    pub command: Option<Other>,
}

/// What else there is to do with backups.
#[derive(Debug, Clone, Subcommand)]
pub enum Other {
    /// Check that a backup is whole
    #[command(after_long_help = help::BACKUP_VERIFY)]
    Verify {
        /// The backup's folder
        folder: PathBuf,
    },
}

/// Where etcd is; `ETCD_USERNAME` and `ETCD_PASSWORD` log in there. Shards are logged in to as `DB_USERNAME` with `DB_PASSWORD`; libpq's variables,
/// such as PGSSLMODE, hold as well.
#[derive(Debug, Clone, Flags)]
pub struct Place {
    /// etcd's client addresses, separated by commas
    #[arg(
        long,
        env = "ETCD_ENDPOINTS",
        value_delimiter = ',',
        value_name = "HOST:PORT"
    )]
    pub etcd: Vec<String>,
    /// PEM file with the authorities of etcd's certificates, for https
    #[arg(long, env = "ETCD_CACERT", value_name = "FILE")]
    pub etcd_ca: Option<PathBuf>,
    /// The certificate that etcd is shown, where it asks for one
    #[arg(long, env = "ETCD_CERT", value_name = "FILE", requires = "etcd_key")]
    pub etcd_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, env = "ETCD_KEY", value_name = "FILE", requires = "etcd_cert")]
    pub etcd_key: Option<PathBuf>,
}

impl Place {
    /// What etcd is shown that asks for a certificate.
    #[must_use]
    pub fn identity(&self) -> Option<Identity> {
        let files = self.etcd_cert.clone().zip(self.etcd_key.clone());
        files.map(|(cert_path, key_path)| Identity {
            cert_path,
            key_path,
        })
    }
}

/// What is backed up, and where to.
#[derive(Debug, Clone, Flags)]
pub struct Create {
    #[command(flatten)]
    pub place: Place,
    /// The folder that gets a folder for this backup
    #[arg(long, value_name = "FOLDER", required = true)]
    pub to: Option<PathBuf>,
    /// How the shards are copied
    #[arg(long, value_enum, default_value_t = Method::Dump)]
    pub method: Method,
    /// How many backups stay in the folder; older ones are removed once this one is complete
    /// [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
}

/// How the shards are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// By `pg_dump`: restored into servers of any later version
    Dump,
    /// By `pg_basebackup` and the WAL up to the point: for large databases, same version only
    Basebackup,
}

/// What is restored, and where to.
#[derive(Debug, Clone, Flags)]
pub struct Restore {
    /// The backup's folder
    pub folder: PathBuf,
    #[command(flatten)]
    pub place: Place,
    /// Where a shard is from now on, unless it is where it was; may be repeated
    #[arg(long = "shard", value_name = "SHARD=ENDPOINT")]
    pub shards: Vec<String>,
    /// Only makes a data folder for a shard's server, from a backup by basebackup; may be repeated
    #[arg(long = "pgdata", value_name = "SHARD=FOLDER")]
    pub pgdata: Vec<String>,
}
