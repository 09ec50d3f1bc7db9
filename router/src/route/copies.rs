//! A write to a reference table, whose rows every shard has: what has to be known of it so that it
//! does the same on all of them.

use topology::{Snapshot, TableName};

use super::tables::{Kind, Tables};
use crate::query::{Class, Data, NewRows, Source, Statement, WriteKind};

/// A write that every shard runs as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// The table.
    pub table: TableName,
    /// Which columns new rows are given; none where there are no new rows.
    pub given: Option<Given>,
}

/// The columns that an INSERT fills itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// By name.
    Named(Vec<String>),
    /// The first ones of the table.
    First(usize),
}

/// The write of a statement that reads and writes one reference table and nothing else.
#[must_use]
pub fn copies(statement: &Statement, snapshot: &Snapshot, search_path: &[&str]) -> Option<Copies> {
    let (Class::Insert(data) | Class::Update(data) | Class::Delete(data)) = &statement.class else {
        return None;
    };
    let ([write], None, true) = (
        data.writes.as_slice(),
        data.opaque,
        statement.functions.is_empty(),
    ) else {
        return None;
    };
    let table = only_table(data)?;
    let Kind::Reference(name) = Tables::new(snapshot, search_path).kind(table) else {
        return None;
    };
    let given = match &write.kind {
        WriteKind::Update(_) | WriteKind::Delete => None,
        WriteKind::Merge => return None,
        WriteKind::Insert(insert) => match (&insert.rows, &insert.columns) {
            (NewRows::Values(_), Some(columns)) => Some(Given::Named(columns.clone())),
            (NewRows::Values(rows), None) => Some(Given::First(rows.first()?.len())),
            (NewRows::Defaults | NewRows::Query(_), _) => return None,
        },
    };
    Some(Copies {
        table: name.clone(),
        given,
    })
}

fn only_table(data: &Data) -> Option<&crate::query::TableRef> {
    let [scope] = data.scopes.as_slice() else {
        return None;
    };
    let [entry] = scope.entries.as_slice() else {
        return None;
    };
    match &entry.source {
        Source::Table(table) => Some(table),
        Source::Rows(_) | Source::Opaque => None,
    }
}
