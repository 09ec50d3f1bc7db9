//! The admin console: what an operator with psql may ask this router and have it do.
//!
//! Knows no session and no socket; [`crate::session`] carries the messages. What is shown is read
//! from counters that are kept anyway.

pub mod clients;
mod command;
mod control;
mod reload;
mod route;
mod settings;
mod show;
mod table;
mod topology;

pub use clients::Client;
pub use command::{Command, Subject};
pub use control::{pause, reconnect, resume};
pub use reload::Reload;
pub use show::{Sources, show};
pub use table::{Column, Table, Value, describe, row};

/// The database that an operator connects to.
pub const DATABASE: &str = "sharding";
