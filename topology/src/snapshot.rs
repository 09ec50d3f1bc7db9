//! An immutable view of the topology at one epoch. Routers and managers decide from it alone.

use std::collections::HashMap;

use crate::hash::token_of;
use crate::parts::Parts;
use crate::records::{Group, Hold, Placement, Shard, Table};
use crate::ring::{InvalidRing, Ring, Vnode};
use crate::{Epoch, GroupName, Key, ShardId, TableName, Token};

#[cfg(test)]
mod tests;

/// A shard's place in [`Snapshot::shards`]; means nothing outside its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u32);

/// Why parts do not make a topology.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTopology {
    /// The ring breaks I1.
    #[error(transparent)]
    Ring(#[from] InvalidRing),
    /// A record names a shard that does not exist.
    #[error("{what} names shard {shard}, which does not exist")]
    UnknownShard {
        /// The record in question.
        what: String,
        /// The missing shard.
        shard: ShardId,
    },
    /// A table names a group that does not exist.
    #[error("table {table} names group {group}, which does not exist")]
    UnknownGroup {
        /// The table in question.
        table: String,
        /// The missing group.
        group: GroupName,
    },
    /// More shards than an index holds.
    #[error("{0} shards are more than an index holds")]
    TooManyShards(usize),
}

/// The topology at an epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    epoch: Epoch,
    shards: Vec<Shard>,
    ring: Ring,
    groups: HashMap<GroupName, Group, foldhash::fast::RandomState>,
    tables: HashMap<TableName, Table, foldhash::fast::RandomState>,
    holds: Vec<Hold>,
}

impl Snapshot {
    /// Builds the view and checks that its parts fit together.
    ///
    /// # Errors
    /// [`InvalidTopology`] names the record that does not fit.
    pub fn try_new(epoch: Epoch, parts: Parts) -> Result<Self, InvalidTopology> {
        let Parts {
            mut shards,
            vnodes,
            groups,
            tables,
            mut holds,
        } = parts;
        // The order in which records came says nothing: equal topologies are equal snapshots.
        holds.sort_by(|a, b| a.id.cmp(&b.id));
        shards.sort_by(|a, b| a.id.cmp(&b.id));
        u32::try_from(shards.len()).map_err(|_| InvalidTopology::TooManyShards(shards.len()))?;
        let mut snapshot = Self {
            epoch,
            shards,
            ring: Ring::default(),
            groups: groups
                .into_iter()
                .map(|group| (group.name.clone(), group))
                .collect(),
            tables: tables
                .into_iter()
                .map(|table| (table.name.clone(), table))
                .collect(),
            holds,
        };
        let mut all = Vec::with_capacity(vnodes.iter().map(|record| record.tokens.len()).sum());
        for record in &vnodes {
            let owner = snapshot.index_of(&record.shard).ok_or_else(|| {
                let (what, shard) = ("a ring record".to_owned(), record.shard.clone());
                InvalidTopology::UnknownShard { what, shard }
            })?;
            all.extend(record.tokens.iter().map(|&token| Vnode { token, owner }));
        }
        snapshot.ring = Ring::try_new(all)?;
        crate::invariants::tables_fit(&snapshot)?;
        Ok(snapshot)
    }

    /// The version of this view.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether every statement that `older` routes goes to the same shards by this one: nothing
    /// has changed but that there may be more tables and groups.
    #[must_use]
    pub fn routes_like(&self, older: &Self) -> bool {
        let same_groups = || {
            let mut groups = older.groups.iter();
            groups.all(|(name, group)| self.groups.get(name) == Some(group))
        };
        let same_tables = || {
            let mut tables = older.tables.iter();
            tables.all(|(name, table)| self.tables.get(name) == Some(table))
        };
        let same_rest = || {
            let mut shards = self.shards.iter().map(|shard| &shard.id);
            shards.all(|id| self.is_all_on(id) || !older.is_all_on(id))
        };
        self.shards == older.shards
            && self.holds == older.holds
            && same_groups()
            && same_tables()
            && same_rest()
            && self.ring == older.ring
    }

    /// Whether no table has rows on another shard than this one.
    #[must_use]
    pub fn is_all_on(&self, shard: &ShardId) -> bool {
        self.tables().all(|table| match &table.placement {
            Placement::Unsharded { shard_id } => shard_id == shard,
            // Its rows are those of tables.
            Placement::View { .. } => true,
            Placement::Sharded { .. } | Placement::Reference => false,
        })
    }

    /// All shards, sorted by id.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The place of a shard in [`Self::shards`].
    #[must_use]
    pub fn index_of(&self, id: &ShardId) -> Option<ShardIndex> {
        let at = self
            .shards
            .binary_search_by(|shard| shard.id.cmp(id))
            .ok()?;
        u32::try_from(at).ok().map(ShardIndex)
    }

    /// The shard at an index of this snapshot.
    #[must_use]
    pub fn shard(&self, index: ShardIndex) -> Option<&Shard> {
        self.shards.get(index.0 as usize)
    }

    /// The ring.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// All groups, in no order.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// A group by name.
    #[must_use]
    pub fn group(&self, name: &GroupName) -> Option<&Group> {
        self.groups.get(name)
    }

    /// All registered tables, in no order.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }

    /// Whether any view is registered.
    #[must_use]
    pub fn has_views(&self) -> bool {
        self.tables.values().any(|table| !table.has_rows())
    }

    /// A registered table.
    #[must_use]
    pub fn table(&self, name: &TableName) -> Option<&Table> {
        self.tables.get(name)
    }

    /// The vnode that owns a key; none while the ring is empty.
    #[must_use]
    pub fn owner_of(&self, key: &Key<'_>) -> Option<Vnode> {
        self.ring.lookup(token_of(key))
    }

    /// The hold that a token is under, if any.
    #[must_use]
    pub fn hold_of(&self, token: Token) -> Option<&Hold> {
        self.holds
            .iter()
            .find(|hold| hold.ranges.iter().any(|range| range.contains(token)))
    }

    /// All holds.
    #[must_use]
    pub fn holds(&self) -> &[Hold] {
        &self.holds
    }
}
