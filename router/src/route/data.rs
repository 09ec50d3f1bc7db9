//! Where a statement goes that reads or writes rows.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use topology::{ShardIndex, TableName};

use super::columns::{Columns, Place};
use super::insert::ShardedInsert;
use super::pins::{KeyColumns, Pins};
use super::tables::{Kind, Sharded, Tables, shown, unregistered, viewed};
use super::{KeyColumn, Plan, Refusal};
use crate::query::{Data, ScopeId, Source, TableRef, Write, WriteKind};

/// Plans a statement.
pub(super) fn plan(data: &Data, tables: Tables<'_>) -> Result<Plan, Refusal> {
    let survey = Survey::try_of(data, tables)?;
    let inserts = check_writes(data, tables)?;
    let writes = !data.writes.is_empty() || data.locks_rows;
    if let Some((first, _)) = survey.sharded.first() {
        if let Some((unsharded, _)) = survey.home {
            return Err(mixed(shown(first.name), shown(unsharded)));
        }
        let all = survey.sharded.iter().map(|(table, _)| *table);
        let key = KeyColumns::try_of(*first, all)?;
        return sharded(
            data,
            tables,
            &survey,
            Work {
                key,
                inserts,
                writes,
            },
        );
    }
    if let Some(reason) = data.opaque {
        return Err(opaque(reason));
    }
    if let Some((_, index)) = survey.home {
        return Ok(Plan::Home(index));
    }
    match survey.reference {
        // A lock on one copy of a row holds nobody off the others.
        Some(table) if data.locks_rows => Err(Refusal::unsupported(format!(
            "row locks on reference table \"{}\" are not supported",
            shown(table)
        ))),
        None if survey.reads_catalogs && !writes => Ok(Plan::Catalog),
        Some(_) | None => Ok(Plan::Any { writes }),
    }
}

/// What is to be done with sharded tables.
struct Work<'a> {
    key: KeyColumns<'a>,
    inserts: Vec<ShardedInsert<'a>>,
    writes: bool,
}

fn sharded<'a>(
    data: &'a Data,
    tables: Tables<'a>,
    survey: &Survey<'a>,
    work: Work<'a>,
) -> Result<Plan, Refusal> {
    let Work {
        key,
        inserts,
        writes,
    } = work;
    let unnamed: Vec<_> = inserts.iter().filter_map(ShardedInsert::unnamed).collect();
    if let Some(first) = inserts.iter().find(|insert| insert.unnamed().is_some()) {
        return Ok(Plan::NeedsColumns {
            inserts: unnamed,
            refusal: first.names_no_columns(),
        });
    }
    let key_type = key.key_type;
    let targets: HashSet<Place, RandomState> = inserts.iter().map(|insert| insert.target).collect();
    let mut pins = Pins::try_new(data, Columns::new(data, tables), &key, targets)?;
    let pending: Result<Vec<_>, _> = inserts.iter().map(|insert| insert.pin(&mut pins)).collect();
    let pending = pending?;
    pins.settle()?;
    let mut checked: Option<KeyColumn> = None;
    for (insert, pending) in inserts.iter().zip(pending) {
        checked = insert.check(pending, &pins)?.or(checked);
    }
    let free = survey
        .sharded
        .iter()
        .find(|(_, place)| !pins.is_pinned(*place));
    let refusal = match (data.opaque, free) {
        (Some(reason), _) => Some(opaque(reason)),
        (None, Some((table, _))) => Some(no_key(*table)),
        (None, None) => None,
    };
    let sources = pins.into_sources().into_vec();
    Ok(match refusal {
        Some(refusal) => Plan::NeedsHint {
            key_type,
            sources,
            writes,
            refusal,
        },
        // Every comparison is with NULL: no row is read, no row is written.
        None if sources.is_empty() => Plan::Any { writes },
        None => Plan::Key {
            key_type,
            sources,
            writes,
            inserts: checked,
        },
    })
}

