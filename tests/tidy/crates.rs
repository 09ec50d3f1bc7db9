//! Which crate may use which: arrows only go down.

use std::process::Command;

use serde_json::Value;

use crate::report::Report;
use crate::tree::Tree;

/// Each crate with those of ours that it may use, and why not the others.
const MAY_USE: &[(&str, &[&str], &str)] = &[
    (
        "tests",
        &["platform", "proto", "topology"],
        "drives the programs from outside, with tokens that it signs itself",
    ),
    (
        "router",
        &["topology", "platform", "proto", "wire"],
        "never knows the manager",
    ),
    (
        "manager",
        &["topology", "platform", "proto", "wire"],
        "never knows the router",
    ),
    (
        "shardctl",
        &["topology", "platform", "proto"],
        "leaves to the manager what is allowed",
    ),
    (
        "topology",
        &["platform"],
        "stores what does not travel on gRPC",
    ),
    ("platform", &[], "knows nothing of sharding"),
    ("proto", &[], "holds generated code only"),
    ("wire", &[], "has no socket and no log"),
];

/// Crates whose use of others is narrow on purpose, with all that they may use when they run.
const NARROW: &[(&str, &[&str])] = &[
    ("wire", &["bytes", "thiserror"]),
    ("proto", &["prost", "tonic", "tonic-prost"]),
];

/// The crate of the end-to-end tests, whose library starts PostgreSQL, etcd and the programs.
const HARNESS: &str = "tests";

/// Generated code does not answer to our lints.
const WITHOUT_LINTS: &[&str] = &["proto"];

pub(crate) fn check(tree: &Tree, report: &mut Report) {
    for package in packages(tree) {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = format!("{name}/Cargo.toml");
        let Some((_, may_use, reason)) = MAY_USE.iter().find(|(each, _, _)| *each == name) else {
            report.add(&manifest, 1, "is a crate without a row in tidy's table");
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let used = dependency["name"].as_str().unwrap_or_default();
            let is_ours = MAY_USE.iter().any(|(each, _, _)| *each == used);
            let line = line_naming(tree, &manifest, used);
            // The harness starts real servers for whoever tests against them.
            let is_harness = used == HARNESS && dependency["kind"] == "dev";
            if is_ours && !is_harness && !may_use.contains(&used) {
                report.add(
                    &manifest,
                    line,
                    format!("{name} may not use {used}: it {reason}"),
                );
            }
            let narrow = NARROW.iter().find(|(each, _)| *each == name);
            let runs = dependency["kind"].is_null();
            if narrow.is_some_and(|(_, allowed)| runs && !allowed.contains(&used)) {
                report.add(
                    &manifest,
                    line,
                    format!("{name} may not use {used}: it {reason}"),
                );
            }
        }
        lints(tree, name, &manifest, report);
    }
    runtime_in_topology(tree, report);
}

fn packages(tree: &Tree) -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(&tree.root)
        .output()
        .expect("cargo runs the tests, so it can run");
    let metadata: Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    metadata["packages"].as_array().cloned().unwrap_or_default()
}

fn line_naming(tree: &Tree, manifest: &str, dependency: &str) -> usize {
    let file = tree.files.iter().find(|file| file.path == manifest);
    let position = file.and_then(|file| {
        file.text
            .lines()
            .position(|line| line.starts_with(dependency))
    });
    position.map_or(1, |index| index + 1)
}

fn lints(tree: &Tree, name: &str, manifest: &str, report: &mut Report) {
    let file = tree.files.iter().find(|file| file.path == manifest);
    let inherits = file.is_some_and(|file| file.text.contains("[lints]\nworkspace = true"));
    if !inherits && !WITHOUT_LINTS.contains(&name) {
        report.add(manifest, 1, "does not inherit the workspace's lints");
    }
}

/// The core of topology is pure; what waits for the network is in `store` and `watch`.
fn runtime_in_topology(tree: &Tree, report: &mut Report) {
    for (file, source) in tree.rust() {
        let Some(inside) = file.path.strip_prefix("topology/src/") else {
            continue;
        };
        if inside.starts_with("store") || inside.starts_with("watch") {
            continue;
        }
        for offset in crate::source::words(&source.code, "tokio::") {
            let line = crate::source::line_of(&source.code, offset);
            report.add(
                &file.path,
                line,
                "uses tokio: only store and watch may wait",
            );
        }
    }
}
