//! Plans of real shards: what they say, by REST at any manager, by gRPC, and by shardctl.

use std::process::Stdio;
use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use proto::manager::v1;
use proto::manager::v1::plan_request::Operation;
use proto::manager::v1::reshard_service_client::ReshardServiceClient;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::{Cluster, http};
use tokio::process::Command;

use super::leader;
use crate::suite::{Outcome, Suite, alone, same};

/// Rows of `orders` on each of two shards.
const ROWS: u64 = 20_000;

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: a_plan_says_what_moves_and_every_manager_makes_the_same).into()
}

async fn a_plan_says_what_moves_and_every_manager_makes_the_same() -> Outcome {
    let cluster = start().await?;
    let leader = leader(&cluster).await?;
    let endpoint = cluster.spares[0].endpoint();
    let shard = json!({ "name": "shard-3", "primary_endpoint": endpoint });
    let body = json!({ "type": "add_shard", "shard": shard });
    let mut plans = Vec::new();
    for manager in [leader, 1 - leader] {
        let url = cluster.manager(manager)?.api("/reshard/plan");
        plans.push(http::post(&url, &body).await?.expect(200)?);
    }
    let plan = plans.first().context("two plans")?;
    same!(plans[1]["id"], plan["id"], "plans of two managers");
    is_a_third(plan)?;
    over_grpc(&cluster, plan, &endpoint).await?;
    let id = plan["id"].as_str().context("an id")?;
    let line = format!("plan add-shard shard-3={endpoint}");
    let shown = shardctl(&cluster, &line).await?;
    for text in [id, "add shard", "shard-3", "new, +", "Run it"] {
        anyhow::ensure!(shown.contains(text), "no {text} in {shown}");
    }
    // A plan registers nothing.
    let shards = http::get(&cluster.manager(0)?.api("/shards")).await?;
    let shards = shards.expect(200)?;
    same!(shards["shards"].as_array().map(Vec::len), Some(2));
    let jobs = http::get(&cluster.manager(0)?.api("/reshard/jobs")).await?;
    same!(jobs.expect(200)?, json!({ "jobs": [] }));
    Ok(())
}

async fn start() -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan {
        spares: 1,
        managers: 2,
        routers: 0,
        tables: vec![
            ("orders", "customer_id", "bigint"),
            ("visits", "id", "bigint"),
        ],
        ..Plan::default()
    })
    .await?;
    for shard in &cluster.shards {
        shard
            .psql("CREATE TABLE orders (customer_id bigint, note text)")
            .await?;
        // The other table is partitioned, and half of it was never analysed.
        let partitioned = "CREATE TABLE visits (id bigint) PARTITION BY RANGE (id); \
             CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM (0) TO (1000); \
             CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM (1000) TO (2000)";
        shard.psql(partitioned).await?;
        let rows = format!("INSERT INTO orders SELECT g, 'note' FROM generate_series(1, {ROWS}) g");
        shard.psql(&rows).await?;
        shard.psql("ANALYZE orders").await?;
    }
    Ok(cluster)
}

/// Of two equal shards the third one takes a third of the rows.
fn is_a_third(plan: &Value) -> Outcome {
    let share = plan["moved_share"].as_f64().context("a share")?;
    anyhow::ensure!((0.32..0.34).contains(&share), "moves {share}");
    let rows = plan["rows"].as_f64().context("rows")?;
    let all = 2.0 * f64::from(u32::try_from(ROWS)?);
    anyhow::ensure!((0.25..0.42).contains(&(rows / all)), "{rows} of {all}");
    anyhow::ensure!(plan["bytes"].as_u64() > Some(100_000), "{plan}");
    same!(plan["notes"], json!([]));
    same!(plan["legs"].as_array().map(Vec::len), Some(2));
    same!(plan["shards"][2]["is_new"], json!(true));
    same!(plan["shards"][2]["vnodes_after"], plan["moved_vnodes"]);
    Ok(())
}

async fn over_grpc(cluster: &Cluster, plan: &Value, endpoint: &str) -> Outcome {
    let mut client = ReshardServiceClient::connect(cluster.manager(0)?.0.grpc()).await?;
    let new_shard = v1::CreateShardRequest {
        name: "shard-3".to_owned(),
        primary_endpoint: endpoint.to_owned(),
        ..v1::CreateShardRequest::default()
    };
    let shard = Some(v1::reshard_target::Shard::NewShard(new_shard));
    let operation = Operation::AddShard(v1::AddShardRequest {
        shard: Some(v1::ReshardTarget { shard }),
        options: None,
    });
    let operation = Some(operation);
    let answer = client.plan(v1::PlanRequest { operation }).await?;
    let found = answer.into_inner().plan.context("a plan")?;
    same!(json!(found.id), plan["id"]);
    let id = "000000000000".to_owned();
    let unknown = client.watch_job(v1::WatchJobRequest { id }).await;
    let code = unknown.err().map(|status| status.code());
    same!(code, Some(tonic::Code::NotFound));
    Ok(())
}

async fn shardctl(cluster: &Cluster, line: &str) -> anyhow::Result<String> {
    let managers: Vec<_> = cluster.managers.iter().map(|m| m.0.grpc()).collect();
    let output = Command::new(tests::program::executable("shardctl")?)
        .args(line.split(' '))
        .args(["--manager", &managers.join(",")])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{line}: {stderr}");
    Ok(String::from_utf8(output.stdout)?)
}
