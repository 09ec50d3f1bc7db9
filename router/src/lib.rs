//! The data plane: finds the shard key in a statement and forwards it to the shard that owns it.

pub mod query;
pub mod route;
