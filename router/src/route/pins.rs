//! Which entries of a statement are pinned: every row of theirs that can contribute to the answer
//! has one of the keys in the list of sources.
//!
//! Facts go in one direction. A fact of a scope pins entries of that scope only, those it restricts:
//! `NOT EXISTS (... WHERE inner.key = outer.key AND inner.key = 5)` says nothing about `outer`. A
//! sub-select hands its pins out through its outputs, but takes none in from around it, since a
//! LIMIT or an aggregate inside may have looked at other rows.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use topology::KeyType;

use super::Refusal;
use super::columns::{CellId, Column, Columns, Origin, Place};
use super::tables::Sharded;
use super::values::Sources;
use crate::query::{Data, Fact, Joined, Scope, ScopeId, Test, Value};

/// How often all rules are gone through. What is not pinned by then stays so, and the statement
/// needs a hint; a chain of more joins than that in the worst order is not met in practice.
const MAX_ROUNDS: usize = 64;

/// Whether values that are pinned may be NULL as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    Never,
    Perhaps,
}

/// Entries that are pinned as soon as a column is.
#[derive(Debug)]
struct Rule {
    targets: Vec<Place>,
    by: By,
}

#[derive(Debug)]
enum By {
    Column(Column),
    Cell(CellId),
}

/// The pins of one statement.
#[derive(Debug)]
pub(super) struct Pins<'a> {
    columns: Columns<'a>,
    key_type: KeyType,
    /// Targets of INSERT, which nothing but their new rows pins.
    inserts: HashSet<Place, RandomState>,
    pinned: HashSet<Place, RandomState>,
    cells: Vec<Option<Nulls>>,
    rules: Vec<Rule>,
    sources: Sources,
}

impl<'a> Pins<'a> {
    /// Reads the facts of a statement. `inserts` are the entries that rows are inserted into.
    pub(super) fn try_new(
        data: &'a Data,
        columns: Columns<'a>,
        key: &KeyColumns<'a>,
        inserts: HashSet<Place, RandomState>,
    ) -> Result<Self, Refusal> {
        let mut pins = Self {
            columns,
            key_type: key.key_type,
            inserts,
            pinned: HashSet::default(),
            cells: Vec::new(),
            rules: Vec::new(),
            sources: Sources::default(),
        };
        for (id, scope) in (0..).map(ScopeId).zip(&data.scopes) {
            for fact in &scope.facts {
                pins.read_fact(id, fact)?;
            }
            pins.read_joins(id, scope, &key.names);
        }
        Ok(pins)
    }

    /// Pins the target of an INSERT by one row's value; false when the value can't be read.
    pub(super) fn insert_values(
        &mut self,
        target: Place,
        values: &[&Value],
    ) -> Result<bool, Refusal> {
        let usable = self
            .sources
            .push_among(values.iter().copied(), self.key_type)?;
        if usable {
            self.pinned.insert(target);
        }
        Ok(usable)
    }

    /// Pins the target of an INSERT as soon as an output of its query is.
    pub(super) fn insert_query(
        &mut self,
        target: Place,
        query: ScopeId,
        position: usize,
    ) -> Option<CellId> {
        let cell = self.columns.output_at(query, position)?;
        self.rules.push(Rule {
            targets: vec![target],
            by: By::Cell(cell),
        });
        Some(cell)
    }

