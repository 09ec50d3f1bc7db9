//! Which rows of a shard count: only those whose keys it owns.
//!
//! While rows are being moved, shards hold rows that they do not own: the copy that a mirror is
//! given, and what the flip has left behind. Each shard is asked in two ways, one after the other.
//! The first is true only if no move has left anything there, which is seen in the same snapshot as
//! the rows, and costs nothing but a look at the catalog. The second, where the first fails, counts
//! the rows of the token ranges that the shard owns in the router's topology, and fails if the shard
//! has seen a newer one. See docs/decisions/0013.

use std::fmt::Write as _;
use topology::{Epoch, KeyType, ShardIndex, Snapshot};
use wire::quote::literal;

/// What a shard's error says where rows are being moved.
pub const MOVING: &str = "sharding: rows are being moved";

/// What a shard's error says that has seen a newer topology.
pub(super) const NEWER: &str = "sharding: the topology is newer";

/// The fences of the legs that have left something on a shard. By the index over names; `name`
/// compares by bytes, and "`" comes after "_".
const FENCES: &str = "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n \
     ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
     WHERE n.nspname OPERATOR(pg_catalog.=) 'vg' AND c.relkind OPERATOR(pg_catalog.=) 'S' \
     AND c.relname OPERATOR(pg_catalog.>=) 'fence_' AND c.relname OPERATOR(pg_catalog.<) 'fence`'";

/// A condition that fails unless every row of a shard is its own.
#[must_use]
pub fn all() -> String {
    format!(
        "(SELECT CASE WHEN pg_catalog.count(*) OPERATOR(pg_catalog.=) 0 THEN true ELSE \
         pg_catalog.concat({}, pg_catalog.min(c.relname::pg_catalog.text))::pg_catalog.bool END \
         {FENCES})",
        literal(&format!("{MOVING}: "))
    )
}

/// A condition for the rows whose `key` a shard owns.
pub(super) fn ranges(key: &str, key_type: KeyType, bounds: &str, epoch: Epoch) -> String {
    let token = match key_type {
        KeyType::Bigint => format!("vg.token_bigint({key}::pg_catalog.int8)"),
        KeyType::Text => format!("vg.token_text({key}::pg_catalog.text)"),
        KeyType::Uuid => format!("vg.token_uuid({key})"),
    };
    format!(
        "(pg_catalog.width_bucket({token}, '{bounds}'::pg_catalog.int8[]) \
         OPERATOR(pg_catalog.%) 2 OPERATOR(pg_catalog.=) 1 AND \
         (SELECT CASE WHEN pg_catalog.max(pg_catalog.pg_sequence_last_value(c.oid)) \
         OPERATOR(pg_catalog.>) {epoch} THEN \
         pg_catalog.concat({})::pg_catalog.bool ELSE true END {FENCES}))",
        literal(NEWER)
    )
}

/// The token ranges of a shard as an array: each one's first token, and the first behind it.
pub(super) fn bounds(snapshot: &Snapshot, shard: ShardIndex) -> String {
    let mut list = Vec::new();
    let mut next = 0_u64;
    let vnodes = snapshot.ring().vnodes();
    let mut push = |from: u64, to: u64| {
        if list.last() == Some(&from) {
            list.pop();
        } else {
            list.push(from);
        }
        list.push(to);
    };
    for vnode in vnodes {
        let end = u64::from(vnode.token.0) + 1;
        if vnode.owner == shard {
            push(next, end);
        }
        next = end;
    }
    if vnodes.first().is_some_and(|first| first.owner == shard) && next < 1 << 32 {
        // What is behind the last vnode belongs to the first.
        push(next, 1 << 32);
    }
    let mut text = "{".to_owned();
    for (at, bound) in list.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // A string takes any text.
        let _written = write!(text, "{comma}{bound}");
    }
    text.push('}');
    text
}
