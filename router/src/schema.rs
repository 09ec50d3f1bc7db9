//! Remembers the columns of tables, as a shard's catalog had them a moment ago.
//!
//! What is read here may be outdated: another router, or somebody at a shard, changes a table
//! without this router's hearing of it. So whoever uses a list of columns writes it into the
//! statement, and a shard that has other columns refuses it. Asking a shard is not done here.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use lru::LruCache;
use tokio::time::Instant;
use topology::{Epoch, TableName};

/// The names of a table's columns, in order.
pub type Columns = Arc<[String]>;

/// How long a list is used: tables that are dropped and made anew at a shard are seen after that.
const MAX_AGE: Duration = Duration::from_secs(5);

/// Most tables that are remembered.
const MAX_TABLES: NonZeroUsize = NonZeroUsize::new(10_000).expect("it is not zero");

/// The tables whose columns are known.
#[derive(Debug)]
pub struct Schema {
    tables: Mutex<Tables>,
    /// One at a time asks a shard; the others find its answer.
    pub(crate) asking: tokio::sync::Mutex<()>,
    version: AtomicU64,
}

#[derive(Debug)]
struct Tables {
    known: LruCache<TableName, Known, RandomState>,
    /// Grows whenever everything is forgotten, so that an answer that was on its way is not kept.
    changes: u64,
}

#[derive(Debug)]
struct Known {
    columns: Columns,
    epoch: Epoch,
    at: Instant,
}

/// When a question was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked(u64);

/// Forgets everything when a schema change begins and when it ends.
#[derive(Debug)]
pub struct Forgetting<'a>(&'a Schema);

impl Drop for Forgetting<'_> {
    fn drop(&mut self) {
        self.0.change();
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self {
            tables: Mutex::new(Tables {
                known: LruCache::with_hasher(MAX_TABLES, RandomState::default()),
                changes: 0,
            }),
            asking: tokio::sync::Mutex::default(),
            version: AtomicU64::new(0),
        }
    }
}

impl Schema {
    /// A table's columns, if they are known at this epoch and number at least `width`: when a
    /// statement has more values than there are columns, some may have been added.
    #[must_use]
    pub fn columns(&self, table: &TableName, epoch: Epoch, width: usize) -> Option<Columns> {
        let mut tables = self.lock();
        let known = tables.known.get(table)?;
        let fits = known.epoch == epoch && known.at.elapsed() < MAX_AGE;
        (fits && known.columns.len() >= width).then(|| Arc::clone(&known.columns))
    }

    /// To be called before a shard is asked.
    #[must_use]
    pub fn ask(&self) -> Asked {
        Asked(self.lock().changes)
    }

    /// Keeps a shard's answer, unless the schema has changed since it was asked.
    pub fn keep(&self, table: &TableName, columns: &Columns, epoch: Epoch, asked: Asked) {
        let mut tables = self.lock();
        if tables.changes == asked.0 {
            let columns = Arc::clone(columns);
            let at = Instant::now();
            tables
                .known
                .put(table.clone(), Known { columns, epoch, at });
        }
    }

    /// Forgets all tables.
    pub fn forget_all(&self) {
        let mut tables = self.lock();
        tables.known.clear();
        tables.changes += 1;
    }

    /// Forgets all tables now and when the guard is dropped.
    #[must_use]
    pub fn forgetting(&self) -> Forgetting<'_> {
        self.change();
        Forgetting(self)
    }

    /// Differs from before when this router has changed the schema since.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn change(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.forget_all();
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TableName {
        TableName::try_from_parts("public", "t").unwrap()
    }

    fn columns() -> Columns {
        Arc::new(["a".to_owned(), "b".to_owned()])
    }

    #[tokio::test(start_paused = true)]
    async fn columns_are_known_for_a_while_at_one_epoch() {
        let schema = Schema::default();
        let known = |epoch, width| schema.columns(&table(), Epoch(epoch), width).is_some();
        assert!(!known(1, 0));
        schema.keep(&table(), &columns(), Epoch(1), schema.ask());
        assert!(known(1, 2));
        assert!(!known(2, 2), "another epoch");
        assert!(!known(1, 3), "more values than columns");
        tokio::time::advance(MAX_AGE).await;
        assert!(!known(1, 2), "too old");
    }

    #[test]
    fn a_schema_change_makes_a_new_version_at_its_beginning_and_its_end() {
        let schema = Schema::default();
        let before = schema.version();
        let change = schema.forgetting();
        let during = schema.version();
        drop(change);
        assert!(before < during && during < schema.version());
        let after = schema.version();
        schema.forget_all();
        assert_eq!(schema.version(), after);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_from_before_a_schema_change_is_not_kept() {
        let schema = Schema::default();
        let asked = schema.ask();
        let change = schema.forgetting();
        schema.keep(&table(), &columns(), Epoch(1), asked);
        assert!(schema.columns(&table(), Epoch(1), 0).is_none());
        schema.keep(&table(), &columns(), Epoch(1), schema.ask());
        drop(change);
        assert!(schema.columns(&table(), Epoch(1), 0).is_none());
    }
}
