//! A system in which something of everything has happened.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tests::cluster::Plan;
use tests::raw::Raw;
use tests::{Cluster, Postgres, wait};
use tokio::time::{Instant, sleep};

use crate::reshard::job::{begin, until};
use crate::suite::Outcome;

/// Two shards, the first of them with a replica, a router, a manager and a job that is complete and
/// can still be rolled back.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) cluster: Cluster,
    _replica: Postgres,
}

impl Ground {
    /// Starts it, and does something of everything.
    pub(crate) async fn lively() -> anyhow::Result<Self> {
        let plan = Plan {
            shards: 0,
            spares: 2,
            ..Plan::default()
        };
        let mut cluster = Cluster::start(plan).await?;
        let second = cluster.spares.pop().context("a spare")?;
        let first = cluster.spares.pop().context("another spare")?;
        let replica = Postgres::replica_of(&first).await?;
        for (name, server, replicas) in [
            ("shard-1", &first, vec![replica.endpoint()]),
            ("shard-2", &second, vec![]),
        ] {
            let shard = json!({
                "name": name, "primary_endpoint": server.endpoint(), "replicas": replicas,
            });
            cluster.post_when_led("/shards", &shard).await?;
        }
        cluster.shards.extend([first, second]);
        cluster.settle().await?;
        let columns = "k bigint PRIMARY KEY, v bigint";
        cluster.create("lively", columns, ("k", "bigint")).await?;
        let ground = Self {
            cluster,
            _replica: replica,
        };
        ground.statements().await?;
        let split = json!({ "source_shard_id": "shard-1", "target_shards": [{ "id": "shard-2" }] });
        let job = begin(&ground.cluster, "split", split).await?;
        until(&ground.cluster, &job, "completed").await?;
        Ok(ground)
    }

    /// Statements of all kinds, so often that a sample sees some.
    pub(crate) async fn statements(&self) -> Outcome {
        let router = self.cluster.router(0)?;
        let mut session = Raw::connect(&router.address()).await?;
        for key in 0..100 {
            let insert = "INSERT INTO lively (k, v) VALUES";
            session
                .query(&format!("{insert} ({key}, 1) ON CONFLICT DO NOTHING"))
                .await?;
        }
        for text in [
            "SELECT 1",
            "SELECT count(*) FROM lively",
            "INSERT INTO lively (k) VALUES (1)",
            "SELECT * FROM lively a JOIN lively b ON a.v = b.v",
            "BEGIN",
            "UPDATE lively SET v = 2 WHERE k = 1",
            "UPDATE lively SET v = 2 WHERE k = 2",
            "UPDATE lively SET v = 2 WHERE k = 3",
            "COMMIT",
        ] {
            session.query(text).await?;
        }
        let eventual = "/* consistency = 'eventual' */ SELECT v FROM lively WHERE k = 1";
        let deadline = Instant::now() + wait::SETTLE;
        loop {
            session.query(eventual).await?;
            let metrics = router.program.metrics().await?;
            if metrics.contains("shard_replica_lag_seconds{") {
                break;
            }
            anyhow::ensure!(Instant::now() < deadline, "the replica's lag is not known");
            sleep(Duration::from_millis(100)).await;
        }
        let request = json!({ "query": "SELECT v FROM lively WHERE k = 1" });
        router.execute(&request).await?.expect(200)?;
        Ok(())
    }
}
