//! Writing the changes of an owner on a mirror, exactly once and in an order that comes to the
//! same.
//!
//! `chunk` is what is written, `queue` where it waits, `plan` and `statement` how it is written,
//! and `lane` writes it. A change that the mirror cannot take as it is stops the leg: the mirror
//! is closed to clients, so that there is nobody who could be right against the owner.

mod array;
pub mod catalog;
pub mod chunk;
pub mod error;
#[cfg(test)]
pub(crate) mod fake;
pub mod lane;
pub mod origin;
mod pipeline;
pub mod plan;
pub mod queue;
pub mod statement;

pub use error::Error;
