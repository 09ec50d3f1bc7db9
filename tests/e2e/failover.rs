//! A replica takes a primary's place: by request, by itself, and by somebody else's hand; under
//! load, with every acknowledged write accounted for.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::{Manager, http, wait};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::suite::{Outcome, Suite, alone, same, told};

mod follow;
mod ground;
mod jobs;
mod load;

use ground::{Ground, Replication};
use load::Load;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut all: Vec<Trial> = alone!(suite:
        a_primary_that_answers_is_fenced_and_loses_nothing,
        no_write_is_lost_when_a_synchronous_primary_is_killed,
        no_write_is_lost_when_a_synchronous_primary_is_frozen,
        no_write_is_lost_when_a_synchronous_primary_is_cut_off,
        no_write_is_lost_when_the_network_of_a_synchronous_primary_is_parted,
        what_is_lost_when_the_network_is_parted_is_on_the_old_primary,
        what_an_asynchronous_primary_had_not_sent_is_all_that_is_lost,
        a_promotion_is_refused_where_it_could_do_harm,
        a_replica_is_promoted_by_itself_where_that_is_switched_on,
        a_replica_is_promoted_by_itself_when_the_network_is_parted,
        the_next_leader_carries_a_promotion_on,
    )
    .into();
    all.extend(jobs::trials(suite));
    all.extend(follow::trials(suite));
    all
}

/// How a primary goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Killed,
    Frozen,
    /// By relays that forward nothing.
    CutOff,
    /// By a network namespace whose interface is down.
    Parted,
}

async fn no_write_is_lost_when_a_synchronous_primary_is_killed() -> Outcome {
    survives(Fault::Killed).await
}

async fn no_write_is_lost_when_a_synchronous_primary_is_frozen() -> Outcome {
    survives(Fault::Frozen).await
}

async fn no_write_is_lost_when_a_synchronous_primary_is_cut_off() -> Outcome {
    survives(Fault::CutOff).await
}

async fn no_write_is_lost_when_the_network_of_a_synchronous_primary_is_parted() -> Outcome {
    survives(Fault::Parted).await
}

/// Writers write while the primary goes away, its replica takes its place, and it comes back.
async fn survives(fault: Fault) -> Outcome {
    let mut ground = match fault {
        Fault::Parted => Ground::in_a_network(Replication::Synchronous, json!({})).await?,
        Fault::Killed | Fault::Frozen | Fault::CutOff => {
            Ground::prepare(Replication::Synchronous, json!({}), 2).await?
        }
    };
    let load = Load::start(&ground.cluster, 6)?;
    sleep(Duration::from_millis(1_000)).await;
    let broke = Instant::now();
    match fault {
        Fault::Killed => ground.primary.kill().await?,
        Fault::Frozen => ground.primary.pause()?,
        Fault::CutOff | Fault::Parted => ground.way.cut()?,
    }
    // As long as nobody has said that the old primary is down, nothing is promoted.
    let refused = ground.promote(&json!({})).await?;
    same!(refused.status.as_u16(), 409, "{}", refused.body);
    let down = json!({ "old_primary_is_down": true });
    let promoted = ground.promote(&down).await?.expect(200)?;
    same!(promoted["may_be_lost"], json!(null), "{promoted}");
    same!(promoted["new_timeline"], json!(2));
    let promoted_at = load.now();
    load.progress(20).await?;
    let recovered = broke.elapsed();
    // The old one comes back, and is a primary still by its own reckoning.
    match fault {
        Fault::Killed => ground.primary.restart().await?,
        Fault::Frozen => ground.primary.resume()?,
        Fault::CutOff | Fault::Parted => ground.way.mend()?,
    }
    sleep(Duration::from_millis(1_500)).await;
    let told = load.stop().await?;
    let lost = ground.missing(&told.acknowledged()).await?;
    told!(
        "{fault:?}: {} acknowledged, {} lost, {} failed, {} of unknown outcome; promotion {} ms, \
         recovered in {:.2} s, longest pause of a writer {:.2} s",
        told.acknowledged().len(),
        lost.len(),
        told.failed,
        told.unknown,
        promoted["took_ms"],
        recovered.as_secs_f64(),
        told.longest.as_secs_f64()
    );
    anyhow::ensure!(lost.is_empty(), "lost: {lost:?}");
    let late = told.acknowledged_after(promoted_at);
    anyhow::ensure!(!late.is_empty(), "nothing was written after the promotion");
    let there = ground.on(&ground.primary, &late).await?;
    anyhow::ensure!(there.is_empty(), "the old primary took {there:?}");
    Ok(())
}

