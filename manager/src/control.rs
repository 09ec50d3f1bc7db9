//! What a control command does to the topology: pure functions from a snapshot and a command to
//! the writes and what the audit log says of them, or to the reason why not.
//!
//! No IO and no clock. Leadership, epochs and the transaction itself are for `commit`; facts that
//! only the shards know are looked up before and handed in as the epoch that they were checked at.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use topology::records::{Lineage, Promotion};
use topology::store::Op;
use topology::{Endpoint, Epoch, GroupName, KeyType, Placement, ShardId, Snapshot, TableName};

pub mod access;
mod group;
pub mod moves;
pub mod promotion;
mod rejection;
mod shard;
mod table;
pub mod user;

#[cfg(test)]
mod tests;

pub use rejection::Rejection;
pub(crate) use shard::may_be_removed;
pub use shard::slug;

/// Most shards: what one ring of [`topology::Ring::MAX_VNODES`] gives 1,024 vnodes each.
pub const MAX_SHARDS: usize = 4_096;
/// Most vnodes that one shard may be given; its ring record stays below 50 KB.
pub const MAX_VNODE_COUNT: u32 = 4_096;
/// Most replicas of one shard.
pub const MAX_REPLICAS: usize = 16;
/// Most table groups.
pub const MAX_GROUPS: usize = 1_024;
/// Most registered tables.
pub const MAX_TABLES: usize = 10_000;
/// Most users of the Postgres front; each router holds all of them.
pub const MAX_USERS: usize = 10_000;

/// The group of a sharded table that names none.
pub const DEFAULT_GROUP: &str = "default";

/// A change that an operator asks for, already read and checked field by field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Registers a shard.
    CreateShard(NewShard),
    /// Registers a shard that is given no vnodes until a plan moves some to it.
    JoinShard(NewShard),
    /// Removes a shard that was seen to hold no rows at an epoch.
    DeleteShard {
        /// The shard.
        id: ShardId,
        /// The epoch whose tables were looked for on it.
        checked_at: Epoch,
    },
    /// Creates a table group.
    CreateGroup {
        /// Its name.
        name: GroupName,
        /// The type of its tables' keys.
        key_type: KeyType,
    },
    /// Registers a table.
    CreateTable {
        /// Its name.
        name: TableName,
        /// Where its rows are to be.
        placement: NewPlacement,
    },
    /// Forgets a table that was seen to exist on no shard at an epoch.
    DeleteTable {
        /// The table.
        name: TableName,
        /// The epoch whose shards were asked.
        checked_at: Epoch,
    },
    /// Has routers let go of a shard's primary, for a replica to take its place.
    BeginPromotion {
        /// The shard.
        id: ShardId,
        /// What is to be done.
        promotion: Promotion,
    },
    /// Ends that.
    EndPromotion {
        /// The shard.
        id: ShardId,
        /// The promotion's id.
        promotion: String,
        /// What it came to.
        ending: promotion::Ending,
    },
    /// Notes which one of an address's servers is the primary, which nobody here has made it.
    FollowPrimary {
        /// The shard.
        id: ShardId,
        /// What the primary is.
        lineage: Lineage,
    },
}

/// A shard to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewShard {
    /// The operator's name for it, which its id is made from.
    pub name: String,
    /// Its primary.
    pub primary_endpoint: Endpoint,
    /// Its replicas.
    pub replicas: Vec<Endpoint>,
    /// How many vnodes it is given.
    pub vnode_count: u32,
    /// Its share in a ring that is balanced by weight.
    pub weight: u32,
}

/// Where the rows of a table to be are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewPlacement {
    /// Each row on the shard of its key.
    Sharded {
        /// The group, which is created if it does not exist and the key type is given.
        group: GroupName,
        /// The key column.
        shard_key: String,
        /// The key's type, if it was given.
        key_type: Option<KeyType>,
    },
    /// Every row on every shard.
    Reference,
    /// Every row on one shard.
    Unsharded {
        /// That shard.
        shard_id: ShardId,
    },
    /// No rows of its own: a view, which takes the place of one that is known by its name.
    View {
        /// Its query.
        definition: String,
    },
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Writes of topology records; the head is not among them.
    pub ops: Vec<Op>,
    /// What is done, for the audit log.
    pub action: &'static str,
    /// What it is done to.
    pub target: String,
    /// With which particulars.
    pub detail: Value,
}

/// Decides a command on a topology.
///
/// # Errors
/// [`Rejection`] says which rule the command breaks at this epoch.
pub fn decide(
    snapshot: &Snapshot,
    command: &Command,
    now: SystemTime,
) -> Result<Change, Rejection> {
    match command {
        Command::CreateShard(new) => shard::create(snapshot, new, now),
        Command::JoinShard(new) => shard::join(snapshot, new, now),
        Command::DeleteShard { id, checked_at } => shard::delete(snapshot, id, *checked_at),
        Command::CreateGroup { name, key_type } => group::create(snapshot, name, *key_type),
        Command::CreateTable { name, placement } => table::create(snapshot, name, placement),
        Command::DeleteTable { name, checked_at } => table::delete(snapshot, name, *checked_at),
        Command::BeginPromotion { id, promotion } => promotion::begin(snapshot, id, promotion, now),
        Command::EndPromotion {
            id,
            promotion,
            ending,
        } => promotion::end(snapshot, (id, promotion), ending, now),
        Command::FollowPrimary { id, lineage } => promotion::follow(snapshot, id, lineage, now),
    }
}

/// Whether rows are, or may soon be, where the ring says: from the first sharded table on.
fn ring_holds_data(snapshot: &Snapshot) -> bool {
    let is_sharded = |placement: &Placement| match placement {
        Placement::Sharded { .. } => true,
        Placement::Reference | Placement::Unsharded { .. } | Placement::View { .. } => false,
    };
    snapshot.tables().any(|table| is_sharded(&table.placement))
}

/// Facts that were looked up on the shards hold for one epoch only: the next one may have another
/// shard or another table.
fn still_checked(snapshot: &Snapshot, checked_at: Epoch) -> Result<(), Rejection> {
    let found = snapshot.epoch();
    if found == checked_at {
        Ok(())
    } else {
        Err(Rejection::CheckedAtOtherEpoch { checked_at, found })
    }
}

fn below(count: usize, limit: usize, what: &'static str) -> Result<(), Rejection> {
    if count < limit {
        Ok(())
    } else {
        Err(Rejection::LimitReached { what, limit })
    }
}

impl NewPlacement {
    fn detail(&self) -> Value {
        match self {
            Self::Sharded {
                group,
                shard_key,
                key_type,
            } => json!({
                "kind": "sharded", "group": group, "shard_key": shard_key, "key_type": key_type,
            }),
            Self::Reference => json!({ "kind": "reference" }),
            Self::Unsharded { shard_id } => json!({ "kind": "unsharded", "shard_id": shard_id }),
            Self::View { definition } => json!({ "kind": "view", "definition": definition }),
        }
    }
}
