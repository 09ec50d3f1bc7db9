//! An older build of the programs is replaced by this one and comes back, one program at a time and
//! under load behind HAProxy: no query is lost, and what one has stored the other reads. Where the
//! older programs are is said by OLDER_PROGRAMS; `make upgrade FROM=COMMIT` builds them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Map, Value, json};
use tests::cluster::Plan;
use tests::folder::Folder;
use tests::program::executable;
use tests::{Cluster, Etcd, Manager, Postgres, Router, http, postgres, wait};

use super::balancers::Busy;
use crate::reshard::job;
use crate::suite::{Outcome, Suite, long, same, told};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    long!(suite: an_older_version_is_replaced_under_load_and_comes_back).into()
}

/// Names the folder of the older router, manager and shardctl.
const OLDER: &str = "OLDER_PROGRAMS";

const ROWS: usize = 500;

/// Two shards, two managers and three routers of the older version, with something of everything
/// that is stored.
async fn build(older: &Path) -> anyhow::Result<Cluster> {
    let plan = Plan {
        shards: 0,
        spares: 2,
        managers: 0,
        routers: 0,
        ..Plan::default()
    };
    let mut cluster = Cluster::start(plan).await?;
    let etcd = cluster.etcd.endpoint();
    for _ in 0..2 {
        let mut manager = Manager::prepare(&etcd, &json!({}))?;
        manager.0.run_from(Some(older));
        manager.0.start().await?;
        cluster.managers.push(manager);
    }
    for (number, shard) in (1..).zip(std::mem::take(&mut cluster.spares)) {
        let body = json!({
            "name": format!("shard-{number}"), "primary_endpoint": shard.endpoint(),
        });
        cluster.post_when_led("/shards", &body).await?;
        cluster.shards.push(shard);
    }
    for _ in 0..3 {
        let mut router = Router::prepare(&etcd, &json!({}))?;
        router.program.run_from(Some(older));
        router.program.start().await?;
        cluster.routers.push(router);
    }
    fill(&cluster).await?;
    Ok(cluster)
}

async fn fill(cluster: &Cluster) -> Outcome {
    let key = ("k", "bigint");
    cluster.create("write", "k bigint PRIMARY KEY", key).await?;
    cluster
        .create("kept", "k bigint PRIMARY KEY, v text", key)
        .await?;
    let router = cluster.router(0)?;
    router
        .psql("CREATE TABLE rate (code text PRIMARY KEY, v numeric)")
        .await?;
    router
        .psql("CREATE TABLE note (id bigint, body text)")
        .await?;
    let rate = json!({ "name": "rate", "kind": "reference" });
    let note = json!({ "name": "note", "kind": "unsharded", "shard_id": "shard-2" });
    let user = json!({ "name": "teller", "password": "a password of the teller" });
    for (path, body) in [("/tables", rate), ("/tables", note), ("/users", user)] {
        cluster.post_when_led(path, &body).await?;
    }
    cluster.settle().await?;
    let values: Vec<String> = (0..ROWS).map(|k| format!("({k}, 'row {k}')")).collect();
    let insert = format!("INSERT INTO kept (k, v) VALUES {}", values.join(", "));
    router.psql(&insert).await?;
    router
        .psql("INSERT INTO rate (code, v) VALUES ('a', 1.5)")
        .await?;
    Ok(())
}

/// What a manager says of all that is stored.
async fn stored(manager: &Manager) -> anyhow::Result<Value> {
    let mut all = json!({});
    for path in [
        "/shards",
        "/ring",
        "/tables",
        "/groups",
        "/users",
        "/reshard/jobs",
    ] {
        all[path] = http::get(&manager.api(path)).await?.expect(200)?;
    }
    Ok(all)
}

/// What changes by itself: epochs, probes' findings, times of jobs.
const MOVING: [&str; 9] = [
    "rate",
    "epoch",
    "lag_bytes",
    "lag_ms",
    "health",
    "servers",
    "settled",
    "updated_at",
    "eta_seconds",
];

/// Everything that was said before is said after; there may be more of it.
fn is_kept(before: &Value, after: &Value, path: &str) -> Outcome {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => objects_are_kept(before, after, path),
        (Value::Array(before), Value::Array(after)) => {
            let (was, is) = (before.len(), after.len());
            anyhow::ensure!(was <= is, "{path}: {is} left of {was}");
            for (number, (before, after)) in before.iter().zip(after).enumerate() {
                is_kept(before, after, &format!("{path}[{number}]"))?;
            }
            Ok(())
        }
        (before, after) => {
            same!(before, after, "{path}");
            Ok(())
        }
    }
}

fn objects_are_kept(
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    path: &str,
) -> Outcome {
    for (name, value) in before {
        if MOVING.contains(&name.as_str()) {
            continue;
        }
        let kept = after.get(name);
        let kept = kept.with_context(|| format!("{path} has no {name} any more"))?;
        is_kept(value, kept, &format!("{path}/{name}"))?;
    }
    Ok(())
}

