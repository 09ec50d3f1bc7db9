//! The manifests of Kubernetes, as kustomize renders them: held against the API's schemas and
//! against what `manifests.py` asks of every workload.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::program::target_folder;

use crate::suite::{Outcome, Suite, Unavailable, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        the_manifests_are_what_kubernetes_takes_and_the_policies_ask_for,
        a_manifest_that_breaks_a_rule_is_found,
        the_configuration_in_the_manifests_is_accepted,
    )
    .into()
}

const FOLDERS: [&str; 3] = ["base", "overlays/dev", "overlays/prod"];

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s")
}

fn tools() -> anyhow::Result<PathBuf> {
    let tools = target_folder()?.join("tools/manifests");
    if !tools.join("kustomize").exists() {
        anyhow::bail!(Unavailable::Missing("kustomize".to_owned()));
    }
    Ok(tools)
}

async fn check(manifests: &Path, folders: &[&str]) -> anyhow::Result<Output> {
    let tools = tools()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/deploy/manifests.py");
    let mut command = Command::new("python3");
    command
        .env("PYTHONPATH", tools.join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script)
        .arg(tools.join("kustomize"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/prometheus/alerts.yml"))
        .args(folders.iter().map(|folder| manifests.join(folder)));
    let mut command = tokio::process::Command::from(command);
    Ok(command.kill_on_drop(true).output().await?)
}

async fn the_manifests_are_what_kubernetes_takes_and_the_policies_ask_for() -> Outcome {
    let output = check(&manifests(), &FOLDERS).await?;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{said}{errors}");
    same!(said.lines().count(), FOLDERS.len(), "{said}");
    Ok(())
}

/// What is broken, and what must be said of it.
const BREAKS: [(&str, &str, &str, &str); 8] = [
    (
        "components/monitoring/prometheusrule.yaml",
        "shard_health_status == 0",
        "shard_health_status == 2",
        "other rules",
    ),
    (
        "base/router.yaml",
        "replicas: 3",
        "replicas: three",
        "three",
    ),
    (
        "base/router.yaml",
        "maxSurge: 1",
        "maxSurge: 1\n      colour: red",
        "colour",
    ),
    (
        "base/manager.yaml",
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
        "may write its root",
    ),
    (
        "base/manager.yaml",
        "            cpu: \"500m\"\n",
        "",
        "no limits of cpu",
    ),
    (
        "base/kustomization.yaml",
        "newTag: 0.1.0",
        "newTag: latest",
        "has no tag that stays",
    ),
    (
        "base/router.yaml",
        "name: sharding-config",
        "name: elsewhere",
        "ConfigMap/elsewhere",
    ),
    (
        "base/router.yaml",
        "path: /readyz\n            port: 8080",
        "path: /readyz\n            port: 1",
        "asks port 1",
    ),
];

async fn a_manifest_that_breaks_a_rule_is_found() -> Outcome {
    let folder = tests::folder::Folder::shared()?;
    let copy = folder.fresh("k8s");
    tools()?;
    for (file, good, bad, wanted) in BREAKS {
        let copied = Command::new("cp")
            .arg("-aT")
            .arg(manifests())
            .arg(&copy)
            .status()?;
        anyhow::ensure!(copied.success(), "the manifests are not copied");
        let text = std::fs::read_to_string(copy.join(file))?;
        anyhow::ensure!(text.contains(good), "{file} does not say {good:?}");
        std::fs::write(copy.join(file), text.replace(good, bad))?;
        let folder = if file.starts_with("base") {
            "base"
        } else {
            "overlays/prod"
        };
        let output = check(&copy, &[folder]).await?;
        let said = String::from_utf8_lossy(&output.stdout);
        same!(output.status.code(), Some(1), "{bad:?} in {file}: {said}");
        anyhow::ensure!(said.contains(wanted), "{bad:?} in {file}: {said}");
    }
    Ok(())
}

/// The configuration is a text to Kubernetes: only the programs can say whether they take it.
async fn the_configuration_in_the_manifests_is_accepted() -> Outcome {
    let text = std::fs::read_to_string(manifests().join("base/configmap.yaml"))?;
    let folder = tests::folder::Folder::shared()?;
    for (program, next) in [("router", "  manager.json: |"), ("manager", "\u{0}")] {
        let from = format!("  {program}.json: |\n");
        let (_, rest) = text
            .split_once(&from)
            .context("the file is in the ConfigMap")?;
        let config = rest.split(next).next().unwrap_or_default();
        let file = folder.fresh(program).with_extension("json");
        std::fs::write(&file, config)?;
        let mut command = Command::new(tests::program::executable(program)?);
        command
            .args(["--check", "--config"])
            .arg(&file)
            .env("JWT_SECRET", "a secret of thirty-two characters")
            .env("PGWIRE_PASSWORD", "a password");
        let output = command.output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{program}: {errors}");
    }
    Ok(())
}
