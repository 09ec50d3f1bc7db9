//! Every etcd key of the system. The only file with their text.

use crate::{GroupName, ShardId, TableName};

/// All records that make up the topology lie under this prefix, so that one watch sees them all.
pub const TOPOLOGY: &str = "/sharding/v1/topology/";
/// The head: epoch and term.
pub const HEAD: &str = "/sharding/v1/topology/head";
/// Prefix of shard records.
pub const SHARDS: &str = "/sharding/v1/topology/shards/";
/// Prefix of ring records, one a shard.
pub const RING: &str = "/sharding/v1/topology/ring/";
/// Prefix of table groups.
pub const GROUPS: &str = "/sharding/v1/topology/groups/";
/// Prefix of registered tables.
pub const TABLES: &str = "/sharding/v1/topology/tables/";
/// Prefix of holds.
pub const HOLDS: &str = "/sharding/v1/topology/holds/";
/// The leader's key, under its lease; its create revision is the term.
pub const LEADER: &str = "/sharding/v1/leader";
/// Prefix of audit entries.
pub const AUDIT: &str = "/sharding/v1/audit/";
/// The newest audit entry's sequence number.
pub const AUDIT_HEAD: &str = "/sharding/v1/audit-head";

/// A shard's record.
#[must_use]
pub fn shard(id: &ShardId) -> String {
    format!("{SHARDS}{id}")
}

/// A shard's part of the ring.
#[must_use]
pub fn ring(id: &ShardId) -> String {
    format!("{RING}{id}")
}

/// A group's record.
#[must_use]
pub fn group(name: &GroupName) -> String {
    format!("{GROUPS}{name}")
}

/// A table's record; the parts are escaped, since a quoted identifier may hold anything.
#[must_use]
pub fn table(name: &TableName) -> String {
    format!("{TABLES}{}/{}", escape(name.schema()), escape(name.name()))
}

/// A hold's record.
#[must_use]
pub fn hold(id: &str) -> String {
    format!("{HOLDS}{id}")
}

/// An audit entry; zero-padded, so that key order is time order.
#[must_use]
pub fn audit(sequence: u64) -> String {
    format!("{AUDIT}{sequence:020}")
}

fn escape(part: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut out = String::with_capacity(part.len());
    for c in part.chars() {
        if plain(c) {
            out.push(c);
        } else {
            for byte in c.to_string().bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    out
}
