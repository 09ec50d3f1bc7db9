//! Process plumbing without any knowledge of sharding: configuration, logs, metrics, life cycle,
//! HTTP serving, error kinds.
#![warn(missing_docs)]

pub mod access;
pub mod advertise;
pub mod backoff;
pub mod bearer;
pub mod body;
pub mod config;
pub mod cors;
pub mod descriptors;
pub mod failpoint;
pub mod headers;
pub mod http_error;
pub mod kind;
pub mod lifecycle;
pub mod metrics;
pub mod probe;
pub mod rates;
pub mod request_id;
pub mod routes;
pub mod secret;
pub mod serve;
pub mod telemetry;
pub mod tls;
pub mod trace;

#[cfg(test)]
mod captured_log;
#[cfg(test)]
mod test_authority;

pub use kind::Kind;
pub use lifecycle::{Shutdown, TaskGroup};
pub use secret::Secret;
