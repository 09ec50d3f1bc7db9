//! What a job does on shards, against real PostgreSQL servers.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test cannot do without ends it"
)]

mod cleanup;
mod copy;
mod follow;
mod guard;
mod preflight;
mod race;
mod replication;
mod schema;
mod setup;
mod verify;