async fn what_an_asynchronous_primary_had_not_sent_is_all_that_is_lost() -> Outcome {
    let mut ground = Ground::prepare(Replication::Asynchronous, json!({}), 1).await?;
    let load = Load::start(&ground.cluster, 6)?;
    sleep(Duration::from_millis(500)).await;
    // The replica hears nothing more, as when the network between the two is slow.
    ground.way.cut_stream();
    sleep(Duration::from_millis(300)).await;
    ground.primary.kill().await?;
    let killed = load.now();
    let shown = ground
        .promote(&json!({ "dry_run": true }))
        .await?
        .expect(200)?;
    let said = shown["may_be_lost"].as_str().context("what may be lost")?;
    anyhow::ensure!(said.contains("asynchronous"), "{said}");
    let refused = ground
        .promote(&json!({ "old_primary_is_down": true }))
        .await?;
    same!(refused.status.as_u16(), 409);
    let wish = json!({ "old_primary_is_down": true, "accept_loss": true });
    let promoted = ground.promote(&wish).await?.expect(200)?;
    load.progress(20).await?;
    let told = load.stop().await?;
    let lost = ground.missing(&told.acknowledged()).await?;
    ground.primary.restart().await?;
    let kept = ground.on(&ground.primary, &lost).await?;
    anyhow::ensure!(!lost.is_empty(), "the replica has it all: nothing is shown");
    told!(
        "asynchronous: {} acknowledged, {} lost, all of them on the old primary; {}",
        told.acknowledged().len(),
        lost.len(),
        promoted["may_be_lost"]
    );
    same!(
        kept.len(),
        lost.len(),
        "what is lost was written on the old primary"
    );
    let late = told.acknowledged_after(killed);
    let lost_late: Vec<_> = late.iter().filter(|id| lost.contains(id)).collect();
    // Writers that were told right before the kill may note it right after.
    anyhow::ensure!(lost_late.len() <= 6, "lost after the kill: {lost_late:?}");
    Ok(())
}

async fn what_is_lost_when_the_network_is_parted_is_on_the_old_primary() -> Outcome {
    let ground = Ground::in_a_network(Replication::Asynchronous, json!({})).await?;
    let load = Load::start(&ground.cluster, 6)?;
    sleep(Duration::from_millis(1_000)).await;
    let broke = Instant::now();
    ground.way.cut()?;
    let refused = ground
        .promote(&json!({ "old_primary_is_down": true }))
        .await?;
    same!(refused.status.as_u16(), 409, "{}", refused.body);
    let wish = json!({ "old_primary_is_down": true, "accept_loss": true });
    let promoted = ground.promote(&wish).await?.expect(200)?;
    let promoted_at = load.now();
    load.progress(20).await?;
    let recovered = broke.elapsed();
    ground.way.mend()?;
    sleep(Duration::from_millis(1_500)).await;
    let told = load.stop().await?;
    let lost = ground.missing(&told.acknowledged()).await?;
    let kept = ground.on(&ground.primary, &lost).await?;
    told!(
        "asynchronous, parted: {} acknowledged, {} lost, {} of them on the old primary, {} failed, \
         {} of unknown outcome; promotion {} ms, recovered in {:.2} s; {}",
        told.acknowledged().len(),
        lost.len(),
        kept.len(),
        told.failed,
        told.unknown,
        promoted["took_ms"],
        recovered.as_secs_f64(),
        promoted["may_be_lost"]
    );
    same!(kept, lost, "what is lost was written on the old primary");
    let late = told.acknowledged_after(promoted_at);
    anyhow::ensure!(!late.is_empty(), "nothing was written after the promotion");
    anyhow::ensure!(lost.is_disjoint(&late), "lost after the promotion");
    let there = ground.on(&ground.primary, &late).await?;
    anyhow::ensure!(there.is_empty(), "the old primary took {there:?}");
    Ok(())
}

/// By the API and by metrics.
async fn shows_its_servers(ground: &Ground) -> Outcome {
    wait::until("probes", wait::START, async || {
        let shard = ground.shard().await?;
        let servers = shard["servers"].as_array().context("servers")?;
        let roles: Vec<_> = servers.iter().map(|it| it["role"].clone()).collect();
        anyhow::ensure!(roles == [json!("primary"), json!("replica")], "{shard}");
        let (first, second) = (&servers[0], &servers[1]);
        anyhow::ensure!(first["system_identifier"] == second["system_identifier"]);
        anyhow::ensure!(second["lag_bytes"].is_u64() && second["timeline"] == json!(1));
        Ok(())
    })
    .await?;
    let metrics = ground.cluster.manager(0)?.0.metrics().await?;
    for name in [
        "shard_health_status{shard_id=\"shard-1\"} 1",
        "shard_server_is_primary{",
        "shard_server_lag_bytes{",
    ] {
        anyhow::ensure!(metrics.contains(name), "{name} is missing in {metrics}");
    }
    Ok(())
}

