//! Where a schema change goes, and which changes would break what routing relies on: every sharded
//! table keeps its key column under its name and type, and uniqueness never spans shards.

use topology::{KeyType, ShardIndex, Snapshot, TableName};

use super::tables::{Kind, Sharded, Tables, shown};
use super::{Plan, Refusal, temporary, views};
use crate::query::{
    Change, Constraint, Ddl, Family, Hints, KeyColumnType, Manner, NewColumn, Objection, TableRef,
};

/// Plans a schema change under the hints of its comments.
pub(super) fn plan(ddl: &Ddl, hints: &Hints, tables: Tables<'_>) -> Result<Plan, Refusal> {
    if let Some(plan) = temporary::plan(ddl, tables)? {
        return Ok(plan);
    }
    check_hints(ddl, hints, tables)?;
    let new = new_tables(ddl, tables);
    for change in &ddl.changes {
        check(change, tables)?;
    }
    let reach = Reached::of(ddl, tables);
    let home = reach.home(ddl)?;
    if let Some(what) = ddl.draws {
        check_reference(ddl, what, tables)?;
    }
    // Where only new tables are touched, what they are registered as decides.
    let is_apart = home.is_none() && (reach.spread.is_some() || new.is_empty());
    for objection in &ddl.objections {
        if objection.everywhere || is_apart {
            return Err(objected(objection));
        }
    }
    // Where a new table is to be is known once it is known what it is registered as.
    let known = home.filter(|_| new.is_empty());
    Ok(match known {
        // Views are brought up to date by who makes the change, on that shard alone.
        Some(index) if !concerns_views(ddl, tables) => Plan::Home(index),
        Some(_) | None => Plan::Everywhere,
    })
}

/// The tables that a change makes and that are not registered yet.
fn new_tables<'d>(ddl: &'d Ddl, tables: Tables<'_>) -> Vec<&'d TableRef> {
    let changes = ddl.changes.iter();
    let made = changes.filter(|it| ddl.makes_table() && matches!(it, Change::Create { .. }));
    let made = made.map(Change::table);
    made.filter(|table| tables.registered(table).is_none())
        .collect()
}

/// The only shard of what a change is about; none when that is on all, or new.
///
/// # Errors
/// The [`Refusal`] when it is about tables of several homes.
pub fn home_of(
    ddl: &Ddl,
    snapshot: &Snapshot,
    search_path: &[&str],
) -> Result<Option<ShardIndex>, Refusal> {
    let tables = Tables::new(snapshot, search_path);
    let home = Reached::of(ddl, tables).home(ddl)?;
    Ok(home.filter(|_| new_tables(ddl, tables).is_empty()))
}

/// Whether views may be others after a change: it makes one, or changes what one is made of.
#[must_use]
pub fn may_change_views(ddl: &Ddl, snapshot: &Snapshot) -> bool {
    concerns_views(ddl, Tables::new(snapshot, &[]))
}

fn concerns_views(ddl: &Ddl, tables: Tables<'_>) -> bool {
    let changes = || ddl.tag.starts_with("ALTER ") || ddl.tag.starts_with("DROP ");
    let is_one = ddl.manner == Manner::Together && !ddl.temporary;
    is_one && (!ddl.views.is_empty() || (changes() && tables.has_views()))
}

/// Refuses what can be done on a home shard only, where a new table is on every shard.
pub(super) fn refuse_spread(ddl: &Ddl) -> Result<(), Refusal> {
    ddl.objections
        .first()
        .map_or(Ok(()), |found| Err(objected(found)))
}

fn objected(objection: &Objection) -> Refusal {
    let message = format!("{} is not supported by the router", objection.what);
    Refusal::unsupported(message).hint(objection.hint)
}

/// A table that was dropped stays registered: created anew, it is what it was.
fn check_hints(ddl: &Ddl, hints: &Hints, tables: Tables<'_>) -> Result<(), Refusal> {
    if !hints.registers() || hints.table_kind.as_deref() == Some("unsharded") {
        return Ok(());
    }
    for change in &ddl.changes {
        if let (Change::Create { table, .. }, Kind::Home(name, _)) =
            (change, tables.kind(change.table()))
        {
            let name = shown(name);
            return Err(Refusal {
                sqlstate: "42710",
                message: format!(
                    "table \"{}\" is registered as an unsharded table",
                    table.name
                ),
                hint: Some(format!(
                    "SELECT sharding.forget_table('{name}') once it was dropped, then create it"
                )),
            });
        }
    }
    Ok(())
}

/// The rows of a reference table are the same on every shard, and sequences are not.
fn check_reference(ddl: &Ddl, what: &str, tables: Tables<'_>) -> Result<(), Refusal> {
    let mut kinds = ddl.changes.iter().map(|change| match change {
        Change::Mention(_) => Kind::System,
        other => tables.kind(other.table()),
    });
    let reference = kinds.find_map(|kind| match kind {
        Kind::Reference(name) => Some(name),
        Kind::Sharded(_) | Kind::Home(..) | Kind::View(..) | Kind::System | Kind::Unregistered => {
            None
        }
    });
    match reference {
        None => Ok(()),
        Some(name) => Err(Refusal::unsupported(format!(
            "{what} of reference table \"{}\" would have other values on each shard",
            shown(name)
        ))
        .hint("give the value, such as one of sharding.next_id()")),
    }
}

