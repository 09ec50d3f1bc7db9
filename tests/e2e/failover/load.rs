//! Writers that insert rows with numbers of their own, and note what they were told of each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tests::pg::Address;
use tests::{Cluster, wait};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How long one statement may take, a wait for another primary included.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writers at work.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    began: Instant,
    writers: JoinSet<Told>,
}

/// What writers were told.
#[derive(Debug, Default)]
pub(super) struct Told {
    acknowledged: Vec<(i64, Duration)>,
    pub(super) failed: usize,
    pub(super) unknown: usize,
    /// The longest time between two acknowledgements of one writer.
    pub(super) longest: Duration,
}

impl Told {
    pub(super) fn acknowledged(&self) -> BTreeSet<i64> {
        self.acknowledged.iter().map(|(id, _)| *id).collect()
    }

    pub(super) fn acknowledged_after(&self, at: Duration) -> BTreeSet<i64> {
        let late = self.acknowledged.iter().filter(|(_, told)| *told > at);
        late.map(|(id, _)| *id).collect()
    }
}

impl Load {
    pub(super) fn start(cluster: &Cluster, count: usize) -> anyhow::Result<Self> {
        let load = Self {
            stop: Arc::default(),
            acknowledged: Arc::default(),
            began: Instant::now(),
            writers: JoinSet::new(),
        };
        let next = Arc::new(AtomicI64::new(1));
        let mut load = load;
        for number in 0..count {
            let address = cluster.router(number % cluster.routers.len())?.address();
            let (stop, count) = (Arc::clone(&load.stop), Arc::clone(&load.acknowledged));
            let (next, began) = (Arc::clone(&next), load.began);
            load.writers
                .spawn(async move { write(&address, (&stop, &count, &next), began).await });
        }
        Ok(load)
    }

    /// The time by the clock of what is told.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits until so many more rows were acknowledged.
    pub(super) async fn progress(&self, rows: u64) -> anyhow::Result<()> {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + rows;
        wait::until("progress of the writers", PATIENCE, async || {
            let count = self.acknowledged.load(Ordering::Relaxed);
            anyhow::ensure!(count >= wanted, "{count} of {wanted}");
            Ok(())
        })
        .await
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<Told> {
        self.stop.store(true, Ordering::Relaxed);
        let mut told = Told::default();
        while let Some(one) = self.writers.join_next().await {
            let one = one?;
            told.acknowledged.extend(one.acknowledged);
            told.failed += one.failed;
            told.unknown += one.unknown;
            told.longest = told.longest.max(one.longest);
        }
        Ok(told)
    }
}

async fn write(
    address: &Address,
    (stop, count, next): (&AtomicBool, &AtomicU64, &AtomicI64),
    began: Instant,
) -> Told {
    let mut told = Told::default();
    let mut client: Option<tokio_postgres::Client> = None;
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let Some(connected) = client.take().filter(|client| !client.is_closed()) else {
            match timeout(PATIENCE, address.client()).await {
                Ok(Ok(connected)) => client = Some(connected),
                Ok(Err(_)) | Err(_) => sleep(Duration::from_millis(50)).await,
            }
            continue;
        };
        let id = next.fetch_add(1, Ordering::Relaxed);
        let sql = format!("INSERT INTO led (k, v) VALUES ({id}, {id})");
        match timeout(PATIENCE, connected.batch_execute(&sql)).await {
            Ok(Ok(())) => {
                told.acknowledged.push((id, began.elapsed()));
                told.longest = told.longest.max(last.elapsed());
                last = Instant::now();
                count.fetch_add(1, Ordering::Relaxed);
                client = Some(connected);
            }
            Ok(Err(error)) => {
                let code = error.code().map(|code| code.code().to_owned());
                if matches!(code.as_deref(), Some("08007") | None) {
                    told.unknown += 1;
                } else {
                    told.failed += 1;
                }
                client = Some(connected);
            }
            Err(_) => told.unknown += 1,
        }
    }
    told
}