async fn a_primary_that_answers_is_fenced_and_loses_nothing() -> Outcome {
    let ground = Ground::prepare(Replication::Asynchronous, json!({}), 2).await?;
    shows_its_servers(&ground).await?;
    let load = Load::start(&ground.cluster, 6)?;
    sleep(Duration::from_millis(700)).await;
    let promote = ["shards", "promote", "shard-1"];
    let shown = ground
        .shardctl(&[promote.as_slice(), &["--dry-run"]].concat())
        .await?;
    same!(
        (&shown["done"], &shown["may_be_lost"]),
        (&json!(false), &json!(null))
    );
    same!(
        ground.shard().await?["version"],
        json!(1),
        "a dry run does nothing"
    );
    let promoted = ground.shardctl(&promote).await?;
    same!(promoted["done"], json!(true), "{promoted}");
    load.progress(20).await?;
    let told = load.stop().await?;
    let lost = ground.missing(&told.acknowledged()).await?;
    told!(
        "switchover: {} acknowledged, {} lost, {} failed, {} of unknown outcome, {} ms, longest \
         pause of a writer {:.2} s",
        told.acknowledged().len(),
        lost.len(),
        told.failed,
        told.unknown,
        promoted["took_ms"],
        told.longest.as_secs_f64()
    );
    anyhow::ensure!(lost.is_empty(), "lost: {lost:?}");
    // Nobody gets in any more, not even a superuser.
    let refused = ground.primary.psql("SELECT 1").await;
    let refused = refused
        .err()
        .context("the old primary is fenced")?
        .to_string();
    anyhow::ensure!(
        refused.contains("sharding_old_primary_is_fenced"),
        "{refused}"
    );
    let shard = ground.shard().await?;
    same!(shard["primary_endpoint"], json!(ground.replica.endpoint()));
    same!(
        shard["replicas"],
        json!([ground.way.endpoint(&ground.primary)])
    );
    let audit = http::get(&ground.cluster.manager(0)?.api("/audit"))
        .await?
        .expect(200)?;
    let entries = audit["entries"].as_array().context("entries")?;
    let entry = entries
        .iter()
        .find(|it| it["action"] == json!("promote_shard"));
    let entry = entry.context("an audit entry")?;
    same!(entry["detail"]["behind_bytes"], json!(0), "{entry}");
    anyhow::ensure!(entry["changes"][0]["before"] != entry["changes"][0]["after"]);
    Ok(())
}

async fn a_promotion_is_refused_where_it_could_do_harm() -> Outcome {
    let mut ground = Ground::prepare(Replication::Asynchronous, json!({}), 1).await?;
    let unknown = ground
        .promote(&json!({ "to": "postgres://127.0.0.1:1/app" }))
        .await?;
    same!(unknown.status.as_u16(), 409, "{}", unknown.body);
    let wrong = ground.promote(&json!({ "to": "nonsense" })).await?;
    same!(wrong.status.as_u16(), 400);
    let url = ground.cluster.manager(0)?.api("/shards/nothing/promote");
    same!(http::post(&url, &json!({})).await?.status.as_u16(), 404);
    // A replica of another cluster, and none that answers.
    ground.replica.kill().await?;
    let silent = ground.promote(&json!({})).await?;
    same!(silent.status.as_u16(), 409, "{}", silent.body);
    same!(ground.shard().await?["version"], json!(1));
    ground
        .cluster
        .router(0)?
        .psql("INSERT INTO led (k, v) VALUES (1, 1)")
        .await?;
    Ok(())
}

async fn a_replica_is_promoted_by_itself_where_that_is_switched_on() -> Outcome {
    let failover = json!({
        "shards": { "probe_interval": "300ms", "connect_timeout": "1s" },
        "failover": {
            "automatic": true, "failures": 3, "after": "1s", "fence_command": ["true"],
            "cool_down": "1h",
        },
    });
    let mut ground = Ground::prepare(Replication::Synchronous, failover, 2).await?;
    ground.until_probed().await?;
    let load = Load::start(&ground.cluster, 4)?;
    sleep(Duration::from_millis(700)).await;
    let broke = Instant::now();
    ground.primary.kill().await?;
    let replica = ground.replica.endpoint();
    ground.until_primary_is(&replica).await?;
    load.progress(20).await?;
    let took = broke.elapsed();
    ground.primary.restart().await?;
    sleep(Duration::from_millis(500)).await;
    let told = load.stop().await?;
    let lost = ground.missing(&told.acknowledged()).await?;
    told!(
        "automatic: {} acknowledged, {} lost, {} failed, recovered in {:.2} s",
        told.acknowledged().len(),
        lost.len(),
        told.failed,
        took.as_secs_f64()
    );
    anyhow::ensure!(lost.is_empty(), "lost: {lost:?}");
    // The next one has to wait until it has cooled down.
    ground.replica.kill().await?;
    sleep(Duration::from_secs(4)).await;
    let shard = ground.shard().await?;
    same!(shard["primary_endpoint"], json!(replica));
    same!(shard["promoting"], json!(false));
    Ok(())
}

