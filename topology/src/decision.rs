//! How a transaction on several shards is decided: the names by which a router prepares it, and
//! the row on one of its shards, the anchor, by whose commit it is committed.
//!
//! A router prepares the transaction on all shards that it wrote to but the anchor. There it calls
//! [`DECIDE`] within the transaction itself and commits. Whoever finds a prepared transaction whose
//! router does not answer for it writes the same row as an abort: the row's key lets one of them
//! win. See `docs/decisions/0014-one-commit-decides.md`.

use std::fmt;

use crate::ShardId;
use crate::records::Incarnation;

/// The table of decisions on every shard.
pub const TABLE: &str = "vg.decision";

/// The function by which a transaction decides, its own commit being the decision.
pub const DECIDE: &str = "vg.decide";

/// The first part of every name of ours.
const PREFIX: &str = "vg";

/// A transaction on several shards. No two ever have the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Global {
    /// The run of the router that commits it.
    pub router: Incarnation,
    /// Counted by that router.
    pub number: u64,
    /// The shard where it is decided.
    pub anchor: ShardId,
}

impl Global {
    /// The name under which it is prepared on a shard: one server may be several shards, and holds
    /// the names of all its databases together.
    #[must_use]
    pub fn prepared_on(&self, shard: &ShardId) -> String {
        format!("{self}:{shard}")
    }

    /// Reads a name under which a transaction is prepared; none when it is not ours.
    #[must_use]
    pub fn of_prepared(name: &str) -> Option<(Self, ShardId)> {
        let parts: Vec<&str> = name.split(':').collect();
        let [PREFIX, router, number, anchor, shard] = parts.as_slice() else {
            return None;
        };
        let global = Self::of_parts(router, number, anchor)?;
        let shard = ShardId::try_new(shard).ok()?;
        Some((global, shard))
    }

    /// Reads the key of a decision; none when it is not ours.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        let parts: Vec<&str> = key.split(':').collect();
        let [PREFIX, router, number, anchor] = parts.as_slice() else {
            return None;
        };
        Self::of_parts(router, number, anchor)
    }

    fn of_parts(router: &str, number: &str, anchor: &str) -> Option<Self> {
        Some(Self {
            router: Incarnation::try_from(router.to_owned()).ok()?,
            number: number.parse().ok()?,
            anchor: ShardId::try_new(anchor).ok()?,
        })
    }
}

/// The key of its decision.
impl fmt::Display for Global {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            router,
            number,
            anchor,
        } = self;
        write!(f, "{PREFIX}:{router}:{number}:{anchor}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str) -> ShardId {
        ShardId::try_new(id).unwrap()
    }

    #[test]
    fn a_name_is_read_as_it_was_written_and_is_short_enough() {
        let long = "a".repeat(63);
        let global = Global {
            router: Incarnation(u64::MAX),
            number: u64::MAX,
            anchor: shard(&long),
        };
        let name = global.prepared_on(&shard(&long));
        // GIDSIZE of PostgreSQL, with the byte that ends it.
        assert!(name.len() < 200, "{}", name.len());
        assert_eq!(
            Global::of_prepared(&name),
            Some((global.clone(), shard(&long)))
        );
        assert_eq!(Global::of_key(&global.to_string()), Some(global));
    }

    #[test]
    fn names_of_others_are_not_ours() {
        for name in [
            "",
            "vg",
            "pgdog_1",
            "vg:0000000000000001:1:a",
            "vg:1:1:a:b",
            "vg:0000000000000001:x:a:b",
            "vg:0000000000000001:1:A:b",
            "vg:0000000000000001:1:a:b:c",
        ] {
            assert_eq!(Global::of_prepared(name), None, "{name}");
        }
    }
}
