//! What the schema of a table is: all that decides which rows it takes and how they are found.
//! Defaults are left out, since they may differ by intent, and so is all of ours.

use std::collections::BTreeMap;

use topology::TableName;

use crate::identifier;
use crate::reshard::guard::sql::array;
use crate::reshard::session::{Error, Session};

/// Lines of a table's description by what they are about. In all of it, names are qualified, for
/// which `search_path` must be empty.
const LINES: &str = include_str!("lines.sql");

/// The schema of some tables on one shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description(BTreeMap<TableName, Vec<Line>>);

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// `table`, `column`, `index`, `constraint` ...
    pub kind: String,
    /// The fact.
    pub text: String,
}

impl Description {
    /// Whether a table exists.
    #[must_use]
    pub fn has(&self, table: &TableName) -> bool {
        self.0.contains_key(table)
    }

    /// The facts of one table.
    pub fn lines(&self, table: &TableName) -> impl Iterator<Item = &Line> {
        self.0.get(table).into_iter().flatten()
    }

    /// What is on one side only: for each such fact a sentence.
    #[must_use]
    pub fn differences(&self, other: &Self, table: &TableName) -> Vec<String> {
        let (mine, theirs): (Vec<_>, Vec<_>) =
            (self.lines(table).collect(), other.lines(table).collect());
        let only = |some: &[&Line], rest: &[&Line], where_: &str| -> Vec<String> {
            some.iter()
                .filter(|line| !rest.contains(line))
                .map(|line| format!("only on {where_}: {} {}", line.kind, line.text))
                .collect()
        };
        let mut found = only(&mine, &theirs, "the source");
        found.extend(only(&theirs, &mine, "the target"));
        found
    }

    /// As [`Self::differences`], of what a table has before its rows are copied.
    #[must_use]
    pub fn differences_in_columns(&self, other: &Self, table: &TableName) -> Vec<String> {
        let columns = |description: &Self| {
            let lines = description.lines(table);
            let lines = lines.filter(|line| line.kind == "column" || line.kind == "enum");
            Self(BTreeMap::from([(table.clone(), lines.cloned().collect())]))
        };
        columns(self).differences(&columns(other), table)
    }
}

/// Reads the schema of those of some tables that exist.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn describe(session: &mut Session, tables: &[TableName]) -> Result<Description, Error> {
    let shard = session.shard().clone();
    let error = |source| Error::Statement {
        shard: shard.clone(),
        what: "read the schema of tables",
        source,
    };
    let names: Vec<String> = tables.iter().map(identifier::quoted).collect();
    let sql = LINES.replace("$NAMES", &array(&names));
    let transaction = session.transaction().await.map_err(error)?;
    transaction
        .batch_execute("SET LOCAL search_path = ''")
        .await
        .map_err(error)?;
    let rows = transaction.query(&sql, &[]).await.map_err(error)?;
    transaction.commit().await.map_err(error)?;
    let mut found = BTreeMap::new();
    for (name, table) in names.iter().zip(tables) {
        let mut lines: Vec<Line> = rows
            .iter()
            .filter(|row| row.get::<_, &str>(0) == name)
            .map(|row| Line {
                kind: row.get(1),
                text: row.get(2),
            })
            .collect();
        lines.sort();
        if !lines.is_empty() {
            found.insert(table.clone(), lines);
        }
    }
    Ok(Description(found))
}

/// A fingerprint of the schema of some tables; equal on shards where it is the same.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn hash(session: &mut Session, tables: &[TableName]) -> Result<String, Error> {
    let shard = session.shard().clone();
    let error = |source| Error::Statement {
        shard: shard.clone(),
        what: "read the schema of tables",
        source,
    };
    let names: Vec<String> = tables.iter().map(identifier::quoted).collect();
    let transaction = session.transaction().await.map_err(error)?;
    transaction
        .batch_execute("SET LOCAL search_path = ''")
        .await
        .map_err(error)?;
    let sql = hash_query(&array(&names));
    let row = transaction.query_one(&sql, &[]).await.map_err(error)?;
    transaction.commit().await.map_err(error)?;
    Ok(row.get(0))
}

/// The query of the fingerprint, of an SQL array of names.
#[must_use]
pub fn hash_query(names: &str) -> String {
    format!(
        "SELECT pg_catalog.md5(coalesce(pg_catalog.string_agg(name || ' ' || kind || ' ' || line, E'\\n' \
           ORDER BY (name || ' ' || kind || ' ' || line) COLLATE \"C\"), '')) FROM ({}) lines",
        LINES.replace("$NAMES", names)
    )
}
