//! What several shards cost: a query over all of them beside the slowest of them asked by itself,
//! and a commit on two beside two commits on one.

use std::time::Duration;

use tests::Cluster;
use tests::cluster::Plan;
use tokio::time::Instant;

use crate::Progress;
use crate::arguments::Arguments;
use crate::points::median;

/// How many shards there are, in turn.
const SHARDS: [usize; 3] = [1, 4, 8];
const ROWS: u32 = 200_000;
const COUNT: &str = "SELECT count(*), sum(v), min(k), max(v) FROM many";
const ORDERED: &str = "SELECT k, v FROM many ORDER BY v, k LIMIT 100";

/// What was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Many {
    pub(crate) queries: Vec<Query>,
    pub(crate) commits: Commits,
}

/// A query over a number of shards, in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) shards: usize,
    pub(crate) what: &'static str,
    /// Through the router.
    pub(crate) routed: f64,
    /// On the slowest shard, without one.
    pub(crate) slowest: f64,
}

/// Commits through the router, in milliseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Commits {
    /// BEGIN, two UPDATEs on two shards, COMMIT.
    pub(crate) together: f64,
    /// Two of BEGIN, UPDATE, COMMIT, each on one shard.
    pub(crate) apart: f64,
}

/// Measures both.
pub(crate) async fn measure(arguments: &Arguments, progress: &Progress) -> anyhow::Result<Many> {
    let mut many = Many::default();
    let times = arguments.seconds * 4;
    for shards in SHARDS {
        let plan = Plan {
            shards,
            ..Plan::default()
        };
        let cluster = Cluster::start(plan).await?;
        fill(&cluster).await?;
        for (what, sql) in [
            ("count, sum, min, max", COUNT),
            ("ORDER BY, LIMIT 100", ORDERED),
        ] {
            many.queries.push(query(&cluster, what, sql, times).await?);
        }
        if shards == 4 {
            many.commits = commits(&cluster, times * 10).await?;
        }
        progress.done(&format!("queries over {shards} shards"));
    }
    Ok(many)
}

async fn fill(cluster: &Cluster) -> anyhow::Result<()> {
    let columns = "k bigint PRIMARY KEY, v int NOT NULL";
    cluster.create("many", columns, ("k", "bigint")).await?;
    let mut script = "COPY many FROM STDIN;\n".to_owned();
    for k in 1..=ROWS {
        script.push_str(&format!("{k}\t{}\n", k.wrapping_mul(2_654_435_761) >> 12));
    }
    script.push_str("\\.\nVACUUM ANALYZE many;\n");
    cluster.router(0)?.address().psql_script(&script).await?;
    Ok(())
}

async fn query(
    cluster: &Cluster,
    what: &'static str,
    sql: &str,
    times: u64,
) -> anyhow::Result<Query> {
    let mut clients = vec![cluster.router(0)?.client().await?];
    for shard in &cluster.shards {
        clients.push(shard.client().await?);
    }
    let mut took = vec![Vec::new(); clients.len()];
    for _ in 0..times {
        for (client, took) in clients.iter().zip(&mut took) {
            let begin = Instant::now();
            client.simple_query(sql).await?;
            took.push(millis(begin.elapsed()));
        }
    }
    let mut medians = took.into_iter().map(median);
    let routed = medians.next().unwrap_or_default();
    Ok(Query {
        shards: cluster.shards.len(),
        what,
        routed,
        slowest: medians.fold(0.0, f64::max),
    })
}

async fn commits(cluster: &Cluster, times: u64) -> anyhow::Result<Commits> {
    let (here, there) = (
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    );
    let client = cluster.router(0)?.client().await?;
    let update = |key: i64| format!("UPDATE many SET v = v + 1 WHERE k = {key}");
    let (mut together, mut apart) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let begin = Instant::now();
        for sql in ["BEGIN", &update(here), &update(there), "COMMIT"] {
            client.simple_query(sql).await?;
        }
        together.push(millis(begin.elapsed()));
        let begin = Instant::now();
        for key in [here, there] {
            for sql in ["BEGIN", &update(key), "COMMIT"] {
                client.simple_query(sql).await?;
            }
        }
        apart.push(millis(begin.elapsed()));
    }
    Ok(Commits {
        together: median(together),
        apart: median(apart),
    })
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
