//! Reads that may be a little old: on a replica while it follows closely, else on the primary.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::raw::{Raw, bind, execute, parse, sync};
use tests::{Cluster, Postgres, wait};

use crate::suite::{Outcome, Suite, alone, same};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        eventual_reads_land_on_a_replica_and_nothing_else_does,
        a_replica_that_falls_behind_is_not_read_from,
        a_replica_that_dies_is_not_read_from,
        primary_only_means_what_it_says,
    )
    .into()
}

/// One shard with a replica, and a table.
struct Ground {
    cluster: Cluster,
    replica: Postgres,
}

impl Ground {
    async fn prepare(sharding: Value) -> anyhow::Result<Self> {
        let plan = Plan {
            shards: 0,
            spares: 1,
            router_config: json!({ "sharding": sharding }),
            ..Plan::default()
        };
        let mut cluster = Cluster::start(plan).await?;
        let primary = cluster.spares.pop().context("a spare")?;
        let replica = Postgres::replica_of(&primary).await?;
        let shard = json!({
            "name": "shard-1",
            "primary_endpoint": primary.endpoint(),
            "replicas": [replica.endpoint()],
        });
        cluster.post_when_led("/shards", &shard).await?;
        cluster.shards.push(primary);
        cluster.settle().await?;
        let columns = "k bigint PRIMARY KEY, v bigint";
        cluster.create("near", columns, ("k", "bigint")).await?;
        let ground = Self { cluster, replica };
        let mut session = ground.connect().await?;
        session
            .query("INSERT INTO near (k, v) VALUES (1, 1)")
            .await?;
        Ok(ground)
    }

    async fn connect(&self) -> anyhow::Result<Raw> {
        Raw::connect(&self.cluster.router(0)?.address()).await
    }

    async fn eventual(&self) -> anyhow::Result<Raw> {
        let mut session = self.connect().await?;
        let set = session
            .query("SET sharding.consistency = 'eventual'")
            .await?;
        same!(error(&set), None);
        Ok(session)
    }

