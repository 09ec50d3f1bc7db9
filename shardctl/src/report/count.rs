//! Rows of each table by shard, with totals that say when they are not known.

use std::collections::BTreeMap;

use proto::manager::v1 as pb;
use serde::Serialize;

use super::Report;
use crate::grid::{Grid, NONE};

/// The counts of all tables that were asked for.
#[derive(Debug, Clone, Serialize)]
pub struct Counts {
    tables: Vec<Count>,
}

/// The counts of one table.
#[derive(Debug, Clone, Serialize)]
struct Count {
    name: String,
    kind: String,
    rows: Option<u64>,
    copies_agree: Option<bool>,
    shards: Vec<OnShard>,
}

#[derive(Debug, Clone, Serialize)]
struct OnShard {
    shard_id: String,
    rows: Option<u64>,
    error: Option<String>,
}

impl Counts {
    /// Sorts the manager's counts by table; `kinds` gives each registered table's kind.
    #[must_use]
    pub fn new(counts: Vec<pb::RowCount>, kinds: &BTreeMap<String, String>) -> Self {
        let mut tables: BTreeMap<String, Vec<OnShard>> = BTreeMap::new();
        for pb::RowCount {
            table,
            shard_id,
            rows,
            error,
        } in counts
        {
            let failed = !error.is_empty();
            tables.entry(table).or_default().push(OnShard {
                shard_id,
                rows: (!failed).then_some(rows),
                error: failed.then_some(error),
            });
        }
        let table = |(name, mut shards): (String, Vec<OnShard>)| {
            shards.sort_by(|a, b| a.shard_id.cmp(&b.shard_id));
            let kind = kinds.get(&name).cloned().unwrap_or_default();
            Count::new(name, kind, shards)
        };
        Self {
            tables: tables.into_iter().map(table).collect(),
        }
    }

    /// The shards that could not be asked, each once, with the first reason.
    #[must_use]
    pub fn uncounted(&self) -> Vec<(String, String)> {
        let mut reasons = BTreeMap::new();
        for shard in self.tables.iter().flat_map(|table| &table.shards) {
            if let Some(error) = &shard.error {
                reasons
                    .entry(shard.shard_id.clone())
                    .or_insert_with(|| error.clone());
            }
        }
        reasons.into_iter().collect()
    }
}

impl Count {
    fn new(name: String, kind: String, shards: Vec<OnShard>) -> Self {
        let counted: Option<Vec<u64>> = shards.iter().map(|shard| shard.rows).collect();
        let (rows, copies_agree) = match (counted, kind.as_str()) {
            (None, _) => (None, None),
            (Some(copies), "reference") => {
                let first = copies.first().copied().unwrap_or(0);
                let agree = copies.iter().all(|rows| *rows == first);
                (agree.then_some(first), Some(agree))
            }
            (Some(parts), _) => (Some(parts.iter().sum()), None),
        };
        Self {
            name,
            kind,
            rows,
            copies_agree,
            shards,
        }
    }

    fn total(&self) -> String {
        match (self.rows, self.copies_agree) {
            (Some(rows), _) => rows.to_string(),
            (None, Some(_)) => "copies differ".to_owned(),
            (None, None) => "unknown".to_owned(),
        }
    }

    /// What part of the table's rows a shard holds; of a table that is split up only.
    fn share(&self, shard: &OnShard) -> String {
        match (shard.rows, self.rows) {
            (Some(part), Some(whole)) if whole > 0 && self.copies_agree.is_none() => {
                percent(part, whole)
            }
            _ => NONE.to_owned(),
        }
    }
}

impl Report for Counts {
    fn table(&self) -> String {
        let mut grid = Grid::new(&["TABLE", "KIND", "SHARD", "ROWS", "SHARE"]);
        for table in &self.tables {
            for shard in &table.shards {
                let rows = shard
                    .rows
                    .map_or_else(|| "unknown".to_owned(), |rows| rows.to_string());
                grid.row([
                    table.name.clone(),
                    table.kind.clone(),
                    shard.shard_id.clone(),
                    rows,
                    table.share(shard),
                ]);
            }
            let all = "(all)".to_owned();
            let none = NONE.to_owned();
            grid.row([
                table.name.clone(),
                table.kind.clone(),
                all,
                table.total(),
                none,
            ]);
        }
        grid.render()
    }
}

/// In tenths of a percent, rounded to the nearest, without leaving the whole numbers.
fn percent(part: u64, whole: u64) -> String {
    let (part, whole) = (u128::from(part), u128::from(whole));
    let tenths = (part * 2000 + whole) / (whole * 2);
    format!("{}.{}%", tenths / 10, tenths % 10)
}
