//! The `PostgreSQL` protocol, version 3, without any socket: where frames begin and end, what they
//! say, and how to write them.
//!
//! Views borrow from the bytes they were decoded from and check every length before they believe
//! it, so that a malformed message is an error and never a panic. A relay uses [`frame::Scanner`]
//! alone and leaves most bodies unread.
#![warn(missing_docs)]
#![deny(clippy::indexing_slicing)]

pub mod backend;
pub mod error;
pub mod frame;
pub mod frontend;
pub mod limits;
pub mod pgoutput;
pub mod quote;
pub mod sqlstate;
pub mod startup;
pub mod value;

mod read;
mod write;

pub use error::{DecodeError, EncodeError, Reason};
pub use frame::{Frame, FrameError, Header, Scanner, Step, TagSet};
pub use sqlstate::SqlState;
pub use value::{Format, Formats, Oids, Text, Values};
