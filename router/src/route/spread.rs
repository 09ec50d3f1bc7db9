//! Whether a query can be asked of every shard by itself, so that each row of its answer comes from
//! exactly one of them.
//!
//! It can where one sharded table, its anchor, is read by the query's own level and no outer join
//! puts NULLs in the place of its rows, and where every other sharded table is joined to it by equal
//! keys. Then each row of the answer is made of one row of the anchor and of rows with the same key,
//! all on the shard of that key; reference tables are whole on every shard.

use std::collections::HashSet;

use topology::{KeyType, Snapshot};

use super::Refusal;
use super::columns::{Columns, Place};
use super::pins::{KeyColumns, Nulls, Pins};
use super::tables::{Kind, Sharded, Tables, shown, unregistered, viewed};
use crate::query::{Data, Entry, NewRows, Scope, ScopeId, Shape, Source, WriteKind};

/// How many sub-selects an anchor is looked for in.
const MAX_DEPTH: usize = 16;

/// How a query is spread over shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    /// The type of the key.
    pub key_type: KeyType,
    /// The sides of its set operations, from left to right; one where there is none.
    pub leaves: Vec<Leaf>,
}

/// A query level that hands rows to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Where its anchor is: the entry of its own level, then that of the sub-select there, and so on.
    pub path: Vec<usize>,
    /// The name by which the anchor's columns are qualified at the last of these levels.
    pub anchor: String,
    /// The anchor's key column.
    pub column: String,
    /// What it makes of its rows.
    pub shape: Shape,
    /// The names of what it reads from.
    pub sources: Vec<String>,
    /// Whether it groups by the key, so that each group lies on one shard.
    pub groups_by_key: bool,
    /// Whether it selects the key, so that equal rows lie on one shard.
    pub selects_key: bool,
}

/// Finds out how a query that reads sharded tables is spread over shards.
///
/// # Errors
/// Why a shard by itself can't answer for its rows.
pub fn spread(data: &Data, snapshot: &Snapshot, search_path: &[&str]) -> Result<Spread, Refusal> {
    let tables = Tables::new(snapshot, search_path);
    if let Some(reason) = data.opaque {
        return Err(refused(format!("statement can't be routed: {reason}")));
    }
    if !data.writes.is_empty() || data.locks_rows {
        return Err(refused(
            "a statement that writes or locks rows must show its shard key",
        ));
    }
    let sharded = sharded_tables(data, tables)?;
    let Some((first, _)) = sharded.first() else {
        return Err(refused("the statement reads no sharded table"));
    };
    let key = KeyColumns::try_of(*first, sharded.iter().map(|(table, _)| *table))?;
    let search = Search {
        data,
        tables,
        key,
        sharded,
    };
    let mut leaves = Vec::new();
    search.collect(ScopeId(0), 0, &mut leaves)?;
    let mut placed = 0;
    let mut found = Vec::with_capacity(leaves.len());
    for leaf in &leaves {
        let (leaf, tables) = search.leaf(*leaf)?;
        placed += tables;
        found.push(leaf);
    }
    if placed != search.sharded.len() {
        return Err(refused(
            "a sharded table in a WITH is used by several sides of a UNION",
        ));
    }
    Ok(Spread {
        key_type: search.key.key_type,
        leaves: found,
    })
}

/// Whether the first entry of a statement is a sharded table, and every other one is tied to it by
/// equal keys, so that each of its rows meets rows of its own shard only.
pub(super) fn is_tied_to_target(data: &Data, tables: Tables<'_>) -> Result<bool, Refusal> {
    let target = Place {
        scope: ScopeId(0),
        entry: 0,
    };
    let sharded = sharded_tables(data, tables)?;
    let Some((first, _)) = sharded.iter().find(|(_, place)| *place == target) else {
        return Ok(false);
    };
    let key = KeyColumns::try_of(*first, sharded.iter().map(|(table, _)| *table))?;
    let columns = Columns::new(data, tables);
    let mut pins = Pins::anchored(data, columns, &key, (target, None))?;
    pins.settle()?;
    Ok(sharded.iter().all(|(_, place)| pins.is_pinned(*place)))
}

