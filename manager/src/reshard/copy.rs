//! Copies the rows of a leg's ranges from their owner to their mirrors, as they are in one exported
//! snapshot. Workers take block ranges of the tables; each range is one transaction on each mirror,
//! which also writes down that it is in. Rows pass through as the server wrote them: only their key
//! is read.
//!
//! The snapshot dies with the last session that has it. As long as a manager has one (`keeper`), a
//! copy that ended early goes on where it was; otherwise it starts over, after its rows were removed.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use platform::TaskGroup;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use topology::{Shard, ShardId, TableName, Term};

use self::part::{Part, Range};
use self::view::View;
use super::flow::{Bounds, MovedTable};
use super::ids::LegId;
use super::link;
use super::progress::Progress;
use super::session::Class;
use crate::shards::Config;

mod book;
pub mod governor;
pub mod keeper;
mod lane;
pub(super) mod part;
mod pump;
pub mod scan;
pub mod throttle;
pub(super) mod view;

pub use throttle::{Rates, Throttle};

/// Why a copy, or a comparison, came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A shard refused, or the connection broke.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// The snapshot is gone, and with it the worth of what was done so far.
    #[error("the snapshot is gone: it has to begin anew")]
    SnapshotGone(#[source] link::Error),
    /// A table cannot be copied.
    #[error("table {table} on shard {shard} {reason}")]
    Unfit {
        /// The shard.
        shard: ShardId,
        /// The table.
        table: TableName,
        /// Why not.
        reason: String,
    },
    /// Rows came in another shape than asked for, or with a key that is none.
    #[error("rows of table {table} on shard {shard}")]
    Rows {
        /// The shard.
        shard: ShardId,
        /// The table.
        table: TableName,
        /// What is wrong with them.
        source: scan::Malformed,
    },
    /// A mirror stored fewer or more rows than it was sent.
    #[error("shard {shard} was sent {sent} rows of table {table} and stored {stored}")]
    Stored {
        /// The mirror.
        shard: ShardId,
        /// The table.
        table: TableName,
        /// Rows sent.
        sent: u64,
        /// Rows stored.
        stored: u64,
    },
    /// A worker ended without an answer.
    #[error("a worker panicked")]
    Panicked,
}

impl Error {
    /// Whether the copy may be tried again, from its beginning.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Link(error) => error.class(),
            Self::SnapshotGone(_) => Class::Retryable,
            Self::Unfit { .. } | Self::Rows { .. } | Self::Stored { .. } | Self::Panicked => {
                Class::Fatal
            }
        }
    }
}

/// Where rows go.
#[derive(Debug, Clone)]
pub struct Target {
    /// The mirror.
    pub shard: Shard,
    /// The tokens whose rows go there; no two targets share one.
    pub bounds: Bounds,
}

/// What is to be copied.
#[derive(Debug, Clone)]
pub struct Order {
    /// How shards are reached.
    pub config: Config,
    /// The leg.
    pub leg: LegId,
    /// The leader's term.
    pub term: Term,
    /// The shard that owns the rows.
    pub owner: Shard,
    /// The snapshot that they are read in, exported on the owner; it must stay importable until
    /// the copy ends.
    pub snapshot: String,
    /// Where they go.
    pub targets: Vec<Target>,
    /// The tables.
    pub tables: Vec<MovedTable>,
    /// How many ranges are copied at a time.
    pub workers: NonZeroUsize,
    /// Which copy it is.
    pub attempt: Attempt,
}

/// One copy from one snapshot, whoever does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Tells its entries in the mirrors' books from those of others.
    pub id: String,
    /// Whether it was begun before, and what the mirrors have of it counts.
    pub is_resumed: bool,
}

impl Attempt {
    /// A copy that nobody has begun.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            id: uuid::Uuid::now_v7().simple().to_string(),
            is_resumed: false,
        }
    }
}

