//! What a router's record says, and what its shards know of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::raw::{bind, execute, parse, query, sync, tags};
use tests::wait;
use tokio::time::Instant;
use topology::presence;

use super::MOMENT;
use super::ground::{Ground, sqlstates};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        every_live_router_acknowledges_a_hold_and_a_flip_at_once,
        a_statement_that_is_being_written_holds_the_acknowledgement_back,
        a_statement_that_waits_for_a_backend_is_routed_by_the_newest_topology,
        a_shard_knows_whose_backends_it_has_and_keeps_those_away_that_know_too_little,
    )
    .into()
}

/// Far more than it takes: the tests run beside each other.
const BOUND: Duration = Duration::from_secs(2);

async fn every_live_router_acknowledges_a_hold_and_a_flip_at_once() -> Outcome {
    let mut ground = Ground::prepare(json!({}), 2).await?;
    let mut runs: Vec<_> = ground.listed().await?;
    runs.dedup_by_key(|it| it.record.incarnation);
    same!(runs.len(), 2);
    for round in 0..3 {
        for flips in [false, true] {
            let begin = Instant::now();
            let epoch = match (flips, round) {
                (true, 0) => ground.flip().await?,
                // Two that follow at once are acknowledged together.
                (true, _) => {
                    ground.hold(true).await?;
                    ground.hold(false).await?
                }
                (false, _) => ground.hold(true).await?,
            };
            ground.acknowledged(epoch).await?;
            let took = begin.elapsed();
            anyhow::ensure!(took < BOUND, "{epoch} after {took:?}");
        }
    }
    // What moves nothing is not written down.
    let before = ground.listed().await?;
    ground
        .cluster
        .create("other", "k bigint", ("k", "bigint"))
        .await?;
    same!(ground.listed().await?, before);
    // One that ends is not waited for, and one that is killed no longer than its lease lives.
    let mut router = ground.cluster.routers.pop().context("a router")?;
    router.program.terminate().await?;
    ground.acknowledged(ground.hold(true).await?).await
}

async fn a_statement_that_is_being_written_holds_the_acknowledgement_back() -> Outcome {
    let ground = Ground::prepare(json!({}), 1).await?;
    let shard = ground.shard(1)?;
    shard.psql("ALTER TABLE held ADD t text").await?;
    let mut session = ground.connect().await?;
    let warm = session.query(&Ground::count(ground.stays)).await?;
    same!(tags(&warm), "CZ");
    // The shard takes no bytes, so that a large statement does not get out of the router.
    shard.pause()?;
    let text = vec![b'x'; 24 << 20];
    let sql = "UPDATE held SET v = v + 1, t = $2 WHERE k = $1";
    let key = ground.stays.to_string();
    let bound = bind("", "", false, &[Some(key.as_bytes()), Some(&text)]);
    session
        .send(&[parse("", sql, &[]), bound, execute("", 0), sync()].concat())
        .await?;
    // By then it is being written, and what the kernel takes is full.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let epoch = ground.hold(false).await?;
    ground.router()?.program.has_seen(epoch.0).await?;
    tokio::time::sleep(MOMENT).await;
    let listed = ground.listed().await?;
    anyhow::ensure!(
        listed.iter().all(|it| it.record.applied_epoch < epoch),
        "acknowledged in the middle of a statement: {listed:?}"
    );
    shard.resume()?;
    same!(sqlstates(&session.until_ready().await?).len(), 0);
    ground.acknowledged(epoch).await
}

async fn a_statement_that_waits_for_a_backend_is_routed_by_the_newest_topology() -> Outcome {
    let ground = Ground::prepare(json!({ "sharding": { "max_connections": 1 } }), 1).await?;
    let (mut holder, mut waiter) = (ground.connect().await?, ground.connect().await?);
    let mut extended = ground.connect().await?;
    let count = Ground::count(ground.moved);
    ground.acknowledged(ground.hold(true).await?).await?;
    holder.query("BEGIN").await?;
    holder.query(&Ground::count(ground.stays)).await?;
    // Both were routed to the first shard, and wait for its only backend.
    waiter.send(&query(&count)).await?;
    extended.send(&super::counting(ground.moved)).await?;
    let body = json!({ "query": count });
    let http = ground.router()?.execute(&body);
    tokio::pin!(http);
    let early = tokio::time::timeout(MOMENT, &mut http).await;
    anyhow::ensure!(early.is_err(), "HTTP did not wait");
    let epoch = ground.flip().await?;
    // They keep nobody from knowing that nothing is begun by the old topology any more.
    ground.acknowledged(epoch).await?;
    same!(tags(&holder.query("COMMIT").await?), "CZ");
    same!(tags(&waiter.until_ready().await?), "CZ");
    same!(tags(&extended.until_ready().await?), "12TDCZ");
    same!(http.await?.status.as_u16(), 200);
    same!(ground.value(1, ground.moved).await?, "0");
    same!(ground.value(2, ground.moved).await?, "3");
    Ok(())
}

async fn a_shard_knows_whose_backends_it_has_and_keeps_those_away_that_know_too_little() -> Outcome
{
    let ground = Ground::prepare(json!({}), 2).await?;
    let shard = ground.shard(1)?;
    let address = ground.cluster.router(1)?.address();
    let mut second = tests::raw::Raw::connect(&address).await?;
    let mut first = ground.connect().await?;
    let count = Ground::count(ground.stays);
    for session in [&mut first, &mut second] {
        session.query("SET application_name = 'mine'").await?;
        same!(tags(&session.query(&count).await?), "CZ");
    }
    // The lock outlives what a client sets, and tells one router from the other.
    let incarnation = ground.listed().await?;
    let own = ground.router()?.address().port.to_string();
    let incarnation = incarnation
        .iter()
        .find(|it| it.record.address.ends_with(&own));
    let key = presence::lock_key(incarnation.context("a record")?.record.incarnation);
    let of_first = format!(
        "FROM pg_locks WHERE locktype = 'advisory' AND classid = {} AND objid = {} \
         AND objsubid = 2",
        presence::LOCK_CLASS,
        key.cast_unsigned()
    );
    let holders = format!("SELECT count(*) > 0 {of_first}");
    same!(shard.psql(&holders).await?, "t");
    // As at the end of a job: nobody who knows less than this may write here any more.
    let horizon = ground.listed().await?;
    let horizon = horizon.iter().map(|it| it.record.applied_epoch.0).max();
    let horizon = horizon.context("a router")? + 1;
    shard
        .psql("CREATE SCHEMA IF NOT EXISTS vg; CREATE SEQUENCE vg.horizon")
        .await?;
    shard
        .psql(&format!("SELECT setval('vg.horizon', {horizon})"))
        .await?;
    shard
        .psql(&format!("SELECT pg_terminate_backend(pid) {of_first}"))
        .await?;
    wait::until("no backend is left", wait::SETTLE, async || {
        same!(shard.psql(&holders).await?, "f");
        Ok(())
    })
    .await?;
    let mut refused = sqlstates(&first.query(&count).await?);
    if refused == ["08006"] {
        // It may have been the backend that was ended.
        refused = sqlstates(&first.query(&count).await?);
    }
    same!(refused, ["08006"]);
    same!(tags(&second.query(&count).await?), "CZ");
    // As soon as it knows enough, it is let in.
    let epoch = ground.hold(true).await?;
    anyhow::ensure!(epoch.0 >= horizon, "{epoch}");
    ground.acknowledged(epoch).await?;
    same!(tags(&first.query(&count).await?), "CZ");
    same!(ground.value(1, ground.stays).await?, "4");
    Ok(())
}
