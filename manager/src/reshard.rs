//! Online resharding: rows move between shards while applications write, and no acknowledged write
//! is lost or duplicated.
//!
//! `machine` is the protocol, pure: what is done next, given what is recorded and what happened.
//! `driver` does it, one leg of a job at a time. The other modules are its hands.

pub mod absent;
pub mod api;
pub mod apply;
pub mod cleanup;
pub mod copy;
pub mod estimate;
#[cfg(test)]
pub mod fake;
pub mod flow;
pub mod follow;
pub mod guard;
pub mod ids;
pub mod link;
pub mod lsn;
pub mod machine;
pub mod plan;
pub mod preflight;
pub mod progress;
pub mod record;
pub mod replication;
pub mod schema;
pub mod session;
pub mod shape;
pub mod snapshot;
pub mod stream;
pub mod verify;