    /// Where an output's values come from.
    pub(super) fn origin(&self, cell: CellId) -> Option<&Origin<'a>> {
        self.columns.cells().get(cell.index())
    }

    /// Follows the facts from entry to entry.
    pub(super) fn settle(&mut self) -> Result<(), Refusal> {
        self.cells.resize(self.columns.cells().len(), None);
        for (index, origin) in self.columns.cells().iter().enumerate() {
            let Origin::Values(values) = origin else {
                continue;
            };
            let usable = self
                .sources
                .push_among(values.iter().copied(), self.key_type)?;
            if let (true, Some(cell)) = (usable, self.cells.get_mut(index)) {
                // Whether a value may be NULL is asked of the values.
                *cell = Some(Nulls::Perhaps);
            }
        }
        for _ in 0..MAX_ROUNDS {
            let settled = self.settle_cells();
            if self.apply_rules() && settled {
                break;
            }
        }
        Ok(())
    }

    /// Whether an entry is pinned.
    pub(super) fn is_pinned(&self, place: Place) -> bool {
        self.pinned.contains(&place)
    }

    /// Whether an output is pinned.
    pub(super) fn cell(&self, cell: CellId) -> Option<Nulls> {
        self.cells.get(cell.index()).copied().flatten()
    }

    pub(super) fn into_sources(self) -> Sources {
        self.sources
    }

    fn read_fact(&mut self, scope: ScopeId, fact: &'a Fact) -> Result<(), Refusal> {
        match &fact.test {
            Test::Among(column, values) => {
                let column = self.columns.resolve(scope, column);
                let targets = self.targets(scope, fact, column.as_ref());
                if !targets.is_empty() && self.sources.push_among(values, self.key_type)? {
                    self.pinned.extend(targets);
                }
            }
            Test::AmongArray(column, array) => {
                let column = self.columns.resolve(scope, column);
                let targets = self.targets(scope, fact, column.as_ref());
                if !targets.is_empty() && self.sources.push_array(array, self.key_type)? {
                    self.pinned.extend(targets);
                }
            }
            Test::Same(one, other) => {
                let one = self.columns.resolve(scope, one);
                let other = self.columns.resolve(scope, other);
                if let (Some(one), Some(other)) = (one, other) {
                    let targets = self.targets(scope, fact, Some(&one));
                    self.add_rule(targets, By::Column(other.clone()));
                    let targets = self.targets(scope, fact, Some(&other));
                    self.add_rule(targets, By::Column(one));
                }
            }
            Test::AmongRows(column, rows) => {
                let column = self.columns.resolve(scope, column);
                let targets = self.targets(scope, fact, column.as_ref());
                if targets.is_empty() {
                    return Ok(());
                }
                if let Some(cell) = self.columns.output_at(*rows, 0) {
                    self.add_rule(targets, By::Cell(cell));
                }
            }
        }
        Ok(())
    }

    /// The equalities that USING and NATURAL joins state.
    fn read_joins(&mut self, id: ScopeId, scope: &'a Scope, names: &[&'a str]) {
        for merged in &scope.merged {
            let own = merged.name.as_deref();
            let names = own
                .as_slice()
                .iter()
                .chain(names.iter().filter(|_| own.is_none()));
            for name in names {
                let (Some(left), Some(right)) = self.columns.sides(id, merged, name) else {
                    continue;
                };
                let (from_left, from_right) = match merged.joined {
                    Joined::Inner => (true, true),
                    Joined::Left => (true, false),
                    Joined::Right => (false, true),
                    Joined::Full => (false, false),
                };
                if from_left {
                    let targets = self.keys_of(&right);
                    self.add_rule(targets, By::Column(left.clone()));
                }
                if from_right {
                    let targets = self.keys_of(&left);
                    self.add_rule(targets, By::Column(right));
                }
            }
        }
    }

    /// The entries that a fact about a column pins.
    fn targets(&self, scope: ScopeId, fact: &Fact, column: Option<&Column>) -> Vec<Place> {
        let mut targets = column
            .map(|column| self.keys_of(column))
            .unwrap_or_default();
        targets.retain(|place| place.scope == scope && fact.restricts.contains(&place.entry));
        targets
    }

    fn keys_of(&self, column: &Column) -> Vec<Place> {
        let mut keys = Vec::new();
        column.keys(&mut |place| {
            if !self.inserts.contains(&place) {
                keys.push(place);
            }
        });
        keys
    }

    fn add_rule(&mut self, targets: Vec<Place>, by: By) {
        if !targets.is_empty() {
            self.rules.push(Rule { targets, by });
        }
    }

    /// True when nothing changed.
    fn settle_cells(&mut self) -> bool {
        let mut settled = true;
        // Each cell stands after those that it is made of, so that one pass goes through a chain.
        for index in 0..self.cells.len() {
            if self.cells.get(index).is_none_or(Option::is_some) {
                continue;
            }
            let nulls = match self.columns.cells().get(index) {
                Some(Origin::Column(column)) => self.nulls_of(column),
                Some(Origin::Cells(cells)) => all_of(cells.iter().map(|cell| self.cell(*cell))),
                Some(Origin::Values(_)) | None => None,
            };
            if let (Some(nulls), Some(cell)) = (nulls, self.cells.get_mut(index)) {
                *cell = Some(nulls);
                settled = false;
            }
        }
        settled
    }

    /// True when nothing changed.
    fn apply_rules(&mut self) -> bool {
        let mut settled = true;
        for rule in &self.rules {
            let nulls = match &rule.by {
                By::Column(column) => self.nulls_of(column),
                By::Cell(cell) => self.cell(*cell),
            };
            if nulls.is_some() {
                for target in &rule.targets {
                    settled &= !self.pinned.insert(*target);
                }
            }
        }
        settled
    }

    /// Whether a column is pinned.
    fn nulls_of(&self, column: &Column) -> Option<Nulls> {
        match column {
            Column::Key(place) => self.pinned.contains(place).then(|| {
                let nullable = self
                    .columns
                    .entry(*place)
                    .is_none_or(|entry| entry.nullable);
                if nullable {
                    Nulls::Perhaps
                } else {
                    Nulls::Never
                }
            }),
            Column::Output {
                cell,
                nullable: false,
            } => self.cell(*cell),
            Column::Output {
                cell,
                nullable: true,
            } => self.cell(*cell).map(|_| Nulls::Perhaps),
            Column::Merged {
                joined,
                left,
                right,
            } => {
                let left = || left.as_ref().and_then(|side| self.nulls_of(side));
                let right = || right.as_ref().and_then(|side| self.nulls_of(side));
                match joined {
                    Joined::Inner => left().or_else(right),
                    Joined::Left => left(),
                    Joined::Right => right(),
                    Joined::Full => all_of([left(), right()]),
                }
            }
        }
    }
}

