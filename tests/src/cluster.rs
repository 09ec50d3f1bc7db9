//! A whole system: etcd, shards, managers and routers, with shards and tables registered.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};
use topology::store::{self, EtcdStore};
use topology::{Key, Snapshot, watch};

use crate::authority::Authority;
use crate::postgres::Options;
use crate::secured::Secured;
use crate::{Etcd, Manager, Postgres, Router, http, wait};

/// What a cluster consists of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Registered PostgreSQL servers.
    pub shards: usize,
    /// PostgreSQL servers that run but are not registered.
    pub spares: usize,
    /// Managers; one of them leads.
    pub managers: usize,
    /// Routers.
    pub routers: usize,
    /// Sharded tables to register, as name, key column and key type; nothing is created.
    pub tables: Vec<(&'static str, &'static str, &'static str)>,
    /// Settings of every PostgreSQL server.
    pub postgres: Options,
    /// Laid over the configuration of every router.
    pub router_config: Value,
    /// Laid over the configuration of every manager.
    pub manager_config: Value,
    /// Environment variables of every manager.
    pub manager_environment: Vec<(&'static str, String)>,
    /// Whose certificates everybody has, and asks everybody else for, where all is under TLS.
    pub authority: Option<Arc<Authority>>,
}

/// The environment of managers, built with failpoints, that read in this file where to die.
#[must_use]
pub fn dying_by(failpoints: &Path) -> Vec<(&'static str, String)> {
    let file = failpoints.to_string_lossy().into_owned();
    vec![("SHARDING_FAILPOINT_FILE", file)]
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            shards: 2,
            spares: 0,
            managers: 1,
            routers: 1,
            tables: Vec::new(),
            postgres: Options::default(),
            router_config: json!({}),
            manager_config: json!({}),
            manager_environment: Vec::new(),
            authority: None,
        }
    }
}

/// A running system; all of it ends with its value.
#[derive(Debug)]
pub struct Cluster {
    // Clients before servers: nothing logs the loss of what it depends on.
    /// Routers.
    pub routers: Vec<Router>,
    /// Managers.
    pub managers: Vec<Manager>,
    /// Registered shards: `shard-1` is the first.
    pub shards: Vec<Postgres>,
    /// Servers that are not registered.
    pub spares: Vec<Postgres>,
    /// The store.
    pub etcd: Etcd,
    /// What everybody is given where all is under TLS.
    pub secured: Option<Secured>,
}

impl Cluster {
    /// Starts everything and returns when every program has seen the whole topology.
    ///
    /// # Errors
    /// When a part does not come up or refuses a registration.
    pub async fn start(mut plan: Plan) -> anyhow::Result<Self> {
        let authority = plan.authority.clone();
        let secured = authority.as_deref().map(Secured::new).transpose()?;
        let etcd = match &authority {
            None => Etcd::start().await?,
            Some(authority) => Etcd::start_secured(authority).await?,
        };
        if let (Some(secured), Some(authority)) = (&secured, &authority) {
            plan.postgres = secured.postgres(authority)?;
        }
        let mut servers = Vec::new();
        for _ in 0..plan.shards + plan.spares {
            servers.push(Postgres::start_with(plan.postgres.clone()).await?);
        }
        let spares = servers.split_off(plan.shards);
        let mut cluster = Self {
            routers: Vec::new(),
            managers: Vec::new(),
            shards: servers,
            spares,
            etcd,
            secured,
        };
        for _ in 0..plan.managers {
            let mut manager = cluster.prepare_manager(&plan.manager_config)?;
            for (name, value) in &plan.manager_environment {
                manager.0.set_environment(name, value);
            }
            manager.0.launch()?;
            cluster.managers.push(manager);
        }
        for manager in &mut cluster.managers {
            manager.0.ready().await?;
        }
        cluster.register(&plan).await?;
        for _ in 0..plan.routers {
            cluster.add_router(&plan.router_config).await?;
        }
        Ok(cluster)
    }