/// Restarts every program from a folder, in the order of docs/upgrade.md: managers, first those that
/// follow, then routers.
async fn replace(cluster: &mut Cluster, busy: &Busy, programs: Option<&Path>) -> Outcome {
    let mut managers = Vec::new();
    for (number, manager) in cluster.managers.iter().enumerate() {
        let leads = manager.0.metrics().await?.contains("manager_is_leader 1");
        managers.push((leads, number));
    }
    managers.sort_unstable();
    for (_, number) in managers {
        let program = &mut cluster.managers[number].0;
        same!(program.terminate().await?.code(), Some(0));
        program.run_from(programs);
        program.start().await?;
        busy.goes_on().await?;
    }
    for router in &mut cluster.routers {
        let program = &mut router.program;
        same!(program.terminate().await?.code(), Some(0));
        program.run_from(programs);
        program.start().await?;
        busy.goes_on().await?;
    }
    Ok(())
}

/// A job has nothing to do until somebody asks for its end.
async fn rests(cluster: &Cluster, job: &str) -> Outcome {
    let url = cluster.manager(0)?.api(&format!("/reshard/jobs/{job}"));
    wait::until("a job that rests", wait::START, async || {
        let job = http::get(&url).await?.expect(200)?;
        let is_at_rest = job["legs"][0]["step"] == json!("stay");
        anyhow::ensure!(is_at_rest, "{job}");
        Ok(())
    })
    .await
}

/// The rows are there, through every router.
async fn rows_are_there(cluster: &Cluster) -> Outcome {
    for router in &cluster.routers {
        let kept = router
            .psql("SELECT count(*), count(DISTINCT v) FROM kept")
            .await?;
        same!(kept, format!("{ROWS}|{ROWS}"));
        same!(
            router.psql("SELECT v FROM rate WHERE code = 'a'").await?,
            "1.5"
        );
    }
    Ok(())
}

fn shardctl(program: &Path, etcd: &Etcd, arguments: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new(program)
        .args(["--output", "json"])
        .args(arguments)
        .env("ETCD_ENDPOINTS", etcd.endpoint())
        .env("DB_USERNAME", postgres::USER)
        .env("DB_PASSWORD", postgres::PASSWORD)
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{arguments:?}: {errors}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A backup that the older shardctl took is restored by this one, and this version's programs serve
/// it.
async fn its_backup_is_restored(backup: &str) -> Outcome {
    let etcd = Etcd::start().await?;
    let shards = [Postgres::start().await?, Postgres::start().await?];
    let places = (1..).zip(&shards);
    let places: Vec<String> = places
        .map(|(number, shard)| format!("shard-{number}={}", shard.endpoint()))
        .collect();
    let program = executable("shardctl")?;
    shardctl(&program, &etcd, &["backup", "verify", backup])?;
    let mut arguments = vec!["restore", backup];
    for place in &places {
        arguments.extend(["--shard", place]);
    }
    shardctl(&program, &etcd, &arguments)?;
    let mut manager = Manager::prepare(&etcd.endpoint(), &json!({}))?;
    manager.0.start().await?;
    let mut cluster = Cluster {
        routers: Vec::new(),
        managers: vec![manager],
        shards: shards.into(),
        spares: Vec::new(),
        etcd,
        secured: None,
    };
    cluster.add_router(&json!({})).await?;
    rows_are_there(&cluster).await
}

async fn an_older_version_is_replaced_under_load_and_comes_back() -> Outcome {
    let older = std::env::var_os(OLDER).map(PathBuf::from);
    let older = older.with_context(|| format!("{OLDER} names no folder: use `make upgrade`"))?;
    let mut cluster = build(&older).await?;
    let folder = Folder::shared()?;
    let to = folder.fresh("backups");
    let to = to.to_str().context("a path of UTF-8")?;
    let program = older.join("shardctl");
    let backup = shardctl(&program, &cluster.etcd, &["backup", "--to", to])?;
    let move_some = || job::some_vnodes("shard-1", "shard-2", 40);
    let first = job::begin(&cluster, "move", move_some()).await?;
    job::until(&cluster, &first, "completed").await?;
    rests(&cluster, &first).await?;
    let before = stored(cluster.manager(0)?).await?;

    let busy = Busy::begin(&cluster).await?;
    busy.goes_on().await?;
    replace(&mut cluster, &busy, None).await?;
    is_kept(&before, &stored(cluster.manager(0)?).await?, "")?;
    rows_are_there(&cluster).await?;
    let audit = http::get(&cluster.manager(0)?.api("/audit/verify"))
        .await?
        .expect(200)?;
    same!(audit["is_intact"], json!(true), "{audit}");
    told!("replaced: what was stored is kept");

    // The way back of the older version's job is this version's to go.
    job::ask(&cluster, &first, "rollback").await?;
    job::until(&cluster, &first, "rolled_back").await?;
    rows_are_there(&cluster).await?;
    let second = job::begin(&cluster, "move", move_some()).await?;
    job::until(&cluster, &second, "completed").await?;
    busy.goes_on().await?;
    told!("its job was rolled back, and another one was done");

    let before = stored(cluster.manager(0)?).await?;
    replace(&mut cluster, &busy, Some(&older)).await?;
    rows_are_there(&cluster).await?;
    let after = stored(cluster.manager(0)?).await?;
    for path in ["/ring", "/tables", "/users"] {
        // What the older one shows is what the newer one showed; it may show less.
        is_kept(&after[path], &before[path], path)?;
    }
    // What was moved is removed where it was.
    job::ask(&cluster, &second, "finish").await?;
    job::until(&cluster, &second, "completed").await?;
    busy.end(&cluster).await?;
    told!("and back again");
    drop(cluster);
    its_backup_is_restored(backup["folder"].as_str().context("a folder")?).await
}