/// The key columns of a statement.
#[derive(Debug)]
pub(super) struct KeyColumns<'a> {
    /// The type that they share.
    pub(super) key_type: KeyType,
    /// Their names, each once.
    pub(super) names: Vec<&'a str>,
}

impl<'a> KeyColumns<'a> {
    /// The key columns of some tables.
    ///
    /// # Errors
    /// When their types differ: equal values have different tokens then.
    pub(super) fn try_of(
        first: Sharded<'a>,
        all: impl IntoIterator<Item = Sharded<'a>>,
    ) -> Result<Self, Refusal> {
        let mut names = vec![first.column];
        for table in all {
            if table.key_type != first.key_type {
                let (one, other) = (first.key_column(), table.key_column());
                let message = format!(
                    "tables \"{}\" and \"{}\" have shard keys of different types, {} and {}",
                    one.table, other.table, first.key_type, table.key_type
                );
                return Err(Refusal::unsupported(message).hint("send one statement for each table"));
            }
            if !names.contains(&table.column) {
                names.push(table.column);
            }
        }
        Ok(Self {
            key_type: first.key_type,
            names,
        })
    }
}

fn all_of(parts: impl IntoIterator<Item = Option<Nulls>>) -> Option<Nulls> {
    let mut all = None;
    for part in parts {
        all = match (all, part?) {
            (None, nulls) => Some(nulls),
            (Some(Nulls::Never), Nulls::Never) => Some(Nulls::Never),
            (Some(Nulls::Never | Nulls::Perhaps), Nulls::Never | Nulls::Perhaps) => {
                Some(Nulls::Perhaps)
            }
        };
    }
    all
}