/// The tables that a change touches, by where they are.
#[derive(Debug, Default)]
struct Reached<'a> {
    homes: Vec<(&'a TableName, ShardIndex)>,
    /// A table that is on every shard, or will be.
    spread: Option<String>,
}

impl<'a> Reached<'a> {
    fn of(ddl: &Ddl, tables: Tables<'a>) -> Self {
        let mut reach = Self::default();
        let new = new_tables(ddl, tables);
        let known = ddl.changes.iter().filter(|it| !new.contains(&it.table()));
        known.for_each(|change| reach.add(change, tables));
        reach
    }

    fn add(&mut self, change: &Change, tables: Tables<'a>) {
        let table = change.table();
        match (tables.kind(table), change) {
            (Kind::Home(name, index), _) => self.homes.push((name, index)),
            (Kind::View(name, definition), _) => match views::home(definition, tables) {
                Some(index) => self.homes.push((name, index)),
                None => self.spread = Some(shown(name).to_string()),
            },
            (Kind::Sharded(Sharded { name, .. }) | Kind::Reference(name), _) => {
                self.spread = Some(shown(name).to_string());
            }
            // A view of unsharded tables that a statement names beside them.
            (Kind::Unregistered | Kind::System, Change::Mention(_)) => {}
            (
                Kind::Unregistered | Kind::System,
                Change::Create { .. }
                | Change::Alter(_)
                | Change::Drop(_)
                | Change::Truncate(_)
                | Change::Rename(_)
                | Change::Column { .. }
                | Change::Unique { .. },
            ) => self.spread = Some(table.name.clone()),
        }
    }

    /// The home shard; none when the change goes everywhere.
    fn home(&self, ddl: &Ddl) -> Result<Option<ShardIndex>, Refusal> {
        let Some((first, home)) = self.homes.first() else {
            return Ok(None);
        };
        let elsewhere = self.homes.iter().find(|(_, index)| index != home);
        let other = elsewhere
            .map(|(name, _)| shown(name).to_string())
            .or(self.spread.clone());
        match other {
            None => Ok(Some(*home)),
            Some(other) => Err(apart(ddl, &shown(first).to_string(), &other)),
        }
    }
}

/// Two tables of one change that are not on the same shards.
pub(super) fn apart(ddl: &Ddl, one: &str, other: &str) -> Refusal {
    Refusal::unsupported(format!(
        "{} names tables \"{one}\" and \"{other}\", which are not on the same shards",
        ddl.tag
    ))
    .hint("register both tables with the same home shard, or change them one by one")
}

fn check(change: &Change, tables: Tables<'_>) -> Result<(), Refusal> {
    let kind = tables.kind(change.table());
    if let (
        Change::Rename(_),
        Kind::Sharded(Sharded { name, .. }) | Kind::Reference(name) | Kind::Home(name, _),
    ) = (change, kind)
    {
        let message = format!(
            "table \"{}\" is registered in the topology by this name",
            shown(name)
        );
        return Err(Refusal::unsupported(message)
            .hint("create a table of the new name, register it and copy the rows"));
    }
    let Kind::Sharded(sharded) = kind else {
        return Ok(());
    };
    match change {
        Change::Create { columns, open, .. } => check_columns(sharded, columns, *open),
        Change::Column { column, verb, .. } if column == sharded.column => {
            let message = format!(
                "can't {verb} column \"{column}\" of table \"{}\": it is the shard key",
                shown(sharded.name)
            );
            Err(Refusal::unsupported(message))
        }
        Change::Unique { constraint, .. } => check_unique(sharded, constraint),
        Change::Column { .. }
        | Change::Alter(_)
        | Change::Mention(_)
        | Change::Drop(_)
        | Change::Truncate(_)
        | Change::Rename(_) => Ok(()),
    }
}

fn check_columns(table: Sharded<'_>, columns: &[NewColumn], open: bool) -> Result<(), Refusal> {
    let Some(column) = columns.iter().find(|column| column.name == table.column) else {
        return if open {
            Ok(())
        } else {
            Err(wrong_definition(table, "is missing"))
        };
    };
    match (column.key_type, table.key_type) {
        (KeyColumnType::Family(Family::Integer), KeyType::Bigint)
        | (KeyColumnType::Family(Family::Text), KeyType::Text)
        | (KeyColumnType::Family(Family::Uuid), KeyType::Uuid) => Ok(()),
        (KeyColumnType::CutText, KeyType::Text) => Err(wrong_definition(
            table,
            "has a length, to which PostgreSQL cuts or pads values",
        )),
        (KeyColumnType::Family(_) | KeyColumnType::CutText | KeyColumnType::Other, _) => {
            Err(wrong_definition(table, "is of another type"))
        }
    }
}

fn wrong_definition(table: Sharded<'_>, what: &str) -> Refusal {
    let key = table.key_column();
    Refusal {
        sqlstate: "42P16",
        message: format!(
            "shard key \"{}\" of table \"{}\" {what}",
            key.column, key.table
        ),
        hint: Some(format!(
            "the table is registered with a shard key of type {}",
            table.key_type
        )),
    }
}

fn check_unique(table: Sharded<'_>, constraint: &Constraint) -> Result<(), Refusal> {
    if constraint
        .columns
        .iter()
        .any(|column| column == table.column)
    {
        return Ok(());
    }
    let key = table.key_column();
    Err(Refusal::unsupported(format!(
        "{} on table \"{}\" without its shard key \"{}\" can't be kept across shards",
        constraint.kind, key.table, key.column
    ))
    .hint(format!("add \"{}\" to its columns", key.column)))
}