    /// Waits until eventual reads are answered by the replica, or not any more.
    async fn until_read_from(&self, replica: bool) -> Outcome {
        let mut session = self.eventual().await?;
        let wanted = if replica { "t" } else { "f" };
        let (begin, what) = (tokio::time::Instant::now(), "reads by the other server");
        loop {
            if value(&session.query(WHERE).await?)? == wanted {
                return Ok(());
            }
            anyhow::ensure!(begin.elapsed() < wait::START, "no {what}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    async fn metric(&self, start: &str) -> anyhow::Result<f64> {
        let metrics = self.cluster.router(0)?.program.metrics().await?;
        let line = metrics.lines().find_map(|line| line.strip_prefix(start));
        let value = line.with_context(|| format!("no {start} in {metrics}"))?;
        Ok(value.trim().parse()?)
    }
}

/// Says whether a replica answered.
const WHERE: &str = "SELECT pg_is_in_recovery(), v FROM near WHERE k = 1";

fn error(messages: &[tests::raw::Message]) -> Option<String> {
    messages.iter().find_map(tests::raw::Message::sqlstate)
}

fn value(messages: &[tests::raw::Message]) -> anyhow::Result<String> {
    let row = messages.iter().find(|message| message.tag == b'D');
    let row = row.with_context(|| format!("no row: {:?}", error(messages)))?;
    let value = row.values()?.into_iter().next().flatten();
    Ok(String::from_utf8(value.unwrap_or_default())?)
}

async fn eventual_reads_land_on_a_replica_and_nothing_else_does() -> Outcome {
    let ground = Ground::prepare(json!({})).await?;
    ground.until_read_from(true).await?;
    let mut session = ground.eventual().await?;
    // Without the router's leave: transactions, writes, and reads that lock or have effects.
    for sql in [
        "UPDATE near SET v = v + 1 WHERE k = 1 RETURNING pg_is_in_recovery()",
        "WITH a AS (UPDATE near SET v = 5 WHERE k = 1 RETURNING k) \
         SELECT pg_is_in_recovery() FROM near WHERE k = 1",
        "SELECT pg_is_in_recovery() FROM near WHERE k = 1 FOR UPDATE",
        "/* consistency = 'strong' */ SELECT pg_is_in_recovery() FROM near WHERE k = 1",
    ] {
        same!(value(&session.query(sql).await?)?, "f", "{sql}");
    }
    session.query("BEGIN").await?;
    same!(value(&session.query(WHERE).await?)?, "f");
    session.query("COMMIT").await?;
    same!(value(&session.query(WHERE).await?)?, "t");
    // A batch: a read on the replica, and a write after it that leaves it.
    let read = [
        parse("", WHERE, &[]),
        bind("", "", false, &[]),
        execute("", 0),
    ]
    .concat();
    let sql = "UPDATE near SET v = 7 WHERE k = 1 RETURNING pg_is_in_recovery()";
    let write = [
        parse("", sql, &[]),
        bind("", "", false, &[]),
        execute("", 0),
        sync(),
    ]
    .concat();
    let answers = session.exchange(&[read, write].concat()).await?;
    same!(error(&answers), None);
    let rows: Vec<_> = answers.into_iter().filter(|it| it.tag == b'D').collect();
    let where_each: Vec<_> = rows.chunks(1).map(value).collect::<Result<_, _>>()?;
    same!(where_each, ["t", "f"]);
    // Only who asks for it reads there.
    let mut strong = ground.connect().await?;
    same!(value(&strong.query(WHERE).await?)?, "f");
    let hinted = format!("/* consistency = eventual */ {WHERE}");
    same!(value(&strong.query(&hinted).await?)?, "t");
    let refused = strong.query("SET sharding.consistency = 'weak'").await?;
    same!(error(&refused).as_deref(), Some("22023"));
    for (consistency, there) in [("eventual", true), ("strong", false)] {
        let body = json!({ "query": WHERE, "consistency": consistency });
        let answer = ground
            .cluster
            .router(0)?
            .execute(&body)
            .await?
            .expect(200)?;
        same!(answer["rows"][0]["pg_is_in_recovery"], json!(there));
    }
    let reads = r#"shard_eventual_reads_total{role="replica",shard_id="shard-1"}"#;
    anyhow::ensure!(ground.metric(reads).await? >= 4.0);
    Ok(())
}

async fn a_replica_that_falls_behind_is_not_read_from() -> Outcome {
    let ground = Ground::prepare(json!({ "max_replica_lag": "5s" })).await?;
    ground.until_read_from(true).await?;
    ground.replica.psql("SELECT pg_wal_replay_pause()").await?;
    let mut writer = ground.connect().await?;
    writer.query("UPDATE near SET v = 2 WHERE k = 1").await?;
    ground.until_read_from(false).await?;
    ground.replica.psql("SELECT pg_wal_replay_resume()").await?;
    ground.until_read_from(true).await?;
    let endpoint = ground.replica.endpoint();
    let lag = format!("shard_replica_lag_seconds{{replica=\"{endpoint}\",shard_id=\"shard-1\"}}");
    anyhow::ensure!(ground.metric(&lag).await? < 5.0);
    Ok(())
}

async fn a_replica_that_dies_is_not_read_from() -> Outcome {
    let mut ground = Ground::prepare(json!({})).await?;
    ground.until_read_from(true).await?;
    ground.replica.kill().await?;
    let mut session = ground.eventual().await?;
    for _ in 0..20 {
        same!(value(&session.query(WHERE).await?)?, "f");
    }
    ground.replica.restart().await?;
    ground.until_read_from(true).await
}

async fn primary_only_means_what_it_says() -> Outcome {
    let ground = Ground::prepare(json!({ "replica_policy": "primary_only" })).await?;
    let mut session = ground.eventual().await?;
    // Longer than the first looks at a replica take.
    let begin = tokio::time::Instant::now();
    while begin.elapsed() < std::time::Duration::from_secs(3) {
        same!(value(&session.query(WHERE).await?)?, "f");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Ok(())
}
