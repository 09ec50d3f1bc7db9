//! A write whose rows lie on several shards: which shards run it, and which rows each of them gets.
//!
//! It can be split where every sharded table that it reads is tied to the one that it writes to by
//! equal keys, so that what it does to a row depends on nothing that another shard has.

use std::collections::{BTreeMap, BTreeSet};

use topology::{Key, KeyType, ShardIndex, Snapshot, Token};

use super::resolve::owner;
use super::spread::{inserts_where_it_reads, is_tied_to_target};
use super::tables::{Kind, Sharded, Tables};
use super::values::{Reading, read};
use super::{KeySource, Parameters, Plan, Refusal, parameter, unnest};
use crate::query::{Class, Data, Insert, NewRows, Source, Statement, WriteKind};

/// What one shard runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The shard.
    pub index: ShardIndex,
    /// The token of a key that is there, where keys decided.
    pub token: Option<Token>,
    /// The rows of VALUES that are its own, by their places; none when it runs the statement as it
    /// is.
    pub rows: Option<Vec<usize>>,
    /// Whether it inserts what it reads, so that it must hold no rows but its own.
    pub reads: bool,
}

/// Splits a statement that was refused since it needs rows of several shards, or since it shows no
/// key; none when it can't be split. The parts are in the order of the shards, so that two
/// statements wait for each other on the first shard that they share and not crosswise.
///
/// # Errors
/// The [`Refusal`] of a key that can't be read.
pub fn split(
    (statement, plan): (&Statement, &Plan),
    refusal: &Refusal,
    params: &dyn Parameters,
    snapshot: &Snapshot,
    search_path: &[&str],
) -> Result<Option<Vec<Part>>, Refusal> {
    let tables = Tables::new(snapshot, search_path);
    // Either it shows no key at all, or the keys that its query reads are of several shards.
    let is_of_several = matches!(plan, Plan::Refused(own) if own == refusal)
        || *refusal == Refusal::several_shards();
    if let Class::Insert(data) = &statement.class
        && is_of_several
        && statement.functions.is_empty()
        && inserts_where_it_reads(data, tables) == Ok(true)
    {
        return Ok(Some(on_all(snapshot, true)));
    }
    let is_for_lack_of_a_key =
        matches!(plan, Plan::NeedsHint { refusal: own, .. } if own == refusal);
    if !is_for_lack_of_a_key && *refusal != Refusal::several_shards() {
        return Ok(None);
    }
    let (sources, key_type) = match plan {
        Plan::Key {
            sources,
            key_type,
            writes: true,
            ..
        } => (Some(sources), *key_type),
        Plan::NeedsHint {
            key_type,
            writes: true,
            ..
        } => (None, *key_type),
        Plan::Key { .. }
        | Plan::NeedsHint { .. }
        | Plan::Any { .. }
        | Plan::Catalog
        | Plan::Home(_)
        | Plan::Bound(_)
        | Plan::Everywhere
        | Plan::NeedsColumns { .. }
        | Plan::NeedsViews { .. }
        | Plan::Refused(_) => return Ok(None),
    };
    match &statement.class {
        Class::Insert(data) => {
            let Some((table, WriteKind::Insert(insert))) = only_write(data, tables) else {
                return Ok(None);
            };
            by_rows(table, insert, params, snapshot)
        }
        Class::Update(data) | Class::Delete(data) if statement.functions.is_empty() => {
            if only_write(data, tables).is_none() {
                return Ok(None);
            }
            match sources {
                Some(sources) => by_keys(sources, key_type, params, snapshot).map(Some),
                None => Ok(Some(on_all(snapshot, false))),
            }
        }
        _ => Ok(None),
    }
}

