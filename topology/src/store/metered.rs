//! A store that counts how long the store behind it takes to answer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus::{Histogram, HistogramOpts, HistogramVec, Registry};
use tokio::time::Instant;

use super::{Committed, Entry, Error, LeaseId, Listing, Revision, Store, Txn, Watch};

/// A store and its metrics.
#[derive(Debug)]
pub struct MeteredStore {
    store: Arc<dyn Store>,
    read: Timers,
    list: Timers,
    commit: Timers,
    watch: Timers,
    grant: Timers,
    keep_alive: Timers,
    revoke: Timers,
}

/// Those of one operation.
#[derive(Debug)]
struct Timers {
    ok: Histogram,
    error: Histogram,
}

impl Timers {
    fn of(durations: &HistogramVec, operation: &str) -> Self {
        Self {
            ok: durations.with_label_values(&[operation, "ok"]),
            error: durations.with_label_values(&[operation, "error"]),
        }
    }

    async fn time<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let started = Instant::now();
        let answer = call.await;
        let timer = if answer.is_ok() {
            &self.ok
        } else {
            &self.error
        };
        timer.observe(started.elapsed().as_secs_f64());
        answer
    }
}

impl MeteredStore {
    /// Registers the metrics of a store.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn register(store: Arc<dyn Store>, registry: &Registry) -> Result<Self, prometheus::Error> {
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "etcd_request_duration_seconds",
                "Time from a request to etcd to its answer, or to giving up",
            )
            .buckets(platform::metrics::LATENCY_BUCKETS.to_vec()),
            &["operation", "result"],
        )?;
        registry.register(Box::new(durations.clone()))?;
        let of = |operation| Timers::of(&durations, operation);
        Ok(Self {
            store,
            read: of("read"),
            list: of("list"),
            commit: of("commit"),
            watch: of("watch"),
            grant: of("grant"),
            keep_alive: of("keep_alive"),
            revoke: of("revoke"),
        })
    }
}

#[async_trait]
impl Store for MeteredStore {
    async fn read(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.read.time(self.store.read(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        self.list.time(self.store.list(prefix)).await
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        self.commit.time(self.store.commit(txn)).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, Error> {
        self.watch.time(self.store.watch(prefix, from)).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        self.grant.time(self.store.grant(ttl)).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        self.keep_alive.time(self.store.keep_alive(lease)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.revoke.time(self.store.revoke(lease)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn answers_pass_and_are_timed_by_operation_and_result() {
        let registry = Registry::new();
        let store = MeteredStore::register(Arc::new(MemoryStore::default()), &registry).unwrap();
        assert!(store.read("/a").await.unwrap().is_none());
        store.keep_alive(LeaseId(7)).await.unwrap_err();
        let text = platform::metrics::encode(&registry);
        for line in [
            "etcd_request_duration_seconds_count{operation=\"read\",result=\"ok\"} 1",
            "etcd_request_duration_seconds_count{operation=\"keep_alive\",result=\"error\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }
}
