//! The HTTP and gRPC fronts and statements on every shard, against real PostgreSQL servers and a
//! topology that stands still.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test cannot do without ends it"
)]

mod access;
mod everywhere;
mod failures;
mod grpc;
mod http;
mod setup;
mod streams;
mod types;
