//! Reads by key through every front, and how fast point reads are.

use std::process::Stdio;

use anyhow::Context as _;
use proto::router::v1::router_service_client::RouterServiceClient;
use proto::router::v1::{ExecuteRequest, Key, Value, key, value};
use serde_json::json;
use tests::folder::Folder;
use tests::postgres;

use crate::load::{CUSTOMERS, ORDERS_EACH, total};
use crate::system::System;
use crate::{Progress, say};

const SUM: &str = "SELECT count(*) AS orders, sum(amount)::text AS total FROM orders \
                   WHERE customer_id = $1";

/// What each front has to answer for a customer: the number of orders and their sum.
type Answer = (i64, String);

/// Reads some customers through psql, HTTP and gRPC; all must say what was loaded.
pub(crate) async fn by_key(system: &System, progress: &Progress) -> anyhow::Result<()> {
    let customers = [1, 42, CUSTOMERS / 2, CUSTOMERS];
    for customer in customers {
        let expected = (ORDERS_EACH, total(customer));
        for (front, answer) in [
            ("psql", through_psql(system, customer).await?),
            ("HTTP", through_http(system, customer).await?),
            ("gRPC", through_grpc(system, customer).await?),
        ] {
            anyhow::ensure!(
                answer == expected,
                "orders of customer {customer} through {front}: {answer:?}, not {expected:?}"
            );
        }
    }
    progress.done(&format!(
        "customers {customers:?} read alike through psql, HTTP and gRPC"
    ));
    Ok(())
}

async fn through_psql(system: &System, customer: i64) -> anyhow::Result<Answer> {
    let sql = SUM.replace("$1", &customer.to_string());
    let row = system.router(0)?.psql(&sql).await?;
    let (count, sum) = row
        .split_once('|')
        .with_context(|| format!("psql printed {row}"))?;
    Ok((count.parse()?, sum.to_owned()))
}

async fn through_http(system: &System, customer: i64) -> anyhow::Result<Answer> {
    let body = json!({ "shard_key": customer, "query": SUM, "params": [customer] });
    let answer = system.router(1)?.execute(&body).await?.expect(200)?;
    let row = &answer["rows"][0];
    let count = row["orders"].as_i64().with_context(|| answer.to_string())?;
    Ok((count, row["total"].as_str().unwrap_or_default().to_owned()))
}

async fn through_grpc(system: &System, customer: i64) -> anyhow::Result<Answer> {
    let request = ExecuteRequest {
        shard_key: Some(Key {
            kind: Some(key::Kind::IntValue(customer)),
        }),
        query: SUM.to_owned(),
        params: vec![Value {
            kind: Some(value::Kind::IntValue(customer)),
        }],
        ..ExecuteRequest::default()
    };
    let mut client = RouterServiceClient::connect(system.router(0)?.program.grpc()).await?;
    let answer = client.execute(request).await?.into_inner();
    let mut values = answer
        .rows
        .into_iter()
        .flat_map(|row| row.values)
        .map(|value| value.kind);
    match (values.next().flatten(), values.next().flatten()) {
        (Some(value::Kind::IntValue(count)), Some(value::Kind::TextValue(sum))) => Ok((count, sum)),
        other => anyhow::bail!("gRPC answered {other:?}"),
    }
}

/// Runs pgbench through a router for some seconds: random customers by key, as prepared statements.
pub(crate) async fn point_reads(
    system: &System,
    progress: &Progress,
    seconds: u32,
) -> anyhow::Result<()> {
    progress.done(&format!("pgbench reads random customers for {seconds} s"));
    let seconds = seconds.to_string();
    let script = Folder::shared()?.fresh("point-reads").with_extension("sql");
    std::fs::write(
        &script,
        format!(
            "\\set id random(1, {CUSTOMERS})\n\
             SELECT name, country FROM customers WHERE customer_id = :id;\n"
        ),
    )?;
    let program = postgres::bin()?.join("pgbench");
    let mut command = system
        .router(0)?
        .address()
        .command(&program.to_string_lossy());
    command.args([
        "-n", "-M", "prepared", "-c", "8", "-j", "2", "-T", &seconds, "-f",
    ]);
    let output = command.arg(&script).stdin(Stdio::null()).output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "pgbench: {errors}");
    let shown = String::from_utf8_lossy(&output.stdout);
    let wanted = [
        "number of transactions actually",
        "number of failed",
        "latency average",
        "tps",
    ];
    for line in shown
        .lines()
        .filter(|line| wanted.iter().any(|word| line.starts_with(word)))
    {
        say(&format!("            {line}"));
    }
    Ok(())
}