impl Order {
    /// The owner's rows.
    fn view(&self) -> View<'_> {
        View {
            config: &self.config,
            leg: &self.leg,
            shard: &self.owner,
            snapshot: &self.snapshot,
        }
    }
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Rows that were read.
    pub rows_scanned: u64,
    /// Rows that were copied.
    pub rows: u64,
    /// Their bytes, as they travelled.
    pub bytes: u64,
    /// In how many ranges.
    pub ranges: usize,
    /// Rows that the mirrors had before.
    pub kept: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// What the workers share.
struct Shared {
    order: Order,
    parts: Vec<Part>,
    ranges: Vec<Range>,
    next: AtomicUsize,
    progress: Arc<Progress>,
    throttle: Arc<Throttle>,
}

impl Shared {
    /// The next range, and the part of a table that it is in.
    fn next(&self) -> Option<(Range, &Part)> {
        let range = *self.ranges.get(self.next.fetch_add(1, Ordering::Relaxed))?;
        Some((range, self.parts.get(range.part)?))
    }
}

/// Copies; of the rows, those may be on the mirrors that their books have of this copy. Dropping
/// the future closes all connections.
///
/// # Errors
/// [`Error`] says where and why.
pub async fn copy_leg(
    order: Order,
    tasks: &TaskGroup,
    progress: Arc<Progress>,
    throttle: Arc<Throttle>,
) -> Result<Copied, Error> {
    let start = Instant::now();
    // As long as this session lasts, nobody can rewrite a table and give its rows other places.
    let mut keeper = order.view().open("copy-keeper").await?;
    part::lock(&mut keeper, &order.tables).await?;
    let parts = part::all(&mut keeper, &order.tables).await?;
    let mut books = Vec::with_capacity(order.targets.len());
    for target in &order.targets {
        books.push(book::open(&order, target).await?);
    }
    let left = book::left(&parts, order.workers, &books);
    progress.rows_copied.set(left.rows);
    progress.bytes_copied.set(left.bytes);
    progress
        .rows_total
        .set(part::rows_expected(&parts, &order.targets));
    progress
        .blocks_total
        .set(parts.iter().map(|part| part.blocks).sum());
    progress.blocks_copied.set(left.blocks);
    let count = order.workers.get().min(left.ranges.len());
    let shared = Arc::new(Shared {
        order,
        parts,
        ranges: left.ranges,
        next: AtomicUsize::new(0),
        progress,
        throttle,
    });
    let mut workers: FuturesUnordered<Worker<pump::Tally>> = (0..count)
        .map(|_| Worker(tasks.spawn("reshard copy", lane::work(Arc::clone(&shared)))))
        .collect();
    let mut total = Copied {
        rows_scanned: 0,
        rows: 0,
        bytes: 0,
        ranges: shared.ranges.len(),
        kept: left.rows,
        elapsed: Duration::ZERO,
    };
    while let Some(done) = workers.next().await {
        let tally = done.unwrap_or(Err(Error::Panicked))?;
        total.rows_scanned += tally.scanned;
        total.rows += tally.rows;
        total.bytes += tally.bytes;
    }
    // Its transaction is still there, and so its locks were all the time.
    keeper.query("keep the tables locked", "SELECT 1").await?;
    total.elapsed = start.elapsed();
    Ok(total)
}

/// A task that ends with its handle.
pub(super) struct Worker<T>(pub(super) JoinHandle<Result<T, Error>>);

impl<T> Future for Worker<T> {
    type Output = Result<Result<T, Error>, tokio::task::JoinError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use topology::{Endpoint, Shard, ShardId, ShardState};

    /// A shard that nobody connects to.
    pub(super) fn shard(id: &str) -> Shard {
        Shard {
            id: ShardId::try_new(id).unwrap(),
            name: id.to_owned(),
            primary_endpoint: Endpoint::try_new("postgres://127.0.0.1:1/app").unwrap(),
            replicas: Vec::new(),
            state: ShardState::Active,
            weight: 1,
            vnode_count: 8,
            version: 1,
            created_at: SystemTime::UNIX_EPOCH,
            updated_at: SystemTime::UNIX_EPOCH,
            lineage: None,
            promotion: None,
        }
    }
}
