//! Plans and jobs over REST. The jobs move nothing: the tests say what becomes of them.

use super::*;
use crate::reshard::api::Status;
use crate::reshard::ids::JobId;

/// Shards `a` and `b` with vnodes and a sharded table, and `c` that joined later.
async fn three_shards() -> Manager {
    let manager = leading().await;
    manager.add_shard("a", 1).await;
    manager.add_shard("b", 2).await;
    manager.add_orders().await;
    manager.add_shard("c", 3).await;
    manager
}

impl Manager {
    async fn start(&self, operation: &str, body: Value) -> Value {
        let (status, job) = self.post(&format!("/reshard/{operation}"), &body).await;
        assert_eq!(status, 202, "{job}");
        job
    }

    async fn ask(&self, job: &Value, request: &str) -> (u16, Value) {
        let path = format!("/reshard/jobs/{}/{request}", id_of(job));
        let (status, answer) = self.post(&path, &json!({})).await;
        (status.as_u16(), answer)
    }

    fn set(&self, job: &Value, status: Status, is_reversible: bool) {
        let id: JobId = id_of(job).parse().unwrap();
        let change = self.jobs.change(&id, |job| {
            job.status = status;
            job.is_reversible = is_reversible;
        });
        change.unwrap();
    }
}

fn id_of(value: &Value) -> &str {
    value["id"].as_str().expect("an id")
}

