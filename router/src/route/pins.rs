//! Which entries of a statement are pinned: every row of theirs that can contribute to the answer
//! has one of the keys in the list of sources.
//!
//! Facts go in one direction. A fact of a scope pins entries of that scope only, those it restricts:
//! `NOT EXISTS (... WHERE inner.key = outer.key AND inner.key = 5)` says nothing about `outer`.

use std::borrow::Cow;
use std::collections::HashSet;

use foldhash::fast::RandomState;
use topology::KeyType;

use super::Refusal;
use super::columns::{CellId, Column, Columns, Origin, Place};
use super::tables::Sharded;
use super::values::Sources;
use crate::query::{ColumnRef, Data, Fact, Joined, Merged, ScopeId, Test, Value};

/// How often all rules are gone through. What is not pinned by then stays so, and the statement
/// needs a hint; a chain of more joins than that in the worst order is not met in practice.
const MAX_ROUNDS: usize = 64;

/// Whether values that are pinned may be NULL as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nulls {
    Never,
    Perhaps,
}

/// Entries that are pinned as soon as something else is.
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
    /// In the order of the columns' outputs.
    cells: Vec<Option<Nulls>>,
    rules: Vec<Rule>,
    sources: Sources,
    /// Whether values pin anything. They don't where it is asked what lies together with one entry.
    by_values: bool,
}

impl<'a> Pins<'a> {
    /// As if the key of `anchor` were known, and no other key. Nothing but its new rows pins
    /// `insert`.
    pub(super) fn anchored(
        data: &'a Data,
        columns: Columns<'a>,
        key: &KeyColumns<'a>,
        (anchor, insert): (Place, Option<Place>),
    ) -> Result<Self, Refusal> {
        let mut pins = Self::empty(columns, key, insert.into_iter().collect());
        pins.by_values = false;
        pins.pinned.insert(anchor);
        pins.read(data, key)?;
        Ok(pins)
    }

    /// Reads the facts of a statement. `inserts` are the entries that rows are inserted into.
    pub(super) fn try_new(
        data: &'a Data,
        columns: Columns<'a>,
        key: &KeyColumns<'a>,
        inserts: HashSet<Place, RandomState>,
    ) -> Result<Self, Refusal> {
        let mut pins = Self::empty(columns, key, inserts);
        pins.read(data, key)?;
        Ok(pins)
    }

    fn empty(
        columns: Columns<'a>,
        key: &KeyColumns<'a>,
        inserts: HashSet<Place, RandomState>,
    ) -> Self {
        Self {
            columns,
            key_type: key.key_type,
            inserts,
            pinned: HashSet::default(),
            cells: Vec::new(),
            rules: Vec::new(),
            sources: Sources::default(),
            by_values: true,
        }
    }

    fn read(&mut self, data: &'a Data, key: &KeyColumns<'a>) -> Result<(), Refusal> {
        for (id, scope) in (0..).map(ScopeId).zip(&data.scopes) {
            for fact in &scope.facts {
                self.read_fact(id, fact)?;
            }
            for merged in &scope.merged {
                self.read_join(id, merged, &key.names);
            }
        }
        Ok(())
    }

    /// What a column stands for. Not to be asked after [`Self::settle`].
    pub(super) fn resolve(&mut self, scope: ScopeId, column: &'a ColumnRef) -> Option<Column> {
        self.columns.resolve(scope, column)
    }

    /// Whether a column always has a key that is pinned.
    pub(super) fn is_key(&self, column: &Column) -> bool {
        self.nulls_of(column) == Some(Nulls::Never)
    }

    /// Pins the target of an INSERT by the values of its rows; false when one can't be read.
    pub(super) fn insert_values(
        &mut self,
        target: Place,
        values: &[&Value],
    ) -> Result<bool, Refusal> {
        let values = values.iter().copied();
        let usable = self.sources.push_among(values, self.key_type)?;
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
        let cell = self.columns.new_rows_at(query, position)?;
        self.rules.push(Rule {
            targets: vec![target],
            by: By::Cell(cell),
        });
        Some(cell)
    }

