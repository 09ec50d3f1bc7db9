//! One shard with a replica, whose primary can be cut off, and a table.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::namespace::{Namespace, Unusable};
use tests::postgres::Options;
use tests::proxy::Proxy;
use tests::{Cluster, Postgres, http, program, wait};
use tokio::process::Command;

use crate::suite::Unavailable;

/// Whether commits wait for the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replication {
    Synchronous,
    Asynchronous,
}

/// A system with one shard.
pub(super) struct Ground {
    pub(super) cluster: Cluster,
    pub(super) primary: Postgres,
    pub(super) replica: Postgres,
    pub(super) way: Way,
}

/// What lies between the primary and all others.
pub(super) enum Way {
    /// A relay for its clients, and one for its replica.
    Relays(Proxy, Proxy),
    /// A network of its own.
    Network(Arc<Namespace>),
}

impl Ground {
    pub(super) async fn prepare(
        replication: Replication,
        manager_config: Value,
        routers: usize,
    ) -> anyhow::Result<Self> {
        let primary = Postgres::start().await?;
        let server = format!("127.0.0.1:{}", primary.address().port);
        let relays = (Proxy::start(&server).await?, Proxy::start(&server).await?);
        let way = Way::Relays(relays.0, relays.1);
        Self::around((primary, way), replication, manager_config, routers).await
    }

    /// The primary in a network of its own.
    pub(super) async fn in_a_network(
        replication: Replication,
        manager_config: Value,
    ) -> anyhow::Result<Self> {
        let network = Namespace::create().map_err(|error| match error.downcast() {
            Ok(Unusable::Missing) => Unavailable::Missing("iproute2".to_owned()).into(),
            Ok(unusable @ Unusable::Forbidden(_)) => {
                Unavailable::Forbidden(unusable.to_string()).into()
            }
            Err(other) => other,
        })?;
        let network = Arc::new(network);
        let options = Options {
            network: Some(Arc::clone(&network)),
            ..Options::default()
        };
        let primary = Postgres::start_with(options).await?;
        let way = Way::Network(network);
        Self::around((primary, way), replication, manager_config, 2).await
    }

    async fn around(
        (primary, way): (Postgres, Way),
        replication: Replication,
        manager_config: Value,
        routers: usize,
    ) -> anyhow::Result<Self> {
        let plan = Plan {
            shards: 0,
            routers,
            manager_config,
            router_config: json!({ "sharding": { "connect_timeout": "2s" } }),
            ..Plan::default()
        };
        let cluster = Cluster::start(plan).await?;
        let replica = Postgres::replica_of(&primary).await?;
        if let Way::Relays(_, stream) = &way {
            let endpoint = stream.endpoint();
            let port = endpoint.rsplit(':').next().unwrap_or_default().parse();
            follow(&replica, port?).await?;
        }
        if replication == Replication::Synchronous {
            // On the primary alone: the replica's configuration is a copy from before.
            for sql in [
                "ALTER SYSTEM SET synchronous_standby_names = '*'",
                "SELECT pg_reload_conf()",
            ] {
                primary.psql(sql).await?;
            }
        }
        let endpoint = way.endpoint(&primary);
        let shard = json!({
            "name": "shard-1", "primary_endpoint": endpoint, "replicas": [replica.endpoint()],
        });
        cluster.post_when_led("/shards", &shard).await?;
        cluster.settle().await?;
        let columns = "k bigint PRIMARY KEY, v bigint";
        cluster.create("led", columns, ("k", "bigint")).await?;
        let ground = Self {
            cluster,
            primary,
            replica,
            way,
        };
        ground.until_probed().await?;
        ground.until_followed().await?;
        Ok(ground)
    }

    /// Waits until the replica streams.
    async fn until_followed(&self) -> anyhow::Result<()> {
        wait::until("a walsender", wait::START, async || {
            let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
            let count = self.primary.psql(sql).await?;
            anyhow::ensure!(count.trim() != "0", "{count}");
            Ok(())
        })
        .await
    }

    pub(super) async fn shard(&self) -> anyhow::Result<Value> {
        let url = self.cluster.manager(0)?.api("/shards/shard-1");
        http::get(&url).await?.expect(200)
    }

