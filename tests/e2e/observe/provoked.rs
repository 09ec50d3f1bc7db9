//! Each alert, provoked in a real Prometheus against a live system. Only the times are shortened.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::authority::Authority;
use tests::cluster::Plan;
use tests::proxy::Proxy;
use tests::raw::Raw;
use tests::{Cluster, Prometheus, Router, http, prometheus, wait};
use tokio::task::JoinSet;
use topology::records::{LastBackup, encode};
use topology::{Epoch, keys};

use super::shown::file;
use crate::reshard::job::{begin, until};
use crate::suite::{Outcome, Suite, Unavailable, long, same, told};

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

/// A system that is watched.
struct Ground {
    cluster: Cluster,
    /// What leads to etcd until it is cut.
    way: Option<Proxy>,
    prometheus: Prometheus,
    /// The alerts that fired.
    fired: Mutex<BTreeSet<String>>,
}

/// How many sessions and requests the first router takes.
const MAX_CLIENTS: usize = 20;
const REQUESTS: u32 = 1;

impl Ground {
    async fn prepare() -> anyhow::Result<Self> {
        let plan = Plan {
            router_config: json!({
                "sharding": { "max_connections": 2 },
                "pgwire": { "max_client_connections": MAX_CLIENTS },
                "limits": { "requests_per_second": REQUESTS, "request_burst": REQUESTS },
            }),
            manager_config: json!({ "resharding": { "max_wal_retained": "64MiB" } }),
            ..Plan::default()
        };
        let mut cluster = Cluster::start(plan).await?;
        let way = Proxy::start(&cluster.etcd.endpoint()).await?;
        // Its certificate ends in two days.
        let security = Authority::new()?.router(false)?;
        let mut second = Router::prepare(&way.endpoint(), &json!({ "security": security }))?;
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
            way: Some(way),
            prometheus,
            fired: Mutex::default(),
        })
    }

    async fn fires(&self, name: &str, labels: &[(&str, &str)]) -> Outcome {
        let alert = self.prometheus.fires(name, labels, PATIENCE).await?;
        told!("{name}: {}", alert["annotations"]["summary"]);
        let mut fired = self.fired.lock().unwrap_or_else(PoisonError::into_inner);
        fired.insert(name.to_owned());
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
        let labels = [("shard_id", "shard-1")];
        self.fires("HighErrorRate", &labels).await?;
        self.fires("HighErrorRatio", &labels).await
    }

    async fn latency(&self) -> Outcome {
        let mut session = self.connect().await?;
        let mut slow = JoinSet::new();
        slow.spawn(async move {
            let sleep = "/* shard = 'shard-2' */ SELECT pg_sleep(1.3)";
            while session.query(sleep).await.is_ok() {}
        });
        self.fires("HighLatency", &[("shard_id", "shard-2")]).await
    }

    /// More requests than a client may make, and nearly all of the sessions that there may be.
    async fn clients(&self) -> Outcome {
        let url = format!(
            "{}/v1/shard-for-key?key=1",
            self.cluster.router(0)?.program.http()
        );
        let mut asking = JoinSet::new();
        for _ in 0..4 {
            let url = url.clone();
            asking.spawn(async move {
                while http::get(&url).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
        self.fires("RequestsRefused", &[]).await?;
        let mut sessions = Vec::new();
        for _ in 0..MAX_CLIENTS - 2 {
            sessions.push(self.connect().await?);
        }
        self.fires("ConnectionsNearLimit", &[]).await
    }

    /// The first router in a control group that has little more memory than it uses.
    async fn memory(&self) -> Outcome {
        let program = &self.cluster.router(0)?.program;
        let status = std::fs::read_to_string(format!("/proc/{}/status", program.id()?))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.context("the router has memory")?.trim();
        let kilobytes: u64 = resident.trim_end_matches("kB").trim().parse()?;
        let group = Group::with_memory(kilobytes * 1024 / 10 * 11)?;
        group.take(program.id()?)?;
        let fired = self.fires("MemoryNearLimit", &[("job", "router")]).await;
        group.give_back(program.id()?)?;
        fired
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
        self.way = None;
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

/// A control group of its own, which takes root.
struct Group(PathBuf);

impl Group {
    fn with_memory(bytes: u64) -> anyhow::Result<Self> {
        let name = format!("sharding-alerts-{}", std::process::id());
        let root = Path::new("/sys/fs/cgroup");
        let (root, limit) = if root.join("cgroup.controllers").exists() {
            (root.to_owned(), "memory.max")
        } else {
            (root.join("memory"), "memory.limit_in_bytes")
        };
        let group = Self(root.join(name));
        std::fs::create_dir(&group.0).context("a control group: run it as root")?;
        std::fs::write(group.0.join(limit), bytes.to_string())?;
        Ok(group)
    }

    fn take(&self, process: u32) -> Outcome {
        Ok(std::fs::write(
            self.0.join("cgroup.procs"),
            process.to_string(),
        )?)
    }

    fn give_back(&self, process: u32) -> Outcome {
        let root = self.0.with_file_name("cgroup.procs");
        Ok(std::fs::write(root, process.to_string())?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It is empty, unless the test failed before.
        drop(std::fs::remove_dir(&self.0));
    }
}

/// The names of all rules.
fn alerts() -> anyhow::Result<BTreeSet<String>> {
    let rules = std::fs::read_to_string(file("configs/prometheus/alerts.yml")?)?;
    let names = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    Ok(names.map(str::to_owned).collect())
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
    ground.latency().await?;
    ground.pool().await?;
    ground.clients().await?;
    ground.memory().await?;
    ground.topology().await?;
    ground.job().await?;
    ground.leader().await?;
    let fired = ground
        .fired
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    same!(fired, alerts()?);
    Ok(())
}
