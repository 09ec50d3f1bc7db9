//! The schema of tables whose rows move: what it is on a shard, whether two shards have the same,
//! and its creation on a shard that lacks them, by PostgreSQL's own tools.

mod describe;

pub use describe::{Description, describe, hash, hash_query};
