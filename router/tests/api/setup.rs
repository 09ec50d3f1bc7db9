//! Shards, a router's inner parts around them, and a client of its HTTP front.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use http_body_util::BodyExt as _;
use platform::probe::Readiness;
use platform::{Shutdown, TaskGroup};
use router::barrier::Barrier;
use router::cache::Cache;
use router::config::Config;
use router::core::Core;
use router::exec::Executor;
use router::hold::Holding;
use router::ingress::{self, Doors};
use router::managers::Managers;
use router::metrics::Metrics;
use router::moving::Moving;
use router::pool::{self, Credentials};
use router::schema::Schema;
use router::twopc::TwoPhase;
use router::view::Keeper;
use serde_json::{Value, json};
use tests::Postgres;
use topology::records::{Incarnation, ShardVnodes};
use topology::store::MemoryStore;
use topology::{
    Endpoint, Epoch, Group, GroupName, KeyType, Parts, Placement, Shard, ShardId, ShardState,
    Snapshot, Table, TableName, Token, ring,
};
use tower::ServiceExt as _;

/// A router without its sockets, and its shards.
pub(crate) struct Router {
    pub(crate) shards: Vec<Postgres>,
    pub(crate) executor: Arc<Executor>,
    pub(crate) registry: prometheus::Registry,
    pub(crate) readiness: Readiness,
    pub(crate) tasks: TaskGroup,
    shutdown: Shutdown,
}

/// An answer of the HTTP front.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json()
    }

    /// The error's fields, of an answer with this status.
    pub(crate) fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()["error"].clone()
    }
}

impl Router {
    /// Starts `count` shards named a, b, c ...
    pub(crate) async fn start(count: usize) -> Self {
        let starting = (0..count).map(|_| Postgres::start());
        let started = futures_util::future::join_all(starting).await;
        let shards: Vec<Postgres> = started.into_iter().map(Result::unwrap).collect();
        let env = BTreeMap::new();
        let config = Config::parse(CONFIG, &env).unwrap();
        let snapshot = Snapshot::try_new(Epoch(7), parts(&shards)).unwrap();
        let registry = platform::metrics::new_registry("router");
        let metrics = Metrics::register(&registry).unwrap();
        let pools = pool::metrics::Metrics::register(&registry).unwrap();
        let topology = topology::watch::View::fixed(snapshot);
        let (tasks, shutdown) = (TaskGroup::new(), Shutdown::new());
        let limits = config.sharding.hold;
        let holding = Holding::register(limits, &registry, shutdown.clone()).unwrap();
        let moving = Moving::register(limits, &registry, shutdown.clone()).unwrap();
        let barrier = Barrier::default();
        let pool = pool_config(&config, &barrier);
        let (keeper, view) = Keeper::new(
            topology,
            (pool, config.sharding.replicas),
            pools,
            metrics.clone(),
            (holding.clone(), moving.clone(), barrier),
        );
        drop(tasks.spawn("pools", keeper.run(shutdown.clone())));
        tests::wait::until("the topology", tests::wait::SETTLE, || {
            let seen = view.load().snapshot.epoch() == Epoch(7);
            std::future::ready(if seen {
                Ok(())
            } else {
                Err(anyhow::anyhow!("empty"))
            })
        })
        .await
        .unwrap();
        let core = Arc::new(Core {
            store: Arc::new(MemoryStore::new()),
            ids: router::ids::Ids::new(Arc::new(MemoryStore::new())),
            managers: Managers::new(Arc::new(MemoryStore::new()), None, None),
            schema: Schema::default(),
            cache: Cache::new(1_000),
            config,
            view,
            holding,
            moving,
            metrics,
            replicas: router::replica::metrics::Metrics::register(&registry).unwrap(),
            twopc: TwoPhase::register(Incarnation(1), &registry).unwrap(),
        });
        Self {
            shards,
            executor: Arc::new(Executor::new(core, tasks.clone())),
            registry,
            readiness: Readiness::new(),
            tasks,
            shutdown,
        }
    }

    /// As [`Self::start`], with the tables that the topology names.
    pub(crate) async fn with_tables(count: usize) -> Self {
        let router = Self::start(count).await;
        for sql in [
            "CREATE TABLE orders (customer_id bigint, id int, note text, PRIMARY KEY (customer_id, id))",
            "CREATE TABLE countries (code text PRIMARY KEY, name text)",
            "CREATE TABLE words (word text PRIMARY KEY, meaning jsonb)",
        ] {
            router.query(sql, json!([])).await.ok();
        }
        router
    }

    pub(crate) fn http(&self, doors: &Doors) -> axum::Router {
        let executor = Arc::clone(&self.executor);
        ingress::http::router(executor, self.readiness.clone(), doors)
    }

