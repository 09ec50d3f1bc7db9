//! The audit log's chain: what was written checks out, and what somebody changes in etcd is found.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::process::Signal;
use tests::{Cluster, http, program, wait};
use tokio::process::Command;

use super::{leader, list, managers};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        what_somebody_changes_in_the_audit_log_is_found,
        refusals_are_on_record_with_who_asked_and_why,
        retention_leaves_a_log_that_checks_out_and_files_rotate,
    )
    .into()
}

/// A run of shardctl at the first manager: its exit code and what it printed.
async fn shardctl(cluster: &Cluster, line: &str) -> anyhow::Result<(i32, String)> {
    let output = Command::new(program::executable("shardctl")?)
        .args(["--manager", &cluster.manager(0)?.0.grpc()])
        .args(line.split_whitespace())
        .output()
        .await?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok((output.status.code().unwrap_or(-1), text))
}

async fn create_groups(cluster: &Cluster, names: &[String]) -> Outcome {
    for name in names {
        let group = json!({ "name": name, "key_type": "bigint" });
        cluster.post_when_led("/groups", &group).await?;
    }
    Ok(())
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}{number}"))
        .collect()
}

fn key(sequence: u64) -> String {
    format!("/sharding/v1/audit/{sequence:020}")
}

/// The stored bytes of an entry, as etcdctl prints them.
fn stored(cluster: &Cluster, sequence: u64) -> anyhow::Result<String> {
    let printed = cluster
        .etcd
        .etcdctl(&["get", "--print-value-only", &key(sequence)])?;
    Ok(printed.trim_end_matches('\n').to_owned())
}

async fn what_somebody_changes_in_the_audit_log_is_found() -> Outcome {
    let cluster = managers(2, 0).await?;
    create_groups(&cluster, &names("g", 6)).await?;
    let etcd = &cluster.etcd;
    let (code, text) = shardctl(&cluster, "audit verify").await?;
    same!(code, 0, "{text}");
    anyhow::ensure!(text.contains("6 entries, 6 of them in the chain"), "{text}");

    let (third, fourth) = (stored(&cluster, 3)?, stored(&cluster, 4)?);
    let put = |sequence: u64, value: &str| etcd.etcdctl(&["put", &key(sequence), value]);
    let found = async |what: &str| -> Outcome {
        let (code, text) = shardctl(&cluster, "audit verify").await?;
        same!(code, 1, "{what}: {text}");
        anyhow::ensure!(text.contains(what), "{what} is not in {text}");
        Ok(())
    };
    put(3, &third.replace("anonymous", "mallory"))?;
    found("changed: entry 3 is not what was written").await?;
    put(3, &third)?;
    same!(shardctl(&cluster, "audit verify").await?.0, 0, "as it was");

    etcd.etcdctl(&["del", &key(4)])?;
    found("missing: entries 4 to 4 are missing").await?;
    put(3, &fourth)?;
    put(4, &third)?;
    found("misplaced: in the place of entry 3 lies entry 4").await?;
    // Numbered to fit their new places, they no longer fit their neighbours.
    put(3, &fourth.replace("\"sequence\":4", "\"sequence\":3"))?;
    put(4, &third.replace("\"sequence\":3", "\"sequence\":4"))?;
    found("changed: entry 2 is not what was written").await?;
    let api = cluster.manager(1)?.api("/audit/verify");
    let findings = http::get(&api).await?.expect(200)?;
    same!(findings["is_intact"], json!(false), "{findings}");

    put(3, &third)?;
    put(4, &fourth)?;
    create_groups(&cluster, &names("later", 1)).await?;
    let (code, text) = shardctl(&cluster, "audit verify --output json").await?;
    same!(code, 0, "{text}");
    let findings: Value = serde_json::from_str(&text)?;
    same!(findings["entries"], json!(7), "{findings}");
    Ok(())
}

