//! Runs statements on shards for whoever does not forward the shard's bytes to a client of the
//! Postgres protocol: the HTTP and gRPC fronts, and schema changes of every front.
//!
//! Where a statement goes is decided in [`crate::route`]; nothing here looks at SQL.

pub mod admission;
pub mod array;
pub mod ask;
pub mod cancel;
pub mod collect;
pub mod columns;
pub mod conversation;
pub mod everywhere;
mod exchange;
mod hinted;
pub mod iso;
pub mod locate;
pub mod param;
pub mod rows;
pub mod statement;
pub mod types;

pub use exchange::error_of;
pub use param::Param;
pub use rows::{Column, Row, Rows, Summary};
pub use statement::{Executor, Request};
