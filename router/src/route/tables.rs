//! Which registered table a name means, by the search path, and where that table's rows are.

use std::fmt;

use topology::{KeyType, Placement, ShardIndex, Snapshot, Table, TableName};

use super::{KeyColumn, Refusal, Temporary};
use crate::query::{self, TableRef};

/// Schemas whose tables PostgreSQL makes itself.
const SYSTEM_SCHEMAS: [&str; 3] = ["pg_catalog", "information_schema", "pg_toast"];

/// Looks tables up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables<'a> {
    snapshot: &'a Snapshot,
    search_path: &'a [&'a str],
    temporary: Option<&'a Temporary>,
}

/// What a table's name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// Rows by key.
    Sharded(Sharded<'a>),
    /// All rows on every shard.
    Reference(&'a TableName),
    /// All rows on one shard.
    Home(&'a TableName, ShardIndex),
    /// The query that is registered for a view.
    View(&'a TableName, &'a str),
    /// PostgreSQL's own: much the same on every shard.
    System,
    /// A table that the topology does not know.
    Unregistered,
}

/// A sharded table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sharded<'a> {
    /// Its name.
    pub(super) name: &'a TableName,
    /// Its key column.
    pub(super) column: &'a str,
    /// The type of that.
    pub(super) key_type: KeyType,
}

impl Sharded<'_> {
    pub(super) fn key_column(&self) -> KeyColumn {
        KeyColumn {
            table: shown(self.name).to_string(),
            column: self.column.to_owned(),
        }
    }
}

impl<'a> Tables<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, search_path: &'a [&'a str]) -> Self {
        Self {
            snapshot,
            search_path,
            temporary: None,
        }
    }

    /// As a session sees them that has temporary tables.
    pub(super) fn beside(self, temporary: &'a Temporary) -> Self {
        Self {
            temporary: Some(temporary),
            ..self
        }
    }

    /// The temporary table of the session that a name means, with the index of its shard.
    pub(super) fn temporary(self, table: &TableRef) -> Option<(&'a TableName, ShardIndex)> {
        let temporary = self.temporary?;
        let name = temporary.find(table)?;
        Some((name, self.snapshot.index_of(temporary.shard())?))
    }

    /// The shard of what there is only one of: the one that was registered first, whatever it owns,
    /// so that it is another one only once that is removed. A session that is bound to a shard
    /// stays there.
    pub(super) fn common(self) -> Result<ShardIndex, Refusal> {
        let shards = (0_u32..).map(ShardIndex).zip(self.snapshot.shards());
        let first = shards.min_by_key(|(_, shard)| (shard.created_at, &shard.id));
        first.map(|(index, _)| index).ok_or_else(Refusal::no_shard)
    }

    /// Whether no table has rows on another shard, so that a function reads there what it would
    /// read on one server.
    pub(super) fn are_none_elsewhere(self, shard: ShardIndex) -> bool {
        let shard = self.snapshot.shard(shard);
        shard.is_some_and(|shard| self.snapshot.is_all_on(&shard.id))
    }

    /// Whether all rows of all tables are on one shard.
    pub(super) fn are_all_on(self, shard: ShardIndex) -> bool {
        let mut vnodes = self.snapshot.ring().vnodes().iter();
        vnodes.all(|vnode| vnode.owner == shard)
    }

    /// What a name stands for.
    pub(super) fn kind(self, table: &TableRef) -> Kind<'a> {
        if let Some((name, index)) = self.temporary(table) {
            return Kind::Home(name, index);
        }
        match self.registered(table) {
            Some(Table {
                name,
                placement: Placement::Sharded { group, shard_key },
            }) => {
                match self.snapshot.group(group) {
                    Some(group) => Kind::Sharded(Sharded {
                        name,
                        column: shard_key,
                        key_type: group.key_type,
                    }),
                    // A snapshot is valid by construction, so that this is not reached.
                    None => Kind::Unregistered,
                }
            }
            Some(Table {
                name,
                placement: Placement::Reference,
            }) => Kind::Reference(name),
            Some(Table {
                name,
                placement: Placement::Unsharded { shard_id },
            }) => self
                .snapshot
                .index_of(shard_id)
                .map_or(Kind::Unregistered, |index| Kind::Home(name, index)),
            Some(Table {
                name,
                placement: Placement::View { definition },
            }) => Kind::View(name, definition),
            None if is_system(table) => Kind::System,
            None => Kind::Unregistered,
        }
    }

    /// The schema of a registered table, for a column that is qualified with one.
    pub(super) fn schema(self, table: &TableRef) -> Option<&'a str> {
        self.registered(table).map(|table| table.name.schema())
    }

    /// Whether other schemas come before PostgreSQL's own: their functions hide those of its.
    pub(super) fn hides_system(self) -> bool {
        self.search_path
            .iter()
            .skip(1)
            .any(|it| *it == "pg_catalog")
    }

    /// Whether any view is registered.
    pub(super) fn has_views(self) -> bool {
        self.snapshot.has_views()
    }

    pub(super) fn registered(self, table: &TableRef) -> Option<&'a Table> {
        let find = |schema: &str| {
            let name = TableName::try_from_parts(schema, &table.name).ok()?;
            self.snapshot.table(&name)
        };
        match &table.schema {
            Some(schema) => find(schema),
            None => self.search_path.iter().find_map(|schema| find(schema)),
        }
    }
}

fn is_system(table: &TableRef) -> bool {
    match &table.schema {
        Some(schema) => SYSTEM_SCHEMAS.contains(&schema.as_str()),
        None => table.name.starts_with("pg_"),
    }
}

/// A table's name as a message shows it: with its schema unless that is `public`.
pub(super) fn shown(name: &TableName) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| match name.schema() {
        "public" => f.write_str(name.name()),
        _ => write!(f, "{name}"),
    })
}

/// A view where only tables are understood.
pub(super) fn viewed(name: &TableName) -> Refusal {
    Refusal::unsupported(format!(
        "view \"{}\" can only be read by the router, in a query",
        shown(name)
    ))
    .hint("write its table, and read it with SELECT or COPY (SELECT ...)")
}

/// How the refusal of a table without a known place ends.
const NOT_REGISTERED: &str = " is not registered in the topology";

impl Refusal {
    /// Whether it is that a table has no known place; there may be no such table at all.
    #[must_use]
    pub fn is_of_an_unregistered_table(&self) -> bool {
        self.message.ends_with(NOT_REGISTERED)
    }

    /// Whether there may be no such table or function at all, which PostgreSQL tells better.
    #[must_use]
    pub fn may_be_of_a_mistake(&self) -> bool {
        self.is_of_an_unregistered_table() || self.message.starts_with(query::OWN_FUNCTION)
    }
}

/// A statement that reads or writes a table without a known place.
pub(super) fn unregistered(table: &TableRef) -> Refusal {
    let name = match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    };
    Refusal::unsupported(format!("table \"{name}\"{NOT_REGISTERED}")).hint(
        "register it: SELECT sharding.shard_table('table', 'column'), POST /api/v1/tables or \
         \"shardctl tables add\"; under SET sharding.new_tables = 'unsharded' CREATE TABLE does so; a \
         view is registered by CREATE VIEW, or by SELECT sharding.view('view')",
    )
}
