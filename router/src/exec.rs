//! Runs statements on shards for whoever does not forward the shard's bytes to a client of the
//! Postgres protocol: the HTTP and gRPC fronts, and schema changes of every front.
//!
//! Where a statement goes is decided in [`crate::route`]; nothing here looks at SQL.

pub mod cancel;
pub mod conversation;
pub mod everywhere;
