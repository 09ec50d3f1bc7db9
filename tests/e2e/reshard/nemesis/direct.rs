//! A client that writes straight to a shard, as no client should.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::Postgres;
use tests::pg::Address;
use tokio::task::JoinHandle;

/// Far above the numbers of the other writers.
const FIRST_EVENT: i64 = 1 << 40;

/// What became of its writes.
#[derive(Debug, Default)]
pub(super) struct Bypassed {
    pub(super) acked: BTreeSet<i64>,
    pub(super) errors: BTreeMap<String, u64>,
}

#[derive(Debug)]
pub(super) struct Direct {
    stop: Arc<AtomicBool>,
    task: JoinHandle<anyhow::Result<Bypassed>>,
}

impl Direct {
    /// Writes events of some keys and of others in turn.
    pub(super) fn start(shard: &Postgres, some: Vec<i64>, others: Vec<i64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let keys = some.into_iter().zip(others).flat_map(|(a, b)| [a, b]);
        #[expect(
            clippy::disallowed_methods,
            reason = "it is waited for when it is stopped"
        )]
        let task = tokio::spawn(write(shard.address(), keys.collect(), Arc::clone(&stop)));
        Self { stop, task }
    }

    pub(super) async fn stop(self) -> anyhow::Result<Bypassed> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

async fn write(
    address: Address,
    keys: Vec<i64>,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Bypassed> {
    let client = address.client().await?;
    let insert = client
        .prepare("INSERT INTO events (k, id) VALUES ($1, $2)")
        .await?;
    let mut result = Bypassed::default();
    for (key, event) in keys.iter().cycle().zip(FIRST_EVENT..) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match client.execute(&insert, &[key, &event]).await {
            Ok(_) => drop(result.acked.insert(event)),
            Err(error) => {
                let code = error.code().map_or("connection", |code| code.code());
                *result.errors.entry(code.to_owned()).or_default() += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(result)
}
