//! Where COPY of a table goes: its rows must all be on one shard, since they come and go in one
//! stream. COPY of a query goes where the query goes.

use topology::{Key, KeyType, ShardIndex, Snapshot, TableName};

use super::resolve::owner;
use super::tables::{Kind, Tables, shown, unregistered, viewed};
use super::{Copies, Given, KeyColumn, Plan, Refusal};
use crate::query::CopyStatement;

/// What rows are copied into that are on several shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopiedInto {
    /// A sharded table, and which of its columns; none where they are not named.
    Sharded {
        /// Its key.
        key: CopiedKey,
        /// The columns.
        columns: Vec<String>,
    },
    /// A reference table.
    Reference(Copies),
}

/// The key of a table that rows are copied into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedKey {
    /// The table.
    pub table: TableName,
    /// The column, for messages.
    pub column: KeyColumn,
    /// Its type.
    pub key_type: KeyType,
}

/// What a COPY FROM STDIN goes into, where that has rows on several shards.
#[must_use]
pub fn copied_into(
    copy: &CopyStatement,
    snapshot: &Snapshot,
    search_path: &[&str],
) -> Option<CopiedInto> {
    if !copy.from || !copy.through_client {
        return None;
    }
    match Tables::new(snapshot, search_path).kind(copy.table.as_ref()?) {
        Kind::Sharded(sharded) => Some(CopiedInto::Sharded {
            key: CopiedKey {
                table: sharded.name.clone(),
                column: sharded.key_column(),
                key_type: sharded.key_type,
            },
            columns: copy.columns.clone(),
        }),
        Kind::Reference(name) => {
            let named = (!copy.columns.is_empty()).then(|| copy.columns.clone());
            Some(CopiedInto::Reference(Copies {
                table: name.clone(),
                given: named.map(Given::Named),
            }))
        }
        Kind::Home(..) | Kind::View(..) | Kind::System | Kind::Unregistered => None,
    }
}

/// The shard of a row whose key is this value; none is NULL.
///
/// # Errors
/// The [`Refusal`] of what is no key.
pub fn owner_of_copied(
    key: &CopiedKey,
    value: Option<&[u8]>,
    binary: bool,
    snapshot: &Snapshot,
) -> Result<ShardIndex, Refusal> {
    let value = value.ok_or_else(|| Refusal::null_key(&key.column))?;
    let read = match binary {
        true => Key::from_binary(key.key_type, value),
        false => Key::from_text(key.key_type, value),
    };
    let read = read.map_err(|error| Refusal::literal(&error))?;
    let found = owner(&read, snapshot).ok_or_else(Refusal::no_shard)?;
    Ok(found.0)
}

/// Of a COPY that leaves the key out.
#[must_use]
pub fn no_copied_key(key: &KeyColumn) -> Refusal {
    let KeyColumn { table, column } = key;
    Refusal::unsupported(format!(
        "COPY into sharded table \"{table}\" does not give its shard key \"{column}\""
    ))
    .hint(format!(
        "name \"{column}\" among the columns, and give its values"
    ))
}

/// Refuses what no shard is asked: a file or a program is one server's, not the cluster's.
///
/// # Errors
/// The [`Refusal`].
pub(super) fn check(copy: &CopyStatement) -> Result<(), Refusal> {
    if copy.through_client {
        return Ok(());
    }
    Err(Refusal::unsupported(
        "COPY with a file or a program is not supported by the router: it belongs to one server",
    )
    .hint("use COPY FROM STDIN or COPY TO STDOUT, in psql \\copy"))
}

/// Plans COPY of a table.
pub(super) fn plan(copy: &CopyStatement, tables: Tables<'_>) -> Result<Plan, Refusal> {
    let Some(table) = &copy.table else {
        return Err(Refusal::statement("COPY of neither a table nor a query"));
    };
    match (tables.kind(table), copy.from) {
        (Kind::Home(_, index), _) => Ok(Plan::Home(index)),
        (Kind::Reference(_), false) => Ok(Plan::Any { writes: false }),
        (Kind::System, false) => Ok(Plan::Catalog),
        (Kind::Reference(name), true) => Err(Refusal::reference_write(name)),
        (Kind::System, true) => Err(Refusal::system_write(table)),
        (Kind::Sharded(sharded), true) => Err(Refusal::unsupported(format!(
            "COPY into sharded table \"{}\" is not supported here: its rows may belong to several shards",
            shown(sharded.name)
        ))
        .hint("send it alone over the Postgres front, without a hint")),
        (Kind::Sharded(sharded), false) => Err(Refusal::sharded_copy(&sharded.key_column())),
        (Kind::View(name, _), _) => Err(viewed(name)),
        (Kind::Unregistered, _) => Err(unregistered(table)),
    }
}
