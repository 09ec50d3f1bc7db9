//! Managers and routers that etcd does not hear, while they hear everybody else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::proxy::Proxy;
use tests::{Cluster, Manager, Router, http, wait};
use tokio::time::Instant;

use crate::reshard::job;
use crate::suite::{Outcome, Suite, alone, same, told};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_leader_that_is_cut_off_from_the_store_changes_nothing_any_more,
        a_router_that_is_cut_off_from_the_store_serves_what_it_knows,
    )
    .into()
}

/// The harness gives the leader's lease two seconds; an election and a reload come on top, on a
/// busy machine.
const TAKE_OVER: Duration = Duration::from_secs(10);

/// A change that no job minds.
fn group(name: &str) -> Value {
    json!({ "name": name, "key_type": "uuid" })
}

async fn term(manager: &Manager) -> anyhow::Result<(bool, u64)> {
    let health = http::get(&manager.api("/health")).await?.json()?;
    let term = health["leader"]["term"].as_u64().unwrap_or(0);
    Ok((health["is_leader"] == json!(true), term))
}

async fn leads(manager: &Manager) -> anyhow::Result<u64> {
    let (is_leader, term) = term(manager).await?;
    anyhow::ensure!(is_leader, "it does not lead");
    Ok(term)
}

/// Two managers, the first of which leads with this term and reaches the store through a link, and
/// a job of its that is under way.
struct Cut {
    cluster: Cluster,
    link: Proxy,
    term: u64,
    job: String,
}

async fn with_a_job_under_way(quick: &Value) -> anyhow::Result<Cut> {
    let mut cluster = Cluster::start(Plan {
        shards: 0,
        spares: 2,
        managers: 0,
        routers: 0,
        ..Plan::default()
    })
    .await?;
    let link = Proxy::start(&cluster.etcd.endpoint()).await?;
    let mut first = Manager::prepare(&link.endpoint(), quick)?;
    first.0.start().await?;
    let term = wait::until("the first leads", wait::START, async || leads(&first).await).await?;
    let mut second = Manager::prepare(&cluster.etcd.endpoint(), quick)?;
    second.0.start().await?;
    cluster.managers = vec![first, second];
    cluster.shards = std::mem::take(&mut cluster.spares);
    for (index, shard) in cluster.shards.iter().enumerate() {
        shard.psql("CREATE TABLE t (k bigint PRIMARY KEY)").await?;
        let name = format!("shard-{}", index + 1);
        let body = json!({ "name": name, "primary_endpoint": shard.endpoint() });
        cluster.post_when_led("/shards", &body).await?;
    }
    let table = json!({ "name": "t", "shard_key": "k", "key_type": "bigint" });
    cluster.post_when_led("/tables", &table).await?;
    let fill = "INSERT INTO t SELECT generate_series(1, 50000)";
    cluster.shards[0].psql(fill).await?;
    // Its job is under way, with its term on both shards, when nobody hears it any more.
    let some = job::some_vnodes("shard-1", "shard-2", 24);
    let job = job::begin_and_pause(&cluster, "move", some).await?;
    Ok(Cut {
        cluster,
        link,
        term,
        job,
    })
}

async fn a_leader_that_is_cut_off_from_the_store_changes_nothing_any_more() -> Outcome {
    let quick = json!({ "metadata": { "timeout": "1s" } });
    let Cut {
        cluster,
        link,
        term: old,
        job: moving,
    } = with_a_job_under_way(&quick).await?;
    link.cut();
    let cut_at = Instant::now();
    let [first, second] = cluster.managers.as_slice() else {
        anyhow::bail!("two managers");
    };
    let new = wait::until("the second leads", TAKE_OVER, async || leads(second).await).await?;
    told!("a new leader after {:.1} s", cut_at.elapsed().as_secs_f64());
    anyhow::ensure!(new > old, "term {old}, then {new}");
    let refused = http::post(&first.api("/groups"), &group("by_the_old_one")).await?;
    anyhow::ensure!(refused.status.is_server_error(), "{refused:?}");
    let (still_leads, _) = term(first).await?;
    anyhow::ensure!(!still_leads, "it believes that it leads");
    http::post(&second.api("/groups"), &group("by_the_new_one"))
        .await?
        .expect(201)?;
    let resume = format!("/reshard/jobs/{moving}/resume");
    http::post(&second.api(&resume), &json!({}))
        .await?
        .expect(200)?;
    wait::until("the job", wait::START, async || {
        let found = http::get(&second.api(&format!("/reshard/jobs/{moving}"))).await?;
        anyhow::ensure!(job::is_at(&found.expect(200)?, "completed")?, "{found:?}");
        Ok(())
    })
    .await?;
    // Whatever it had prepared is refused by the shards themselves.
    for shard in &cluster.shards {
        let refused = shard
            .address()
            .psql_output(&format!("SELECT vg.enter({old})"))
            .await?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        anyhow::ensure!(said.contains("VG004"), "{said}");
        shard.psql(&format!("SELECT vg.enter({new})")).await?;
    }
    let before = cluster.snapshot().await?.epoch();
    link.mend();
    wait::until("a write by the old one", wait::SETTLE, async || {
        http::post(&first.api("/groups"), &group("again"))
            .await?
            .expect(201)
    })
    .await?;
    same!(term(first).await?, (false, new));
    let snapshot = cluster.snapshot().await?;
    same!(snapshot.epoch().0, before.0 + 1);
    for (name, wanted) in [
        ("again", true),
        ("by_the_new_one", true),
        ("by_the_old_one", false),
    ] {
        let found = snapshot.groups().any(|group| group.name.as_str() == name);
        same!(found, wanted, "group {name}");
    }
    Ok(())
}

