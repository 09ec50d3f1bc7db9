//! The tables of a shard as far as changes of their rows need to know them.

use topology::TableName;

use crate::identifier::quoted;
use crate::reshard::session::{Error, Session};
use crate::reshard::shape::{Shape, UniqueColumns};

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type as SQL text, with what modifies it.
    pub type_name: String,
    /// The id of the type on this server.
    pub type_id: u32,
    /// Whether the server computes its values from the others.
    pub is_generated: bool,
    /// Whether it is GENERATED ALWAYS AS IDENTITY.
    pub is_identity_always: bool,
}

impl Column {
    /// The name as SQL text.
    #[must_use]
    pub fn quoted(&self) -> String {
        wire::quote::ident(&self.name)
    }
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Schema and name.
    pub name: TableName,
    /// Its columns in order.
    pub columns: Vec<Column>,
}

/// How a mirror's table differs from what the stream tells.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Differs {
    /// It lacks a column.
    #[error("column {0:?} is not there")]
    Missing(String),
    /// It has a column that the stream does not tell.
    #[error("column {0:?} is not in the stream")]
    Extra(String),
    /// A column has another type.
    #[error("column {0:?} has another type")]
    Type(String),
}

/// The ids of types that are not built in begin here, and differ between servers.
const FIRST_OWN_ID: u32 = 16_384;

impl Table {
    /// Whether rows of this shape can be in the table.
    ///
    /// # Errors
    /// [`Differs`] names the first column that does not fit.
    pub fn check(&self, shape: &Shape) -> Result<(), Differs> {
        for told in &shape.columns {
            let column = self.columns.iter().find(|each| each.name == told.name);
            let column = column.ok_or_else(|| Differs::Missing(told.name.clone()))?;
            let is_built_in = told.type_id < FIRST_OWN_ID || column.type_id < FIRST_OWN_ID;
            if is_built_in && told.type_id != column.type_id {
                return Err(Differs::Type(told.name.clone()));
            }
        }
        let is_told = |name: &str| shape.columns.iter().any(|told| told.name == name);
        let mut own = self.columns.iter().filter(|column| !column.is_generated);
        match own.find(|column| !is_told(&column.name)) {
            Some(extra) => Err(Differs::Extra(extra.name.clone())),
            None => Ok(()),
        }
    }
}

/// With its modifier, since the bare name of some types (`character`, `bit`) means length 1.
const COLUMNS: &str = "\
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.atttypid, a.attgenerated <> '', \
       a.attidentity = 'a' \
FROM pg_attribute a \
WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped \
ORDER BY a.attnum";

const UNIQUE: &str = "\
SELECT i.indisprimary, array_agg(a.attname::text ORDER BY k.place) \
FROM pg_index i \
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place) \
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number \
WHERE i.indrelid = to_regclass($1::text) AND i.indisunique AND i.indisvalid \
  AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts \
GROUP BY i.indexrelid, i.indisprimary \
ORDER BY i.indisprimary DESC, i.indexrelid";

/// Describes tables; one that is not there has no columns.
///
/// # Errors
/// [`Error`] names the shard.
pub async fn tables(session: &Session, names: &[TableName]) -> Result<Vec<Table>, Error> {
    let mut tables = Vec::with_capacity(names.len());
    for name in names {
        let rows = session.query(COLUMNS, &[&quoted(name)]).await;
        let rows = rows.map_err(|error| session.error("describe tables", error))?;
        let columns = rows.iter().map(|row| Column {
            name: row.get(0),
            type_name: row.get(1),
            type_id: row.get(2),
            is_generated: row.get(3),
            is_identity_always: row.get(4),
        });
        tables.push(Table {
            name: name.clone(),
            columns: columns.collect(),
        });
    }
    Ok(tables)
}

/// The unique columns of tables.
///
/// # Errors
/// [`Error`] names the shard.
pub async fn unique(session: &Session, names: &[TableName]) -> Result<Vec<UniqueColumns>, Error> {
    let mut tables = Vec::with_capacity(names.len());
    for name in names {
        let rows = session.query(UNIQUE, &[&quoted(name)]).await;
        let rows = rows.map_err(|error| session.error("describe unique indexes", error))?;
        let mut table = UniqueColumns::default();
        for row in &rows {
            let columns: Vec<String> = row.get(1);
            if row.get(0) {
                table.primary = Some(columns);
            } else {
                table.others.push(columns);
            }
        }
        tables.push(table);
    }
    Ok(tables)
}
