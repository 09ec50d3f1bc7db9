//! How the programs start and end: configuration, drain, exit codes.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::process::Signal;
use tests::program::executable;
use tests::raw::{Raw, query};
use tests::{Cluster, http, wait};
use tokio::time::{Instant, timeout};

use crate::suite::{Outcome, Suite, alone, same};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_router_that_is_told_to_end_lets_transactions_finish,
        a_transaction_that_outlives_the_drain_deadline_is_ended,
        a_wrong_configuration_is_reported_in_full,
        the_production_files_are_accepted,
        with_access_control_a_token_is_needed,
    )
    .into()
}

async fn one_shard(router_config: Value) -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan {
        shards: 1,
        router_config,
        ..Plan::default()
    })
    .await?;
    cluster
        .create("drained", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    Ok(cluster)
}

async fn a_router_that_is_told_to_end_lets_transactions_finish() -> Outcome {
    let mut cluster = one_shard(json!({})).await?;
    let address = cluster.router(0)?.address();
    let (mut busy, mut idle) = (Raw::connect(&address).await?, Raw::connect(&address).await?);
    busy.query("BEGIN").await?;
    busy.query("INSERT INTO drained (k) VALUES (7)").await?;
    cluster.router(0)?.program.signal(Signal::Term)?;
    wait::until("refusal of new sessions", wait::SETTLE, async || {
        let refused = Raw::connect(&address).await.is_err();
        anyhow::ensure!(refused, "a new session was accepted");
        Ok(())
    })
    .await?;
    // A session between transactions is told why it ends; the transaction goes on.
    let farewell = idle.closed().await?;
    let code = farewell.iter().find_map(tests::raw::Message::sqlstate);
    same!(code.as_deref(), Some("57P01"), "{farewell:?}");
    busy.send(&query("INSERT INTO drained (k) VALUES (8)"))
        .await?;
    same!(tests::raw::tags(&busy.until_ready().await?), "CZ");
    same!(tests::raw::tags(&busy.query("COMMIT").await?), "CZ");
    let ended = cluster.routers[0].program.ended().await?;
    same!(ended.code(), Some(0));
    same!(
        cluster.shards[0]
            .psql("SELECT count(*) FROM drained")
            .await?,
        "2"
    );
    Ok(())
}

async fn a_transaction_that_outlives_the_drain_deadline_is_ended() -> Outcome {
    let mut cluster = one_shard(json!({ "shutdown": { "drain_deadline": "500ms" } })).await?;
    let mut busy = Raw::connect(&cluster.router(0)?.address()).await?;
    busy.query("BEGIN").await?;
    busy.query("INSERT INTO drained (k) VALUES (7)").await?;
    let begin = Instant::now();
    cluster.router(0)?.program.signal(Signal::Term)?;
    busy.closed().await?;
    let ended = cluster.routers[0].program.ended().await?;
    anyhow::ensure!(
        begin.elapsed() < Duration::from_secs(8),
        "took {:?}",
        begin.elapsed()
    );
    anyhow::ensure!(ended.code().is_some(), "ended by a signal");
    wait::until("rollback", wait::SETTLE, async || {
        same!(
            cluster.shards[0]
                .psql("SELECT count(*) FROM drained")
                .await?,
            "0"
        );
        let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'";
        same!(cluster.shards[0].psql(open).await?, "0");
        Ok(())
    })
    .await
}

/// Runs a program with a configuration; its exit code and what it says on stderr.
async fn run(
    name: &str,
    config: &str,
    environment: &[(&str, &str)],
) -> anyhow::Result<(Option<i32>, String)> {
    let folder = tests::folder::Folder::shared()?;
    let file = folder.fresh("config").with_extension("json");
    std::fs::write(&file, config)?;
    let mut command = Command::new(executable(name)?);
    command
        .env("CONFIG_PATH", &file)
        .envs(environment.iter().copied());
    let mut command = tokio::process::Command::from(command);
    let output = timeout(wait::SETTLE, command.kill_on_drop(true).output()).await??;
    Ok((
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    ))
}

