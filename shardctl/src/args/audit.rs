//! The arguments about the audit log.

use clap::{Args as Flags, Subcommand};

use crate::help;

#[derive(Debug, Clone, Subcommand)]
pub enum Audit {
    /// List entries, newest first
    #[command(after_long_help = help::AUDIT_LIST)]
    List(Box<List>),
    /// Check that no entry was changed, removed or moved
    #[command(after_long_help = help::AUDIT_VERIFY)]
    Verify,
}

/// Which entries.
#[derive(Debug, Clone, Default, Flags)]
pub struct List {
    /// How many at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: Option<u32>,
    /// Only entries with a lower number
    #[arg(long, value_name = "NUMBER")]
    pub before: Option<u64>,
    /// By whom
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// What was done, e.g. `create_shard`
    #[arg(long)]
    pub action: Option<String>,
    /// What it was done to
    #[arg(long)]
    pub target: Option<String>,
    /// From which address
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<String>,
    /// Of one request
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
    /// `done` or `refused`
    #[arg(long)]
    pub result: Option<String>,
    /// At this time or later, e.g. 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}
