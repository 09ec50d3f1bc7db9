//! Collects the scopes of one statement while its tree is walked: which CTE names are in sight,
//! which unsafe functions are called, and what was not understood.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use pg_query::protobuf::RangeVar;

use super::literal::Literals;
use super::{
    Data, Entry, Fact, Merged, Outputs, Read, Scope, ScopeId, Shape, Source, TableRef, UnsafeCall,
    Write, WriteKind, names, unnamed,
};

/// Where an expression stands: its scope and the entries of it that can be seen from there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) scope: ScopeId,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Place {
    /// A place that sees nothing of the scope itself, only what the scope sees.
    pub(super) fn outside(scope: ScopeId) -> Self {
        Self {
            scope,
            start: 0,
            end: 0,
        }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// What a CTE's name stands for.
#[derive(Debug, Clone, Copy)]
enum Cte {
    /// The rows of a scope, perhaps under other column names.
    Rows { scope: ScopeId, renamed: bool },
    /// A member of a WITH RECURSIVE.
    Recursive,
}

/// The statement under construction.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    pub(super) literals: Literals<'a>,
    /// How many window functions were met, to tell whether a query level has any.
    pub(super) windows: usize,
    /// How many aggregates were met in the present query level.
    pub(super) aggregates: usize,
    data: Data,
    functions: Vec<UnsafeCall>,
    /// The meanings of each CTE name, the innermost last.
    ctes: HashMap<&'a str, Vec<Cte>>,
    /// Scopes of CTEs that were referred to.
    referred: HashSet<ScopeId>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(sql: &'a str) -> Self {
        Self {
            literals: Literals::new(sql),
            windows: 0,
            aggregates: 0,
            data: Data::default(),
            functions: Vec::new(),
            ctes: HashMap::new(),
            referred: HashSet::new(),
        }
    }

    /// The query string.
    pub(super) fn sql(&self) -> &'a str {
        self.literals.sql()
    }

    pub(super) fn finish(self) -> (Data, Vec<UnsafeCall>) {
        (self.data, self.functions)
    }

    /// Notes that something was not looked into; the first reason stays.
    pub(super) fn opaque(&mut self, reason: &'static str) {
        self.data.opaque.get_or_insert(reason);
    }

    /// Notes a column that says where a row is; the first stays.
    pub(super) fn tells_place(&mut self, column: &'static str) {
        self.data.place.get_or_insert(column);
    }

    pub(super) fn looks_up_objects(&mut self) {
        self.data.looks_up_objects = true;
    }

    pub(super) fn locks_rows(&mut self) {
        self.data.locks_rows = true;
    }

    /// Notes a call of an unsafe function, each once.
    pub(super) fn call(&mut self, call: UnsafeCall) {
        if !self.functions.contains(&call) {
            self.functions.push(call);
        }
    }

    /// Notes a table that is read by its name.
    pub(super) fn reads(&mut self, table: &TableRef, range: &RangeVar) {
        let place = range.inh.then(|| unnamed::place_of(self.sql(), range));
        self.data.reads.push(Read {
            table: table.clone(),
            place: place.flatten(),
            aliased: range.alias.is_some(),
        });
    }

    /// How many tables have been read by their names.
    pub(super) fn read_count(&self) -> usize {
        self.data.reads.len()
    }

    /// Says of what was read from then on that nothing else can stand there.
    pub(super) fn only_tables_since(&mut self, count: usize) {
        for read in self.data.reads.iter_mut().skip(count) {
            read.place = None;
        }
    }

    /// Begins a scope.
    pub(super) fn open(&mut self, parent: Option<Place>) -> ScopeId {
        let id = ScopeId(self.data.scopes.len());
        self.data.scopes.push(Scope {
            parent: parent.map(|place| (place.scope, place.range())),
            ..Scope::default()
        });
        id
    }

    fn scope_mut(&mut self, id: ScopeId) -> Option<&mut Scope> {
        self.data.scopes.get_mut(id.0)
    }

    /// How many entries a scope has.
    pub(super) fn entries(&self, id: ScopeId) -> usize {
        self.data
            .scopes
            .get(id.0)
            .map_or(0, |scope| scope.entries.len())
    }

    /// The place that sees all entries that a scope has so far.
    pub(super) fn inside(&self, scope: ScopeId) -> Place {
        Place {
            scope,
            start: 0,
            end: self.entries(scope),
        }
    }

    /// Adds an entry and gives its position.
    pub(super) fn add_entry(&mut self, id: ScopeId, entry: Entry) -> usize {
        let position = self.entries(id);
        if let Some(scope) = self.scope_mut(id) {
            scope.entries.push(entry);
        }
        position
    }

    /// Changes some entries of a scope.
    pub(super) fn each_entry(
        &mut self,
        id: ScopeId,
        range: Range<usize>,
        change: impl FnMut(&mut Entry),
    ) {
        if let Some(entries) = self
            .scope_mut(id)
            .and_then(|scope| scope.entries.get_mut(range))
        {
            entries.iter_mut().for_each(change);
        }
    }

    pub(super) fn add_fact(&mut self, id: ScopeId, fact: Fact) {
        if let Some(scope) = self.scope_mut(id) {
            scope.facts.push(fact);
        }
    }

    pub(super) fn add_merged(&mut self, id: ScopeId, merged: Merged) {
        if let Some(scope) = self.scope_mut(id) {
            scope.merged.push(merged);
        }
    }

    pub(super) fn set_outputs(&mut self, id: ScopeId, outputs: Outputs) {
        if let Some(scope) = self.scope_mut(id) {
            scope.outputs = outputs;
        }
    }

    pub(super) fn change_shape(&mut self, id: ScopeId, change: impl FnOnce(&mut Shape)) {
        if let Some(scope) = self.scope_mut(id) {
            change(&mut scope.shape);
        }
    }

    pub(super) fn change_outputs(&mut self, id: ScopeId, change: impl FnOnce(&mut Outputs)) {
        if let Some(scope) = self.scope_mut(id) {
            change(&mut scope.outputs);
        }
    }

    pub(super) fn add_write(&mut self, scope: ScopeId, kind: WriteKind) {
        self.data.writes.push(Write { scope, kind });
    }

    /// Brings a CTE of WITH RECURSIVE into sight.
    pub(super) fn enter_recursive_cte(&mut self, name: &'a str) {
        self.ctes.entry(name).or_default().push(Cte::Recursive);
    }

    /// Brings a CTE into sight.
    pub(super) fn enter_cte(&mut self, name: &'a str, scope: ScopeId, renamed: bool) {
        self.ctes
            .entry(name)
            .or_default()
            .push(Cte::Rows { scope, renamed });
    }

    /// Takes CTEs out of sight again.
    pub(super) fn leave_ctes(&mut self, names: Vec<&'a str>) {
        for name in names {
            if let Some(meanings) = self.ctes.get_mut(name) {
                meanings.pop();
            }
        }
    }

    /// What a name in FROM stands for: a CTE in sight, else a table. Also whether its columns
    /// have other names than in their origin.
    pub(super) fn source(&mut self, range: &RangeVar) -> (Source, bool) {
        let cte = range
            .schemaname
            .is_empty()
            .then(|| self.ctes.get(range.relname.as_str()))
            .flatten()
            .and_then(|meanings| meanings.last().copied());
        match cte {
            None => (Source::Table(names::table(range)), false),
            Some(Cte::Recursive) => (Source::Opaque, false),
            Some(Cte::Rows { scope, renamed }) => {
                // A condition on one reference's columns says nothing of the rows that another
                // reference reads, so a CTE with several hands out no origins.
                if !self.referred.insert(scope) {
                    self.set_outputs(scope, Outputs::Unknown);
                }
                (Source::Rows(scope), renamed)
            }
        }
    }
}