/// The tables of a statement.
#[derive(Debug, Default)]
struct Survey<'a> {
    sharded: Vec<(Sharded<'a>, Place)>,
    home: Option<(&'a TableName, ShardIndex)>,
    reference: Option<&'a TableName>,
    reads_catalogs: bool,
}

impl<'a> Survey<'a> {
    /// Looks at every table that is read or written.
    ///
    /// # Errors
    /// When one is not registered, or two have different homes.
    fn try_of(data: &Data, tables: Tables<'a>) -> Result<Self, Refusal> {
        let mut survey = Self {
            reads_catalogs: data.looks_up_objects,
            ..Self::default()
        };
        for (scope, level) in (0..).map(ScopeId).zip(&data.scopes) {
            for (entry, read) in level.entries.iter().enumerate() {
                match &read.source {
                    Source::Table(table) => survey.add(tables, table, Place { scope, entry })?,
                    Source::Rows(_) | Source::Opaque => {}
                }
            }
        }
        Ok(survey)
    }

    fn add(&mut self, tables: Tables<'a>, table: &TableRef, place: Place) -> Result<(), Refusal> {
        match tables.kind(table) {
            Kind::Sharded(sharded) => self.sharded.push((sharded, place)),
            Kind::Reference(name) => self.reference = Some(name),
            Kind::Home(name, index) => match self.home {
                Some((other, home)) if home != index => {
                    return Err(mixed(shown(other), shown(name)));
                }
                Some(_) | None => self.home = Some((name, index)),
            },
            Kind::System if table.name == "pg_prepared_statements" => {
                return Err(Refusal::unsupported(
                    "pg_prepared_statements is not supported by the router: shards hold the \
                     statements of all sessions",
                )
                .hint("ask the driver what it has prepared"));
            }
            Kind::System => self.reads_catalogs = true,
            Kind::View(name, _) => return Err(viewed(name)),
            Kind::Unregistered => return Err(unregistered(table)),
        }
        Ok(())
    }
}

/// Checks what is written; hands out the INSERTs whose rows have keys.
fn check_writes<'a>(data: &'a Data, tables: Tables<'a>) -> Result<Vec<ShardedInsert<'a>>, Refusal> {
    let mut inserts = Vec::new();
    for Write { scope, kind } in &data.writes {
        let target = Place {
            scope: *scope,
            entry: 0,
        };
        let entry = data
            .scopes
            .get(scope.0)
            .and_then(|scope| scope.entries.first());
        let Some(Source::Table(table)) = entry.map(|entry| &entry.source) else {
            return Err(Refusal::unsupported("the target of a write is not a table"));
        };
        match tables.kind(table) {
            Kind::Sharded(sharded) => {
                inserts.extend(check_sharded_write(target, sharded, kind)?);
            }
            Kind::Reference(name) => return Err(Refusal::reference_write(name)),
            Kind::Home(..) => {}
            Kind::System => return Err(Refusal::system_write(table)),
            Kind::View(name, _) => return Err(viewed(name)),
            Kind::Unregistered => return Err(unregistered(table)),
        }
    }
    Ok(inserts)
}

fn check_sharded_write<'a>(
    target: Place,
    table: Sharded<'a>,
    kind: &'a WriteKind,
) -> Result<Option<ShardedInsert<'a>>, Refusal> {
    let changes_key = |columns: &[String]| columns.iter().any(|column| column == table.column);
    match kind {
        WriteKind::Insert(insert) if changes_key(&insert.updates) => Err(key_change(table)),
        WriteKind::Insert(insert) => Ok(Some(ShardedInsert {
            target,
            table,
            insert,
        })),
        WriteKind::Update(columns) if changes_key(columns) => Err(key_change(table)),
        WriteKind::Update(_) | WriteKind::Delete => Ok(None),
        WriteKind::Merge => {
            let message = format!(
                "MERGE into sharded table \"{}\" is not supported",
                shown(table.name)
            );
            Err(Refusal::unsupported(message)
                .hint("use INSERT ... ON CONFLICT, UPDATE and DELETE by shard key"))
        }
    }
}

fn key_change(table: Sharded<'_>) -> Refusal {
    let KeyColumn { table, column } = table.key_column();
    Refusal::unsupported(format!(
        "shard key \"{column}\" of table \"{table}\" can't be changed"
    ))
    .hint("delete the row and insert it with the new key")
}

fn no_key(table: Sharded<'_>) -> Refusal {
    let KeyColumn { table, column } = table.key_column();
    Refusal::unsupported(format!(
        "table \"{table}\" is sharded by \"{column}\", and the statement does not show its value"
    ))
    .hint(format!(
        "add \"{column} = <value>\", or name it in a comment: /* shard_key = <value> */"
    ))
}

fn mixed(one: impl std::fmt::Display, other: impl std::fmt::Display) -> Refusal {
    Refusal::unsupported(format!(
        "tables \"{one}\" and \"{other}\" are not on the same shard"
    ))
    .hint("send one statement for each table")
}

fn opaque(reason: &str) -> Refusal {
    Refusal::unsupported(format!("statement can't be routed: {reason}"))
}
