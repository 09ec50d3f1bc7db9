use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use platform::access::gate::Gate;
use platform::rates::{Limiter, Limits};
use platform::{Shutdown, TaskGroup};
use serde_json::{Value, json};
use topology::store::{MemoryStore, Store};
use topology::watch::{Backoff, Follower};
use tower::ServiceExt as _;

use crate::audit::refusals::recorder;
use crate::commit::Writer;
use crate::forward::Forwarder;
use crate::leader::{Candidate, Identity};
use crate::metrics::Metrics;
use crate::reshard::fake::Fake;
use crate::reshard::session::Sessions;
use crate::service::{Parts, Service};
use crate::shards::health::Health;
use crate::shards::{self, Shards};

mod access;
mod refusals;
mod reshard;

/// A manager over a store in memory, without its ports.
struct Manager {
    store: MemoryStore,
    app: Router,
    grpc: Router,
    stop: Shutdown,
    jobs: Fake,
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.stop.request();
    }
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A manager that leads.
async fn leading() -> Manager {
    start(true, Gate::open()).await
}

/// A manager that leads, lets in whom a gate does and knows of keys and revocations.
async fn guarded(gate: Gate) -> Manager {
    start(true, gate).await
}

async fn start(stands: bool, gate: Gate) -> Manager {
    let store = MemoryStore::new();
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let (tasks, stop) = (TaskGroup::new(), Shutdown::new());
    let identity = Identity {
        id: "m-1".to_owned(),
        grpc_address: "127.0.0.1:1".to_owned(),
    };
    let (follower, topology) = Follower::new(Arc::clone(&shared), Backoff::default());
    let ttl = Duration::from_secs(30);
    let (candidate, mut leader) = Candidate::new(Arc::clone(&shared), identity.clone(), ttl);
    drop(tasks.spawn("topology", follower.run(stop.clone())));
    if stands {
        drop(tasks.spawn("election", candidate.run(stop.clone())));
        while !leader.standing().is_leading() {
            leader.changed().await;
        }
    }
    topology.loaded().await;
    let (follower, grants) = topology::access::Follower::new(Arc::clone(&shared));
    drop(tasks.spawn("grants", follower.run(stop.clone())));
    grants.until(|grants| grants.is_loaded).await;
    let shards = shards::Config {
        tls: shards::tls::Tls::default(),
        user: "postgres".to_owned(),
        password: None,
        connect_timeout: Duration::from_secs(1),
        statement_timeout: Duration::from_secs(1),
    };
    let jobs = Fake::default();
    let writer = Arc::new(Writer::new(Arc::clone(&shared), None));
    let (refusals, scribe) = recorder(Arc::clone(&writer), leader.clone());
    drop(tasks.spawn("refusals", scribe.run(stop.clone())));
    let promoter = super::failover::tests::idle(&shared, &writer, (&topology, &leader), &tasks);
    let service = Service::new(Parts {
        promoter,
        writer,
        refusals,
        auth: access::auth(gate, grants),
        limiter: Limiter::new(Limits::NONE),
        store: shared,
        topology,
        leader,
        forwarder: Forwarder::new(identity.id.clone(), None),
        identity,
        shards: Shards::new(shards.clone(), tasks.clone()),
        sessions: Sessions::new(shards, tasks.clone()),
        health: Health::default(),
        max_wal_retained: 1 << 30,
        vnode_count: 16,
        jobs: Arc::new(jobs.clone()),
        stopping: stop.clone(),
        tasks,
    });
    let metrics = Metrics::try_new().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let grpc = crate::grpc::router(service.clone(), &metrics, health).unwrap();
    let app = super::router(service, &metrics);
    Manager {
        store,
        app,
        grpc,
        stop,
        jobs,
    }
}

impl Manager {
    async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        (status, body)
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(request(Method::GET, path, None)).await
    }

    async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.send(request(Method::POST, path, Some(body))).await
    }

    async fn delete(&self, path: &str) -> (StatusCode, Value) {
        self.send(request(Method::DELETE, path, None)).await
    }

    async fn add_shard(&self, name: &str, port: u16) -> Value {
        // Nothing listens on ports this low.
        let endpoint = format!("postgres://127.0.0.1:{port}/app");
        let body = json!({ "name": name, "primary_endpoint": endpoint });
        let (status, shard) = self.post("/shards", &body).await;
        assert_eq!(status, 201, "{shard}");
        shard
    }

    async fn add_orders(&self) {
        let body = json!({ "name": "Orders", "shard_key": "customer_id", "key_type": "bigint" });
        let (status, table) = self.post("/tables", &body).await;
        assert_eq!(status, 201, "{table}");
    }
}

