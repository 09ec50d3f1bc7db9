//! How old the last backup is: `shardctl backup` leaves a record in etcd, and every manager shows
//! it, so that an alert needs nothing but the managers' metrics.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use platform::Shutdown;
use platform::telemetry::error_chain;
use prometheus::{IntGauge, Registry};
use topology::keys;
use topology::records::{LastBackup, decode};
use topology::store::Store;

/// Between two looks. Backups are hours apart.
const INTERVAL: Duration = Duration::from_secs(5);

/// The task.
#[derive(Debug)]
pub struct BackupAge {
    store: Arc<dyn Store>,
    last: IntGauge,
    bytes: IntGauge,
}

impl BackupAge {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(store: Arc<dyn Store>, registry: &Registry) -> Result<Self, prometheus::Error> {
        let task = Self {
            store,
            last: IntGauge::new(
                "backup_last_success_timestamp_seconds",
                "When the last backup was complete, in Unix time; 0 before the first one",
            )?,
            bytes: IntGauge::new("backup_last_size_bytes", "Size of the last backup")?,
        };
        registry.register(Box::new(task.last.clone()))?;
        registry.register(Box::new(task.bytes.clone()))?;
        Ok(task)
    }

    /// Looks until shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            self.look().await;
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    async fn look(&self) {
        // Without etcd the last answer stays.
        let Ok(Some(entry)) = self.store.read(keys::LAST_BACKUP).await else {
            return;
        };
        match decode::<LastBackup>(&entry.key, &entry.value) {
            Ok(last) => {
                let since = last.finished_at.duration_since(SystemTime::UNIX_EPOCH);
                let seconds = since.unwrap_or_default().as_secs();
                self.last.set(i64::try_from(seconds).unwrap_or(i64::MAX));
                self.bytes
                    .set(i64::try_from(last.bytes).unwrap_or(i64::MAX));
            }
            Err(error) => {
                let error = error_chain(&error);
                tracing::warn!(error, "the record of the last backup is not readable");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use topology::Epoch;
    use topology::records::encode;
    use topology::store::{MemoryStore, Op, Txn};

    use super::*;

    #[tokio::test]
    async fn the_last_backup_is_shown() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let registry = Registry::new();
        let age = BackupAge::register(Arc::clone(&store), &registry).unwrap();
        age.look().await;
        assert_eq!(age.last.get(), 0);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let record = LastBackup {
            id: "20260101T000000Z".to_owned(),
            point_at: at,
            finished_at: at,
            epoch: Epoch(3),
            bytes: 7,
        };
        let put = Op::put(keys::LAST_BACKUP, encode(&record));
        let txn = Txn {
            compares: Vec::new(),
            ops: vec![put],
        };
        store.commit(txn).await.unwrap();
        age.look().await;
        assert_eq!((age.last.get(), age.bytes.get()), (1_700_000_000, 7));
    }
}
