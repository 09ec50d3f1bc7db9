//! Compares every row of a leg's ranges on both sides, each as it is in a snapshot, and certifies
//! that they are equal or names rows that are not.
//!
//! Servers hash their rows, the manager adds the hashes up in buckets of tokens: rows that are
//! missing, doubled or changed show in a bucket's count, sum or parity. Only the buckets that
//! differ are read again, to find the rows.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use platform::TaskGroup;
use serde::{Deserialize, Serialize};
use topology::{Shard, TableName};

use self::bucket::Buckets;
use self::pass::Plan;
use super::api::Certificate;
pub use super::copy::Error;
use super::copy::{Throttle, Worker};
use super::flow::{Bounds, MovedTable};
use super::ids::LegId;
use super::progress::Progress;
use crate::shards::Config;

mod bucket;
mod differ;
pub mod freeze;
mod pass;

/// The rows of one shard that are compared.
#[derive(Debug, Clone)]
pub struct Side {
    /// The shard.
    pub shard: Shard,
    /// An exported snapshot of it, importable until the comparison ends.
    pub snapshot: String,
    /// Which of its rows; no two shards of one side share a token.
    pub bounds: Bounds,
}

/// What is to be compared.
#[derive(Debug, Clone)]
pub struct Order {
    /// How shards are reached.
    pub config: Config,
    /// The leg.
    pub leg: LegId,
    /// The shards that own the rows.
    pub owners: Vec<Side>,
    /// Those that mirror them: the same tokens, in all.
    pub mirrors: Vec<Side>,
    /// The tables.
    pub tables: Vec<MovedTable>,
    /// How many ranges are read at a time.
    pub workers: NonZeroUsize,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// When it began.
    pub started: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// Whether no row differs.
    pub equal: bool,
    /// Table by table.
    pub tables: Vec<TableComparison>,
}

/// What it found of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableComparison {
    /// The table.
    pub name: TableName,
    /// Its rows with their owners.
    pub rows: u64,
    /// Its rows on the mirrors.
    pub mirror_rows: u64,
    /// A checksum over those of the owners.
    pub digest: String,
    /// Buckets of tokens whose rows differ, of 4,096.
    pub differing_buckets: usize,
    /// Some of the rows that differ.
    pub differing: Vec<Difference>,
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Difference {
    /// Its primary key, or all of it where there is none, as PostgreSQL writes a row.
    pub key: String,
    /// How it differs.
    pub kind: Kind,
}

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// No mirror has it, or not as often as its owner.
    Missing,
    /// Only a mirror has it.
    Extra,
    /// Both have it, with other values.
    Changed,
}

impl Comparison {
    /// What is kept with a job.
    #[must_use]
    pub fn certificate(&self, instant: &str) -> Certificate {
        let digests: Vec<&str> = self.tables.iter().map(|t| t.digest.as_str()).collect();
        Certificate {
            at: self.ended,
            instant: instant.to_owned(),
            is_equal: self.equal,
            tables: u32::try_from(self.tables.len()).unwrap_or(u32::MAX),
            rows: self.tables.iter().map(|table| table.rows).sum(),
            digest: digests.join(" "),
        }
    }
}

/// Compares. Dropping the future closes all connections.
///
/// # Errors
/// [`Error`] when the rows could not be read; rows that differ are no error.
pub async fn compare(
    order: Order,
    tasks: &TaskGroup,
    progress: Arc<Progress>,
    throttle: Arc<Throttle>,
) -> Result<Comparison, Error> {
    let started = SystemTime::now();
    let (plan, mut keepers) = Plan::make(order, progress, throttle).await?;
    let plan = Arc::new(plan);
    let mut sums = pass::Sums::new(plan.order.tables.len());
    let mut workers: FuturesUnordered<Worker<pass::Sums>> = (0..plan.order.workers.get())
        .map(|_| Worker(tasks.spawn("reshard verify", pass::work(Arc::clone(&plan)))))
        .collect();
    while let Some(done) = workers.next().await {
        sums.add(&done.unwrap_or(Err(Error::Panicked))?);
    }
    let mut tables = Vec::with_capacity(plan.order.tables.len());
    for (index, (table, [owned, mirrored])) in plan.order.tables.iter().zip(&sums.0).enumerate() {
        let buckets = owned.differing(mirrored);
        let differing = if buckets.is_empty() {
            Vec::new()
        } else {
            differ::find(&plan, index, &buckets).await?
        };
        tables.push(table_comparison(
            table,
            [owned, mirrored],
            buckets.len(),
            differing,
        ));
    }
    // Their transactions are still there, and so their locks were all the time.
    for keeper in &mut keepers {
        keeper.query("keep the tables locked", "SELECT 1").await?;
    }
    Ok(Comparison {
        started,
        ended: SystemTime::now(),
        equal: tables.iter().all(|table| table.differing_buckets == 0),
        tables,
    })
}

fn table_comparison(
    table: &MovedTable,
    [owned, mirrored]: [&Buckets; 2],
    differing_buckets: usize,
    differing: Vec<Difference>,
) -> TableComparison {
    TableComparison {
        name: table.name.clone(),
        rows: owned.rows(),
        mirror_rows: mirrored.rows(),
        digest: owned.digest(),
        differing_buckets,
        differing,
    }
}
