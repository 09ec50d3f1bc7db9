//! The control plane: election, control writes, REST and gRPC.

pub mod audit;
pub mod commit;
pub mod config;
pub mod control;
pub mod error;
pub mod identifier;
pub mod leader;
pub mod shards;