// Sources are asked for their sizes over real sockets, so these tests run by the real clock.
#[tokio::test]
async fn a_plan_shows_what_moves_and_runs_by_its_id() {
    let manager = three_shards().await;
    let body = json!({ "type": "add_shard", "shard": { "id": "c" } });
    let (status, plan) = manager.post("/reshard/plan", &body).await;
    assert_eq!(status, 200, "{plan}");
    assert_eq!(plan["type"], "add_shard");
    assert_eq!(plan["shards"][2]["shard_id"], "c");
    assert_eq!(plan["shards"][2]["vnodes_before"], 0);
    assert_eq!(plan["shards"][2]["is_new"], false);
    let share = plan["shards"][2]["share_after"].as_f64().unwrap();
    assert!((0.25..0.42).contains(&share), "{share}");
    assert_eq!(plan["legs"].as_array().unwrap().len(), 2);
    // Nothing listens at the shards, which the plan says instead of an estimate.
    assert_eq!(plan["rows"], Value::Null);
    assert!(plan["notes"][0].as_str().unwrap().contains("shard a"));
    let (_, dry) = manager
        .post(
            "/reshard/add-shard",
            &json!({ "shard": "c", "dry_run": true }),
        )
        .await;
    assert_eq!((&dry["id"], &dry["legs"]), (&plan["id"], &plan["legs"]));
    assert_eq!(manager.get("/reshard/jobs").await.1, json!({ "jobs": [] }));

    let job = manager.start("run", json!({ "plan_id": plan["id"] })).await;
    assert_eq!(job["type"], "add_shard");
    assert_eq!(job["status"], "pending");
    assert_eq!(job["plan_id"], plan["id"]);
    assert_eq!(job["source_shards"], json!(["a", "b"]));
    assert_eq!(job["target_shards"], json!(["c"]));
    assert_eq!(job["max_pause_ms"], 100);
    assert_eq!(job["keep_reverse_seconds"], 86_400);
    assert_eq!(job["legs"][0]["phase"], "planned");
    assert_eq!(job["error_message"], Value::Null);
    let path = format!("/reshard/jobs/{}", id_of(&job));
    assert_eq!(manager.get(&path).await, (StatusCode::OK, job.clone()));
    let (_, all) = manager.get("/reshard/jobs").await;
    assert_eq!(all, json!({ "jobs": [job] }));
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_job_starts_from_its_fixed_shape() {
    let new = json!({
        "name": "d", "primary_endpoint": "postgres://u:secret@127.0.0.1:9/app",
        "replicas": [], "vnode_count": 16,
    });
    let cases = [
        (
            "split",
            json!({ "source_shard_id": "a", "target_shards": [{ "id": "a" }, new] }),
            ("a", "d"),
        ),
        (
            "merge",
            json!({ "source_shard_ids": ["a", "b"], "target_shard": { "id": "a" } }),
            ("b", "a"),
        ),
        (
            "move",
            json!({ "count": 2, "from": "a", "to": "c" }),
            ("a", "c"),
        ),
        (
            "drain",
            json!({ "shard_id": "b", "max_pause_ms": 50 }),
            ("b", "a"),
        ),
        ("add-shard", json!({ "shard": new }), ("a", "d")),
        ("rebalance", json!({}), ("a", "c")),
    ];
    for (operation, body, (source, target)) in cases {
        let manager = three_shards().await;
        let job = manager.start(operation, body).await;
        assert_eq!(job["type"], operation.replace('-', "_"));
        assert_eq!(job["source_shards"][0], source, "{job}");
        assert_eq!(job["target_shards"][0], target, "{job}");
        let (status, shard) = manager.get("/shards/d").await;
        if target == "d" {
            assert_eq!((status.as_u16(), &shard["owned_vnodes"]), (200, &json!(0)));
            assert_eq!(shard["primary_endpoint"], "postgres://127.0.0.1:9/app");
            let (_, audit) = manager.get("/audit?limit=1").await;
            assert_eq!(audit["entries"][0]["action"], "create_shard");
        } else {
            assert_eq!(status.as_u16(), 404);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_an_earlier_attempt_registered_is_taken_as_it_is() {
    let manager = three_shards().await;
    let new = |port: u16| {
        let endpoint = format!("postgres://127.0.0.1:{port}/app");
        json!({ "shard": { "name": "c", "primary_endpoint": endpoint } })
    };
    let (status, answer) = manager.post("/reshard/add-shard", &new(9)).await;
    assert_eq!((status.as_u16(), code(&answer)), (409, "already_exists"));
    let (status, answer) = manager
        .post(
            "/reshard/add-shard",
            &json!({ "shard": { "name": "e", "primary_endpoint": "postgres://127.0.0.1:1/app" } }),
        )
        .await;
    assert_eq!((status.as_u16(), code(&answer)), (409, "already_exists"));
    manager.start("add-shard", new(3)).await;
}

#[tokio::test(start_paused = true)]
async fn a_plan_does_not_run_on_another_ring() {
    let manager = three_shards().await;
    let body = json!({ "shard": "c", "dry_run": true });
    let (_, plan) = manager.post("/reshard/add-shard", &body).await;
    // What does not change the ring does not change the plan.
    manager
        .post("/groups", &json!({ "name": "g", "key_type": "text" }))
        .await;
    let named = json!({ "shard": "c", "plan_id": "0123456789abcdef" });
    let (status, answer) = manager.post("/reshard/add-shard", &named).await;
    assert_eq!((status.as_u16(), code(&answer)), (409, "conflict"));
    assert!(message(&answer).contains(id_of(&plan)), "{answer}");
    let other = json!({ "plan_id": plan["id"] });
    let (status, answer) = manager.post("/reshard/drain", &other).await;
    assert_eq!(status.as_u16(), 400);
    assert!(
        message(&answer).contains("is that of type add_shard, not drain"),
        "{answer}"
    );
    let unknown = json!({ "plan_id": "0123456789abcdef" });
    let (status, answer) = manager.post("/reshard/run", &unknown).await;
    assert_eq!((status.as_u16(), code(&answer)), (404, "not_found"));
    manager.start("add-shard", other).await;
}

/// Operations with the status and a part of the message that they are refused with.
type Refusals = Vec<(&'static str, Value, u16, &'static str)>;

async fn are_refused(cases: Refusals) {
    let manager = three_shards().await;
    for (operation, body, status, text) in cases {
        let (found, answer) = manager.post(&format!("/reshard/{operation}"), &body).await;
        assert_eq!(found.as_u16(), status, "{operation} {body}: {answer}");
        assert!(
            message(&answer).contains(text),
            "{operation} {body}: {answer}"
        );
    }
    let (_, all) = manager.get("/reshard/jobs").await;
    assert_eq!(all, json!({ "jobs": [] }));
}

fn split(targets: &Value) -> Value {
    json!({ "source_shard_id": "a", "target_shards": targets })
}

#[tokio::test(start_paused = true)]
async fn what_has_no_plan_is_refused_with_its_reason() {
    are_refused(vec![
        ("split", split(&json!([])), 400, "no target"),
        ("split", split(&json!(["x"])), 404, "shard x"),
        ("drain", json!({ "shard_id": "c" }), 409, "owns no vnodes"),
        (
            "add-shard",
            json!({ "shard": "a" }),
            409,
            "fair share already",
        ),
        ("rebalance", json!({ "by": "luck" }), 400, "by"),
        ("move", json!({ "from": "a", "to": "b" }), 400, "vnodes"),
        (
            "move",
            json!({ "from": "a", "to": "b", "count": 17 }),
            400,
            "owns 16",
        ),
        (
            "move",
            json!({ "from": "a", "to": "b", "vnodes": [1] }),
            400,
            "no vnode",
        ),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn wrong_bodies_are_refused_by_field() {
    let with = |field: &str, value: Value| {
        let mut body = json!({ "shard_id": "a" });
        body[field] = value;
        body
    };
    let both = json!({ "from": "a", "to": "b", "count": 1, "vnodes": [1] });
    are_refused(vec![
        ("split", json!({}), 400, "source_shard_id"),
        (
            "split",
            split(&json!([{ "id": "b", "name": "x" }])),
            400,
            "name",
        ),
        (
            "split",
            split(&json!([{ "name": "x" }])),
            400,
            "primary_endpoint",
        ),
        ("split", split(&json!([5])), 400, "a shard is its id"),
        (
            "move",
            json!({ "from": "a", "to": "b", "count": 0 }),
            400,
            "count",
        ),
        ("move", both, 400, "count"),
        ("drain", with("force", json!(true)), 400, "force"),
        ("drain", with("max_pause_ms", json!(0)), 400, "max_pause_ms"),
        ("drain", with("max_pause_ms", json!(5)), 400, "max_pause_ms"),
        ("drain", with("dry_run", json!("yes")), 400, "boolean"),
        (
            "drain",
            with("keep_reverse_seconds", json!(9_999_999)),
            400,
            "keep_reverse",
        ),
        ("run", json!({ "plan_id": "x" }), 400, "plan_id"),
        ("run", json!({}), 400, "plan_id"),
        ("plan", json!({ "type": "shuffle" }), 400, "type"),
        ("plan", json!({ "type": "drain" }), 400, "shard_id"),
    ])
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_job_keeps_its_shards_to_itself_until_it_is_over() {
    let manager = three_shards().await;
    let job = manager
        .start("move", json!({ "count": 2, "from": "a", "to": "c" }))
        .await;
    let second = json!({ "count": 2, "from": "b", "to": "c" });
    let refused = |way: &'static str| {
        let (manager, second, job) = (&manager, &second, &job);
        async move {
            let (status, answer) = manager.post("/reshard/move", second).await;
            assert_eq!((status.as_u16(), code(&answer)), (409, "conflict"));
            assert!(message(&answer).contains(id_of(job)), "{answer}");
            assert!(message(&answer).contains(way), "{answer}");
        }
    };
    refused("wait for it, or cancel it").await;
    manager.set(&job, Status::Completed, true);
    refused("finish it, or roll it back").await;
    manager.set(&job, Status::Completed, false);
    manager.start("move", second.clone()).await;
}

#[tokio::test(start_paused = true)]
async fn a_job_is_asked_for_what_its_state_allows() {
    let manager = three_shards().await;
    let job = manager.start("drain", json!({ "shard_id": "b" })).await;
    let (status, answer) = manager.ask(&job, "resume").await;
    assert_eq!((status, code(&answer)), (409, "conflict"), "{answer}");
    let (status, answer) = manager.ask(&job, "rollback").await;
    assert_eq!(status, 409);
    assert!(message(&answer).contains("cancel it, or wait"), "{answer}");
    assert_eq!(manager.ask(&job, "pause").await.1["status"], "paused");
    assert_eq!(manager.ask(&job, "resume").await.1["status"], "precopy");
    manager.set(&job, Status::Completed, true);
    assert_eq!(manager.ask(&job, "cancel").await.0, 409);
    let (status, answer) = manager.ask(&job, "rollback").await;
    assert_eq!((status, &answer["status"]), (200, &json!("rolled_back")));
    let (status, answer) = manager.ask(&job, "finish").await;
    assert_eq!(status, 409);
    assert!(message(&answer).contains("it is over"), "{answer}");
    assert_eq!(manager.ask(&job, "explode").await.0, 404);
    for id in ["000000000000", "../x", "nobody"] {
        let (status, answer) = manager.ask(&json!({ "id": id }), "cancel").await;
        assert_eq!(status, 404, "{answer}");
    }
    let (status, answer) = manager.get("/reshard/jobs/000000000000").await;
    assert_eq!((status.as_u16(), code(&answer)), (404, "not_found"));
    let (status, _) = manager.get("/reshard/jobs/000000000000/events").await;
    assert_eq!(status.as_u16(), 404);
}

#[tokio::test(start_paused = true)]
async fn events_follow_a_job_to_its_end() {
    let manager = three_shards().await;
    let job = manager.start("drain", json!({ "shard_id": "b" })).await;
    let path = format!("/reshard/jobs/{}/events", id_of(&job));
    let response = manager
        .app
        .clone()
        .oneshot(request(Method::GET, &path, None))
        .await;
    let response = response.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        let text = String::from_utf8(data.to_vec()).unwrap();
        if text.starts_with(':') {
            continue;
        }
        let data = text.strip_prefix("event: job\ndata: ").expect("an event");
        let event: Value = serde_json::from_str(data.trim_end()).unwrap();
        let status = event["status"].as_str().unwrap().to_owned();
        manager.set(
            &job,
            match status.as_str() {
                "pending" => Status::Precopy,
                "precopy" => Status::Deltasync,
                "deltasync" => Status::Cutover,
                _ => Status::Completed,
            },
            true,
        );
        seen.push(status);
    }
    let expected = ["pending", "precopy", "deltasync", "cutover", "completed"];
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn a_follower_plans_and_shows_and_starts_nothing() {
    let manager = start(false, Gate::open()).await;
    let (status, answer) = manager.post("/reshard/rebalance", &json!({})).await;
    assert_eq!((status.as_u16(), code(&answer)), (503, "unavailable"));
    let (_, all) = manager.get("/reshard/jobs").await;
    assert_eq!(all, json!({ "jobs": [] }));
    let (status, answer) = manager
        .post("/reshard/rebalance", &json!({ "dry_run": true }))
        .await;
    assert_eq!((status.as_u16(), code(&answer)), (409, "conflict"));
    assert!(message(&answer).contains("the ring is empty"), "{answer}");
}