async fn refusals_are_on_record_with_who_asked_and_why() -> Outcome {
    let cluster = managers(2, 0).await?;
    create_groups(&cluster, &names("g", 1)).await?;
    let leading = leader(&cluster).await?;
    let follower = cluster.manager(1 - leading)?;
    let group = json!({ "name": "g0", "key_type": "bigint" });
    // Forwarded, and refused by the leader: one entry.
    let refused = http::post(&follower.api("/groups"), &group).await?;
    refused.expect(409)?;
    let query = "/audit?result=refused";
    let entry = wait::until("the refusal on record", wait::SETTLE, async || {
        let audit = http::get(&follower.api(query)).await?.expect(200)?;
        let entries = list(&audit, "entries")?;
        anyhow::ensure!(entries.len() == 1, "{audit}");
        Ok(entries[0].clone())
    })
    .await?;
    same!(
        entry["detail"]["reason"],
        json!("group g0 exists already"),
        "{entry}"
    );
    same!(entry["from"], json!("127.0.0.1 via 127.0.0.1"), "{entry}");
    anyhow::ensure!(entry["request_id"].is_string(), "{entry}");
    // What was done tells what it did.
    let audit = http::get(&follower.api("/audit?result=done&action=create_group")).await?;
    let audit = audit.expect(200)?;
    let change = &list(&audit, "entries")?[0]["changes"][0];
    same!(change["before"], Value::Null, "{audit}");
    same!(change["after"]["name"], json!("g0"), "{audit}");
    let (code, text) = shardctl(&cluster, "audit list --result refused").await?;
    same!(code, 0, "{text}");
    anyhow::ensure!(
        text.contains("CreateGroup") && text.contains("127.0.0.1 via"),
        "{text}"
    );
    same!(
        shardctl(&cluster, "audit verify").await?.0,
        0,
        "refusals are in the chain"
    );
    Ok(())
}

async fn retention_leaves_a_log_that_checks_out_and_files_rotate() -> Outcome {
    let folder = std::env::temp_dir().join(format!("audit-e2e-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("audit.log");
    let plan = Plan {
        shards: 0,
        routers: 0,
        managers: 1,
        manager_config: json!({
            "security": { "audit_log_path": file },
            "audit": {
                "retention": { "entries": 10, "interval": "1s" },
                "file": { "max_size": "4KiB", "keep": 2 },
            },
        }),
        ..Plan::default()
    };
    let cluster = Cluster::start(plan).await?;
    create_groups(&cluster, &names("g", 30)).await?;
    let entries = wait::until("the log cut off", Duration::from_secs(30), async || {
        let audit = http::get(&cluster.manager(0)?.api("/audit"))
            .await?
            .expect(200)?;
        let entries = list(&audit, "entries")?.clone();
        anyhow::ensure!(entries.len() == 10, "{} entries", entries.len());
        Ok(entries)
    })
    .await?;
    same!(entries[0]["action"], json!("cut_audit"), "{entries:?}");
    let (code, text) = shardctl(&cluster, "audit verify").await?;
    same!(code, 0, "{text}");
    anyhow::ensure!(text.contains("cut off by retention: up to entry"), "{text}");
    is_moved_away(&cluster, &folder).await?;
    let oldest = entries[9]["sequence"].as_u64().unwrap_or_default();
    cluster.etcd.etcdctl(&["del", &key(oldest)])?;
    let (code, text) = shardctl(&cluster, "audit verify").await?;
    same!(code, 1, "{text}");
    for number in 1..=2 {
        let aside = folder.join(format!("audit.log.{number}"));
        anyhow::ensure!(aside.exists(), "no {}", aside.display());
    }
    anyhow::ensure!(!folder.join("audit.log.3").exists(), "a third file is kept");
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

/// As logrotate does it: the file is renamed, and the manager told by SIGHUP.
async fn is_moved_away(cluster: &Cluster, folder: &Path) -> Outcome {
    let (file, moved) = (folder.join("audit.log"), folder.join("moved"));
    std::fs::rename(&file, &moved)?;
    let before = std::fs::read(&moved)?;
    cluster.manager(0)?.0.signal(Signal::Hangup)?;
    create_groups(cluster, &names("after", 1)).await?;
    let written = wait::until("a new file", wait::SETTLE, async || {
        let text = std::fs::read_to_string(&file)?;
        anyhow::ensure!(text.contains("after0"), "{text}");
        Ok(text)
    })
    .await?;
    same!(
        std::fs::read(&moved)?,
        before,
        "the file that was moved away"
    );
    // Each line is what is stored, whose digest the next entry holds.
    for line in written.lines() {
        let entry: Value = serde_json::from_str(line)?;
        let sequence = entry["sequence"].as_u64().context("a number")?;
        same!(stored(cluster, sequence)?, line);
    }
    Ok(())
}