fn request(method: Method, path: &str, body: Option<&Value>) -> Request<Body> {
    let body = body.map_or(Body::empty(), |body| Body::from(body.to_string()));
    Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

fn code(body: &Value) -> &str {
    body["error"]["code"].as_str().unwrap_or("(none)")
}

fn message(body: &Value) -> &str {
    body["error"]["message"].as_str().unwrap_or("(none)")
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_created_and_shown_in_its_shape() {
    let manager = leading().await;
    let body = json!({
        "name": "Shard One",
        "primary_endpoint": "postgres://admin:hunter2@db-1:5433/app",
        "replicas": ["postgres://db-2/app"],
        "vnode_count": 32,
    });
    let (status, created) = manager.post("/shards", &body).await;
    assert_eq!(status, 201, "{created}");
    assert_eq!(created["id"], "shard-one");
    assert_eq!(created["name"], "Shard One");
    assert_eq!(created["primary_endpoint"], "postgres://db-1:5433/app");
    assert_eq!(created["replicas"], json!(["postgres://db-2:5432/app"]));
    assert_eq!(created["status"], "active");
    assert_eq!(
        (&created["version"], &created["vnode_count"]),
        (&json!(1), &json!(32))
    );
    assert_eq!(created["created_at"], created["updated_at"]);
    let (status, found) = manager.get("/shards/shard-one").await;
    assert_eq!((status, &found), (StatusCode::OK, &created));
    let (_, all) = manager.get("/shards").await;
    assert_eq!(all, json!({ "shards": [created] }));
}

#[tokio::test(start_paused = true)]
async fn wrong_bodies_are_refused_with_the_fields_name() {
    const INVALID: &str = "invalid_argument";
    let manager = leading().await;
    manager.add_shard("taken", 1).await;
    let good = json!({ "name": "x", "primary_endpoint": "postgres://db/app" });
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let cases = [
        (with("colour", json!("red")), 400, INVALID, "colour"),
        (json!({ "name": "x" }), 400, INVALID, "primary_endpoint"),
        (with("name", json!("")), 400, INVALID, "name"),
        (with("name", json!("!!")), 400, INVALID, "name"),
        (with("name", json!(5)), 400, INVALID, "name"),
        (with("vnode_count", json!(0)), 400, INVALID, "vnode_count"),
        (
            with("vnode_count", json!(5000)),
            400,
            INVALID,
            "vnode_count",
        ),
        (with("vnode_count", json!(-1)), 400, INVALID, "vnode_count"),
        (
            with("primary_endpoint", json!("mysql://u:pw@h/d")),
            400,
            INVALID,
            "scheme",
        ),
        (
            with("replicas", json!(["postgres://db/app"])),
            400,
            INVALID,
            "twice",
        ),
        (with("name", json!("Taken")), 409, "already_exists", "taken"),
        (
            with("primary_endpoint", json!("postgres://127.0.0.1:1/app")),
            409,
            "already_exists",
            "taken",
        ),
    ];
    for (body, status, wanted, text) in cases {
        let (found, answer) = manager.post("/shards", &body).await;
        assert_eq!(
            (found.as_u16(), code(&answer)),
            (status, wanted),
            "{body}: {answer}"
        );
        assert!(message(&answer).contains(text), "{body}: {answer}");
        assert!(!message(&answer).contains("pw"), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_json_or_too_long_or_nowhere_has_the_error_form() {
    let manager = leading().await;
    let mut broken = request(Method::POST, "/shards", None);
    *broken.body_mut() = Body::from("{");
    assert_eq!(manager.send(broken).await.0, StatusCode::BAD_REQUEST);
    let (status, answer) = manager
        .post("/shards", &json!({ "name": "x".repeat(300_000) }))
        .await;
    assert_eq!(
        (status.as_u16(), code(&answer)),
        (413, "resource_exhausted")
    );
    let (status, answer) = manager.delete("/ring").await;
    assert_eq!(
        (status.as_u16(), code(&answer)),
        (405, "method_not_allowed")
    );
    let (status, answer) = manager.get("/shards/nobody").await;
    assert_eq!((status.as_u16(), code(&answer)), (404, "not_found"));
}

#[tokio::test(start_paused = true)]
async fn an_idempotency_key_makes_a_repeated_request_harmless() {
    let manager = leading().await;
    let body = json!({ "name": "x", "primary_endpoint": "postgres://db/app" });
    let keyed = |body: &Value| {
        let mut request = request(Method::POST, "/shards", Some(body));
        let key = http::HeaderValue::from_static("k-1");
        request.headers_mut().insert("idempotency-key", key);
        request
    };
    let first = manager.send(keyed(&body)).await;
    assert_eq!(first.0, StatusCode::CREATED);
    assert_eq!(manager.send(keyed(&body)).await, first);
    let other = json!({ "name": "y", "primary_endpoint": "postgres://db/other" });
    let (status, answer) = manager.send(keyed(&other)).await;
    assert_eq!((status.as_u16(), code(&answer)), (409, "conflict"));
}

#[tokio::test(start_paused = true)]
async fn tables_and_groups_are_registered_in_their_shapes() {
    let manager = leading().await;
    manager.add_shard("a", 1).await;
    manager.add_orders().await;
    let reference = json!({ "name": "countries", "kind": "reference" });
    assert_eq!(manager.post("/tables", &reference).await.0, 201);
    let unsharded = json!({ "name": "app.\"Settings\"", "kind": "unsharded", "shard_id": "a" });
    assert_eq!(manager.post("/tables", &unsharded).await.0, 201);
    let group = json!({ "name": "users", "key_type": "varchar" });
    let (status, created) = manager.post("/groups", &group).await;
    assert_eq!(
        (status.as_u16(), &created["key_type"]),
        (201, &json!("text"))
    );
    let (_, tables) = manager.get("/tables").await;
    let expected = json!({ "tables": [
        { "name": "app.Settings", "kind": "unsharded", "shard_id": "a" },
        { "name": "public.countries", "kind": "reference" },
        { "name": "public.orders", "kind": "sharded", "shard_key": "customer_id",
          "key_type": "bigint", "group": "default" },
    ]});
    assert_eq!(tables, expected);
    let (_, groups) = manager.get("/groups").await;
    assert_eq!(
        groups["groups"][0],
        json!({ "name": "default", "key_type": "bigint" })
    );
    let (status, one) = manager.get("/tables/orders").await;
    assert_eq!((status.as_u16(), &one), (200, &expected["tables"][2]));
}

#[tokio::test(start_paused = true)]
async fn wrong_tables_are_refused() {
    let manager = leading().await;
    let early = json!({ "name": "t", "shard_key": "id", "key_type": "uuid" });
    let (status, answer) = manager.post("/tables", &early).await;
    assert_eq!(
        (status.as_u16(), code(&answer)),
        (409, "conflict"),
        "{answer}"
    );
    manager.add_shard("a", 1).await;
    manager.add_orders().await;
    let cases = [
        (
            json!({ "name": "t", "shard_key": "id", "key_type": "float" }),
            400,
            "float",
        ),
        (
            json!({ "name": "t", "shard_key": "", "key_type": "uuid" }),
            400,
            "shard_key",
        ),
        (
            json!({ "name": "t", "shard_key": "id", "key_type": "uuid" }),
            409,
            "uuid",
        ),
        (
            json!({ "name": "t", "shard_key": "id", "group": "x" }),
            404,
            "group x",
        ),
        (json!({ "name": "a b", "kind": "reference" }), 400, "name"),
        (
            json!({ "name": "t", "kind": "reference", "group": "x" }),
            400,
            "group",
        ),
        (
            json!({ "name": "t", "kind": "unsharded", "shard_id": "z" }),
            404,
            "shard z",
        ),
        (json!({ "name": "t", "kind": "odd" }), 400, "kind"),
        (json!({ "name": "t", "key_typ": "uuid" }), 400, "key_typ"),
        (
            json!({ "name": "public.ORDERS", "shard_key": "id" }),
            409,
            "registered already",
        ),
    ];
    for (body, status, text) in cases {
        let (found, answer) = manager.post("/tables", &body).await;
        assert_eq!(found.as_u16(), status, "{body}: {answer}");
        assert!(message(&answer).contains(text), "{body}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn ring_topology_and_keys_agree() {
    let manager = leading().await;
    manager.add_shard("a", 1).await;
    manager.add_shard("b", 2).await;
    manager.add_orders().await;
    let (_, ring) = manager.get("/ring").await;
    assert_eq!(
        (&ring["epoch"], &ring["vnode_count"]),
        (&json!(3), &json!(32))
    );
    let shares: f64 = (0..2)
        .map(|at| ring["shares"][at]["share"].as_f64().unwrap())
        .sum();
    assert!((shares - 1.0).abs() < 1e-6, "{shares}");
    let (_, topology) = manager.get("/topology").await;
    assert_eq!(topology["epoch"], 3);
    assert_eq!(topology["shards"][1]["owned_vnodes"], 16);
    let (status, place) = manager.get("/shard-for-key?key=42").await;
    assert_eq!((status.as_u16(), &place["epoch"]), (200, &json!(3)));
    let owner = place["shard_id"].as_str().unwrap();
    let at = usize::from(owner == "b");
    let tokens = ring["shares"][at]["tokens"].as_array().unwrap();
    assert!(tokens.contains(&place["vnode"]), "{place}");
    let cases = [
        ("/shard-for-key?key=abc", 400),
        ("/shard-for-key", 400),
        ("/shard-for-key?key=1&group=none", 404),
        ("/shard-for-key?key=1&colour=red", 400),
    ];
    for (path, status) in cases {
        assert_eq!(manager.get(path).await.0.as_u16(), status, "{path}");
    }
}

// Real sockets need the real clock: a paused one runs ahead to their time-outs.
#[tokio::test]
async fn a_shard_is_not_removed_while_it_is_needed_or_cannot_be_asked() {
    let manager = leading().await;
    manager.add_shard("a", 1).await;
    let (status, answer) = manager.delete("/shards/a").await;
    assert_eq!(
        (status.as_u16(), code(&answer)),
        (409, "conflict"),
        "{answer}"
    );
    manager.add_orders().await;
    manager.add_shard("b", 2).await;
    let (status, answer) = manager.delete("/shards/b").await;
    assert_eq!(status.as_u16(), 503, "{answer}");
    assert!(
        message(&answer).contains("shard b at postgres://127.0.0.1:2/app"),
        "{answer}"
    );
    let (status, answer) = manager.delete("/tables/orders").await;
    assert_eq!((status.as_u16(), code(&answer)), (503, "unavailable"));
    assert_eq!(manager.delete("/tables/none").await.0.as_u16(), 404);
}

#[tokio::test(start_paused = true)]
async fn the_audit_log_is_listed_newest_first() {
    let manager = leading().await;
    manager.add_shard("a", 1).await;
    manager.add_orders().await;
    let (_, audit) = manager.get("/audit?limit=5").await;
    let actions: Vec<_> = audit["entries"].as_array().unwrap().iter().collect();
    assert_eq!(actions.len(), 2);
    assert_eq!(
        (&actions[0]["action"], &actions[0]["epoch"]),
        (&json!("create_table"), &json!(2))
    );
    assert_eq!(actions[1]["target"], "a");
    assert_eq!(actions[1]["actor"], "anonymous");
    assert_eq!(manager.get("/audit?limit=0").await.0.as_u16(), 400);
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_mutations_wait_for_one_and_reads_go_on() {
    let manager = start(false, Gate::open()).await;
    let body = json!({ "name": "x", "primary_endpoint": "postgres://db/app" });
    let (status, answer) = manager.post("/shards", &body).await;
    assert_eq!((status.as_u16(), code(&answer)), (503, "unavailable"));
    assert_eq!(manager.get("/shards").await.1, json!({ "shards": [] }));
    let (status, health) = manager.get("/health").await;
    assert_eq!(
        (status.as_u16(), &health["status"]),
        (200, &json!("degraded"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_told_and_reads_go_on() {
    let manager = leading().await;
    manager.add_shard("a", 1).await;
    manager.store.set_reachable(false);
    let body = json!({ "name": "x", "primary_endpoint": "postgres://db/app" });
    let (status, answer) = manager.post("/shards", &body).await;
    assert_eq!(
        (status.as_u16(), code(&answer)),
        (503, "unavailable"),
        "{answer}"
    );
    assert_eq!(manager.get("/shards/a").await.0.as_u16(), 200);
    assert_eq!(manager.get("/audit").await.0.as_u16(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_user_lives_from_its_creation_to_its_removal() {
    let manager = leading().await;
    let app = json!({ "name": "app user/é", "password": "correct-horse" });
    let (status, created) = manager.post("/users", &app).await;
    assert_eq!(status, 201, "{created}");
    let expected = (&json!("app user/é"), &json!(true), &json!(1));
    let seen = (&created["name"], &created["enabled"], &created["version"]);
    assert_eq!(seen, expected);
    let (status, again) = manager.post("/users", &app).await;
    assert_eq!((status.as_u16(), code(&again)), (409, "already_exists"));

    let path = "/users/app%20user%2F%C3%A9";
    for (method, body) in [
        (Method::PATCH, json!({ "enabled": false })),
        (Method::PUT, json!({ "password": "battery-staple" })),
    ] {
        let (status, changed) = manager.send(request(method, path, Some(&body))).await;
        assert_eq!((status.as_u16(), &changed["enabled"]), (200, &json!(false)));
    }
    let (_, found) = manager.get(path).await;
    assert_eq!(found["version"], 3);
    let (_, all) = manager.get("/users").await;
    assert_eq!(all, json!({ "users": [found] }));

    let (_, audit) = manager.get("/audit?result=done").await;
    let actions = audit["entries"].as_array().unwrap().iter();
    let actions: Vec<_> = actions.map(|entry| entry["action"].clone()).collect();
    assert_eq!(actions, ["alter_user", "alter_user", "create_user"]);
    for text in [audit.to_string(), all.to_string()] {
        assert!(
            !text.contains("SCRAM") && !text.contains("battery"),
            "{text}"
        );
    }
    for entry in manager.store.list("/").await.unwrap().entries {
        let value = String::from_utf8_lossy(&entry.value);
        assert!(
            !value.contains("horse") && !value.contains("battery"),
            "{value}"
        );
        assert_eq!(
            value.contains("SCRAM"),
            entry.key.contains("/users/"),
            "{value}"
        );
    }

    assert_eq!(manager.delete(path).await.0, 204);
    for method in [Method::GET, Method::DELETE] {
        let (status, gone) = manager.send(request(method, path, None)).await;
        assert_eq!((status.as_u16(), code(&gone)), (404, "not_found"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_password_is_said_without_it() {
    let manager = leading().await;
    let long = "battery".repeat(200);
    let verifier = "SCRAM-SHA-256$4096:battery";
    for (body, field) in [
        (json!({ "name": "a" }), "password"),
        (json!({ "name": "a", "password": "" }), "password"),
        (json!({ "name": "a", "password": long }), "password"),
        (
            json!({ "name": "a", "password": "battery\u{0}" }),
            "password",
        ),
        (
            json!({ "name": "a", "password": ["battery"] }),
            "must be a string",
        ),
        (
            json!({ "name": "a", "password": 8_675_309 }),
            "must be a string",
        ),
        (json!({ "name": "a", "verifier": verifier }), "verifier"),
        (
            json!({ "name": "a", "verifier": verifier, "password": "battery" }),
            "verifier",
        ),
        (json!({ "name": "", "password": "battery" }), "name"),
        (json!({ "name": "a\nb", "password": "battery" }), "name"),
    ] {
        let (status, error) = manager.post("/users", &body).await;
        assert_eq!(
            (status.as_u16(), code(&error)),
            (400, "invalid_argument"),
            "{error}"
        );
        let text = message(&error);
        assert!(text.contains(field), "{text}");
        assert!(
            !text.contains("battery") && !text.contains("8675309"),
            "{text}"
        );
    }
    let nothing = request(Method::PATCH, "/users/a", Some(&json!({})));
    assert_eq!(manager.send(nothing).await.0, 400);
}
