//! Logs: what is told, at which level, and where.

use std::sync::Arc;

use anyhow::Context as _;
use http::Method;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::folder::Folder;
use tests::process::Signal;
use tests::raw::{Raw, bind, execute, parse, sync};
use tests::{Cluster, http as client, wait};

use crate::suite::{Outcome, Suite, alone, same};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        logs_are_json_with_slow_statements_and_a_level_that_changes,
        a_manager_takes_its_level_by_http_and_by_its_file,
    )
    .into()
}

/// The events of a log, without those whose message is another one.
fn events(log: &str, message: &str) -> Vec<Value> {
    let events = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    events
        .filter(|event: &Value| event["message"] == message)
        .collect()
}

async fn put_level(base: &str, level: &str) -> anyhow::Result<u16> {
    let body = json!({ "level": level }).to_string();
    let answer = client::send(Method::PUT, base, Some(body)).await?;
    Ok(answer.status.as_u16())
}

async fn logs_are_json_with_slow_statements_and_a_level_that_changes() -> Outcome {
    let folder = Folder::shared()?;
    let file = folder.fresh("log").join("sharding").join("router.log");
    let plan = Plan {
        router_config: json!({
            "observability": { "log_file": file, "slow_query": "100ms" },
        }),
        ..Plan::default()
    };
    let cluster = Cluster::start(plan).await?;
    let router = cluster.router(0)?;
    let mut session = Raw::connect(&router.address()).await?;
    session
        .query("SELECT pg_sleep(0.15), 'confidential'")
        .await?;
    session.query("SELECT 'confidential'").await?;
    let messages = [
        parse("", "SELECT pg_sleep(0.15), 'confidential', $1::text", &[]),
        bind("", "", false, &[Some(b"confidential")]),
        execute("", 0),
        sync(),
    ];
    session.exchange(&messages.concat()).await?;
    let request = json!({ "query": "SELECT pg_sleep(0.15), 'confidential'" });
    router.execute(&request).await?.expect(200)?;
    let read = || -> anyhow::Result<String> { Ok(std::fs::read_to_string(&file)?) };
    wait::until("three slow statements", wait::SETTLE, async || {
        for log in [router.program.log(), read()?] {
            let slow = events(&log, "slow statement");
            same!(slow.len(), 3, "{log}");
            for event in slow {
                let took = event["took_ms"].as_u64().context("no time")?;
                anyhow::ensure!((100..10_000).contains(&took), "{event}");
                let statement = event["statement"].as_str().context("no statement")?;
                anyhow::ensure!(statement.starts_with("SELECT pg_sleep($"), "{event}");
            }
            anyhow::ensure!(!log.contains("confidential"), "a value is logged");
        }
        Ok(())
    })
    .await?;
    levels(&cluster, &mut session).await?;
    // Whoever rotates moves the file away and says so.
    let old = file.with_extension("1");
    std::fs::rename(&file, &old)?;
    router.program.signal(Signal::Hangup)?;
    wait::until("a new file", wait::SETTLE, async || {
        let log = read()?;
        let reloaded = events(&log, "configuration reloaded").len();
        same!(reloaded, 1, "{log}");
        Ok(())
    })
    .await?;
    // SIGHUP took the level of the file.
    let url = format!("{}/v1/log-level", router.program.http());
    let answer = client::get(&url).await?.expect(200)?;
    same!(answer, json!({ "level": "info" }));
    Ok(())
}

async fn levels(cluster: &Cluster, session: &mut Raw) -> Outcome {
    let router = cluster.router(0)?;
    let url = format!("{}/v1/log-level", router.program.http());
    let (answered, stated) = ("request answered", "statement answered");
    let count = |message| events(&router.program.log(), message).len();
    same!((count(answered), count(stated)), (0, 0));
    same!(put_level(&url, "inof").await?, 400);
    same!(
        put_level(&url, "info,router=debug,platform=debug").await?,
        200
    );
    session.query("SELECT 1").await?;
    session.query("SET sharding.consistency = 'strong'").await?;
    router
        .execute(&json!({ "query": "SELECT 1" }))
        .await?
        .expect(200)?;
    wait::until("a line for each request", wait::SETTLE, async || {
        let log = router.program.log();
        same!(events(&log, stated).len(), 2, "{log}");
        let requests = events(&log, answered);
        let is_it = |event: &&Value| event["span"]["path"] == "/v1/execute";
        let event = requests.iter().find(is_it).context("no request")?;
        let id = event["span"]["request_id"].as_str().context("no id")?;
        same!(id.len(), 32);
        same!(event["status"], json!(200));
        anyhow::ensure!(event["latency_us"].is_u64(), "{event}");
        Ok(())
    })
    .await
}

async fn a_manager_takes_its_level_by_http_and_by_its_file() -> Outcome {
    let cluster = Cluster::start(Plan {
        routers: 0,
        ..Plan::default()
    })
    .await?;
    let manager = cluster.manager(0)?;
    let url = manager.api("/log-level");
    same!(
        client::get(&url).await?.expect(200)?,
        json!({ "level": "info" })
    );
    same!(put_level(&url, "warn").await?, 200);
    same!(
        client::get(&url).await?.expect(200)?,
        json!({ "level": "warn" })
    );
    let config = std::fs::read_to_string(manager.0.config())?;
    let config = config.replace("\"log_level\": \"info\"", "\"log_level\": \"debug\"");
    std::fs::write(manager.0.config(), config)?;
    manager.0.signal(Signal::Hangup)?;
    wait::until("the level of the file", wait::SETTLE, async || {
        let answer = client::get(&url).await?.expect(200)?;
        same!(answer, json!({ "level": "debug" }));
        Ok(())
    })
    .await
}
