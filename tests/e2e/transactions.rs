//! Transactions on several shards: they are committed together or not at all, whatever dies.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::raw::Raw;
use tests::{Cluster, wait};

use crate::suite::{Outcome, Suite};

pub(crate) mod bank;
mod copying;
mod deaths;
mod halves;
mod pulled;
mod split;
mod strings;
mod together;
mod withheld;
mod within;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    [
        bank::trials(suite),
        copying::trials(suite),
        deaths::trials(suite),
        halves::trials(suite),
        pulled::trials(suite),
        split::trials(suite),
        strings::trials(suite),
        together::trials(suite),
        withheld::trials(suite),
        within::trials(suite),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A key on each of the two shards.
async fn keys(cluster: &Cluster) -> anyhow::Result<(i64, i64)> {
    Ok((
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    ))
}

/// Sends queries one by one; each must end in the status that goes with it.
async fn all(router: &mut Raw, queries: &[(String, char)]) -> Outcome {
    for (sql, wanted) in queries {
        let answer = router.query(sql).await?;
        let status = crate::pgwire::status(&answer)?;
        anyhow::ensure!(status == *wanted, "{sql}: {status}, {answer:?}");
    }
    Ok(())
}

/// Fails when something stays prepared on a shard: what others prepare at the same time goes.
pub(crate) async fn nothing_is_prepared(cluster: &Cluster) -> Outcome {
    wait::until("end of prepared transactions", wait::SETTLE, async || {
        for shard in &cluster.shards {
            let left = shard.psql("SELECT count(*) FROM pg_prepared_xacts").await?;
            anyhow::ensure!(left == "0", "{left} prepared transactions are left");
        }
        Ok(())
    })
    .await
}
