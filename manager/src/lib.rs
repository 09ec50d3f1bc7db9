//! The control plane: election, control writes, the manager's look at the shards, REST and gRPC.

pub mod app;
pub mod audit;
pub mod auth;
pub mod backup_age;
pub mod caller;
pub mod commit;
pub mod config;
pub mod control;
pub mod error;
pub mod failover;
pub mod forward;
pub mod grpc;
pub mod identifier;
pub mod leader;
pub mod metrics;
pub mod recovery;
pub mod reshard;
pub mod rest;
pub mod schema;
pub mod service;
pub mod shards;
