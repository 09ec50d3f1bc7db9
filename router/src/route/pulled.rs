//! An INSERT whose query gives rows for several shards: which table they are for, and where their
//! key is.

use topology::Snapshot;

use super::CopiedKey;
use super::tables::{Kind, Tables};
use crate::query::{Class, NewRows, Source, WriteKind};

/// What rows are inserted into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledInto {
    /// The key.
    pub key: CopiedKey,
    /// The columns that the query fills.
    pub columns: Vec<String>,
    /// The place of the key among them.
    pub place: usize,
    /// How many query levels there are besides the INSERT's own.
    pub levels: usize,
}

/// What an INSERT of a query's rows goes into, where each row may go to the shard of its key.
#[must_use]
pub fn pulled_into(class: &Class, snapshot: &Snapshot, search_path: &[&str]) -> Option<PulledInto> {
    let Class::Insert(data) = class else {
        return None;
    };
    let [write] = data.writes.as_slice() else {
        return None;
    };
    let WriteKind::Insert(insert) = &write.kind else {
        return None;
    };
    let (NewRows::Query(_), Some(columns)) = (&insert.rows, &insert.columns) else {
        return None;
    };
    if write.scope.0 != 0 || data.opaque.is_some() {
        return None;
    }
    let target = data.scopes.first()?.entries.first()?;
    let Source::Table(table) = &target.source else {
        return None;
    };
    let Kind::Sharded(sharded) = Tables::new(snapshot, search_path).kind(table) else {
        return None;
    };
    if insert.updates.iter().any(|name| name == sharded.column) {
        return None;
    }
    let place = columns.iter().position(|name| name == sharded.column)?;
    Some(PulledInto {
        key: CopiedKey {
            table: sharded.name.clone(),
            column: sharded.key_column(),
            key_type: sharded.key_type,
        },
        columns: columns.clone(),
        place,
        levels: data.scopes.len() - 1,
    })
}