fn insert(key: i64) -> String {
    format!("INSERT INTO t (k) VALUES ({key})")
}

/// The routers that are listed, as number, incarnation and epoch.
async fn listed(cluster: &Cluster) -> anyhow::Result<Vec<(u64, String, u64)>> {
    let answer = http::get(&cluster.manager(0)?.api("/routers"))
        .await?
        .expect(200)?;
    let routers = answer["routers"].as_array().context("routers")?;
    let router = |router: &Value| {
        let incarnation = router["incarnation"].as_str()?.to_owned();
        let epoch = router["applied_epoch"].as_u64()?;
        Some((router["number"].as_u64()?, incarnation, epoch))
    };
    routers
        .iter()
        .map(|each| router(each).context("a router"))
        .collect()
}

async fn a_router_that_is_cut_off_from_the_store_serves_what_it_knows() -> Outcome {
    let mut cluster = Cluster::start(Plan::default()).await?;
    cluster
        .create("t", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let link = Proxy::start(&cluster.etcd.endpoint()).await?;
    let impatient = json!({ "sharding": { "hold": { "max_wait": "1s" } } });
    let mut router = Router::prepare(&link.endpoint(), &impatient)?;
    router.program.start().await?;
    cluster.routers.push(router);
    let before = wait::until("both routers", wait::SETTLE, async || {
        let listed = listed(&cluster).await?;
        same!(listed.len(), 2);
        Ok(listed)
    })
    .await?;
    anyhow::ensure!(before[0].1 != before[1].1, "one incarnation: {before:?}");
    let cut_off = cluster.router(1)?;
    let inserts: Vec<String> = (1..=50).map(insert).collect();
    cut_off
        .address()
        .psql_script(&inserts.join(
            ";
",
        ))
        .await?;
    let moves = cluster.key_on("shard-1", 2000).await?;
    let stays = cluster.key_on("shard-2", 2000).await?;
    link.cut();
    cut_off.psql(&insert(1000)).await?;
    let moved = job::begin(&cluster, "drain", json!({ "shard_id": "shard-1" })).await?;
    // Its lease ends, and the job goes on without it.
    wait::until("its lease's end", Duration::from_secs(40), async || {
        same!(listed(&cluster).await?.len(), 1);
        Ok(())
    })
    .await?;
    job::until(&cluster, &moved, "completed").await?;
    let everything = "SELECT count(*) FROM t";
    same!(cluster.router(0)?.psql(everything).await?, "51");
    // What it knows is old: what it may not answer by that is refused, and nothing is lost.
    for statement in [insert(moves), everything.to_owned()] {
        let refused = cut_off.address().psql_output(&statement).await?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        anyhow::ensure!(said.contains("40001"), "{statement}: {said}");
    }
    cut_off.psql(&insert(stays)).await?;
    let read = format!("SELECT k FROM t WHERE k = {stays}");
    same!(cut_off.psql(&read).await?, stays.to_string());
    same!(cluster.router(0)?.psql(everything).await?, "52");
    link.mend();
    wait::until("its return", wait::SETTLE, async || {
        cut_off
            .psql(&(insert(moves) + " ON CONFLICT DO NOTHING"))
            .await?;
        let now = listed(&cluster).await?;
        same!(now.len(), 2);
        anyhow::ensure!(
            before.iter().all(|was| now.iter().any(|is| is.1 == was.1)),
            "{now:?}"
        );
        Ok(())
    })
    .await
}
