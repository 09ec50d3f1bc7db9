//! Each alert, provoked in a real Prometheus against a live system. Only the times are shortened.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::authority::Authority;
use tests::cluster::Plan;
use tests::raw::Raw;
use tests::{Cluster, Prometheus, Router, prometheus, wait};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use topology::records::{LastBackup, encode};
use topology::{Epoch, keys};

use super::shown::file;
use crate::reshard::job::{begin, until};
use crate::suite::{Outcome, Suite, Unavailable, long, told};

/// How long an alert may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    long!(suite: each_alert_is_provoked_once).into()
}

/// The rules with times that a test can wait for.
fn hurried(rules: &str) -> String {
    rules
        .replace("for: 5m", "for: 1s")
        .replace("for: 1m", "for: 1s")
        .replace("for: 10m", "for: 1s")
        .replace("[5m]", "[5s]")
        .replace("offset 1m", "offset 3s")
        .replace("> 300", "> 5")
}

/// What leads to a server until it is cut.
#[derive(Debug)]
struct Way {
    address: String,
    connections: JoinSet<()>,
}

impl Way {
    async fn to(server: String) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let server = server.clone();
                pairs.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(server).await {
                        drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                    }
                });
            }
        });
        Ok(Self {
            address,
            connections,
        })
    }

    /// Ends all that goes through it; nobody gets through any more.
    async fn cut(&mut self) {
        self.connections.shutdown().await;
    }
}

/// A system that is watched.
struct Ground {
    cluster: Cluster,
    way: Way,
    prometheus: Prometheus,
}

impl Ground {
    async fn prepare() -> anyhow::Result<Self> {
        let plan = Plan {
            router_config: json!({ "sharding": { "max_connections": 2 } }),
            manager_config: json!({ "resharding": { "max_wal_retained": "64MiB" } }),
            ..Plan::default()
        };
        let mut cluster = Cluster::start(plan).await?;
        let way = Way::to(cluster.etcd.endpoint()).await?;
        // Its certificate ends in two days.
        let security = Authority::new()?.router(false)?;
        let mut second = Router::prepare(&way.address, &json!({ "security": security }))?;
        // Its HTTP front is under TLS, its metrics are not.
        second.program.launch()?;
        wait::until("the second router", wait::START, async || {
            second.program.metrics().await
        })
        .await?;
        cluster.routers.push(second);
        let columns = "k bigint PRIMARY KEY, v bigint";
        cluster.create("watched", columns, ("k", "bigint")).await?;
        let rules = std::fs::read_to_string(file("configs/prometheus/alerts.yml")?)?;
        let prometheus = Prometheus::watching(&cluster, &hurried(&rules)).await?;
        Ok(Self {
            cluster,
            way,
            prometheus,
        })
    }

    async fn fires(&self, name: &str, labels: &[(&str, &str)]) -> Outcome {
        let alert = self.prometheus.fires(name, labels, PATIENCE).await?;
        told!("{name}: {}", alert["annotations"]["summary"]);
        Ok(())
    }

    async fn connect(&self) -> anyhow::Result<Raw> {
        Raw::connect(&self.cluster.router(0)?.address()).await
    }