async fn a_replica_is_promoted_by_itself_when_the_network_is_parted() -> Outcome {
    let failover = json!({
        "shards": { "probe_interval": "300ms", "connect_timeout": "1s" },
        "failover": {
            "automatic": true, "failures": 3, "after": "1s", "unreachable_is_down": true,
            "cool_down": "1h",
        },
    });
    let ground = Ground::in_a_network(Replication::Synchronous, failover).await?;
    // A short trouble is none.
    ground.way.cut()?;
    sleep(Duration::from_millis(600)).await;
    ground.way.mend()?;
    ground.until_probed().await?;
    let load = Load::start(&ground.cluster, 6)?;
    load.progress(20).await?;
    let before = ground.shard().await?;
    same!(
        before["primary_endpoint"],
        json!(ground.way.endpoint(&ground.primary))
    );
    let broke = Instant::now();
    ground.way.cut()?;
    ground.until_primary_is(&ground.replica.endpoint()).await?;
    let promoted = broke.elapsed();
    let promoted_at = load.now();
    load.progress(20).await?;
    let recovered = broke.elapsed();
    ground.way.mend()?;
    sleep(Duration::from_millis(1_500)).await;
    let told = load.stop().await?;
    let lost = ground.missing(&told.acknowledged()).await?;
    told!(
        "automatic, parted: {} acknowledged, {} lost, {} failed, {} of unknown outcome; promoted \
         after {:.2} s, recovered in {:.2} s",
        told.acknowledged().len(),
        lost.len(),
        told.failed,
        told.unknown,
        promoted.as_secs_f64(),
        recovered.as_secs_f64()
    );
    anyhow::ensure!(lost.is_empty(), "lost: {lost:?}");
    let late = told.acknowledged_after(promoted_at);
    anyhow::ensure!(!late.is_empty(), "nothing was written after the promotion");
    let there = ground.on(&ground.primary, &late).await?;
    anyhow::ensure!(there.is_empty(), "the old primary took {there:?}");
    // It is back, and a primary by its own reckoning; it stays one that nobody uses.
    let shard = ground.shard().await?;
    same!(shard["primary_endpoint"], json!(ground.replica.endpoint()));
    same!(shard["promoting"], json!(false));
    Ok(())
}

async fn the_next_leader_carries_a_promotion_on() -> Outcome {
    let mut ground = Ground::prepare(Replication::Synchronous, json!({}), 1).await?;
    let mut second = Manager::prepare(&ground.cluster.etcd.endpoint(), &json!({}))?;
    second.0.start().await?;
    ground.cluster.managers.push(second);
    ground.until_probed().await?;
    let load = Load::start(&ground.cluster, 4)?;
    sleep(Duration::from_millis(500)).await;
    ground.primary.kill().await?;
    // A router that is frozen keeps the promotion waiting, in which its leader dies.
    ground.cluster.routers[0].program.pause()?;
    let url = ground.cluster.manager(0)?.api("/shards/shard-1/promote");
    let mut asked = JoinSet::new();
    asked.spawn(async move { http::post(&url, &json!({ "old_primary_is_down": true })).await });
    let leader = ground::leader(&ground.cluster).await?;
    let other = 1 - leader;
    wait::until("the promotion's beginning", wait::START, async || {
        let url = ground.cluster.manager(other)?.api("/shards/shard-1");
        let shard = http::get(&url).await?.expect(200)?;
        anyhow::ensure!(shard["promoting"] == json!(true));
        Ok(())
    })
    .await?;
    ground.cluster.managers[leader].0.kill().await?;
    asked.shutdown().await;
    ground.cluster.routers[0].program.resume()?;
    let replica = ground.replica.endpoint();
    let url = ground.cluster.manager(other)?.api("/shards/shard-1");
    wait::until("the promotion's end", Duration::from_secs(40), async || {
        let shard = http::get(&url).await?.expect(200)?;
        anyhow::ensure!(shard["primary_endpoint"] == json!(replica), "{shard}");
        Ok(())
    })
    .await?;
    load.progress(20).await?;
    let told = load.stop().await?;
    let lost = ground.missing(&told.acknowledged()).await?;
    anyhow::ensure!(lost.is_empty(), "lost: {lost:?}");
    Ok(())
}
