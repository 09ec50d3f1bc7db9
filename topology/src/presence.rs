//! How a shard knows whose backends it serves: each backend of a router holds a shared advisory
//! lock of its router's incarnation, from its login to its end.
//!
//! A manager finds them in `pg_locks` and can end them; while it holds the lock itself, the
//! incarnation gets no backend. And a router that asks for a backend is told [`HORIZON`]: the
//! epoch that it must have applied, so that one that has slept, or was cut off, stays away until
//! it knows the present topology.

use crate::records::Incarnation;

/// The class of these advisory locks, `classid` in `pg_locks`.
pub const LOCK_CLASS: i32 = 7303;

/// The sequence whose value is the oldest epoch by which statements may be begun on the shard;
/// where there is none, any will do.
pub const HORIZON: &str = "vg.horizon";

/// The key of an incarnation's lock within [`LOCK_CLASS`], `objid` in `pg_locks` when read as an
/// unsigned number. Two of four thousand million share one.
#[must_use]
pub fn lock_key(incarnation: Incarnation) -> i32 {
    let [a, b, c, d, ..] = incarnation.0.to_be_bytes();
    i32::from_be_bytes([a, b, c, d])
}
