//! etcd, and the managers.

use std::collections::BTreeSet;

use proto::manager::v1 as pb;

use super::{Facts, Finding, Level};

/// etcd answers in a millisecond or two where its disk and the network are well.
const SLOW_MS: f64 = 100.0;

pub(super) fn etcd(facts: &Facts) -> Vec<Finding> {
    if !facts.etcd.is_empty() {
        let own = facts.etcd.iter();
        return own
            .map(|(address, answer)| match answer {
                Ok(took) => answered(address, "", *took),
                Err(error) => gone(address, error),
            })
            .collect();
    }
    let looks = facts.managers.iter().filter_map(|manager| {
        let id = manager.status.as_ref().ok()?.manager_id.clone();
        Some((id, manager.inspection.as_ref().ok()?))
    });
    looks
        .map(|(id, look)| match look.found.etcd_error.as_str() {
            "" => answered(
                &format!("of {id}"),
                "as the manager says",
                look.found.etcd_latency_ms,
            ),
            error => gone(&format!("of {id}"), error),
        })
        .collect()
}

fn answered(about: &str, by: &str, took: f64) -> Finding {
    let by = if by.is_empty() {
        String::new()
    } else {
        format!(", {by}")
    };
    let finding = format!("answers in {took:.1} ms{by}");
    if took <= SLOW_MS {
        return Finding::ok("etcd", about, finding);
    }
    let advice = "look at its disk (etcd_disk_wal_fsync_duration_seconds) and the network";
    Finding::bad((Level::Warn, "etcd"), about, finding, advice)
}

fn gone(about: &str, error: &str) -> Finding {
    let advice = "start it, or mend metadata.endpoints; routers serve on from what they know, \
                  changes wait";
    let finding = format!("does not answer: {error}");
    Finding::bad((Level::Fail, "etcd"), about, finding, advice)
}

pub(super) fn managers(facts: &Facts) -> Vec<Finding> {
    let answers = facts.managers.iter();
    let alive: Vec<&pb::GetStatusResponse> =
        answers.filter_map(|it| it.status.as_ref().ok()).collect();
    let newest = alive.iter().map(|it| it.epoch).max().unwrap_or_default();
    let mut findings: Vec<Finding> = Vec::new();
    for manager in &facts.managers {
        let level = if alive.is_empty() {
            Level::Fail
        } else {
            Level::Warn
        };
        match &manager.status {
            Err(error) => findings.push(Finding::bad(
                (level, "manager"),
                &manager.address,
                format!("does not answer: {error}"),
                "start it, or name those that run with --manager",
            )),
            Ok(status) if status.epoch < newest => findings.push(Finding::bad(
                (Level::Warn, "manager"),
                &status.manager_id,
                format!("has seen epoch {} of {newest}", status.epoch),
                "look whether it reaches etcd (runbook epoch-lag)",
            )),
            Ok(status) => findings.push(Finding::ok(
                "manager",
                &status.manager_id,
                format!(
                    "{} at {}, version {}, epoch {}",
                    if status.is_leader { "leads" } else { "follows" },
                    manager.address,
                    status.version,
                    status.epoch
                ),
            )),
        }
        if let (Ok(status), Err(error)) = (&manager.status, &manager.inspection) {
            findings.push(Finding::bad(
                (Level::Warn, "manager"),
                &status.manager_id,
                format!("did not look at etcd and the shards: {error}"),
                "its version may be older: shardctl version; else wait longer with --timeout",
            ));
        }
    }
    if !alive.is_empty() {
        findings.push(leader(&alive));
        findings.extend(versions(&alive));
    }
    findings
}

fn leader(alive: &[&pb::GetStatusResponse]) -> Finding {
    let led: BTreeSet<(u64, &str)> = alive
        .iter()
        .filter(|status| !status.leader_id.is_empty())
        .map(|status| (status.term, status.leader_id.as_str()))
        .collect();
    match led.iter().collect::<Vec<_>>().as_slice() {
        [] => Finding::bad(
            (Level::Fail, "leader"),
            "-",
            "nobody leads: nothing can be changed",
            "look whether managers reach etcd (runbook no-leader)",
        ),
        [(term, id)] => Finding::ok("leader", *id, format!("at term {term}")),
        several => {
            let told = several
                .iter()
                .map(|(term, id)| format!("{id} at term {term}"));
            let told: Vec<String> = told.collect();
            Finding::bad(
                (Level::Warn, "leader"),
                "-",
                format!("managers name {}", told.join(" and ")),
                "run doctor again; if it stays so, one of them does not hear from etcd",
            )
        }
    }
}

fn versions(alive: &[&pb::GetStatusResponse]) -> Option<Finding> {
    let versions: BTreeSet<&str> = alive.iter().map(|it| it.version.as_str()).collect();
    let ours = env!("CARGO_PKG_VERSION");
    let is_one = versions.len() <= 1;
    if is_one && versions.contains(ours) {
        return None;
    }
    let told: Vec<&str> = versions.into_iter().collect();
    let (finding, advice) = if is_one {
        let finding = format!("managers are {}, shardctl is {ours}", told.join(", "));
        (finding, "use the shardctl of their version")
    } else {
        let finding = format!("managers are of versions {}", told.join(", "));
        (finding, "finish the upgrade: docs/upgrade.md")
    };
    let at = (Level::Warn, "version");
    Some(Finding::bad(at, "managers", finding, advice))
}
