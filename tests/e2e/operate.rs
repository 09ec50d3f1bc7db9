//! The operators' command line against a live system: the check-up, the live view, contexts.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::folder::Folder;
use tests::{Cluster, wait};
use tokio::process::Command;

use crate::suite::{Outcome, Suite, alone, same};

mod renewal;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials: Vec<Trial> = alone!(suite:
        a_check_up_says_what_is_wrong_and_what_to_do,
        the_live_view_shows_what_the_routers_did,
        a_context_keeps_the_managers_and_the_token,
        completion_and_man_pages_are_of_every_command,
    )
    .into();
    trials.extend(renewal::trials(suite));
    trials
}

const TABLE: &str = "accounts";

async fn start() -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan {
        managers: 2,
        tables: vec![(TABLE, "id", "bigint")],
        ..Plan::default()
    })
    .await?;
    for shard in &cluster.shards {
        let sql = "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint)";
        shard.psql(sql).await?;
    }
    Ok(cluster)
}

/// Without a home, so that no context of whoever runs this holds.
fn shardctl(arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = Command::new(tests::program::executable("shardctl")?);
    command
        .args(arguments)
        .env_remove("HOME")
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("ETCD_ENDPOINTS")
        .stdin(Stdio::null());
    Ok(command)
}

fn managers(cluster: &Cluster) -> String {
    let all: Vec<String> = cluster.managers.iter().map(|it| it.0.grpc()).collect();
    all.join(",")
}

fn metrics(cluster: &Cluster) -> String {
    let managers = cluster.managers.iter().map(|it| &it.0);
    let routers = cluster.routers.iter().map(|it| &it.program);
    let ports = managers
        .chain(routers)
        .map(|it| it.ports().metrics.number());
    let all: Vec<String> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
    all.join(",")
}

async fn run(cluster: &Cluster, arguments: &[&str]) -> anyhow::Result<(Option<i32>, Value)> {
    let mut command = shardctl(arguments)?;
    command
        .args(["--output", "json", "--manager", &managers(cluster)])
        .args(["--metrics", &metrics(cluster)]);
    let output = command.output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let answer = serde_json::from_slice(&output.stdout);
    let answer = answer.with_context(|| format!("{arguments:?}: {errors}"))?;
    Ok((output.status.code(), answer))
}

/// The findings of a check that are of this level.
fn of<'a>(report: &'a Value, check: &str, level: &str) -> Vec<&'a Value> {
    let all = report["findings"].as_array().into_iter().flatten();
    all.filter(|it| it["check"] == check && it["level"] == level)
        .collect()
}

async fn a_check_up_says_what_is_wrong_and_what_to_do() -> Outcome {
    let cluster = start().await?;
    let etcd = cluster.etcd.endpoint();
    let (code, report) = run(&cluster, &["doctor", "--etcd", &etcd]).await?;
    same!(code, Some(0), "exit code of {report}");
    same!(report["failures"], json!(0), "failures in {report}");
    for check in [
        "etcd", "leader", "router", "clock", "metrics", "schema", "job",
    ] {
        let count = of(&report, check, "ok").len();
        same!(count, 1, "lines about {check} in {report}");
    }
    for check in ["manager", "shard"] {
        let count = of(&report, check, "ok").len();
        same!(count, 2, "lines about {check} in {report}");
    }
    for (wrong, hint) in [
        (["shards", "show", "shrd-1"], "did you mean shard-1?"),
        (["tables", "remove", "acounts"], "did you mean accounts?"),
    ] {
        let mut command = shardctl(&wrong)?;
        let said = command
            .args(["--manager", &managers(&cluster)])
            .output()
            .await?;
        same!(said.status.code(), Some(3));
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        anyhow::ensure!(said.contains(hint), "{said}");
    }
    // There was never a backup.
    same!(of(&report, "backup", "warn").len(), 1, "backup in {report}");
    what_is_left_behind_is_found(&cluster).await?;
    let (_, report) = run(&cluster, &["doctor"]).await?;
    same!(
        of(&report, "etcd", "ok").len(),
        2,
        "etcd by managers in {report}"
    );
    a_dead_shard_is_a_failure(cluster).await
}

/// A slot and a publication under a job's name that no job knows, a prepared transaction that no
/// router made, and a table that one shard lacks.
async fn what_is_left_behind_is_found(cluster: &Cluster) -> Outcome {
    let shard = cluster.shards.first().context("a shard")?;
    shard.psql("CREATE TABLE extra (id bigint)").await?;
    let publication = "CREATE PUBLICATION vg_0123456789ab_0 FOR TABLE accounts";
    shard.psql(publication).await?;
    let prepared = "BEGIN; INSERT INTO extra VALUES (1); PREPARE TRANSACTION 'by hand'";
    shard.psql(prepared).await?;
    // It is looked for on shards that a leader has been at.
    wait::until("what was left behind", wait::SETTLE, async || {
        let (code, report) = run(cluster, &["doctor"]).await?;
        same!(code, Some(0), "warnings are no failures");
        same!(of(&report, "schema", "warn").len(), 1, "schema in {report}");
        let told = of(&report, "shard", "warn");
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        let told = told.join("\n");
        anyhow::ensure!(
            told.contains("vg_0123456789ab_0"),
            "no publication in {report}"
        );
        Ok(())
    })
    .await?;
    shard.psql("ROLLBACK PREPARED 'by hand'").await?;
    Ok(())
}

