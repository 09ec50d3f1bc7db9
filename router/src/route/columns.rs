//! What a column name stands for: the key column of which table, or an output of which sub-select.
//!
//! Of a table only the key column is known. So a name is taken for the key column where PostgreSQL
//! could take it for nothing else without calling it ambiguous, and for unknown otherwise.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;

use super::tables::{Kind, Sharded, Tables};
use crate::query::{
    ArrayColumn, ColumnRef, Data, Entry, Joined, Merged, Output, Outputs, Qualifier, Scope,
    ScopeId, Source, Value,
};

mod new_rows;

/// How many sub-selects a name is followed through.
const MAX_DEPTH: u32 = 64;

/// An entry of a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) scope: ScopeId,
    pub(super) entry: usize,
}

/// A place in [`Columns::cells`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CellId(usize);

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Column {
    /// The key column of a sharded table.
    Key(Place),
    /// An output of the sub-select that an entry is.
    Output { place: Place, cell: CellId },
    /// The common column of a USING or NATURAL join; a side that is not known is none.
    Merged {
        joined: Joined,
        left: Option<Box<Column>>,
        right: Option<Box<Column>>,
    },
}

/// Where the values of a sub-select's output come from.
#[derive(Debug, Clone)]
pub(super) enum Origin<'a> {
    /// One column.
    Column(Column),
    /// Any of these outputs: the branches of a UNION.
    Cells(Vec<CellId>),
    /// Any of these values.
    Values(Vec<Cow<'a, Value>>),
    /// The elements of one of these arrays, which lie side by side.
    Array(Vec<&'a ArrayColumn>, usize),
}

/// An output that was asked for.
#[derive(Debug)]
struct Cell<'a> {
    scope: ScopeId,
    origin: Origin<'a>,
}

/// A key column that equals a column, where their rows are not replaced by NULLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Equal {
    /// The entry of the column's own scope that it is, or that it is read through.
    pub(super) entry: usize,
    /// The sharded table.
    pub(super) key: Place,
}

/// An output, by name or by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Selector<'a> {
    Name(&'a str),
    Position(usize),
}

/// The names of one statement.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    data: &'a Data,
    tables: Tables<'a>,
    cells: Vec<Cell<'a>>,
    known: HashMap<(ScopeId, Selector<'a>), Option<CellId>, RandomState>,
    depth: u32,
    /// Whether the rows of an INSERT's query are looked at, all of which are taken.
    whole: bool,
}

impl<'a> Columns<'a> {
    pub(super) fn new(data: &'a Data, tables: Tables<'a>) -> Self {
        Self {
            data,
            tables,
            cells: Vec::new(),
            known: HashMap::default(),
            depth: 0,
            whole: false,
        }
    }

