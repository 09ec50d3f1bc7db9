//! Queries over the rows of several shards: planned, asked of each shard, and put together.

pub mod exec;
pub mod order;
mod own;
pub mod plan;
