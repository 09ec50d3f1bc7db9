//! What is taken away: rows that another shard owns, streams of a leg that has ended, and what
//! jobs have left behind that nobody knows any more.

mod orphans;
mod rows;
mod streams;

pub use orphans::{Kind, Orphan, orphans, remove_orphans};
pub use rows::{Throttle, remove_rows};
pub use streams::{Dropped, drop_streams};