/// Whether an INSERT gives each new row the key of a row that its query reads, and each shard can
/// answer the query for its own rows: then each of them inserts what it reads.
pub(super) fn inserts_where_it_reads(data: &Data, tables: Tables<'_>) -> Result<bool, Refusal> {
    let target = Place {
        scope: ScopeId(0),
        entry: 0,
    };
    let [write] = data.writes.as_slice() else {
        return Ok(false);
    };
    let WriteKind::Insert(insert) = &write.kind else {
        return Ok(false);
    };
    let (NewRows::Query(query), Some(columns)) = (&insert.rows, &insert.columns) else {
        return Ok(false);
    };
    if write.scope != target.scope || data.opaque.is_some() || data.locks_rows {
        return Ok(false);
    }
    let all = sharded_tables(data, tables)?;
    let Some((table, _)) = all.iter().find(|(_, place)| *place == target).copied() else {
        return Ok(false);
    };
    let position = columns.iter().position(|name| name == table.column);
    let Some(position) = position.filter(|_| !insert.updates.iter().any(|it| it == table.column))
    else {
        return Ok(false);
    };
    let key = KeyColumns::try_of(table, all.iter().map(|(table, _)| *table))?;
    let others = all.into_iter().filter(|(_, place)| *place != target);
    let search = Search {
        data,
        tables,
        key,
        sharded: others.collect(),
    };
    search.hands_out_its_key(*query, target, position)
}

fn sharded_tables<'a>(
    data: &Data,
    tables: Tables<'a>,
) -> Result<Vec<(Sharded<'a>, Place)>, Refusal> {
    if let Some(column) = data.place {
        let message = format!("{column} is another row's on each shard");
        return Err(refused(message).hint("name rows by their columns, the shard key among them"));
    }
    let mut sharded = Vec::new();
    for (scope, level) in (0..).map(ScopeId).zip(&data.scopes) {
        for (entry, read) in level.entries.iter().enumerate() {
            let Source::Table(table) = &read.source else {
                continue;
            };
            match tables.kind(table) {
                Kind::Sharded(table) => sharded.push((table, Place { scope, entry })),
                Kind::Reference(_) => {}
                Kind::Home(name, _) => {
                    return Err(refused(format!(
                        "table \"{}\" is on one shard only, and others are on every shard",
                        shown(name)
                    )));
                }
                Kind::System => {
                    return Err(refused(format!(
                        "system table \"{}\" differs from shard to shard",
                        table.name
                    )));
                }
                Kind::View(name, _) => return Err(viewed(name)),
                Kind::Unregistered => return Err(unregistered(table)),
            }
        }
    }
    Ok(sharded)
}

struct Search<'a> {
    data: &'a Data,
    tables: Tables<'a>,
    key: KeyColumns<'a>,
    sharded: Vec<(Sharded<'a>, Place)>,
}

