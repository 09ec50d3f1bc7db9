//! Registered tables: one, or all of them.

use proto::manager::v1 as pb;
use serde::Serialize;

use super::{Report, present};
use crate::grid::{Grid, NONE};

/// A registered table.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    name: String,
    kind: String,
    shard_key: Option<String>,
    key_type: Option<String>,
    group: Option<String>,
    shard_id: Option<String>,
    definition: Option<String>,
}

impl From<pb::Table> for Table {
    fn from(table: pb::Table) -> Self {
        Self {
            name: table.name,
            kind: table.kind,
            shard_key: present(table.shard_key),
            key_type: present(table.key_type),
            group: present(table.group),
            shard_id: present(table.shard_id),
            definition: present(table.definition),
        }
    }
}

/// All registered tables.
#[derive(Debug, Clone, Serialize)]
pub struct Tables {
    tables: Vec<Table>,
}

impl From<Vec<pb::Table>> for Tables {
    fn from(tables: Vec<pb::Table>) -> Self {
        Self {
            tables: tables.into_iter().map(Table::from).collect(),
        }
    }
}

impl Report for Table {
    fn table(&self) -> String {
        grid([self])
    }
}

impl Report for Tables {
    fn table(&self) -> String {
        grid(&self.tables)
    }
}

fn grid<'a>(tables: impl IntoIterator<Item = &'a Table>) -> String {
    let mut grid = Grid::new(&["NAME", "KIND", "GROUP", "SHARD-KEY", "KEY-TYPE", "SHARD"]);
    let cell = |value: &Option<String>| value.clone().unwrap_or_else(|| NONE.to_owned());
    for table in tables {
        grid.row([
            table.name.clone(),
            table.kind.clone(),
            cell(&table.group),
            cell(&table.shard_key),
            cell(&table.key_type),
            cell(&table.shard_id),
        ]);
    }
    grid.render()
}