    pub(crate) async fn query(&self, sql: &str, params: Value) -> Answer {
        self.execute(&json!({ "query": sql, "params": params }))
            .await
    }

    pub(crate) async fn execute(&self, body: &Value) -> Answer {
        self.post(body.to_string()).await
    }

    pub(crate) async fn post(&self, body: String) -> Answer {
        let request = http::Request::post("/v1/execute")
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(http::Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn send(&self, request: http::Request<Body>) -> Answer {
        let app = self.http(&Doors::open());
        answer(app.oneshot(request).await.unwrap()).await.unwrap()
    }

    /// The shard that a customer's orders are on.
    pub(crate) async fn shard_of(&self, key: &str) -> String {
        let located = self.get(&format!("/v1/shard-for-key?key={key}")).await.ok();
        located["shard_id"].as_str().unwrap().to_owned()
    }

    /// How many backends of this router run something on a shard.
    pub(crate) async fn busy(&self, shard: usize) -> String {
        let sql = "SELECT count(*) FROM pg_stat_activity \
                   WHERE application_name = 'sharding-router' AND state <> 'idle'";
        self.shards[shard].psql(sql).await.unwrap()
    }

    /// Waits until no shard runs anything for this router.
    pub(crate) async fn quiet(&self) {
        tests::wait::until("shards at rest", tests::wait::SETTLE, || async {
            for shard in 0..self.shards.len() {
                anyhow::ensure!(self.busy(shard).await == "0", "shard {shard} is busy");
            }
            Ok(())
        })
        .await
        .unwrap();
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

/// Reads an answer's body to its end; none when it is broken off.
pub(crate) async fn answer(response: http::Response<Body>) -> Option<Answer> {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    Some(Answer { status, text })
}

const CONFIG: &str = r#"{
    "security": {"enable_rbac": false},
    "server": {"write_timeout": "10s"},
    "sharding": {"connect_timeout": "2s", "checkout_timeout": "3s", "max_connections": 8}
}"#;

fn pool_config(config: &Config, barrier: &Barrier) -> pool::Config {
    pool::Config {
        max_connections: config.sharding.max_connections,
        connection_ttl: Duration::from_secs(300),
        connect_timeout: config.sharding.connect_timeout,
        checkout_timeout: config.sharding.checkout_timeout,
        failover_wait: config.sharding.failover_wait,
        max_waiting: config.sharding.max_waiting,
        max_prepared_statements: 100,
        credentials: Credentials {
            user: tests::postgres::USER.to_owned(),
            password: None,
        },
        dialer: pool::Dialer::default(),
        presence: pool::Presence::new(Incarnation(1), barrier.clone()),
    }
}

fn parts(shards: &[Postgres]) -> Parts {
    let ids: Vec<ShardId> = (b'a'..)
        .take(shards.len())
        .map(|letter| ShardId::try_new(&char::from(letter).to_string()).unwrap())
        .collect();
    let group = GroupName::try_new("default").unwrap();
    let texts = GroupName::try_new("texts").unwrap();
    let sharded = |name: &str, group: &GroupName, key: &str| Table {
        name: TableName::try_from_parts("public", name).unwrap(),
        placement: Placement::Sharded {
            group: group.clone(),
            shard_key: key.to_owned(),
        },
    };
    Parts {
        shards: ids
            .iter()
            .zip(shards)
            .map(|(id, server)| shard(id, server))
            .collect(),
        vnodes: vnodes(&ids),
        tables: vec![
            sharded("orders", &group, "customer_id"),
            sharded("words", &texts, "word"),
            Table {
                name: TableName::try_from_parts("public", "countries").unwrap(),
                placement: Placement::Reference,
            },
        ],
        groups: vec![
            Group {
                name: group,
                key_type: KeyType::Bigint,
            },
            Group {
                name: texts,
                key_type: KeyType::Text,
            },
        ],
        holds: Vec::new(),
    }
}

fn shard(id: &ShardId, server: &Postgres) -> Shard {
    Shard {
        id: id.clone(),
        name: id.as_str().to_owned(),
        primary_endpoint: Endpoint::try_new(&server.endpoint()).unwrap(),
        replicas: Vec::new(),
        state: ShardState::Active,
        weight: 1,
        vnode_count: 64,
        version: 1,
        created_at: SystemTime::UNIX_EPOCH,
        updated_at: SystemTime::UNIX_EPOCH,
        lineage: None,
        promotion: None,
    }
}

fn vnodes(ids: &[ShardId]) -> Vec<ShardVnodes> {
    let mut taken: Vec<Token> = Vec::new();
    let of_shard = |id: &ShardId| {
        let tokens = ring::tokens_for(id, 64, |token| taken.contains(&token));
        taken.extend(&tokens);
        ShardVnodes {
            shard: id.clone(),
            tokens,
        }
    };
    ids.iter().map(of_shard).collect()
}
