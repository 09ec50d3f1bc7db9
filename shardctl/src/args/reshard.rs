//! The arguments of `plan` and `reshard`.

use std::time::Duration;

use clap::{Args as Flags, Subcommand, ValueEnum};

use crate::help;

/// What to move, to be planned only.
#[derive(Debug, Clone, Subcommand)]
pub enum Plan {
    /// Divide what a shard owns among others
    #[command(after_long_help = help::PLAN)]
    Split(Split),
    /// Give all that some shards own to one
    #[command(after_long_help = help::PLAN)]
    Merge(Merge),
    /// Give some vnodes of a shard to another
    #[command(after_long_help = help::PLAN)]
    Move(Move),
    /// Give a shard its fair share
    #[command(after_long_help = help::PLAN)]
    AddShard(AddShard),
    /// Give all that a shard owns to the others
    #[command(after_long_help = help::PLAN)]
    Drain(Drain),
    /// Bring every shard to its fair share
    #[command(after_long_help = help::PLAN)]
    Rebalance(Rebalance),
}

/// Jobs: start them, look at them, change them.
#[derive(Debug, Clone, Subcommand)]
pub enum Reshard {
    /// Divide what a shard owns among others
    #[command(after_long_help = help::JOB)]
    Split {
        #[command(flatten)]
        what: Split,
        #[command(flatten)]
        how: How,
    },
    /// Give all that some shards own to one
    #[command(after_long_help = help::JOB)]
    Merge {
        #[command(flatten)]
        what: Merge,
        #[command(flatten)]
        how: How,
    },
    /// Give some vnodes of a shard to another
    #[command(after_long_help = help::JOB)]
    Move {
        #[command(flatten)]
        what: Move,
        #[command(flatten)]
        how: How,
    },
    /// Give a shard its fair share, from those with more than theirs
    #[command(after_long_help = help::JOB)]
    AddShard {
        #[command(flatten)]
        what: AddShard,
        #[command(flatten)]
        how: How,
    },
    /// Give all that a shard owns to the others
    #[command(after_long_help = help::JOB)]
    Drain {
        #[command(flatten)]
        what: Drain,
        #[command(flatten)]
        how: How,
    },
    /// Bring every shard to its fair share
    #[command(after_long_help = help::JOB)]
    Rebalance {
        #[command(flatten)]
        what: Rebalance,
        #[command(flatten)]
        how: How,
    },
    /// Run a plan that was made before
    #[command(after_long_help = help::JOB)]
    Run {
        /// The plan's id
        plan: String,
        #[command(flatten)]
        pace: Pace,
        /// Wait until the job is over, and show how far it is
        #[arg(long)]
        wait: bool,
    },
    /// List the jobs, newest first
    #[command(after_long_help = help::JOBS)]
    List,
    /// Show one job
    #[command(after_long_help = help::JOB)]
    Status {
        /// The job
        id: String,
    },
    /// Wait until a job is over, and show how far it is
    #[command(after_long_help = help::JOB)]
    Wait {
        /// The job
        id: String,
    },
    /// Stop a job for now; its streams go on
    #[command(after_long_help = help::JOB)]
    Pause {
        /// The job
        id: String,
    },
    /// Let a paused job go on
    #[command(after_long_help = help::JOB)]
    Resume(Ask),
    /// End a job that has not completed; what was not cut over stays where it is
    #[command(after_long_help = help::JOB)]
    Cancel(Ask),
    /// Move the rows of a completed job back, without loss
    #[command(after_long_help = help::JOB)]
    Rollback(Ask),
    /// Give up the way back of a completed job, and remove the rows that were left behind
    #[command(after_long_help = help::JOB)]
    Finish(Ask),
}

#[derive(Debug, Clone, Flags)]
pub struct Ask {
    /// The job
    pub id: String,
    /// Wait until the job is over, and show how far it is
    #[arg(long)]
    pub wait: bool,
}

#[derive(Debug, Clone, Flags)]
#[group(skip)]
pub struct Split {
    /// The shard to be divided
    pub source: String,
    /// A shard that is given a part, which may be the source itself; may be repeated. A new shard
    /// is NAME=ENDPOINT and is registered first
    #[arg(long = "into", value_name = "SHARD", required = true)]
    pub targets: Vec<String>,
}

#[derive(Debug, Clone, Flags)]
#[group(skip)]
pub struct Merge {
    /// The shards that give
    #[arg(required = true)]
    pub sources: Vec<String>,
    /// The shard that is given all; a new one is NAME=ENDPOINT
    #[arg(long = "into", value_name = "SHARD")]
    pub target: String,
}

#[derive(Debug, Clone, Flags)]
#[command(group = clap::ArgGroup::new("which").required(true))]
#[group(skip)]
pub struct Move {
    /// The shard that gives
    #[arg(long, value_name = "SHARD")]
    pub from: String,
    /// The shard that is given; a new one is NAME=ENDPOINT
    #[arg(long, value_name = "SHARD")]
    pub to: String,
    /// The vnodes' tokens as `ring show --output json` has them, or as 0x and hexadecimal digits
    #[arg(long, value_delimiter = ',', value_name = "TOKEN,..", group = "which", value_parser = token)]
    pub vnodes: Vec<u32>,
    /// So many vnodes, spread evenly over those of the shard
    #[arg(long, value_name = "N", group = "which", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
}

#[derive(Debug, Clone, Flags)]
#[group(skip)]
pub struct AddShard {
    /// The shard; a new one is NAME=ENDPOINT and is registered first
    pub shard: String,
}

#[derive(Debug, Clone, Flags)]
#[group(skip)]
pub struct Drain {
    /// The shard
    pub shard: String,
}

#[derive(Debug, Clone, Flags)]
#[group(skip)]
pub struct Rebalance {
    /// What is shared fairly
    #[arg(long, value_enum, default_value_t = By::Weight)]
    pub by: By,
}

/// What a ring is balanced by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Parts of the token space, by each shard's weight and vnodes
    Weight,
    /// Bytes as measured, by the same
    Size,
}

impl By {
    /// The word that the manager knows it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Size => "size",
        }
    }
}

/// How a job is started.
#[derive(Debug, Clone, Flags)]
pub struct How {
    #[command(flatten)]
    pub pace: Pace,
    /// Show the plan, start nothing
    #[arg(long, conflicts_with = "wait")]
    pub dry_run: bool,
    /// Start only if it comes to the plan with this id
    #[arg(long, value_name = "ID")]
    pub plan: Option<String>,
    /// Wait until the job is over, and show how far it is
    #[arg(long)]
    pub wait: bool,
}

/// How a job runs.
#[derive(Debug, Clone, Flags)]
pub struct Pace {
    /// The longest pause of writes to moving keys, over which a cutover is given up and tried again
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "100ms")]
    pub max_pause: Duration,
    /// How long a rollback is to be possible
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "24h")]
    pub keep_reverse: Duration,
    /// Copy at most so many rows a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_rows_per_second: Option<u64>,
    /// Copy at most so many bytes a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_bytes_per_second: Option<u64>,
}

fn token(text: &str) -> Result<u32, std::num::ParseIntError> {
    text.strip_prefix("0x")
        .map_or_else(|| text.parse(), |digits| u32::from_str_radix(digits, 16))
}