    /// The outputs that were asked for, each after those it is made of.
    pub(super) fn origins(&self) -> impl Iterator<Item = &Origin<'a>> {
        self.cells.iter().map(|cell| &cell.origin)
    }

    /// Where an output's values come from.
    pub(super) fn origin(&self, cell: CellId) -> Option<&Origin<'a>> {
        self.cells.get(cell.0).map(|cell| &cell.origin)
    }

    /// The key columns that equal a column of this scope. Sub-selects are looked through: one whose
    /// rows must not be sifted from outside hands out no origins (see [`crate::query`]). Columns
    /// of the scopes around are left out, since what holds for this scope's rows need not hold for
    /// theirs.
    pub(super) fn equals(&self, scope: ScopeId, column: &Column) -> Vec<Equal> {
        let mut found = Vec::new();
        self.collect(scope, column, None, &mut found);
        found
    }

    /// The key columns that equal an output.
    pub(super) fn equals_of_output(&self, cell: CellId) -> Vec<Place> {
        let mut found = Vec::new();
        self.collect_cell(cell, 0, &mut found);
        found.into_iter().map(|equal| equal.key).collect()
    }

    /// `through` is the entry of the outermost scope, once it is left.
    fn collect(
        &self,
        scope: ScopeId,
        column: &Column,
        through: Option<usize>,
        found: &mut Vec<Equal>,
    ) {
        match column {
            Column::Key(key) if key.scope == scope => {
                found.push(Equal {
                    entry: through.unwrap_or(key.entry),
                    key: *key,
                });
            }
            Column::Output { place, cell } if place.scope == scope => {
                self.collect_cell(*cell, through.unwrap_or(place.entry), found);
            }
            Column::Key(_) | Column::Output { .. } => {}
            Column::Merged { left, right, .. } => {
                for side in [left, right].into_iter().flatten() {
                    self.collect(scope, side, through, found);
                }
            }
        }
    }

    fn collect_cell(&self, cell: CellId, through: usize, found: &mut Vec<Equal>) {
        let Some(Cell { scope, origin }) = self.cells.get(cell.0) else {
            return;
        };
        match origin {
            Origin::Column(column) => self.collect(*scope, column, Some(through), found),
            Origin::Cells(cells) => {
                for cell in cells {
                    self.collect_cell(*cell, through, found);
                }
            }
            Origin::Values(_) | Origin::Array(..) => {}
        }
    }

    pub(super) fn scope(&self, id: ScopeId) -> Option<&'a Scope> {
        self.data.scopes.get(id.0)
    }

    pub(super) fn entry(&self, place: Place) -> Option<&'a Entry> {
        self.scope(place.scope)?.entries.get(place.entry)
    }

    /// The sharded table that an entry is, if its columns have their own names there.
    pub(super) fn sharded(&self, place: Place) -> Option<Sharded<'a>> {
        match self.entry(place)? {
            Entry {
                renamed: false,
                source: Source::Table(table),
                ..
            } => match self.tables.kind(table) {
                Kind::Sharded(sharded) => Some(sharded),
                Kind::Reference(_)
                | Kind::Home(..)
                | Kind::View(..)
                | Kind::System
                | Kind::Unregistered => None,
            },
            Entry {
                source: Source::Table(_) | Source::Rows(_) | Source::Opaque,
                ..
            } => None,
        }
    }

    /// What a column stands for; none when that is not known.
    pub(super) fn resolve(&mut self, scope: ScopeId, column: &'a ColumnRef) -> Option<Column> {
        let ColumnRef {
            qualifier,
            name,
            among,
        } = column;
        match qualifier {
            Some(qualifier) => self.qualified(scope, qualifier, name, among.clone()),
            None => self.unqualified(scope, name, among.clone()),
        }
    }

    /// The output of a scope at a position.
    pub(super) fn output_at(&mut self, scope: ScopeId, position: usize) -> Option<CellId> {
        self.cell(scope, Selector::Position(position))
    }

    /// The two sides of a merged column of this name; none when it is not merged there.
    pub(super) fn sides(
        &mut self,
        scope: ScopeId,
        merged: &'a Merged,
        name: &'a str,
    ) -> (Option<Column>, Option<Column>) {
        let left = self.unqualified_in(scope, name, &merged.left);
        let right = self.unqualified_in(scope, name, &merged.right);
        (left.found(), right.found())
    }

    fn qualified(
        &mut self,
        mut scope: ScopeId,
        qualifier: &'a Qualifier,
        name: &'a str,
        mut among: Range<usize>,
    ) -> Option<Column> {
        for _ in 0..MAX_DEPTH {
            let level = self.scope(scope)?;
            let mut matching = visible(level, &among)
                .filter(|(_, entry)| self.is_named(entry, qualifier))
                .map(|(index, _)| index);
            match (matching.next(), matching.next()) {
                (Some(entry), None) => return self.column_of(Place { scope, entry }, name),
                (Some(_), Some(_)) => return None,
                (None, _) => {}
            }
            let (parent, seen) = level.parent.as_ref()?;
            (scope, among) = (*parent, seen.clone());
        }
        None
    }

    fn is_named(&self, entry: &Entry, qualifier: &Qualifier) -> bool {
        if entry.name.as_ref() != Some(&qualifier.name) {
            return false;
        }
        let Some(schema) = &qualifier.schema else {
            return true;
        };
        match &entry.source {
            Source::Table(table) if !entry.aliased => match &table.schema {
                Some(own) => own == schema,
                None => self.tables.schema(table) == Some(schema),
            },
            Source::Table(_) | Source::Rows(_) | Source::Opaque => false,
        }
    }

    fn unqualified(
        &mut self,
        mut scope: ScopeId,
        name: &'a str,
        mut among: Range<usize>,
    ) -> Option<Column> {
        for _ in 0..MAX_DEPTH {
            match self.unqualified_in(scope, name, &among) {
                Named::One(column) => return Some(column),
                Named::Several => return None,
                Named::None => {}
            }
            let level = self.scope(scope)?;
            // Whatever is read here may have a column of this name, which would come first.
            if visible(level, &among).next().is_some() {
                return None;
            }
            let (parent, seen) = level.parent.as_ref()?;
            (scope, among) = (*parent, seen.clone());
        }
        None
    }

    /// A name without qualifier among some entries of one scope.
    fn unqualified_in(&mut self, scope: ScopeId, name: &'a str, among: &Range<usize>) -> Named {
        let Some(level) = self.scope(scope) else {
            return Named::None;
        };
        let mut found = Named::None;
        let mut covered = 0..0;
        // From the outermost join inwards: its column hides those of the joins that it is made of.
        for merged in level.merged.iter().rev() {
            let span = merged.left.start..merged.right.end;
            let inside = among.start <= span.start && span.end <= among.end;
            let hidden = !visible(level, among).any(|(index, _)| index == span.start);
            let within = |range: &Range<usize>| range.start <= span.start && span.end <= range.end;
            let named = merged.name.as_deref().is_none_or(|own| own == name);
            if !inside || hidden || !named || within(&covered) {
                continue;
            }
            let (left, right) = self.sides(scope, merged, name);
            if merged.name.is_none() && left.is_none() && right.is_none() {
                continue;
            }
            let (left, right) = (left.map(Box::new), right.map(Box::new));
            found = found.and(Column::Merged {
                joined: merged.joined,
                left,
                right,
            });
            covered = span;
        }
        for (index, _) in visible(level, among) {
            if covered.contains(&index) {
                continue;
            }
            if let Some(column) = self.column_of(
                Place {
                    scope,
                    entry: index,
                },
                name,
            ) {
                found = found.and(column);
            }
        }
        found
    }

    /// The column of an entry, as far as it has one of that name that is known.
    fn column_of(&mut self, place: Place, name: &'a str) -> Option<Column> {
        let entry = self.entry(place)?;
        match &entry.source {
            Source::Table(_) => (self.sharded(place)?.column == name).then_some(Column::Key(place)),
            Source::Rows(inner) if entry.renamed => {
                let cell = self.renamed(*inner, &entry.columns, name)?;
                Some(Column::Output { place, cell })
            }
            Source::Rows(inner) => {
                let cell = self.cell(*inner, Selector::Name(name))?;
                Some(Column::Output { place, cell })
            }
            Source::Opaque => None,
        }
    }

    fn cell(&mut self, scope: ScopeId, selector: Selector<'a>) -> Option<CellId> {
        if let Some(known) = self.known.get(&(scope, selector)) {
            return *known;
        }
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let origin = self.find(scope, selector);
        self.depth -= 1;
        let cell = origin.map(|origin| {
            self.cells.push(Cell { scope, origin });
            CellId(self.cells.len() - 1)
        });
        self.known.insert((scope, selector), cell);
        cell
    }

    fn find(&mut self, scope: ScopeId, selector: Selector<'a>) -> Option<Origin<'a>> {
        match (&self.scope(scope)?.outputs, selector) {
            (Outputs::Unknown, _)
            | (Outputs::Values(_) | Outputs::Arrays(_), Selector::Name(_)) => None,
            (Outputs::Arrays(columns), Selector::Position(position)) => {
                Some(Origin::Array(columns.iter().collect(), position))
            }
            (Outputs::List(outputs), Selector::Position(position)) if self.whole => {
                self.new_row(scope, outputs, position)
            }
            (Outputs::List(outputs), Selector::Name(name)) => {
                self.listed(scope, outputs, name).map(Origin::Column)
            }
            (Outputs::List(outputs), Selector::Position(position)) => {
                match outputs_without_star(outputs, position)? {
                    Output::Column { column, .. } => {
                        self.resolve(scope, column).map(Origin::Column)
                    }
                    Output::Value(value) => Some(Origin::Values(vec![Cow::Borrowed(value)])),
                    Output::Star(_) | Output::Cast(..) | Output::Array(_) => None,
                }
            }
            (Outputs::Branches(branches), selector) => {
                let position = match selector {
                    Selector::Position(position) => position,
                    Selector::Name(name) => self.position_of(*branches.first()?, name)?,
                };
                let cells: Option<Vec<_>> = branches
                    .iter()
                    .map(|branch| self.output_at(*branch, position))
                    .collect();
                cells.map(Origin::Cells)
            }
            (Outputs::Values(rows), Selector::Position(position)) => {
                let values = rows.iter().map(|row| row.get(position).map(Cow::Borrowed));
                let values: Option<Vec<_>> = values.collect();
                values.map(Origin::Values)
            }
        }
    }

    /// The output of this name in a list.
    fn listed(&mut self, scope: ScopeId, outputs: &'a [Output], name: &'a str) -> Option<Column> {
        let all = 0..self.scope(scope)?.entries.len();
        let mut found = Named::None;
        for output in outputs {
            let column = match output {
                Output::Column { name: own, column } if own == name => {
                    Some(self.resolve(scope, column)?)
                }
                Output::Column { .. } | Output::Value(_) | Output::Cast(..) | Output::Array(_) => {
                    None
                }
                Output::Star(None) => match self.unqualified_in(scope, name, &all) {
                    Named::One(column) => Some(column),
                    Named::None => None,
                    Named::Several => return None,
                },
                Output::Star(Some(qualifier)) => {
                    self.qualified(scope, qualifier, name, all.clone())
                }
            };
            if let Some(column) = column {
                found = found.and(column);
            }
        }
        found.found()
    }

    /// Where a named output stands: a UNION goes by position, with the first branch's names.
    fn position_of(&self, mut scope: ScopeId, name: &str) -> Option<usize> {
        for _ in 0..MAX_DEPTH {
            match &self.scope(scope)?.outputs {
                Outputs::Branches(branches) => scope = *branches.first()?,
                Outputs::List(outputs) => {
                    let is_it = |output: &Output| match output {
                        Output::Column { name: own, .. } => own == name,
                        Output::Star(_)
                        | Output::Value(_)
                        | Output::Cast(..)
                        | Output::Array(_) => false,
                    };
                    let mut positions = (0..).zip(outputs).filter(|(_, output)| is_it(output));
                    let (position, _) = positions.next()?;
                    return positions.next().is_none().then_some(position);
                }
                Outputs::Unknown | Outputs::Values(_) | Outputs::Arrays(_) => return None,
            }
        }
        None
    }
}