impl<'a> Search<'a> {
    fn scope(&self, id: ScopeId) -> Option<&'a Scope> {
        self.data.scopes.get(id.0)
    }

    /// The levels that hand out rows, below set operations.
    fn collect(&self, id: ScopeId, depth: usize, leaves: &mut Vec<ScopeId>) -> Result<(), Refusal> {
        let Some(scope) = self.scope(id).filter(|_| depth < MAX_DEPTH * 4) else {
            return Err(refused("the statement is nested too deep"));
        };
        if scope.shape.branches.is_empty() {
            if depth > 0 && scope.shape.cuts {
                return Err(refused(
                    "LIMIT in a side of a UNION needs all rows at one place",
                ));
            }
            leaves.push(id);
            return Ok(());
        }
        if depth > 0 && scope.shape.cuts {
            return Err(refused(
                "LIMIT in a side of a UNION needs all rows at one place",
            ));
        }
        for branch in &scope.shape.branches {
            self.collect(*branch, depth + 1, leaves)?;
        }
        Ok(())
    }

    /// A leaf, and how many sharded tables are read below it.
    fn leaf(&self, id: ScopeId) -> Result<(Leaf, usize), Refusal> {
        let below = self.below(id);
        let inside: Vec<Place> = self
            .sharded
            .iter()
            .map(|(_, place)| *place)
            .filter(|place| below.contains(&place.scope))
            .collect();
        if inside.is_empty() {
            return Err(refused(
                "a side of a UNION reads no sharded table, so that every shard would give its rows",
            ));
        }
        let mut paths = Vec::new();
        self.candidates(id, &[], &mut paths);
        if paths.is_empty() {
            return Err(refused(
                "no sharded table is read directly by the query, outside of outer joins, LIMIT, \
                 window functions and sub-queries",
            ));
        }
        let mut last = None;
        for (path, anchor) in paths {
            match self.try_anchor(id, path, anchor, &inside)? {
                Ok(leaf) => return Ok((leaf, inside.len())),
                Err(refusal) => last = Some(refusal),
            }
        }
        Err(last.unwrap_or_else(|| refused("the statement is not understood")))
    }

    /// A scope and all scopes within it.
    fn below(&self, id: ScopeId) -> HashSet<ScopeId> {
        let mut below = HashSet::from([id]);
        // A scope stands behind the one that it is in.
        for (own, scope) in (0..).map(ScopeId).zip(&self.data.scopes) {
            if scope
                .parent
                .as_ref()
                .is_some_and(|(parent, _)| below.contains(parent))
            {
                below.insert(own);
            }
        }
        below
    }

    /// The sharded tables that can be a level's anchor.
    fn candidates(&self, id: ScopeId, path: &[usize], found: &mut Vec<(Vec<usize>, Place)>) {
        let Some(scope) = self.scope(id).filter(|_| path.len() < MAX_DEPTH) else {
            return;
        };
        for (index, entry) in scope.entries.iter().enumerate() {
            if entry.nullable || entry.renamed || entry.hidden_by.is_some() {
                continue;
            }
            let mut path = path.to_vec();
            path.push(index);
            let place = Place {
                scope: id,
                entry: index,
            };
            match &entry.source {
                Source::Table(_) if self.sharded.iter().any(|(_, known)| *known == place) => {
                    found.push((path, place));
                }
                Source::Rows(inner) if self.is_seen_once(*inner) => {
                    let hands_all = self.scope(*inner).is_some_and(|inner| {
                        let shape = &inner.shape;
                        !shape.cuts && !shape.looks_around && shape.branches.is_empty()
                    });
                    if hands_all {
                        self.candidates(*inner, &path, found);
                    }
                }
                Source::Table(_) | Source::Rows(_) | Source::Opaque => {}
            }
        }
    }

    fn is_seen_once(&self, id: ScopeId) -> bool {
        let entries = self.data.scopes.iter().flat_map(|scope| &scope.entries);
        let seen = entries.filter(|entry| matches!(entry.source, Source::Rows(of) if of == id));
        seen.count() == 1
    }

    /// Whether everything lies together with an anchor; the inner error says what does not.
    fn try_anchor(
        &self,
        id: ScopeId,
        path: Vec<usize>,
        anchor: Place,
        inside: &[Place],
    ) -> Result<Result<Leaf, Refusal>, Refusal> {
        let columns = Columns::new(self.data, self.tables);
        let mut pins = Pins::anchored(self.data, columns, &self.key, (anchor, None))?;
        let mut levels = Vec::new();
        let mut at = Some(id);
        for entry in &path {
            let Some((level, scope)) = at.and_then(|id| Some((id, self.scope(id)?))) else {
                break;
            };
            let shape = &scope.shape;
            let groups: Vec<_> = shape
                .groups
                .iter()
                .map(|it| pins.resolve(level, it))
                .collect();
            let listed: Vec<_> = shape
                .listed
                .iter()
                .map(|it| pins.resolve(level, it))
                .collect();
            levels.push((shape, groups, listed));
            at = match scope.entries.get(*entry).map(|entry| &entry.source) {
                Some(Source::Rows(inner)) => Some(*inner),
                Some(Source::Table(_) | Source::Opaque) | None => None,
            };
        }
        pins.settle()?;
        if let Some(place) = inside.iter().find(|place| !pins.is_pinned(**place)) {
            return Ok(Err(self.not_together(*place, anchor)));
        }
        let mut flags = (1..).zip(&levels).map(|(depth, (shape, groups, listed))| {
            let mut groups = groups.iter().flatten();
            let mut listed = listed.iter().flatten();
            let groups_by_key = groups.any(|column| pins.is_key(column));
            // A sub-select need not hand its key out.
            let has_all = shape.all_columns && depth == path.len();
            let selects_key = has_all || listed.any(|column| pins.is_key(column));
            (*shape, groups_by_key, selects_key)
        });
        let Some((shape, groups_by_key, selects_key)) = flags.next() else {
            return Ok(Err(refused("the statement is not understood")));
        };
        if flags.any(|(shape, groups_by_key, selects_key)| {
            (shape.gathers && !groups_by_key) || (shape.distinct && !selects_key)
        }) {
            return Ok(Err(taken_together()));
        }
        let shape = shape.clone();
        let sources = self.scope(id).map(|scope| {
            let names = scope.entries.iter().filter_map(|entry| entry.name.clone());
            names.collect()
        });
        let entry = self
            .scope(anchor.scope)
            .and_then(|it| it.entries.get(anchor.entry));
        let name = entry.and_then(|entry: &Entry| entry.name.clone());
        let table = self.sharded.iter().find(|(_, place)| *place == anchor);
        let (Some(anchor), Some((table, _))) = (name, table) else {
            return Ok(Err(refused("the statement is not understood")));
        };
        Ok(Ok(Leaf {
            path,
            anchor,
            column: table.column.to_owned(),
            shape,
            sources: sources.unwrap_or_default(),
            groups_by_key,
            selects_key,
        }))
    }

    /// Whether a query that stands for itself on each shard has its anchor's key at a position.
    fn hands_out_its_key(
        &self,
        query: ScopeId,
        target: Place,
        position: usize,
    ) -> Result<bool, Refusal> {
        let is_leaf = self
            .scope(query)
            .is_some_and(|scope| scope.shape.branches.is_empty());
        if !is_leaf {
            return Ok(false);
        }
        let (leaf, placed) = self.leaf(query)?;
        let shape = &leaf.shape;
        let takes_together = (shape.gathers && !leaf.groups_by_key)
            || (shape.distinct && !leaf.selects_key)
            || shape.looks_around
            || shape.cuts;
        if takes_together || placed != self.sharded.len() {
            return Ok(false);
        }
        let mut level = query;
        let mut anchor = None;
        for entry in leaf.path {
            anchor = Some(Place {
                scope: level,
                entry,
            });
            let below = self.scope(level).and_then(|it| it.entries.get(entry));
            if let Some(Source::Rows(inner)) = below.map(|entry| &entry.source) {
                level = *inner;
            }
        }
        let Some(anchor) = anchor else {
            return Ok(false);
        };
        let columns = Columns::new(self.data, self.tables);
        let mut pins = Pins::anchored(self.data, columns, &self.key, (anchor, Some(target)))?;
        let Some(cell) = pins.insert_query(target, query, position) else {
            return Ok(false);
        };
        pins.settle()?;
        Ok(pins.cell(cell) == Some(Nulls::Never))
    }

    fn not_together(&self, place: Place, anchor: Place) -> Refusal {
        let name = |place| {
            let table = self.sharded.iter().find(|(_, known)| *known == place);
            table.map(|(table, _)| table.key_column())
        };
        let (Some(apart), Some(anchor)) = (name(place), name(anchor)) else {
            return refused("the statement is not understood");
        };
        refused(format!(
            "table \"{}\" is not joined to \"{}\" by its shard key, so that rows of several shards \
             belong together",
            apart.table, anchor.table
        ))
        .hint(format!(
            "join them by \"{}\" and \"{}\", or add the shard key's value",
            apart.column, anchor.column
        ))
    }
}

fn taken_together() -> Refusal {
    refused("a sub-query takes rows of several shards together without its shard key")
        .hint("group by the shard key within the sub-query")
}

fn refused(message: impl Into<String>) -> Refusal {
    Refusal::unsupported(message)
}
