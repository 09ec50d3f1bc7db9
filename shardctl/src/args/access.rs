//! The arguments of the commands about who may operate the system.

use clap::{Args as Flags, Subcommand, ValueEnum};

use super::PasswordFrom;
use crate::help;

/// A name with its password.
#[derive(Debug, Clone, Flags)]
pub struct Login {
    /// The account
    pub name: String,
    #[command(flatten)]
    pub from: PasswordFrom,
}

/// What an account or a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Sees the control plane
    Viewer,
    /// Changes shards, tables and jobs, too
    Operator,
    /// Manages accounts, keys and users, too
    Admin,
    /// Reads rows through the routers' HTTP and gRPC
    Reader,
    /// Writes them, too
    Writer,
}

impl Role {
    /// As the API spells it.
    #[must_use]
    pub fn word(self) -> String {
        let word = match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Reader => "reader",
            Self::Writer => "writer",
        };
        word.to_owned()
    }
}

/// Roles and groups.
#[derive(Debug, Clone, Flags)]
pub struct Rights {
    /// A role; may be repeated
    #[arg(long = "role", value_enum, required = true)]
    pub roles: Vec<Role>,
    /// A table group that a reader or writer may touch; may be repeated [default: all of them]
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Accounts {
    /// List all accounts
    #[command(after_long_help = help::ACCOUNTS)]
    List,
    /// Create an account
    #[command(after_long_help = help::ACCOUNT)]
    Create {
        /// Its name
        name: String,
        #[command(flatten)]
        rights: Rights,
        #[command(flatten)]
        from: PasswordFrom,
    },
    /// Change an account's password; its sessions end
    #[command(after_long_help = help::ACCOUNT)]
    Passwd {
        /// The account
        name: String,
        #[command(flatten)]
        from: PasswordFrom,
    },
    /// Give an account other roles; its sessions end
    #[command(after_long_help = help::ACCOUNT)]
    Grant {
        /// The account
        name: String,
        #[command(flatten)]
        rights: Rights,
    },
    /// Let an account log in again
    #[command(after_long_help = help::ACCOUNT)]
    Enable {
        /// The account
        name: String,
    },
    /// Let an account log in no longer; its sessions end
    #[command(after_long_help = help::ACCOUNT)]
    Disable {
        /// The account
        name: String,
    },
    /// Forget an account; its sessions end
    #[command(after_long_help = help::REMOVED)]
    Delete {
        /// The account
        name: String,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub enum Keys {
    /// List all API keys
    #[command(after_long_help = help::KEYS)]
    List,
    /// Make an API key; it is shown this once
    #[command(after_long_help = help::KEY)]
    Create {
        /// What it is for
        name: String,
        #[command(flatten)]
        rights: Rights,
        /// How long it is good, e.g. 30d; 0s is until it is revoked [default: 90d]
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        expires_in: Option<std::time::Duration>,
    },
    /// End an API key
    #[command(after_long_help = help::REMOVED)]
    Revoke {
        /// Its id
        id: String,
    },
}