impl CellId {
    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// How many things a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    None,
    One(Column),
    Several,
}

impl Named {
    fn and(self, column: Column) -> Self {
        match self {
            Self::None => Self::One(column),
            Self::One(_) | Self::Several => Self::Several,
        }
    }

    fn found(self) -> Option<Column> {
        match self {
            Self::One(column) => Some(column),
            Self::None | Self::Several => None,
        }
    }
}

/// The entries whose names can be seen; those inside of an aliased join only from within it.
fn visible<'s>(
    scope: &'s Scope,
    among: &Range<usize>,
) -> impl Iterator<Item = (usize, &'s Entry)> + use<'s> {
    let among = among.clone();
    let entries = (0..).zip(&scope.entries);
    entries.filter(move |(index, entry)| {
        among.contains(index) && entry.hidden_by.is_none_or(|join| !among.contains(&join))
    })
}

/// The output at a position, if every output before it is one column.
fn outputs_without_star(outputs: &[Output], position: usize) -> Option<&Output> {
    let before = outputs.get(..position)?;
    let plain = before.iter().all(|output| match output {
        Output::Column { .. } | Output::Value(_) | Output::Cast(..) | Output::Array(_) => true,
        Output::Star(_) => false,
    });
    outputs.get(position).filter(|_| plain)
}