    /// Starts a further router with `config` laid over its configuration.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn add_router(&mut self, config: &Value) -> anyhow::Result<()> {
        let etcd = self.etcd.endpoint();
        let mut router = match &self.secured {
            None => Router::prepare(&etcd, config)?,
            Some(secured) => {
                let mut router = Router::prepare(&etcd, &secured.configure(config))?;
                router.secure(&secured.access);
                secured.credentials(&mut router.program);
                router
            }
        };
        router.program.start().await?;
        self.routers.push(router);
        Ok(())
    }

    /// Starts a further manager with `config` laid over its configuration.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn add_manager(&mut self, config: &Value) -> anyhow::Result<()> {
        let mut manager = self.prepare_manager(config)?;
        manager.0.start().await?;
        self.managers.push(manager);
        Ok(())
    }

    fn prepare_manager(&self, config: &Value) -> anyhow::Result<Manager> {
        let etcd = self.etcd.endpoint();
        let Some(secured) = &self.secured else {
            return Manager::prepare(&etcd, config);
        };
        let mut manager = Manager::prepare(&etcd, &secured.configure(config))?;
        manager.0.secure(&secured.access);
        secured.credentials(&mut manager.0);
        Ok(manager)
    }

    async fn register(&self, plan: &Plan) -> anyhow::Result<()> {
        for (index, shard) in self.shards.iter().enumerate() {
            let name = format!("shard-{}", index + 1);
            let body = json!({ "name": name, "primary_endpoint": shard.endpoint() });
            self.post_when_led("/shards", &body).await?;
        }
        for (name, shard_key, key_type) in &plan.tables {
            self.register_table(name, shard_key, key_type).await?;
        }
        Ok(())
    }

    async fn register_table(
        &self,
        name: &str,
        shard_key: &str,
        key_type: &str,
    ) -> anyhow::Result<()> {
        let group = if key_type == "bigint" {
            "default"
        } else {
            key_type
        };
        let body = json!({
            "name": name, "shard_key": shard_key, "key_type": key_type, "group": group,
        });
        self.post_when_led("/tables", &body).await.map(drop)
    }

    /// Posts to the first manager, path below `/api/v1`; waits while nobody leads.
    ///
    /// # Errors
    /// When it is not answered by 201.
    pub async fn post_when_led(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = self.manager(0)?.api(path);
        let what = format!("POST {path}");
        wait::until(&what, wait::START, || async {
            http::post(&url, body).await?.expect(201)
        })
        .await
    }

    /// A manager by number.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn manager(&self, index: usize) -> anyhow::Result<&Manager> {
        self.managers
            .get(index)
            .with_context(|| format!("there is no manager {index}"))
    }

    /// A router by number.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn router(&self, index: usize) -> anyhow::Result<&Router> {
        self.routers
            .get(index)
            .with_context(|| format!("there is no router {index}"))
    }

    /// The shard with an id such as `shard-2`.
    ///
    /// # Errors
    /// When there is none.
    pub fn shard(&self, id: &str) -> anyhow::Result<&Postgres> {
        let number = id
            .strip_prefix("shard-")
            .and_then(|number| number.parse::<usize>().ok());
        let index = number.and_then(|number| number.checked_sub(1));
        let shard = index.and_then(|index| self.shards.get(index));
        shard.with_context(|| format!("there is no shard {id}"))
    }

    /// The topology as it stands in etcd.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let config = store::etcd::Config {
            endpoints: vec![self.etcd.endpoint()],
            timeout: wait::SETTLE,
            credentials: None,
            tls: None,
        };
        anyhow::ensure!(
            self.secured.is_none(),
            "the harness reads etcd in clear only"
        );
        let store = EtcdStore::connect(config)?;
        Ok(watch::load(&store).await?.snapshot()?)
    }

    /// The first key at or after `from` that hashes to `shard`.
    ///
    /// # Errors
    /// When the topology cannot be read, or none of 10,000 keys lives there.
    pub async fn key_on(&self, shard: &str, from: i64) -> anyhow::Result<i64> {
        let snapshot = self.snapshot().await?;
        let mut keys = from..from + 10_000;
        let key = keys.find(|&key| owner(&snapshot, &Key::Bigint(key)).is_some_and(|s| s == shard));
        key.with_context(|| format!("no key from {from} on lives on {shard}"))
    }

    /// Creates a table through the first router, registers it, and waits until every router knows
    /// it. Keys of bigint are in the group `default`, others in a group named as their type.
    ///
    /// # Errors
    /// When the router or the manager refuses it.
    pub async fn create(
        &self,
        name: &str,
        columns: &str,
        (shard_key, key_type): (&str, &str),
    ) -> anyhow::Result<()> {
        self.router(0)?
            .psql(&format!("CREATE TABLE {name} ({columns})"))
            .await?;
        self.register_table(name, shard_key, key_type).await?;
        self.settle().await
    }

    /// Waits until every router has seen the managers' newest epoch.
    ///
    /// # Errors
    /// When one does not.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let topology = http::get(&self.manager(0)?.api("/topology"))
            .await?
            .expect(200)?;
        let wanted = topology["epoch"].as_u64().context("epoch is a number")?;
        for router in &self.routers {
            router.program.has_seen(wanted).await?;
        }
        Ok(())
    }
}

/// The id of the shard that a key hashes to; none while the ring is empty.
#[must_use]
pub fn owner<'a>(snapshot: &'a Snapshot, key: &Key<'_>) -> Option<&'a str> {
    let vnode = snapshot.owner_of(key)?;
    Some(snapshot.shard(vnode.owner)?.id.as_str())
}