async fn a_dead_shard_is_a_failure(mut cluster: Cluster) -> Outcome {
    let shard = cluster.shards.last_mut().context("a shard")?;
    shard.kill().await?;
    let (code, report) = run(&cluster, &["doctor"]).await?;
    same!(code, Some(1), "exit code of {report}");
    let failed = of(&report, "shard", "fail");
    same!(failed.len(), 1, "failures in {report}");
    anyhow::ensure!(failed[0]["advice"].is_string(), "no advice in {report}");
    let mut nobody = shardctl(&["doctor", "--manager", "http://127.0.0.1:1"])?;
    let output = nobody.output().await?;
    same!(output.status.code(), Some(1), "without a manager");
    let text = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(text.contains("does not answer"), "{text}");
    Ok(())
}

async fn the_live_view_shows_what_the_routers_did() -> Outcome {
    let cluster = start().await?;
    let client = cluster.routers[0].client().await?;
    let top = async {
        wait::until("queries in the live view", wait::SETTLE, async || {
            let (_, top) = run(&cluster, &["top", "--once", "--interval", "500ms"]).await?;
            let queries = top["routers"][0]["queries_per_second"].as_f64();
            anyhow::ensure!(queries > Some(1.0), "{top}");
            anyhow::ensure!(top["routers"][0]["p99_ms"].is_number(), "{top}");
            same!(
                top["shards"].as_array().map(Vec::len),
                Some(2),
                "shards of {top}"
            );
            same!(top["unread"], json!({}), "{top}");
            Ok(())
        })
        .await
    };
    tokio::select! {
        biased;
        done = top => done?,
        ended = ask_on(&client) => ended?,
    }
    let mut twice = shardctl(&["top", "-n", "2", "--interval", "200ms"])?;
    twice.args(["--metrics", &metrics(&cluster)]);
    let output = twice.output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    same!(
        text.matches("QUERIES/S").count(),
        4,
        "two pictures in {text}"
    );
    anyhow::ensure!(
        !text.contains('\u{1b}'),
        "it moves a cursor that is not there"
    );
    Ok(())
}

/// Asks until it is dropped.
async fn ask_on(client: &tokio_postgres::Client) -> Outcome {
    loop {
        let sql = "SELECT balance FROM accounts WHERE id = 7";
        client.query(sql, &[]).await?;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

const PASSWORD: &str = "correct horse battery";

async fn within(file: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = shardctl(arguments)?;
    command
        .env("SHARDCTL_CONFIG", file)
        .env("SHARDCTL_USER_PASSWORD", PASSWORD);
    Ok(command.output().await?)
}

async fn well(file: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = within(file, arguments).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{arguments:?}: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

async fn a_context_keeps_the_managers_and_the_token() -> Outcome {
    let secret = "a secret of at least 32 characters";
    let cluster = Cluster::start(Plan {
        shards: 0,
        routers: 0,
        manager_config: json!({ "security": { "enable_rbac": true, "jwt_secret": secret } }),
        ..Plan::default()
    })
    .await?;
    let folder = Folder::shared()?;
    let file: PathBuf = folder.fresh("config");
    let manager = cluster.managers[0].0.grpc();
    well(&file, &["context", "set", "here", "--manager", &manager]).await?;
    well(
        &file,
        &["context", "set", "away", "--manager", "http://127.0.0.1:1"],
    )
    .await?;
    wait::until("a leader", wait::SETTLE, async || {
        well(&file, &["setup", "root"]).await.map(drop)
    })
    .await?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file)?.permissions());
    same!(mode & 0o777, 0o600);
    let me = well(&file, &["whoami", "--output", "yaml"]).await?;
    anyhow::ensure!(me.contains("- admin\n"), "{me}");
    let away = within(&file, &["whoami", "--context", "away"]).await?;
    same!(away.status.code(), Some(4), "nobody is there");
    let hint = String::from_utf8_lossy(&away.stderr).into_owned();
    anyhow::ensure!(hint.contains("nothing listens there"), "{hint}");
    let wrong = within(&file, &["whoami", "--context", "hre"]).await?;
    same!(wrong.status.code(), Some(3));
    let hint = String::from_utf8_lossy(&wrong.stderr).into_owned();
    anyhow::ensure!(hint.contains("did you mean here?"), "{hint}");
    well(&file, &["logout"]).await?;
    let out = within(&file, &["whoami"]).await?;
    same!(out.status.code(), Some(1));
    let kept = std::fs::read_to_string(&file)?;
    anyhow::ensure!(!kept.contains("\"token\""), "{kept}");
    Ok(())
}

async fn completion_and_man_pages_are_of_every_command() -> Outcome {
    for shell in ["bash", "zsh", "fish"] {
        let output = shardctl(&["completion", shell])?.output().await?;
        same!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout)?;
        for command in ["doctor", "top", "reshard", "context"] {
            anyhow::ensure!(text.contains(command), "{shell} knows no {command}");
        }
    }
    let folder = Folder::shared()?;
    let pages = folder.fresh("man");
    let to = pages.to_str().context("a path of UTF-8")?;
    let output = shardctl(&["man", "--to", to])?.output().await?;
    same!(output.status.code(), Some(0));
    for page in [
        "shardctl.1",
        "shardctl-doctor.1",
        "shardctl-reshard-split.1",
    ] {
        let text = std::fs::read_to_string(pages.join(page)).context(page)?;
        anyhow::ensure!(text.contains(".TH"), "{page} is no man page");
    }
    Ok(())
}
