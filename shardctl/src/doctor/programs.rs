//! Routers, clocks, and what programs say of themselves in their metrics.

use proto::manager::v1 as pb;

use super::{Facts, Finding, Level};

/// More than networks and clients of NTP explain.
const SKEW_MS: i64 = 1000;

const DAY: f64 = 86_400.0;

/// As the alert CertificateExpiry.
const EXPIRES_SOON: f64 = 14.0 * DAY;

pub(super) fn routers(facts: &Facts) -> Vec<Finding> {
    let listed = match &facts.routers {
        Ok(listed) => listed,
        Err(error) => {
            let finding = format!("cannot be listed: {error}");
            let advice = "look at etcd: routers are on record there";
            return vec![Finding::bad((Level::Fail, "router"), "-", finding, advice)];
        }
    };
    if listed.routers.is_empty() {
        let advice = "start one; if one runs, it does not reach etcd";
        return vec![Finding::bad(
            (Level::Warn, "router"),
            "-",
            "none lives",
            advice,
        )];
    }
    let managers = facts
        .managers
        .iter()
        .filter_map(|it| it.status.as_ref().ok());
    let version = managers.map(|it| it.version.as_str()).max();
    // A record may acknowledge an epoch later than the router serves it.
    let epoch = if all_serve(facts, listed) {
        0
    } else {
        listed.epoch
    };
    let judge = |router| judged(router, epoch, version.unwrap_or_default());
    listed.routers.iter().map(judge).collect()
}

/// Whether every router's metrics show the newest epoch.
fn all_serve(facts: &Facts, listed: &pb::ListRoutersResponse) -> bool {
    let read = facts.metrics.iter().filter_map(|(_, it)| it.as_ref().ok());
    let epochs = read
        .filter(|samples| samples.sum("router_build_info").is_some())
        .filter_map(|samples| samples.sum("catalog_version"));
    let newest = f64::from(u32::try_from(listed.epoch).unwrap_or(u32::MAX));
    epochs.filter(|epoch| *epoch >= newest).count() >= listed.routers.len()
}

fn judged(router: &pb::Router, epoch: u64, version: &str) -> Finding {
    let warn = |finding: String, advice: &str| {
        Finding::bad((Level::Warn, "router"), &router.address, finding, advice)
    };
    if router.applied_epoch < epoch {
        return warn(
            format!("has applied epoch {} of {epoch}", router.applied_epoch),
            "run doctor again; if it stays so, it does not hear from etcd (runbook epoch-lag)",
        );
    }
    if router.version != version {
        return warn(
            format!("is version {}, the managers are {version}", router.version),
            "finish the upgrade: docs/upgrade.md",
        );
    }
    let finding = format!(
        "lives, version {}, epoch {}",
        router.version, router.applied_epoch
    );
    Finding::ok("router", &router.address, finding)
}

pub(super) fn clocks(facts: &Facts) -> Vec<Finding> {
    let advice = "set the clocks by NTP: tokens end and times are told by them, no row depends on \
                  them";
    let mut findings = Vec::new();
    for manager in &facts.managers {
        let (Ok(status), Ok(look)) = (&manager.status, &manager.inspection) else {
            continue;
        };
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let theirs = signed(look.found.clock_ms);
        // It was read between our two readings.
        let ahead = theirs - signed(look.answered_ms);
        let behind = signed(look.asked_ms) - theirs;
        let off = ahead.max(behind).max(0);
        if off > SKEW_MS {
            let finding = format!("differs from this machine's by {off} ms");
            let at = (Level::Warn, "clock");
            findings.push(Finding::bad(at, &status.manager_id, finding, advice));
        }
    }
    let look = facts.inspection();
    for shard in look.iter().flat_map(|look| &look.found.shards) {
        let off = shard.clock_offset_ms.abs();
        if shard.error.is_empty() && off > SKEW_MS {
            let finding = format!("differs from the manager's by {off} ms");
            let at = (Level::Warn, "clock");
            findings.push(Finding::bad(at, &shard.shard_id, finding, advice));
        }
    }
    if findings.is_empty() && look.is_some() {
        let finding = format!("within {SKEW_MS} ms of each other");
        findings.push(Finding::ok("clock", "managers and shards", finding));
    }
    findings
}

pub(super) fn metrics(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut read = 0;
    for (address, samples) in &facts.metrics {
        match samples {
            Err(error) => findings.push(Finding::bad(
                (Level::Warn, "metrics"),
                address,
                format!("not read: {error}"),
                "name the programs' metrics ports with --metrics or in the context",
            )),
            Ok(samples) if samples.sum("topology_watch_connected") == Some(0.0) => {
                findings.push(Finding::bad(
                    (Level::Warn, "metrics"),
                    address,
                    "the topology is not being followed",
                    "look whether it reaches etcd (runbook topology-not-followed)",
                ));
            }
            Ok(_) => read += 1,
        }
    }
    if read > 0 {
        let finding = format!("{read} programs read, each follows the topology");
        findings.push(Finding::ok("metrics", "programs", finding));
    }
    findings
}

pub(super) fn certificates(facts: &Facts) -> Vec<Finding> {
    let now = f64::from(u32::try_from(facts.now).unwrap_or(u32::MAX));
    let mut findings = Vec::new();
    let mut soonest: Option<f64> = None;
    for (address, samples) in &facts.metrics {
        let Ok(samples) = samples else { continue };
        for sample in samples.of("tls_certificate_expiry_seconds") {
            let left = sample.value - now;
            let what = format!("{} {}", sample.label("used_for"), sample.label("part"));
            let days = (left / DAY).abs();
            let (level, finding) = if left <= 0.0 {
                (Level::Fail, format!("{what} ended {days:.0} days ago"))
            } else if left < EXPIRES_SOON {
                (Level::Warn, format!("{what} ends in {days:.0} days"))
            } else {
                soonest = Some(soonest.map_or(left, |soonest| soonest.min(left)));
                continue;
            };
            let advice = "put a new one into its file (runbook certificate-expiry)";
            findings.push(Finding::bad(
                (level, "certificate"),
                address,
                finding,
                advice,
            ));
        }
    }
    if let Some(soonest) = soonest {
        let finding = format!("the next of them ends in {:.0} days", soonest / DAY);
        findings.push(Finding::ok("certificate", "all others", finding));
    }
    findings
}
