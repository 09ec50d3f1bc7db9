//! Online resharding: rows move between shards while applications write, and no acknowledged write
//! is lost or duplicated.
//!
//! `machine` is the protocol, pure: what is done next, given what is recorded and what happened.
//! `driver` does it for one leg of a job; `job` runs the legs, `supervisor` the jobs of a term.
//! The other modules are their hands.

pub mod api;
pub mod apply;
pub mod cleanup;
pub mod copy;
pub mod driver;
pub mod estimate;
#[cfg(test)]
pub mod fake;
pub mod flow;
pub mod follow;
pub mod guard;
pub mod ids;
pub mod inspect;
pub mod job;
pub mod leg;
pub mod link;
pub mod lsn;
pub mod machine;
pub mod metrics;
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
pub mod supervisor;
mod sweep;
pub mod verify;
pub mod view;
