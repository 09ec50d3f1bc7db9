//! Requests that schemathesis makes up from the OpenAPI documents, right ones and wrong ones:
//! whatever is sent, nothing is answered with 500, and nothing hangs.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use libtest_mimic::Trial;
use platform::{Secret, bearer};
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::folder::Folder;
use tests::{Cluster, Manager, program};
use tokio::process::Command;

use super::{SECRET, call, led, set_up};
use crate::suite::{Outcome, Suite, Unavailable, long, told};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    long!(suite: fuzz_http_finds_no_server_error).into()
}

/// Statuses above 500 say what is not there or not done; 500 is a defect.
const CONFIG: &str = r#"
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "501", "503", "504"]
"#;

fn program() -> anyhow::Result<PathBuf> {
    let path = program::target_folder()?.join("tools/schemathesis/bin/st");
    if path.exists() {
        Ok(path)
    } else {
        let missing = "schemathesis: run `make fuzz-http`".to_owned();
        Err(Unavailable::Missing(missing).into())
    }
}

async fn fuzz_http_finds_no_server_error() -> Outcome {
    let program = program()?;
    let config = json!({
        "security": { "enable_rbac": true, "jwt_secret": SECRET },
        "limits": {
            "requests_per_second": 0, "rejections_per_second": 0, "logins_per_second": 0,
        },
    });
    let mut of_manager = config.clone();
    // A machine that is busy with requests has no time for short leases.
    of_manager["leader"] = json!({ "lease_ttl": "30s" });
    let cluster = Cluster::start(Plan {
        shards: 0,
        routers: 0,
        manager_config: of_manager,
        ..Plan::default()
    })
    .await?;
    let manager = &cluster.managers[0];
    led(manager).await?;
    let root = set_up(manager).await?;
    let shard = tests::Postgres::start().await?;
    let body = json!({ "name": "one", "primary_endpoint": shard.endpoint() });
    let added = call(Method::POST, &manager.api("/shards"), &root, Some(&body)).await?;
    added.expect(201)?;
    // A token that no request can revoke: it has no id and no session.
    let hour = Duration::from_secs(3_600);
    let key = bearer::sign_hs256(&Secret::new(SECRET), "fuzz", &["admin", "writer"], hour);
    let mut router = tests::Router::prepare(&cluster.etcd.endpoint(), &config)?;
    router.program.start().await?;
    let http = router.program.http();
    run(&program, &format!("{http}/v1/openapi.json"), &key).await?;
    run(&program, &manager.api("/openapi.json"), &key).await?;
    still_answers(manager, &key).await
}

async fn run(program: &PathBuf, document: &str, key: &str) -> Outcome {
    let config = Folder::shared()?
        .fresh("schemathesis")
        .with_extension("toml");
    std::fs::write(&config, CONFIG)?;
    let examples = std::env::var("FUZZ_EXAMPLES").unwrap_or_else(|_| "25".to_owned());
    let mut command = Command::new(program);
    command
        .arg("--config-file")
        .arg(&config)
        .args(["run", document, "--header"])
        .arg(format!("Authorization: Bearer {key}"))
        .args(["--checks", "not_a_server_error", "--continue-on-failure"])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--request-timeout",
            "40",
        ])
        .args([
            "--no-color",
            "--warnings",
            "off",
            "--seed",
            "7",
            "--max-examples",
        ])
        .arg(examples)
        .current_dir(config.parent().context("a file has a folder")?)
        .stdin(Stdio::null());
    let output = command.output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    told!("{text}");
    anyhow::ensure!(output.status.success(), "{document}: {}", output.status);
    Ok(())
}

async fn still_answers(manager: &Manager, key: &str) -> Outcome {
    let found = call(Method::GET, &manager.api("/audit/verify"), key, None).await?;
    let found: Value = found.expect(200)?;
    anyhow::ensure!(found["is_intact"] == true, "{found}");
    Ok(())
}