    async fn errors(&self) -> Outcome {
        let key = self.cluster.key_on("shard-1", 1).await?;
        let mut session = self.connect().await?;
        let mut failing = JoinSet::new();
        failing.spawn(async move {
            let insert = format!("INSERT INTO watched (k) VALUES ({key})");
            while session.query(&insert).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        self.fires("HighErrorRate", &[("shard_id", "shard-1")])
            .await
    }

    async fn pool(&self) -> Outcome {
        let key = self.cluster.key_on("shard-1", 1).await?;
        let select = format!("SELECT v FROM watched WHERE k = {key}");
        let mut holding = Vec::new();
        for _ in 0..2 {
            let mut session = self.connect().await?;
            session.query("BEGIN").await?;
            session.query(&select).await?;
            holding.push(session);
        }
        let mut waiting = JoinSet::new();
        let mut session = self.connect().await?;
        waiting.spawn(async move {
            // It is refused after a while, and stands in the line again.
            while session.query(&select).await.is_ok() {}
        });
        self.fires("PoolExhausted", &[("shard_id", "shard-1")])
            .await
    }

    async fn topology(&mut self) -> Outcome {
        // Jobs look at every table that is registered, so that it has to be there.
        let table = "CREATE TABLE later (k bigint PRIMARY KEY)";
        self.cluster.router(0)?.psql(table).await?;
        self.way.cut().await;
        let table = json!({ "name": "later", "shard_key": "k", "key_type": "bigint" });
        self.cluster.post_when_led("/tables", &table).await?;
        let url = self.cluster.router(1)?.program.metrics_url();
        let instance = url.replace("http://", "").replace("/metrics", "");
        let labels = [("instance", instance.as_str())];
        self.fires("EpochLag", &labels).await?;
        self.fires("TopologyNotFollowed", &labels).await
    }

    /// A job that a lock keeps from getting on, and then its log that is not read.
    async fn job(&mut self) -> Outcome {
        // Where no router is behind, jobs do not wait for one.
        self.cluster.routers.truncate(1);
        let client = self.cluster.shard("shard-1")?.client().await?;
        client
            .batch_execute("BEGIN; LOCK TABLE watched IN ACCESS EXCLUSIVE MODE")
            .await?;
        let split = json!({ "source_shard_id": "shard-1", "target_shards": [{ "id": "shard-2" }] });
        let job = begin(&self.cluster, "split", split).await?;
        self.fires("ReshardStalled", &[("job_id", &job)]).await?;
        client.batch_execute("ROLLBACK").await?;
        drop(client);
        until(&self.cluster, &job, "completed").await?;
        self.first_shard()?.kill().await?;
        let client = self.cluster.shard("shard-2")?.client().await?;
        let prepared = "BEGIN; CREATE TABLE in_doubt (); \
             PREPARE TRANSACTION 'vg:0000000000000001:1:shard-1:shard-2'";
        client.batch_execute(prepared).await?;
        let log = "SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000000)) \
             FROM generate_series(1, 45)";
        client.batch_execute(log).await?;
        self.fires("ShardDown", &[("shard_id", "shard-1")]).await?;
        let labels = [("job_id", job.as_str()), ("shard_id", "shard-2")];
        self.fires("WalRetention", &labels).await?;
        self.fires("TransactionsInDoubt", &[]).await
    }

    /// A backup that is old.
    async fn backup(&self) -> Outcome {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let last = LastBackup {
            id: "20010909T014640Z".to_owned(),
            point_at: at,
            finished_at: at,
            epoch: Epoch(1),
            bytes: 1,
        };
        let record = String::from_utf8(encode(&last))?;
        self.cluster
            .etcd
            .etcdctl(&["put", keys::LAST_BACKUP, &record])?;
        self.fires("BackupTooOld", &[]).await
    }

    fn first_shard(&mut self) -> anyhow::Result<&mut tests::Postgres> {
        self.cluster.shards.first_mut().context("there is a shard")
    }

    async fn leader(&mut self) -> Outcome {
        for manager in &mut self.cluster.managers {
            manager.0.kill().await?;
        }
        self.fires("NoLeader", &[]).await?;
        self.fires("ProgramDown", &[("job", "manager")]).await
    }
}

async fn each_alert_is_provoked_once() -> Outcome {
    if !prometheus::is_installed() {
        return Err(Unavailable::Missing("prometheus".to_owned()).into());
    }
    let mut ground = Ground::prepare().await?;
    ground
        .fires("CertificateExpiry", &[("used_for", "fronts")])
        .await?;
    let firing = ground.prometheus.firing().await?;
    let of_certificate = |it: &Value| it["labels"]["alertname"] == "CertificateExpiry";
    anyhow::ensure!(
        firing.iter().all(of_certificate),
        "before anything is wrong: {firing:?}"
    );
    ground.backup().await?;
    ground.errors().await?;
    ground.pool().await?;
    ground.topology().await?;
    ground.job().await?;
    ground.leader().await
}
