//! The decoded records of a topology, changed one stored entry at a time. Whether they fit
//! together is for [`crate::Snapshot::try_new`] to say.

use crate::keys::TopologyKey;
use crate::records::{DecodeError, Group, Head, Hold, Shard, ShardVnodes, Table, decode};
use crate::store::{Entry, Event};
use crate::{GroupName, ShardId, TableName};

#[cfg(test)]
mod tests;

/// Everything that makes up a topology, in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// All shards.
    pub shards: Vec<Shard>,
    /// The ring, one record a shard that owns vnodes.
    pub vnodes: Vec<ShardVnodes>,
    /// All table groups.
    pub groups: Vec<Group>,
    /// All registered tables.
    pub tables: Vec<Table>,
    /// Vnodes under a hold.
    pub holds: Vec<Hold>,
}

/// Why a stored entry is not a record of the topology.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEntry {
    /// Perhaps written by a later release. What it says may decide where rows are, so that it is
    /// not passed over.
    #[error("key {key:?} is not known to this release")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// Its value is not what the key promises.
    #[error(transparent)]
    Value(#[from] DecodeError),
    /// A record lies under the key of another.
    #[error("the record under {key:?} is that of {found}")]
    WrongName {
        /// The key.
        key: String,
        /// Who the record says it is.
        found: String,
    },
}

/// What a stored change did to the topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// One of the parts changed.
    Part,
    /// The head was written.
    Head(Head),
    /// The head was removed, which no manager does.
    HeadRemoved,
}

impl Parts {
    /// Takes a change over.
    ///
    /// # Errors
    /// [`InvalidEntry`] when it cannot be read; nothing is changed then.
    pub fn apply(&mut self, event: &Event) -> Result<Applied, InvalidEntry> {
        match event {
            Event::Put(entry) => self.put(entry),
            Event::Delete { key } => self.remove(key),
        }
    }

    /// Takes a stored entry over, as new or in place of the one of that key.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn put(&mut self, entry: &Entry) -> Result<Applied, InvalidEntry> {
        let Entry { key, value, .. } = entry;
        let same = |same: bool, found: String| {
            let wrong = || InvalidEntry::WrongName {
                key: key.clone(),
                found,
            };
            if same { Ok(()) } else { Err(wrong()) }
        };
        match parse(key)? {
            TopologyKey::Head => return Ok(Applied::Head(decode(key, value)?)),
            TopologyKey::Shard(id) => {
                let shard: Shard = decode(key, value)?;
                same(shard.id == id, shard.id.to_string())?;
                upsert(&mut self.shards, shard, |old| old.id == id);
            }
            TopologyKey::Ring(id) => {
                let vnodes: ShardVnodes = decode(key, value)?;
                same(vnodes.shard == id, vnodes.shard.to_string())?;
                upsert(&mut self.vnodes, vnodes, |old| old.shard == id);
            }
            TopologyKey::Group(name) => {
                let group: Group = decode(key, value)?;
                same(group.name == name, group.name.to_string())?;
                upsert(&mut self.groups, group, |old| old.name == name);
            }
            TopologyKey::Table(name) => {
                let table: Table = decode(key, value)?;
                same(table.name == name, table.name.to_string())?;
                upsert(&mut self.tables, table, |old| old.name == name);
            }
            TopologyKey::Hold(id) => {
                let hold: Hold = decode(key, value)?;
                same(hold.id == id, hold.id.clone())?;
                upsert(&mut self.holds, hold, |old| old.id == id);
            }
        }
        Ok(Applied::Part)
    }

    fn remove(&mut self, key: &str) -> Result<Applied, InvalidEntry> {
        match parse(key)? {
            TopologyKey::Head => return Ok(Applied::HeadRemoved),
            TopologyKey::Shard(id) => self.shards.retain(|shard| shard.id != id),
            TopologyKey::Ring(id) => self.vnodes.retain(|vnodes| vnodes.shard != id),
            TopologyKey::Group(name) => self.groups.retain(|group| group.name != name),
            TopologyKey::Table(name) => self.tables.retain(|table| table.name != name),
            TopologyKey::Hold(id) => self.holds.retain(|hold| hold.id != id),
        }
        Ok(Applied::Part)
    }

    /// Whether there is no record at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
            && self.vnodes.is_empty()
            && self.groups.is_empty()
            && self.tables.is_empty()
            && self.holds.is_empty()
    }

    /// A shard by id.
    #[must_use]
    pub fn shard(&self, id: &ShardId) -> Option<&Shard> {
        self.shards.iter().find(|shard| shard.id == *id)
    }

    /// A shard's part of the ring; none when it has no vnodes.
    #[must_use]
    pub fn vnodes_of(&self, id: &ShardId) -> Option<&ShardVnodes> {
        self.vnodes.iter().find(|vnodes| vnodes.shard == *id)
    }

    /// A group by name.
    #[must_use]
    pub fn group(&self, name: &GroupName) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == *name)
    }

    /// A table by name.
    #[must_use]
    pub fn table(&self, name: &TableName) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == *name)
    }

    /// Adds a shard, or replaces the one with its id.
    pub fn put_shard(&mut self, shard: Shard) {
        let id = shard.id.clone();
        upsert(&mut self.shards, shard, |old| old.id == id);
    }

    /// Sets a shard's part of the ring.
    pub fn put_vnodes(&mut self, vnodes: ShardVnodes) {
        let id = vnodes.shard.clone();
        upsert(&mut self.vnodes, vnodes, |old| old.shard == id);
    }

    /// Adds a group, or replaces the one with its name.
    pub fn put_group(&mut self, group: Group) {
        let name = group.name.clone();
        upsert(&mut self.groups, group, |old| old.name == name);
    }

    /// Registers a table, or replaces the one with its name.
    pub fn put_table(&mut self, table: Table) {
        let name = table.name.clone();
        upsert(&mut self.tables, table, |old| old.name == name);
    }

    /// Removes a shard and its part of the ring.
    pub fn remove_shard(&mut self, id: &ShardId) {
        self.shards.retain(|shard| shard.id != *id);
        self.vnodes.retain(|vnodes| vnodes.shard != *id);
    }
}

fn parse(key: &str) -> Result<TopologyKey, InvalidEntry> {
    TopologyKey::parse(key).ok_or_else(|| InvalidEntry::UnknownKey {
        key: key.to_owned(),
    })
}

fn upsert<T>(records: &mut Vec<T>, record: T, is_same: impl Fn(&T) -> bool) {
    match records.iter_mut().find(|old| is_same(old)) {
        Some(old) => *old = record,
        None => records.push(record),
    }
}
