//! The harness of the end-to-end tests: real PostgreSQL, real etcd and the two programs as black
//! boxes, on free ports and in a folder of their own.
//!
//! Everything that is started belongs to a value and ends by its process id when the value is
//! dropped. Waiting is for a state, with a deadline; nothing sleeps and hopes. Assertions are the
//! tests' own.

pub mod authority;
pub mod cluster;
pub mod credentials;
pub mod etcd;
pub mod folder;
pub mod http;
pub mod namespace;
pub mod pg;
pub mod port;
pub mod postgres;
pub mod process;
pub mod program;
pub mod prometheus;
pub mod proxy;
pub mod random;
pub mod raw;
pub mod secured;
pub mod statements;
pub mod wait;

pub use cluster::Cluster;
pub use etcd::Etcd;
pub use postgres::Postgres;
pub use program::{Manager, Program, Router};
pub use prometheus::Prometheus;
