//! Users of the Postgres front: written through the managers, in force at every router.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::pg::Address;
use tests::{Cluster, http, wait};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::{epoch, is_error, leader};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        users_in_etcd_log_in_at_every_router,
        shardctl_manages_users_without_a_password_on_its_command_line,
    )
    .into()
}

const CONFIGURED: (&str, &str) = ("configured", "from-the-file");
const FIRST: &str = "correct-horse";
const SECOND: &str = "battery-staple";

async fn start() -> anyhow::Result<Cluster> {
    let users = json!([{ "name": CONFIGURED.0, "password": CONFIGURED.1 }]);
    let plan = Plan {
        shards: 1,
        managers: 2,
        routers: 2,
        router_config: json!({
            "pgwire": { "auth": { "method": "scram-sha-256", "users": users } },
        }),
        ..Plan::default()
    };
    Cluster::start(plan).await
}

fn address(
    cluster: &Cluster,
    router: usize,
    name: &str,
    password: &str,
) -> anyhow::Result<Address> {
    let mut address = cluster.router(router)?.address();
    address.user = name.to_owned();
    address.password = Some(password.to_owned());
    Ok(address)
}

/// Waits until a login succeeds, or fails, at every router.
async fn logs_in(cluster: &Cluster, name: &str, password: &str, may: bool) -> Outcome {
    for router in 0..cluster.routers.len() {
        let address = address(cluster, router, name, password)?;
        let what = format!("login of {name} at router {router}: {may}");
        wait::until(&what, wait::SETTLE, async || {
            let shown = address.psql_output("SELECT 1").await?;
            let stderr = String::from_utf8_lossy(&shown.stderr).into_owned();
            anyhow::ensure!(shown.status.success() == may, "{stderr}");
            let refused = format!("password authentication failed for user \"{name}\"");
            anyhow::ensure!(may || stderr.contains(&refused), "{stderr}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn users_in_etcd_log_in_at_every_router() -> Outcome {
    let cluster = start().await?;
    let leading = leader(&cluster).await?;
    // One manager leads, the other one forwards.
    let (first, second) = (&cluster.managers[leading], &cluster.managers[1 - leading]);
    let before = epoch(first).await?;
    let app = json!({ "name": "app", "password": FIRST });
    http::post(&second.api("/users"), &app).await?.expect(201)?;
    is_error(
        &http::post(&first.api("/users"), &app).await?,
        409,
        "already_exists",
    )?;
    logs_in(&cluster, "app", FIRST, true).await?;
    logs_in(&cluster, "app", SECOND, false).await?;
    logs_in(&cluster, "nobody", FIRST, false).await?;

    // A user of the configuration is not the one of etcd.
    let other = json!({ "name": CONFIGURED.0, "password": SECOND, "enabled": false });
    http::post(&first.api("/users"), &other)
        .await?
        .expect(201)?;
    logs_in(&cluster, CONFIGURED.0, CONFIGURED.1, true).await?;
    logs_in(&cluster, CONFIGURED.0, SECOND, false).await?;

    let session = address(&cluster, 0, "app", FIRST)?.client().await?;
    let url = second.api("/users/app");
    http::patch(&url, &json!({ "password": SECOND }))
        .await?
        .expect(200)?;
    logs_in(&cluster, "app", SECOND, true).await?;
    logs_in(&cluster, "app", FIRST, false).await?;
    http::patch(&url, &json!({ "enabled": false }))
        .await?
        .expect(200)?;
    logs_in(&cluster, "app", SECOND, false).await?;
    session
        .simple_query("SELECT 1")
        .await
        .context("sessions go on")?;
    http::patch(&url, &json!({ "enabled": true }))
        .await?
        .expect(200)?;
    logs_in(&cluster, "app", SECOND, true).await?;
    same!(epoch(first).await?, before, "users make no epoch");

    cluster.etcd.pause()?;
    logs_in(&cluster, "app", SECOND, true).await?;
    logs_in(&cluster, "app", FIRST, false).await?;
    cluster.etcd.resume()?;
    wait::until("etcd is back", wait::SETTLE, async || {
        http::delete(&url).await?.expect(204).map(drop)
    })
    .await?;
    logs_in(&cluster, "app", SECOND, false).await?;
    session
        .simple_query("SELECT 1")
        .await
        .context("sessions go on")?;
    nothing_is_shown(&cluster).await
}

/// Neither a password nor a verifier is anywhere but where it belongs.
async fn nothing_is_shown(cluster: &Cluster) -> Outcome {
    let stored = cluster.etcd.etcdctl(&["get", "--prefix", ""])?;
    let mut shown = vec![("etcd", stored)];
    for manager in &cluster.managers {
        shown.push(("a manager's log", manager.0.log()));
        shown.push(("metrics", manager.0.metrics().await?));
        for path in ["/users", "/audit"] {
            shown.push((path, http::get(&manager.api(path)).await?.body));
        }
    }
    for router in &cluster.routers {
        shown.push(("a router's log", router.program.log()));
    }
    for (what, text) in shown {
        for secret in [FIRST, SECOND] {
            anyhow::ensure!(!text.contains(secret), "{what} shows a password");
        }
        let holds_verifiers = text.contains("SCRAM-SHA-256$");
        same!(holds_verifiers, what == "etcd", "verifiers in {what}");
    }
    Ok(())
}

async fn shardctl_manages_users_without_a_password_on_its_command_line() -> Outcome {
    let cluster = start().await?;
    leader(&cluster).await?;
    let managers: Vec<_> = cluster.managers.iter().map(|m| m.0.grpc()).collect();
    let managers = managers.join(",");
    let run = async |line: &str, input: &str| shardctl(&managers, line, input).await;
    let done = async |line: &str, input: &str| {
        let output = run(line, input).await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{line}: {stderr}");
        anyhow::Ok(String::from_utf8(output.stdout)?)
    };
    done("users create app", &format!("{FIRST}\n")).await?;
    logs_in(&cluster, "app", FIRST, true).await?;
    done("users passwd app --password-file -", SECOND).await?;
    logs_in(&cluster, "app", SECOND, true).await?;
    done("users disable app", "").await?;
    logs_in(&cluster, "app", SECOND, false).await?;
    let listed = done("users list --output json", "").await?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    same!(listed["users"][0]["enabled"], json!(false), "{listed}");
    done("users enable app", "").await?;
    logs_in(&cluster, "app", SECOND, true).await?;

    // What PostgreSQL stores of a password can be taken over.
    let server = cluster.shard("shard-1")?;
    server.psql("CREATE ROLE taken PASSWORD 'sesame'").await?;
    let verifier = server
        .psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'taken'")
        .await?;
    done("users create taken", &verifier).await?;
    logs_in(&cluster, "taken", "sesame", true).await?;

    done("users delete app", "").await?;
    logs_in(&cluster, "app", SECOND, false).await?;
    same!(run("users delete app", "").await?.status.code(), Some(3));
    same!(run("users create other", "").await?.status.code(), Some(2));
    Ok(())
}

async fn shardctl(managers: &str, line: &str, input: &str) -> anyhow::Result<Output> {
    let program: PathBuf = tests::program::executable("shardctl")?;
    let mut child = Command::new(program)
        .args(line.split(' '))
        .args(["--manager", managers])
        .env_remove("SHARDCTL_USER_PASSWORD")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    Ok(child.wait_with_output().await?)
}
