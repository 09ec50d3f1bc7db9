//! What the changes of one table look like in a stream, and what identifies its rows.

use std::fmt::Write as _;

use topology::TableName;
use wire::pgoutput::{Relation, ReplicaIdentity};

use super::flow::MovedTable;

/// A column as the stream announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The id of its type on the server that sends it.
    pub type_id: u32,
    /// What modifies the type.
    pub type_modifier: i32,
    /// Whether old rows tell its value.
    pub is_identity: bool,
}

/// Unique columns of a table, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UniqueColumns {
    /// The primary key's.
    pub primary: Option<Vec<String>>,
    /// Those of the other unique indexes that have neither a condition nor an expression.
    pub others: Vec<Vec<String>>,
}

/// A table in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Its place among the leg's tables.
    pub table: usize,
    /// Schema and name.
    pub name: TableName,
    /// The columns in the order of the rows' values.
    pub columns: Vec<Column>,
    /// Which of them identify a row.
    pub identity: Vec<usize>,
    /// Whether they do so only together with all others: rows may be there twice.
    pub is_whole: bool,
    /// The column with the shard key.
    pub key: usize,
    /// Further columns that are unique together.
    pub unique: Vec<Vec<usize>>,
}

/// Why changes of a table cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A name that is not UTF-8 or empty.
    #[error("a column's name cannot be read")]
    Name,
    /// The key column is not published.
    #[error("key column {0:?} is not in the stream")]
    NoKey(String),
    /// Old rows do not tell the key.
    #[error("its replica identity does not hold the key column {0:?}")]
    KeyNotTold(String),
    /// Old rows tell nothing.
    #[error("it has no replica identity")]
    NoIdentity,
}

impl Shape {
    /// The shape that a relation announces.
    ///
    /// # Errors
    /// [`Unfit`] says what would be missing when a row changes or goes.
    pub fn new(
        relation: &Relation<'_>,
        table: usize,
        moved: &MovedTable,
        unique: &UniqueColumns,
    ) -> Result<Self, Unfit> {
        let mut columns = Vec::with_capacity(relation.columns().len());
        for column in relation.columns() {
            columns.push(Column {
                name: column.name.as_str().map_err(|_| Unfit::Name)?.to_owned(),
                type_id: column.type_id,
                type_modifier: column.type_modifier,
                is_identity: column.is_identity,
            });
        }
        let place = |name: &String| columns.iter().position(|each| each.name == *name);
        let places = |names: &Vec<String>| names.iter().map(place).collect::<Option<Vec<_>>>();
        let key = place(&moved.key_column);
        let key = key.ok_or_else(|| Unfit::NoKey(moved.key_column.clone()))?;
        let told = |at: &usize| columns.get(*at).is_some_and(|column| column.is_identity);
        let primary = unique.primary.as_ref().and_then(places);
        let (identity, is_whole) = match (relation.identity, primary.clone()) {
            (ReplicaIdentity::Nothing, _) => return Err(Unfit::NoIdentity),
            (ReplicaIdentity::Full, Some(primary)) => (primary, false),
            (ReplicaIdentity::Full, None) => ((0..columns.len()).collect(), true),
            (ReplicaIdentity::PrimaryKey | ReplicaIdentity::Index, _) => {
                ((0..columns.len()).filter(told).collect::<Vec<_>>(), false)
            }
        };
        if !told(&key) {
            return Err(Unfit::KeyNotTold(moved.key_column.clone()));
        }
        if identity.is_empty() {
            return Err(Unfit::NoIdentity);
        }
        let others = unique.others.iter().filter_map(places);
        let unique = others.chain(primary).filter(|each| *each != identity);
        let unique = unique.collect();
        Ok(Self {
            table,
            name: moved.name.clone(),
            columns,
            identity,
            is_whole,
            key,
            unique,
        })
    }

    /// How this differs from a shape that the same table had before; nothing if it does not.
    #[must_use]
    pub fn difference(&self, before: &Self) -> Option<String> {
        if self == before {
            return None;
        }
        let describe = |shape: &Self| {
            let mut text = String::new();
            for column in &shape.columns {
                let mark = if column.is_identity { "*" } else { "" };
                let Column {
                    name,
                    type_id,
                    type_modifier,
                    ..
                } = column;
                // A string takes any text.
                let _written = write!(text, " {name}{mark}:{type_id}:{type_modifier}");
            }
            text
        };
        Some(format!(
            "columns were{}, are{}",
            describe(before),
            describe(self)
        ))
    }
}
