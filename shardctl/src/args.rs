//! The arguments, as clap reads them. What they mean is in `run`, their long texts in `help`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Flags, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use serde::{Deserialize, Serialize};

use crate::help;

pub mod access;
pub mod audit;
pub mod backup;
pub mod context;
pub mod reshard;

/// Operates a sharded PostgreSQL through its manager.
#[derive(Debug, Parser)]
#[command(name = "shardctl", version, after_long_help = help::EXIT_CODES)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Where the manager is and how to print its answers.
#[derive(Debug, Clone, Flags)]
pub struct Global {
    /// gRPC addresses of managers, separated by commas and tried in order [default: http://127.0.0.1:50052]
    #[arg(
        long,
        global = true,
        env = "SHARDCTL_MANAGER",
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub manager: Vec<String>,
    /// The context that says what flags and environment do not [default: the one in force]
    #[arg(long, global = true, env = "SHARDCTL_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Metrics ports of routers and managers, for `doctor` and `top`; under TLS with --ca [default: 9090 and 9091 where they are]
    #[arg(
        long,
        global = true,
        env = "SHARDCTL_METRICS",
        value_delimiter = ',',
        value_name = "HOST:PORT"
    )]
    pub metrics: Vec<String>,
    /// How to print [default: table]
    #[arg(long, short, global = true, value_enum)]
    pub output: Option<Output>,
    /// Bearer token, where the manager asks for one
    #[arg(long, global = true, env = "SHARDCTL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File with the token, which `login` writes and `logout` removes
    #[arg(long, global = true, env = "SHARDCTL_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// PEM file with the certificate authority of a manager that serves https
    #[arg(long, global = true, env = "SHARDCTL_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file with a certificate to show a manager that asks for one
    #[arg(
        long,
        global = true,
        env = "SHARDCTL_CERT",
        value_name = "FILE",
        requires = "client_key"
    )]
    pub cert: Option<PathBuf>,
    /// PEM file with the key of `--cert`
    // `route` has a key of its own.
    #[arg(
        id = "client_key",
        long = "key",
        global = true,
        env = "SHARDCTL_KEY",
        value_name = "FILE",
        requires = "cert"
    )]
    pub key: Option<PathBuf>,
    /// How long to wait for an answer, e.g. 500ms or 1m [default: 10s; 3m for `shards promote`; 30s for `plan`, `reshard`, `schema` and `audit`, 5m for `tables count`]
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub timeout: Option<Duration>,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// Columns for people
    Table,
    /// JSON for scripts; each command's --help documents its shape
    Json,
    /// The same as YAML
    Yaml,
}

