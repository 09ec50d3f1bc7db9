//! The operators' command line: a gRPC client of the manager, tables for people and JSON for
//! scripts.
//!
//! Holds no state and no rules of its own: what is allowed is the manager's to say. A library only
//! so that its tests can call it; `main.rs` is the program.

pub mod args;
pub mod backup;
pub mod client;
pub mod context;
pub mod doctor;
pub mod error;
pub mod grid;
pub mod metrics;
pub mod password;
pub mod renewal;
pub mod report;
pub mod run;
pub mod scrape;
pub mod token;
pub mod top;

mod help;
mod names;
mod near;
