//! What a job does on shards, against real PostgreSQL servers.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test cannot do without ends it"
)]

<<<<<<< HEAD
mod copy;
=======
mod cleanup;
>>>>>>> guard
mod guard;
mod preflight;
mod race;
<<<<<<< HEAD
mod replication;
=======
mod schema;
>>>>>>> guard
mod setup;
