//! Temporary tables and what else belongs to one connection: it is on one shard, and only there.

use std::collections::HashMap;

use topology::{ShardId, ShardIndex, TableName};

use super::tables::{Kind, Tables, shown};
use super::{Plan, Refusal, views};
use crate::query::{Change, Ddl, Reach, TableRef, UnsafeCall};

/// The schema that stands for a connection's own tables.
const SCHEMA: &str = "pg_temp";

/// The temporary tables of a session, which are all on one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Temporary {
    shard: ShardId,
    tables: HashMap<String, TableName>,
}

impl Temporary {
    /// Most tables of a session.
    pub const MOST: usize = 4096;

    /// None yet, on a shard.
    #[must_use]
    pub fn on(shard: ShardId) -> Self {
        Self {
            shard,
            tables: HashMap::new(),
        }
    }

    /// Where they are.
    #[must_use]
    pub fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Remembers one. It stays known after it was dropped: the shard says then that it is not there.
    pub fn add(&mut self, name: &str) {
        if self.tables.len() < Self::MOST
            && let Ok(table) = TableName::try_from_parts(SCHEMA, name)
        {
            self.tables.insert(name.to_owned(), table);
        }
    }

    /// The table that a name means. A temporary one comes before all schemas of a search path.
    pub(super) fn find(&self, table: &TableRef) -> Option<&TableName> {
        let may_be = table
            .schema
            .as_deref()
            .is_none_or(|schema| schema == SCHEMA);
        self.tables.get(&table.name).filter(|_| may_be)
    }
}

/// Plans a change of temporary tables; none when it is about others.
pub(super) fn plan(ddl: &Ddl, tables: Tables<'_>) -> Result<Option<Plan>, Refusal> {
    let is_mention = |change: &&Change| matches!(change, Change::Mention(_));
    let mut known = ddl.changes.iter().filter(|change| !is_mention(change));
    let first = known.find_map(|change| tables.temporary(change.table()));
    let home = match (first, ddl.temporary) {
        (Some((_, index)), _) => index,
        (None, true) => tables.common()?,
        (None, false) => return Ok(None),
    };
    for change in &ddl.changes {
        check(ddl, change, (home, tables))?;
    }
    Ok(Some(Plan::Bound(home)))
}

/// A cursor that outlives its transaction, of a query with this plan.
pub(super) fn held_cursor(plan: Plan, tables: Tables<'_>) -> Result<Plan, Refusal> {
    let index = match plan {
        Plan::Home(index) | Plan::Bound(index) => index,
        Plan::Any { .. } | Plan::Catalog => tables.common()?,
        Plan::Key { .. } | Plan::NeedsHint { .. } if tables.are_all_on(tables.common()?) => {
            tables.common()?
        }
        Plan::Key { .. } | Plan::NeedsHint { .. } => {
            return Err(Refusal::unsupported(
                "DECLARE CURSOR WITH HOLD over a sharded table is not supported by the router: \
                 the cursor belongs to one connection, which the next transaction may not get",
            )
            .hint("declare it without WITH HOLD, and read it in the same transaction"));
        }
        Plan::Everywhere
        | Plan::NeedsColumns { .. }
        | Plan::NeedsViews { .. }
        | Plan::Refused(_) => return Ok(plan),
    };
    Ok(Plan::Bound(index))
}

/// What becomes of a plan by what the statement calls: some of it is only on one shard, and some
/// stays with the connection.
pub(super) fn with_calls(
    calls: &[UnsafeCall],
    plan: Plan,
    tables: Tables<'_>,
) -> Result<Plan, Refusal> {
    let calls_one = |reach| calls.iter().any(|call| call.reach == reach);
    let (is_kept, is_common) = (calls_one(Reach::Session), calls_one(Reach::Common));
    let is_drawn = calls_one(Reach::HomeOrCommon);
    let is_of_one = calls_one(Reach::OneShard);
    Ok(match plan {
        Plan::Any { .. } | Plan::Catalog if is_kept => Plan::Bound(tables.common()?),
        Plan::Any { .. } | Plan::Catalog if is_common => Plan::Home(tables.common()?),
        Plan::Any { writes: false } | Plan::Catalog if is_drawn => Plan::Home(tables.common()?),
        Plan::Any { .. } | Plan::Catalog
            if is_of_one && tables.are_none_elsewhere(tables.common()?) =>
        {
            Plan::Home(tables.common()?)
        }
        // Elsewhere it would not meet the same of other sessions: that is refused.
        Plan::Home(index) if (is_kept || is_common) && index != tables.common()? => {
            return Err(apart(calls));
        }
        Plan::Home(index) if is_kept => Plan::Bound(index),
        plan => plan,
    })
}

fn apart(calls: &[UnsafeCall]) -> Refusal {
    let names: Vec<&str> = calls.iter().map(|call| call.name).collect();
    Refusal::unsupported(format!(
        "{} together with tables of another shard is not supported by the router",
        names.join(", ")
    ))
    .hint("call it in a statement of its own")
}

fn check(
    ddl: &Ddl,
    change: &Change,
    (home, tables): (ShardIndex, Tables<'_>),
) -> Result<(), Refusal> {
    let table = change.table();
    let is_created =
        |other: &Change| matches!(other, Change::Create { .. }) && other.table() == table;
    let is_new = ddl.temporary && ddl.changes.iter().any(is_created);
    // An unsharded table of the same shard may be hidden: whichever of the two is meant, it is
    // looked for where both are.
    let is_beside = matches!(tables.kind(table), Kind::Home(_, index) if index == home);
    if is_new
        && !is_beside
        && let Some(hidden) = tables.registered(table)
    {
        return Err(Refusal::unsupported(format!(
            "a temporary table \"{}\" would hide the registered table of this name",
            shown(&hidden.name)
        ))
        .hint("give it another name"));
    }
    if is_new || tables.temporary(table).is_some() {
        return Ok(());
    }
    let reads_rows = ddl.reads_rows;
    match (tables.kind(table), change) {
        (Kind::Home(_, index), Change::Mention(_)) if index == home => Ok(()),
        (Kind::Sharded(_), Change::Mention(_)) if !reads_rows || tables.are_all_on(home) => Ok(()),
        (Kind::Reference(_) | Kind::System, Change::Mention(_)) => Ok(()),
        (Kind::View(_, definition), Change::Mention(_))
            if views::home(definition, tables) == Some(home) =>
        {
            Ok(())
        }
        (
            Kind::Sharded(_)
            | Kind::Reference(_)
            | Kind::Home(..)
            | Kind::View(..)
            | Kind::System
            | Kind::Unregistered,
            _,
        ) => Err(Refusal::unsupported(format!(
            "{} of a temporary object together with \"{}\", which is not on its shard alone, is not \
             supported by the router",
            ddl.tag, table.name
        ))
        .hint("create the temporary table first, then insert the rows of each shard key")),
    }
}