async fn a_wrong_configuration_is_reported_in_full() -> Outcome {
    for name in ["router", "manager"] {
        let config = json!({
            "server": { "port": 70_000, "read_timeout": "soon", "colour": "red" },
            "metadata": { "type": "consul", "endpoints": [] },
            "security": { "enable_rbac": true, "jwt_secret": "short" },
            "observability": { "metrics_port": "nine" },
            "weather": "fine",
        });
        let (code, errors) = run(name, &config.to_string(), &[]).await?;
        same!(code, Some(78), "{name}: {errors}");
        for path in [
            "server.port",
            "server.read_timeout",
            "server.colour",
            "metadata.type",
            "metadata.endpoints",
            "security.jwt_secret",
            "observability.metrics_port",
            "weather",
        ] {
            anyhow::ensure!(
                errors.contains(path),
                "{name} does not report {path}:\n{errors}"
            );
        }
        for broken in ["{", "[]", ""] {
            same!(
                run(name, broken, &[]).await?.0,
                Some(78),
                "{name} with {broken:?}"
            );
        }
        let missing = Command::new(executable(name)?)
            .env("CONFIG_PATH", "/nowhere.json")
            .output()?;
        same!(missing.status.code(), Some(78));
        let unset = json!({ "security": { "jwt_secret": "${NO_SUCH_VARIABLE}" } });
        let (code, errors) = run(name, &unset.to_string(), &[]).await?;
        same!(code, Some(78));
        anyhow::ensure!(errors.contains("NO_SUCH_VARIABLE"), "{errors}");
    }
    Ok(())
}

/// Up to its certificate, which no test machine has, the printed configuration is right.
async fn the_production_files_are_accepted() -> Outcome {
    for name in ["router", "manager"] {
        let file = format!("{}/../configs/{name}.prod.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&file)?;
        let secret = [("JWT_SECRET", "a secret of at least 32 characters")];
        let (_, errors) = run(name, &text, &secret).await?;
        for line in errors.lines() {
            let about_tls = ["tls", "cert", "key", "audit"]
                .iter()
                .any(|word| line.contains(word));
            anyhow::ensure!(
                about_tls || line.is_empty() || line.starts_with('{'),
                "{name}: {line}"
            );
        }
        let (code, errors) = run(name, &text, &[]).await?;
        same!(code, Some(78));
        anyhow::ensure!(errors.contains("JWT_SECRET"), "{errors}");
    }
    Ok(())
}

async fn with_access_control_a_token_is_needed() -> Outcome {
    let secured = json!({
        "security": { "enable_rbac": true, "jwt_secret": "a secret of at least 32 characters" },
    });
    let mut cluster = Cluster::start(Plan {
        shards: 0,
        routers: 0,
        ..Plan::default()
    })
    .await?;
    let mut manager = tests::Manager::prepare(&cluster.etcd.endpoint(), &secured)?;
    manager.0.start().await?;
    let answer = http::get(&manager.api("/shards")).await?;
    same!(
        answer.expect(401)?["error"]["code"],
        json!("unauthenticated")
    );
    cluster.add_router(&secured).await.or_else(|error| {
        // A router without a shard may not be ready; it serves its probes all the same.
        let text = format!("{error:#}");
        if text.contains("503") {
            Ok(())
        } else {
            Err(error)
        }
    })?;
    if let Some(router) = cluster.routers.first() {
        let answer = router.execute(&json!({ "query": "SELECT 1" })).await?;
        same!(
            answer.expect(401)?["error"]["code"],
            json!("unauthenticated")
        );
    }
    same!(
        http::get(&format!("{}/healthz", manager.0.http()))
            .await?
            .status
            .as_u16(),
        200
    );
    manager.0.metrics().await?;
    Ok(())
}