impl Output {
    /// As `--output` takes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Yaml => "yaml",
        }
    }
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Show who leads, the epoch, the managers and the shards
    #[command(after_long_help = help::STATUS)]
    Status,
    /// Check everything, a line each: ok, warn or fail, and what to do
    #[command(after_long_help = help::DOCTOR)]
    Doctor(backup::Place),
    /// Show queries, latencies, pools and jobs, again each second
    #[command(after_long_help = help::TOP)]
    Top(Top),
    /// List, show, set and choose contexts: where managers are, and the token of the last login
    #[command(subcommand)]
    Context(context::Contexts),
    /// Create the first administrator, once, and log in
    #[command(after_long_help = help::LOGIN)]
    Setup(access::Login),
    /// Log in: keep the token in --token-file or the context, or print it
    #[command(after_long_help = help::LOGIN)]
    Login(access::Login),
    /// End the session of the token
    Logout,
    /// Show whose token this is
    Whoami,
    /// List, create, change and delete accounts of the managers
    #[command(subcommand)]
    Accounts(access::Accounts),
    /// List, make and revoke API keys
    #[command(subcommand)]
    Keys(access::Keys),
    /// List, show, add and remove shards
    #[command(subcommand)]
    Shards(Shards),
    /// List, register, forget and count tables
    #[command(subcommand)]
    Tables(Tables),
    /// List and add table groups
    #[command(subcommand)]
    Groups(Groups),
    /// List, create and delete users of the routers, and change their passwords
    #[command(subcommand)]
    Users(Users),
    /// Compare the shards' schemas, and create what one of them lacks
    #[command(subcommand)]
    Schema(Schema),
    /// List what was done and refused, and check that the log of it is whole
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Copy etcd and all shards at one point; talks to them itself
    #[command(after_long_help = help::BACKUP)]
    Backup(backup::Backup),
    /// Put a backup into fresh servers
    #[command(after_long_help = help::RESTORE)]
    Restore(backup::Restore),
    /// Show the ring
    #[command(subcommand)]
    Ring(Ring),
    /// List the routers that live
    #[command(subcommand)]
    Routers(Routers),
    /// Show what a change of the ring would move, and keep it to be run
    #[command(subcommand)]
    Plan(reshard::Plan),
    /// Move rows between shards while applications write
    #[command(subcommand)]
    Reshard(reshard::Reshard),
    /// Show where a key lives: its token, vnode and shard
    #[command(after_long_help = help::ROUTE)]
    Route {
        /// The key, read as the group's key type; one that begins with a hyphen goes after `--`
        #[arg(allow_negative_numbers = true)]
        key: String,
        /// The table group whose key type it has
        #[arg(long, default_value = "default")]
        group: String,
    },
    /// Print the completion of commands and flags for a shell
    #[command(after_long_help = help::COMPLETION)]
    Completion {
        /// The shell
        #[arg(value_parser = clap::value_parser!(Shell))]
        shell: Shell,
    },
    /// Write man pages, one for each command, into a folder
    Man {
        /// The folder; it is made if it is not there
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Show the version of shardctl and of the managers
    #[command(after_long_help = help::VERSION)]
    Version {
        /// Ask no manager
        #[arg(long)]
        client: bool,
    },
}

#[derive(Debug, Clone, Flags)]
pub struct Top {
    /// Show one picture, of one interval
    #[arg(long, conflicts_with = "count")]
    pub once: bool,
    /// Show so many pictures [default: until it is interrupted]
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
    /// Between two pictures
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub interval: Duration,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Shards {
    /// List all shards
    #[command(after_long_help = help::SHARDS_LIST)]
    List,
    /// Show one shard
    #[command(after_long_help = help::SHARD)]
    Show {
        /// The shard
        id: String,
    },
    /// Register a shard
    #[command(after_long_help = help::SHARD)]
    Add(AddShard),
    /// Make a replica the shard's primary; routers hold what is for the shard meanwhile
    #[command(after_long_help = help::PROMOTE)]
    Promote(Promote),
    /// Forget a shard that owns no vnodes and holds no rows
    #[command(after_long_help = help::REMOVED)]
    Remove {
        /// The shard
        id: String,
    },
}

#[derive(Debug, Clone, Flags)]
pub struct Promote {
    /// The shard
    pub id: String,
    /// The replica's endpoint [default: the one that has received most]
    #[arg(long, value_name = "ENDPOINT")]
    pub to: Option<String>,
    /// Say what would be done and what may be lost, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Go on where commits may be lost
    #[arg(long)]
    pub accept_loss: bool,
    /// You have made sure that the old primary takes no writes, should it not be reachable
    #[arg(long)]
    pub old_primary_is_down: bool,
}

#[derive(Debug, Clone, Flags)]
pub struct AddShard {
    /// Its name; the id is made from it
    pub name: String,
    /// Its primary, e.g. postgres://db1:5432/app
    pub endpoint: String,
    /// One of its replicas; may be repeated
    #[arg(long = "replica", value_name = "ENDPOINT")]
    pub replicas: Vec<String>,
    /// Vnodes that it should own [default: the manager's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub vnodes: Option<u32>,
    /// How large its share should be beside the others' [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub weight: Option<u32>,
    /// A text of your choice: a repeated request with the same one is carried out once
    #[arg(long, value_name = "TEXT")]
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Tables {
    /// List all registered tables
    #[command(after_long_help = help::TABLES_LIST)]
    List,
    /// Register a table: sharded by a key, on every shard, or on one
    #[command(after_long_help = help::TABLE)]
    Add(AddTable),
    /// Forget a table that exists on no shard
    #[command(after_long_help = help::REMOVED)]
    Remove {
        /// The table, with its schema unless that is public
        name: String,
    },
    /// Count the rows of each table by shard, by reading them
    #[command(after_long_help = help::COUNT)]
    Count {
        /// The table [default: all of them]
        name: Option<String>,
    },
}

#[derive(Debug, Clone, Flags)]
#[command(group = clap::ArgGroup::new("kind").required(true))]
pub struct AddTable {
    /// The table, with its schema unless that is public; quoted as in SQL
    pub name: String,
    /// Sharded by this column
    #[arg(long, value_name = "COLUMN", group = "kind")]
    pub shard_key: Option<String>,
    /// The key's type; may be left out where the group exists
    #[arg(long, value_enum, conflicts_with_all = ["reference", "unsharded"])]
    pub key_type: Option<KeyType>,
    /// The table group of a sharded table [default: default]
    #[arg(long, conflicts_with_all = ["reference", "unsharded"])]
    pub group: Option<String>,
    /// A reference table: the same rows on every shard
    #[arg(long, group = "kind")]
    pub reference: bool,
    /// An unsharded table: all rows on this shard
    #[arg(long, value_name = "SHARD", group = "kind")]
    pub unsharded: Option<String>,
}

/// The type of a shard key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyType {
    Bigint,
    Text,
    Uuid,
}

impl KeyType {
    /// The word that the manager knows it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bigint => "bigint",
            Self::Text => "text",
            Self::Uuid => "uuid",
        }
    }
}