    /// Waits until every manager has seen the primary as it is now.
    pub(super) async fn until_probed(&self) -> anyhow::Result<()> {
        wait::until("probes", wait::START, async || {
            for manager in &self.cluster.managers {
                let url = manager.api("/shards/shard-1");
                let shard = http::get(&url).await?.expect(200)?;
                let servers = shard["servers"].as_array().context("servers")?;
                let all = servers.iter().all(|it| it["reachable"] == json!(true));
                anyhow::ensure!(all && servers.len() == 2, "{shard}");
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn until_primary_is(&self, endpoint: &str) -> anyhow::Result<()> {
        wait::until("another primary", Duration::from_secs(40), async || {
            let shard = self.shard().await?;
            let done = shard["primary_endpoint"] == json!(endpoint);
            anyhow::ensure!(done && shard["promoting"] == json!(false), "{shard}");
            Ok(())
        })
        .await
    }

    pub(super) async fn promote(&self, wish: &Value) -> anyhow::Result<http::Answer> {
        let url = self.cluster.manager(0)?.api("/shards/shard-1/promote");
        http::post(&url, wish).await
    }

    /// What shardctl prints.
    pub(super) async fn shardctl(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = Command::new(program::executable("shardctl")?)
            .args([
                "--manager",
                &self.cluster.manager(0)?.0.grpc(),
                "-o",
                "json",
            ])
            .args(arguments)
            .output()
            .await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "shardctl {arguments:?}: {errors}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Which of the rows the replica lacks, which is the primary now.
    pub(super) async fn missing(&self, ids: &BTreeSet<i64>) -> anyhow::Result<BTreeSet<i64>> {
        let there = self.on(&self.replica, ids).await?;
        Ok(ids.difference(&there).copied().collect())
    }

    /// Which of the rows a server has.
    pub(super) async fn on(
        &self,
        server: &Postgres,
        ids: &BTreeSet<i64>,
    ) -> anyhow::Result<BTreeSet<i64>> {
        let rows = server
            .client()
            .await?
            .query("SELECT k FROM led", &[])
            .await?;
        let rows: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
        Ok(ids.intersection(&rows).copied().collect())
    }
}

/// Has a replica stream through a relay.
async fn follow(replica: &Postgres, port: u16) -> anyhow::Result<()> {
    let source = format!("host=127.0.0.1 port={port} user=postgres");
    let sql = format!("ALTER SYSTEM SET primary_conninfo = '{source}'");
    replica.psql(&sql).await?;
    replica.psql("SELECT pg_reload_conf()").await?;
    Ok(())
}

/// Which manager leads.
pub(super) async fn leader(cluster: &Cluster) -> anyhow::Result<usize> {
    wait::until("a leader", wait::START, async || {
        for (number, manager) in cluster.managers.iter().enumerate() {
            if manager.0.metrics().await?.contains("manager_is_leader 1") {
                return Ok(number);
            }
        }
        anyhow::bail!("nobody leads")
    })
    .await
}

impl Way {
    /// The address that the primary is registered by.
    pub(super) fn endpoint(&self, primary: &Postgres) -> String {
        match self {
            Self::Relays(clients, _) => format!("postgres://{}/app", clients.endpoint()),
            Self::Network(_) => primary.endpoint(),
        }
    }

    /// Nothing reaches the primary any more, nor leaves it.
    pub(super) fn cut(&self) -> anyhow::Result<()> {
        match self {
            Self::Relays(clients, stream) => {
                clients.cut();
                stream.cut();
                Ok(())
            }
            Self::Network(network) => network.cut(),
        }
    }

    /// The replica alone hears nothing more, as when the network between the two is slow.
    pub(super) fn cut_stream(&self) {
        if let Self::Relays(_, stream) = self {
            stream.cut();
        }
    }

    pub(super) fn mend(&self) -> anyhow::Result<()> {
        match self {
            Self::Relays(clients, stream) => {
                clients.mend();
                stream.mend();
                Ok(())
            }
            Self::Network(network) => network.mend(),
        }
    }
}