    /// Follows the facts from entry to entry. No name is looked up after this.
    pub(super) fn settle(&mut self) -> Result<(), Refusal> {
        for origin in self.columns.origins() {
            let nulls = match origin {
                Origin::Values(_) if !self.by_values => None,
                Origin::Values(values) => {
                    let among = values.iter().map(|value| &**value);
                    let usable = self.sources.push_among(among, self.key_type)?;
                    usable.then(|| nulls_among(values))
                }
                Origin::Array(columns, at) => {
                    let usable = self.sources.push_unnested(columns, *at, self.key_type)?;
                    usable.then_some(Nulls::Perhaps)
                }
                Origin::Column(_) | Origin::Cells(_) => None,
            };
            self.cells.push(nulls);
        }
        for _ in 0..MAX_ROUNDS {
            let cells_changed = self.settle_cells();
            if !self.apply_rules() && !cells_changed {
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

    /// Where an output's values come from, if each of its rows has one of them.
    pub(super) fn base(&self, cell: CellId) -> Option<&Origin<'a>> {
        self.columns.base(cell)
    }

    pub(super) fn into_sources(self) -> Sources {
        self.sources
    }

    fn read_fact(&mut self, scope: ScopeId, fact: &'a Fact) -> Result<(), Refusal> {
        match &fact.test {
            Test::Among(..) | Test::AmongArray(..) if !self.by_values => {}
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
                if let Some(cell) = self.columns.output_at(*rows, 0) {
                    self.add_rule(targets, By::Cell(cell));
                    if let Some(column) = column {
                        let inner = self.columns.equals_of_output(cell);
                        self.add_rule(inner, By::Column(column));
                    }
                }
            }
        }
        Ok(())
    }

    /// The equalities that a USING or NATURAL join states.
    fn read_join(&mut self, scope: ScopeId, merged: &'a Merged, names: &[&'a str]) {
        let own = merged.name.as_deref();
        let common = names.iter().filter(|_| own.is_none());
        for name in own.iter().chain(common) {
            let (Some(left), Some(right)) = self.columns.sides(scope, merged, name) else {
                continue;
            };
            let (from_left, from_right) = match merged.joined {
                Joined::Inner => (true, true),
                Joined::Left => (true, false),
                Joined::Right => (false, true),
                Joined::Full => (false, false),
            };
            if from_left {
                let targets = self.keys_of(scope, &right);
                self.add_rule(targets, By::Column(left.clone()));
            }
            if from_right {
                let targets = self.keys_of(scope, &left);
                self.add_rule(targets, By::Column(right));
            }
        }
    }

    /// The entries that a fact about a column pins.
    fn targets(&self, scope: ScopeId, fact: &Fact, column: Option<&Column>) -> Vec<Place> {
        let equals = column.map(|column| self.columns.equals(scope, column));
        let equals = equals.into_iter().flatten();
        equals
            .filter(|equal| fact.restricts.contains(&equal.entry))
            .map(|equal| equal.key)
            .filter(|key| !self.inserts.contains(key))
            .collect()
    }

    fn keys_of(&self, scope: ScopeId, column: &Column) -> Vec<Place> {
        let equals = self.columns.equals(scope, column).into_iter();
        equals.map(|equal| equal.key).collect()
    }

    fn add_rule(&mut self, mut targets: Vec<Place>, by: By) {
        targets.retain(|target| !self.inserts.contains(target));
        if !targets.is_empty() {
            self.rules.push(Rule { targets, by });
        }
    }

    /// Whether anything changed.
    fn settle_cells(&mut self) -> bool {
        let mut changed = false;
        // Each cell stands after those that it is made of, so that one pass goes through a chain.
        for (index, origin) in self.columns.origins().enumerate() {
            if self.cells.get(index).is_none_or(Option::is_some) {
                continue;
            }
            let nulls = match origin {
                Origin::Column(column) => self.nulls_of(column),
                Origin::Cells(cells) => all_of(cells.iter().map(|cell| self.cell(*cell))),
                Origin::Values(_) | Origin::Array(..) => None,
            };
            if let (Some(nulls), Some(cell)) = (nulls, self.cells.get_mut(index)) {
                *cell = Some(nulls);
                changed = true;
            }
        }
        changed
    }

    /// Whether anything changed.
    fn apply_rules(&mut self) -> bool {
        let mut changed = false;
        for rule in &self.rules {
            let nulls = match &rule.by {
                By::Column(column) => self.nulls_of(column),
                By::Cell(cell) => self.cell(*cell),
            };
            if nulls.is_some() {
                for target in &rule.targets {
                    changed |= self.pinned.insert(*target);
                }
            }
        }
        changed
    }

    /// Whether a column is pinned.
    fn nulls_of(&self, column: &Column) -> Option<Nulls> {
        match column {
            Column::Key(place) => {
                let pinned = self.pinned.contains(place);
                pinned.then(|| self.after_join(*place, Nulls::Never))
            }
            Column::Output { place, cell } => {
                let nulls = self.cell(*cell)?;
                Some(self.after_join(*place, nulls))
            }
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

    /// An outer join may put NULLs in place of an entry's row.
    fn after_join(&self, place: Place, nulls: Nulls) -> Nulls {
        match self.columns.entry(place) {
            Some(entry) if !entry.nullable => nulls,
            Some(_) | None => Nulls::Perhaps,
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
                let (one, other) = (first.key_column().table, table.key_column().table);
                let message = format!(
                    "tables \"{one}\" and \"{other}\" have shard keys of different types, {} and {}",
                    first.key_type, table.key_type
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

/// What a parameter is, is only known with each execution.
fn nulls_among(values: &[Cow<'_, Value>]) -> Nulls {
    let constant = values.iter().all(|value| match &**value {
        Value::Integer(_) | Value::Text(_) | Value::Cast(..) => true,
        Value::Null | Value::Parameter(..) | Value::Default | Value::Other => false,
    });
    if constant {
        Nulls::Never
    } else {
        Nulls::Perhaps
    }
}
