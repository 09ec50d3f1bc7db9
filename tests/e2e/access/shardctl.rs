//! The same from the command line, without a secret on it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::folder::Folder;
use tokio::process::Command;

use super::PASSWORD;
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        an_operator_sets_up_logs_in_makes_keys_and_logs_out,
    )
    .into()
}

async fn run(manager: &str, token_file: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(tests::program::executable("shardctl")?);
    command
        .args(["--manager", manager, "--output", "json", "--token-file"])
        .arg(token_file)
        .args(arguments)
        .env("SHARDCTL_USER_PASSWORD", PASSWORD)
        .stdin(Stdio::null());
    Ok(command.output().await?)
}

fn json_of(output: &Output) -> anyhow::Result<Value> {
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{}: {errors}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

async fn an_operator_sets_up_logs_in_makes_keys_and_logs_out() -> Outcome {
    let cluster = super::start(1, 0).await?;
    let manager = cluster.managers[0].0.grpc();
    let folder = Folder::shared()?;
    let file = folder.fresh("token");
    let refused = run(&manager, &file, &["shards", "list"]).await?;
    same!(refused.status.code(), Some(1));
    json_of(&run(&manager, &file, &["setup", "root"]).await?)?;
    let again = run(&manager, &file, &["setup", "root"]).await?;
    same!(again.status.code(), Some(1));
    let me = json_of(&run(&manager, &file, &["whoami"]).await?)?;
    same!(me["roles"], json!(["admin"]));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file)?.permissions());
    same!(mode & 0o777, 0o600);
    json_of(
        &run(
            &manager,
            &file,
            &["accounts", "create", "bob", "--role", "operator"],
        )
        .await?,
    )?;
    let accounts = json_of(&run(&manager, &file, &["accounts", "list"]).await?)?;
    same!(accounts["accounts"].as_array().map(Vec::len), Some(2));
    let bob = folder.fresh("bob");
    json_of(&run(&manager, &bob, &["login", "bob"]).await?)?;
    json_of(&run(&manager, &bob, &["shards", "list"]).await?)?;
    let denied = run(&manager, &bob, &["keys", "list"]).await?;
    same!(denied.status.code(), Some(1));
    let create = [
        "keys", "create", "app", "--role", "writer", "--group", "default",
    ];
    let key = json_of(&run(&manager, &file, &create).await?)?;
    same!(key["groups"], json!(["default"]));
    let id = key["id"].as_str().unwrap_or_default();
    let keys = run(&manager, &file, &["keys", "list"]).await?;
    let listed = String::from_utf8_lossy(&keys.stdout).into_owned();
    let secret = key["key"].as_str().unwrap_or("?");
    anyhow::ensure!(listed.contains(id) && !listed.contains(secret), "{listed}");
    json_of(&run(&manager, &file, &["keys", "revoke", id]).await?)?;
    json_of(&run(&manager, &bob, &["logout"]).await?)?;
    anyhow::ensure!(!bob.exists(), "the token is still there");
    Ok(())
}