/// The table and the kind of the only write, if every other sharded table that is read is tied to its
/// target by the key, and all others are on every shard.
fn only_write<'a>(data: &'a Data, tables: Tables<'a>) -> Option<(Sharded<'a>, &'a WriteKind)> {
    let [write] = data.writes.as_slice() else {
        return None;
    };
    if data.opaque.is_some() || data.locks_rows || write.scope.0 != 0 {
        return None;
    }
    let mut entries = data.scopes.iter().flat_map(|scope| &scope.entries);
    if entries.any(|entry| matches!(entry.source, Source::Opaque)) {
        return None;
    }
    let target = data.scopes.first()?.entries.first()?;
    let Source::Table(table) = &target.source else {
        return None;
    };
    match tables.kind(table) {
        Kind::Sharded(sharded) if is_tied_to_target(data, tables) == Ok(true) => {
            Some((sharded, &write.kind))
        }
        Kind::Sharded(_)
        | Kind::Reference(_)
        | Kind::Home(..)
        | Kind::View(..)
        | Kind::System
        | Kind::Unregistered => None,
    }
}

/// The rows of VALUES by their keys.
fn by_rows(
    table: Sharded<'_>,
    insert: &Insert,
    params: &dyn Parameters,
    snapshot: &Snapshot,
) -> Result<Option<Vec<Part>>, Refusal> {
    let column = table.key_column();
    let (NewRows::Values(rows), Some(columns)) = (&insert.rows, &insert.columns) else {
        return Ok(None);
    };
    let Some(position) = columns.iter().position(|name| *name == column.column) else {
        return Ok(None);
    };
    let mut parts: BTreeMap<ShardIndex, Part> = BTreeMap::new();
    for (number, row) in rows.iter().enumerate() {
        let Some(value) = row.get(position) else {
            return Ok(None);
        };
        let found = match read(value, table.key_type)? {
            Reading::Key(KeySource::Literal(key)) => owner(&key, snapshot),
            Reading::Key(KeySource::Parameter(number)) => {
                let given = params.get(number);
                let given = given.ok_or_else(|| Refusal::no_parameter(number))?;
                let key = parameter::key(number, &given, table.key_type)?;
                let key = key.ok_or_else(|| Refusal::null_key(&column))?;
                owner(&key, snapshot)
            }
            Reading::Null => return Err(Refusal::null_key(&column)),
            Reading::Key(KeySource::ArrayParameter(_) | KeySource::Unnested(_))
            | Reading::Unusable => return Ok(None),
        };
        let (index, token) = found.ok_or_else(Refusal::no_shard)?;
        let part = parts.entry(index).or_insert_with(|| Part {
            index,
            token: Some(token),
            rows: Some(Vec::new()),
            reads: false,
        });
        part.rows.get_or_insert_default().push(number);
    }
    Ok(Some(parts.into_values().collect()))
}

/// The shards of keys.
fn by_keys(
    sources: &[KeySource],
    key_type: KeyType,
    params: &dyn Parameters,
    snapshot: &Snapshot,
) -> Result<Vec<Part>, Refusal> {
    let mut found: BTreeMap<ShardIndex, Token> = BTreeMap::new();
    let mut take = |key: &Key<'_>| {
        let (index, token) = owner(key, snapshot).ok_or_else(Refusal::no_shard)?;
        found.entry(index).or_insert(token);
        Ok(())
    };
    let given = |number: u16| {
        params
            .get(number)
            .ok_or_else(|| Refusal::no_parameter(number))
    };
    for source in sources {
        match source {
            KeySource::Literal(key) => take(key)?,
            KeySource::Parameter(number) => {
                if let Some(key) = parameter::key(*number, &given(*number)?, key_type)? {
                    take(&key)?;
                }
            }
            KeySource::ArrayParameter(number) => {
                parameter::each_key(*number, &given(*number)?, key_type, &mut take)?;
            }
            KeySource::Unnested(unnested) => {
                unnest::each_key(unnested, params, (key_type, None), &mut take)?;
            }
        }
    }
    let part = |(index, token)| Part {
        index,
        token: Some(token),
        rows: None,
        reads: false,
    };
    Ok(found.into_iter().map(part).collect())
}

/// Every shard that owns a part of the ring.
fn on_all(snapshot: &Snapshot, reads: bool) -> Vec<Part> {
    let vnodes = snapshot.ring().vnodes().iter();
    let owners: BTreeSet<ShardIndex> = vnodes.map(|vnode| vnode.owner).collect();
    let part = |index| Part {
        index,
        token: None,
        rows: None,
        reads,
    };
    owners.into_iter().map(part).collect()
}