#[derive(Debug, Clone, Subcommand)]
pub enum Routers {
    /// List the routers that live, and which epoch each has applied
    #[command(after_long_help = help::ROUTERS_LIST)]
    List,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Groups {
    /// List all table groups
    #[command(after_long_help = help::GROUPS_LIST)]
    List,
    /// Add a table group
    #[command(after_long_help = help::GROUP)]
    Add {
        /// Its name
        name: String,
        /// The type of its tables' keys
        #[arg(long, value_enum)]
        key_type: KeyType,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub enum Users {
    /// List all users
    #[command(after_long_help = help::USERS_LIST)]
    List,
    /// Let a new user log in to the routers
    #[command(after_long_help = help::USER)]
    Create {
        /// Its name
        name: String,
        /// It may not log in until it is enabled
        #[arg(long)]
        disabled: bool,
        #[command(flatten)]
        from: PasswordFrom,
    },
    /// Change a user's password
    #[command(after_long_help = help::USER)]
    Passwd {
        /// The user
        name: String,
        #[command(flatten)]
        from: PasswordFrom,
    },
    /// Let a user log in again
    #[command(after_long_help = help::USER)]
    Enable {
        /// The user
        name: String,
    },
    /// Let a user log in no longer; sessions that it has go on
    #[command(after_long_help = help::USER)]
    Disable {
        /// The user
        name: String,
    },
    /// Forget a user; sessions that it has go on
    #[command(after_long_help = help::REMOVED)]
    Delete {
        /// The user
        name: String,
    },
}

/// Where a password comes from.
#[derive(Debug, Clone, Flags)]
pub struct PasswordFrom {
    /// File whose first line is the password or a SCRAM-SHA-256 verifier, `-` for standard input
    /// [default: the variable SHARDCTL_USER_PASSWORD, else standard input]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Schema {
    /// Show in what the shards' schemas differ
    #[command(after_long_help = help::SCHEMA_DIFF)]
    Diff,
    /// Create on one shard what it lacks of another one's schema; nothing is dropped or changed
    #[command(after_long_help = help::SCHEMA_REPAIR)]
    Repair {
        /// The shard that has it right
        #[arg(long, value_name = "SHARD")]
        from: String,
        /// The shard that lacks something
        #[arg(long, value_name = "SHARD")]
        to: String,
        /// Say what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Ring {
    /// Show each shard's vnodes and its share of the token space
    #[command(after_long_help = help::RING)]
    Show,
}

#[cfg(test)]
mod tests;
