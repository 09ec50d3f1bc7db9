//! What an owner's replication stream says, sorted: which rows are the leg's, and for which mirror.
//!
//! It only computes; `follow` reads the connection.

pub mod sort;

pub use sort::{Outlet, Route, Sorter};
