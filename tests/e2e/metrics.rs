//! What Prometheus reads from both programs.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::raw::Raw;
use tests::{Cluster, wait};

use crate::suite::{Outcome, Suite, same, shared};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite: the_router_counts_by_shard_and_status, the_managers_show_the_shards_health)
        .into()
}

/// The sum of all samples of a metric whose labels hold all of `labels`.
fn value(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (shown, value) = rest.rsplit_once(' ')?;
        let is_it = shown.is_empty() || shown.starts_with('{');
        let has_all = labels.iter().all(|label| shown.contains(label));
        (is_it && has_all)
            .then(|| value.parse::<f64>().ok())
            .flatten()
    });
    samples.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

async fn the_router_counts_by_shard_and_status(cluster: &Cluster) -> Outcome {
    cluster
        .create("metered", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let router = cluster.router(0)?;
    let key = cluster.key_on("shard-2", 1).await?;
    let shard = "shard_id=\"shard-2\"";
    let before = router.program.metrics().await?;
    let mut session = Raw::connect(&router.address()).await?;
    session
        .query(&format!("INSERT INTO metered (k) VALUES ({key})"))
        .await?;
    session
        .query(&format!("INSERT INTO metered (k) VALUES ({key})"))
        .await?;
    wait::until("the counters", wait::SETTLE, async || {
        let after = router.program.metrics().await?;
        for status in ["status=\"success\"", "status=\"error\""] {
            let labels = [shard, status];
            let [is, was] = [&after, &before]
                .map(|text| value(text, "shard_queries_total", &labels).unwrap_or(0.0));
            anyhow::ensure!(
                is > was,
                "shard_queries_total of {status}: {was}, then {is}"
            );
        }
        Ok(())
    })
    .await?;
    let after = router.program.metrics().await?;
    let counted = value(&after, "shard_query_duration_seconds_count", &[shard]);
    anyhow::ensure!(
        counted.is_some_and(|count| count >= 2.0),
        "{counted:?} durations"
    );
    for name in ["shard_connections_active", "shard_health_status"] {
        anyhow::ensure!(
            value(&after, name, &[shard]).is_some(),
            "no {name} in\n{after}"
        );
    }
    let epoch = u32::try_from(cluster.snapshot().await?.epoch().0)?;
    let seen = value(&after, "catalog_version", &[]);
    // Other tests write at the same time: the router may be ahead of what was read here.
    anyhow::ensure!(
        seen >= Some(f64::from(epoch) - 50.0),
        "catalog_version {seen:?} of {epoch}"
    );
    same!(
        after
            .lines()
            .filter(|line| line.contains("metered"))
            .count(),
        0,
        "SQL in a label"
    );
    Ok(())
}

async fn the_managers_show_the_shards_health(cluster: &Cluster) -> Outcome {
    for manager in &cluster.managers {
        wait::until("health of both shards", wait::SETTLE, async || {
            let text = manager.0.metrics().await?;
            for shard in ["shard-1", "shard-2"] {
                let label = format!("shard_id=\"{shard}\"");
                same!(
                    value(&text, "shard_health_status", &[&label]),
                    Some(1.0),
                    "{shard}"
                );
            }
            anyhow::ensure!(value(&text, "catalog_version", &[]) >= Some(1.0), "{text}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}
