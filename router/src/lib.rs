//! The data plane: finds the shard key in a statement and forwards it to the shard that owns it.

pub mod app;
pub mod auth;
pub mod barrier;
pub mod cache;
pub mod config;
pub mod console;
pub mod core;
pub mod error;
pub mod exec;
pub mod health;
pub mod hold;
pub mod ingress;
pub mod metrics;
pub mod moving;
pub mod peers;
pub mod pool;
pub mod query;
pub mod replica;
pub mod route;
pub mod scatter;
pub mod schema;
pub mod session;
pub mod stream;
pub mod threads;
pub mod view;
