//! Routers and shards die in each phase of a commit on several shards, or are frozen there. The
//! programs need the feature `failpoints`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::Cluster;
use tests::cluster::Plan;
use tests::folder::Folder;
use tests::raw::{Raw, query};
use tests::wait;

use super::{keys, nothing_is_prepared};
use crate::pgwire::{error_of, status};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_router_that_dies_in_any_phase_leaves_all_or_nothing,
        a_router_that_is_frozen_before_its_decision_is_told_that_it_came_too_late,
        a_shard_that_dies_in_any_phase_leaves_all_or_nothing,
    )
    .into()
}

/// A router's record outlives it by 15 seconds, recovery looks every two.
const RECOVERED: Duration = Duration::from_secs(40);

/// A cluster whose router dies where a file says.
struct Ground {
    cluster: Cluster,
    place: PathBuf,
    here: i64,
    there: i64,
}

impl Ground {
    async fn new() -> anyhow::Result<Self> {
        let mut cluster = Cluster::start(Plan::default()).await?;
        let place = Folder::shared()?.fresh("failpoints");
        let columns = "k bigint PRIMARY KEY, v int NOT NULL";
        cluster.create("t", columns, ("k", "bigint")).await?;
        let (here, there) = keys(&cluster).await?;
        let router = cluster.routers.first_mut().context("there is a router")?;
        router
            .program
            .set_environment("SHARDING_FAILPOINT_FILE", &place.to_string_lossy());
        router.program.kill().await?;
        router.program.start().await?;
        let ground = Self {
            cluster,
            place,
            here,
            there,
        };
        let mut router = ground.client().await?;
        for key in [here, there] {
            let sql = format!("INSERT INTO t (k, v) VALUES ({key}, 0)");
            anyhow::ensure!(status(&router.query(&sql).await?)? == 'I', "{sql}");
        }
        // What shards can do is asked for now, not where a death is waited for.
        ground.begin(&mut router, 0).await?;
        anyhow::ensure!(status(&router.query("COMMIT").await?)? == 'I', "warm up");
        Ok(ground)
    }

    async fn client(&self) -> anyhow::Result<Raw> {
        Raw::connect(&self.cluster.router(0)?.address()).await
    }

    /// Writes a value on both shards, up to the COMMIT; the second shard decides.
    async fn begin(&self, router: &mut Raw, value: i64) -> Outcome {
        let sets = [self.here, self.there];
        let sets = sets.map(|key| format!("UPDATE t SET v = {value} WHERE k = {key}"));
        for sql in ["BEGIN".to_owned()].into_iter().chain(sets) {
            let answer = router.query(&sql).await?;
            same!(status(&answer)?, 'T', "{sql}: {answer:?}");
        }
        Ok(())
    }

    /// The values on the shards.
    async fn values(&self) -> anyhow::Result<[String; 2]> {
        let (a, b) = (self.cluster.shard("shard-1")?, self.cluster.shard("shard-2")?);
        Ok([
            a.psql("SELECT v FROM t").await?,
            b.psql("SELECT v FROM t").await?,
        ])
    }

    async fn recovered(&self) -> Outcome {
        wait::until("recovery", RECOVERED, async || {
            nothing_is_prepared(&self.cluster).await
        })
        .await
    }

    fn die_at(&self, place: &str) -> Outcome {
        Ok(std::fs::write(&self.place, place)?)
    }
}

async fn a_router_that_dies_in_any_phase_leaves_all_or_nothing() -> Outcome {
    let mut ground = Ground::new().await?;
    let mut before = 0;
    for (value, (place, commits)) in (1..).zip([
        ("before:prepare", false),
        ("after:prepare", false),
        ("after:decide", true),
        ("before:finish", true),
        ("after:finish", true),
    ]) {
        let mut router = ground.client().await?;
        ground.begin(&mut router, value).await?;
        ground.die_at(place)?;
        router.send(&query("COMMIT")).await?;
        let last = router.closed().await?;
        same!(last.len(), 0, "{place}: {last:?}");
        ground.recovered().await.with_context(|| place.to_owned())?;
        let wanted = if commits { value } else { before };
        let wanted = [wanted.to_string(), wanted.to_string()];
        wait::until("the end of its transactions", wait::SETTLE, async || {
            same!(ground.values().await?, wanted, "{place}");
            Ok(())
        })
        .await?;
        if commits {
            before = value;
        }
        let program = &mut ground.cluster.routers[0].program;
        program.ended().await?;
        program.start().await?;
        // Nothing of it keeps the rows.
        let mut router = ground.client().await?;
        ground.begin(&mut router, before).await?;
        let answer = router.query("COMMIT").await?;
        same!(answer[0].text(), "COMMIT", "{place}: {answer:?}");
    }
    Ok(())
}

async fn a_router_that_is_frozen_before_its_decision_is_told_that_it_came_too_late() -> Outcome {
    let ground = Ground::new().await?;
    let mut router = ground.client().await?;
    ground.begin(&mut router, 1).await?;
    ground.die_at("freeze after:prepare")?;
    router.send(&query("COMMIT")).await?;
    let program = &ground.cluster.routers[0].program;
    wait::until("the router's sleep", wait::SETTLE, async || {
        anyhow::ensure!(program.is_paused(), "the router runs");
        Ok(())
    })
    .await?;
    ground.recovered().await?;
    program.resume()?;
    let answer = router.until_ready().await?;
    let (code, text) = error_of(&answer)?;
    same!(code, "40001", "{text}");
    same!(status(&answer)?, 'I');
    same!(ground.values().await?, ["0", "0"]);
    // The same in another transaction is nothing special.
    ground.begin(&mut router, 2).await?;
    same!(router.query("COMMIT").await?[0].text(), "COMMIT");
    same!(ground.values().await?, ["2", "2"]);
    Ok(())
}

async fn a_shard_that_dies_in_any_phase_leaves_all_or_nothing() -> Outcome {
    let mut ground = Ground::new().await?;
    // The first shard prepares, the second decides.
    for (value, (place, victim, commits)) in (1..).zip([
        ("freeze before:prepare", 0, false),
        ("freeze after:prepare", 0, true),
        ("freeze after:prepare", 1, false),
        ("freeze after:decide", 0, true),
        ("freeze after:decide", 1, true),
    ]) {
        let before = ground.values().await?;
        let mut router = ground.client().await?;
        ground.begin(&mut router, value).await?;
        ground.die_at(place)?;
        router.send(&query("COMMIT")).await?;
        let program = &ground.cluster.routers[0].program;
        wait::until("the router's sleep", wait::SETTLE, async || {
            anyhow::ensure!(program.is_paused(), "the router runs");
            Ok(())
        })
        .await?;
        ground.cluster.shards[victim].kill().await?;
        ground.cluster.shards[victim].restart().await?;
        ground.cluster.routers[0].program.resume()?;
        let answer = router.until_ready().await?;
        same!(status(&answer)?, 'I', "{place}: {answer:?}");
        ground.recovered().await.with_context(|| format!("{place}, {victim}"))?;
        let committed = answer.iter().any(|it| it.tag == b'C' && it.text() == "COMMIT");
        let unknown = error_of(&answer).is_ok_and(|(code, _)| code == "08007");
        let values = ground.values().await?;
        let new = [value.to_string(), value.to_string()];
        anyhow::ensure!(
            if committed { values == new } else { values == before || (unknown && values == new) },
            "{place}, {victim}: {values:?} after {answer:?}"
        );
        same!(committed, commits, "{place}, {victim}: {answer:?}");
    }
    Ok(())
}
