//! The arguments about contexts.

use clap::Subcommand;

use crate::help;

#[derive(Debug, Clone, Subcommand)]
pub enum Contexts {
    /// List all contexts
    #[command(after_long_help = help::CONTEXTS)]
    List,
    /// Show a context
    #[command(after_long_help = help::CONTEXT)]
    Show {
        /// The context [default: the one in force]
        name: Option<String>,
    },
    /// Let a context hold from now on
    #[command(after_long_help = help::CONTEXT)]
    Use {
        /// The context
        name: String,
    },
    /// Keep what flags and environment say in a context; what they do not say stays
    #[command(after_long_help = help::CONTEXT)]
    Set {
        /// The context; a new one is made, and the first one holds at once
        name: String,
    },
    /// Forget a context, with its token
    #[command(after_long_help = help::REMOVED)]
    Remove {
        /// The context
        name: String,
    },
}
