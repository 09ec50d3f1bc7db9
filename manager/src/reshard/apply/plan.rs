//! Which changes are made by one statement, so that the outcome is the one of making them one
//! after the other.
//!
//! Changes that touch neither the same row nor the same unique value may be made in any order.
//! Each change goes into the first wave after those that hold a change it depends on; the changes
//! of one wave to one table are three kinds of statements. What a change gives up (the unique
//! values of a row that is told by its key only) is not known here: a plan may meet a unique
//! violation that the order of the stream would not, and then [`one_by_one`] is the plan.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};

use foldhash::fast::FixedState;

use super::chunk::{Chunk, Content, Op, Row};

/// Changes that have a statement in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    /// The table's place among the leg's.
    pub table: usize,
    /// What happens to the rows.
    pub op: Op,
    /// The columns that an update sets; all but those of the identity where nothing is said.
    pub set: Option<Box<[usize]>>,
}

/// A statement's changes, as places in the chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The statement.
    pub kind: Kind,
    /// The rows, each at most once.
    pub rows: Vec<usize>,
}

/// Plans chunk after chunk and keeps its memory.
#[derive(Debug, Default)]
pub struct Planner {
    /// The last wave that touched something.
    touched: HashMap<u64, u32, FixedState>,
    groups: HashMap<(u32, Kind), usize, FixedState>,
}

impl Planner {
    /// The statements for a chunk, in order.
    pub fn plan(&mut self, chunk: &Chunk) -> Vec<Group> {
        self.touched.clear();
        self.groups.clear();
        let mut planned: Vec<(u32, Group)> = Vec::new();
        let mut items = Vec::new();
        for (at, row) in chunk.rows().iter().enumerate() {
            items.clear();
            touches(chunk, row, &mut items);
            let last = items.iter().filter_map(|item| self.touched.get(item)).max();
            let wave = last.map_or(0, |wave| wave + 1);
            for item in &items {
                self.touched.insert(*item, wave);
            }
            let kind = kind(chunk, row);
            let group = self.groups.entry((wave, kind)).or_insert_with_key(|key| {
                let kind = key.1.clone();
                let rows = Vec::new();
                planned.push((wave, Group { kind, rows }));
                planned.len() - 1
            });
            if let Some((_, group)) = planned.get_mut(*group) {
                group.rows.push(at);
            }
        }
        planned.sort_by_key(|(wave, group)| (*wave, group.kind.table, group.kind.op));
        planned.into_iter().map(|(_, group)| group).collect()
    }
}

/// Each change by a statement of its own, in the order of the stream.
#[must_use]
pub fn one_by_one(chunk: &Chunk) -> Vec<Group> {
    let group = |(at, row): (usize, &Row)| Group {
        kind: kind(chunk, row),
        rows: vec![at],
    };
    chunk.rows().iter().enumerate().map(group).collect()
}

fn kind(chunk: &Chunk, row: &Row) -> Kind {
    Kind {
        table: row.shape.table,
        op: row.op,
        set: set(chunk, row),
    }
}

fn set(chunk: &Chunk, row: &Row) -> Option<Box<[usize]>> {
    if row.op != Op::Update {
        return None;
    }
    let identity = &row.shape.identity;
    let width = row.shape.columns.len();
    let told = |at: &usize| chunk.new_value(row, *at) != Content::Unchanged;
    let is_usual = !row.is_rekeyed
        && identity.len() < width
        && (0..width).all(|at| told(&at) || identity.contains(&at));
    if is_usual {
        return None;
    }
    let wanted = |at: &usize| row.is_rekeyed || !identity.contains(at);
    Some((0..width).filter(|at| told(at) && wanted(at)).collect())
}

/// What a change has in common with others that it must not be swapped with, as hashes: two that
/// are alike by chance only make a wave more.
fn touches(chunk: &Chunk, row: &Row, items: &mut Vec<u64>) {
    let shape = &row.shape;
    let hash = |index: usize, contents: &mut dyn Iterator<Item = Content<'_>>| {
        let mut hasher = FixedState::default().build_hasher();
        (shape.table, index).hash(&mut hasher);
        for content in contents {
            match content {
                Content::Text(bytes) => bytes.hash(&mut hasher),
                Content::Null | Content::Unchanged => hasher.write_u8(0),
            }
        }
        hasher.finish()
    };
    if row.op != Op::Insert {
        let old = &mut (0..shape.identity.len()).map(|at| chunk.old(row, at));
        items.push(hash(0, old));
    }
    if row.op == Op::Delete {
        return;
    }
    if row.op == Op::Insert || row.is_rekeyed {
        let new = &mut shape.identity.iter().enumerate().map(|(at, column)| {
            match chunk.new_value(row, *column) {
                Content::Unchanged => chunk.old(row, at),
                told @ (Content::Null | Content::Text(_)) => told,
            }
        });
        items.push(hash(0, new));
    }
    for (index, columns) in shape.unique.iter().enumerate() {
        let new = || columns.iter().map(|column| chunk.new_value(row, *column));
        // NULLs are not alike, and what did not change was not given up by another row.
        if new().all(|content| matches!(content, Content::Text(_))) {
            items.push(hash(index + 1, &mut new()));
        }
    }
}

#[cfg(test)]
mod tests;
