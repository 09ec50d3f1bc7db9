//! The shards: their servers, the settings that are needed, and what is left behind on them.

use proto::manager::v1 as pb;

use super::{Facts, Finding, Level};
use crate::report::bytes;

/// A minute is many rounds of the manager, which ends what routers have left.
const PREPARED_SECONDS: f64 = 60.0;

/// A replica this far behind answers no reads that ask for it by default, and more would be lost.
const LAG_SECONDS: f64 = 10.0;
const LAG_BYTES: u64 = 64 << 20;

/// What a slot may keep that nobody reads.
const IDLE_SLOT_BYTES: u64 = 1 << 30;

/// Each job needs one for its stream, and one more for a while.
const FREE_SLOTS: usize = 2;

pub(super) fn shards(facts: &Facts) -> Vec<Finding> {
    let shards = match &facts.shards {
        Ok(shards) => shards,
        Err(error) => {
            let finding = format!("cannot be listed: {error}");
            let advice = "look at etcd and the managers first";
            return vec![Finding::bad((Level::Fail, "shard"), "-", finding, advice)];
        }
    };
    if shards.is_empty() {
        let advice = "register one: shardctl shards add NAME ENDPOINT";
        let at = (Level::Warn, "shard");
        return vec![Finding::bad(at, "-", "none is registered", advice)];
    }
    let look = facts.inspection().map(|look| &look.found);
    let mut findings = Vec::new();
    for shard in shards.iter().filter(|shard| shard.status != "inactive") {
        let mut all = look.iter().flat_map(|look| &look.shards);
        let seen = all.find(|seen| seen.shard_id == shard.id);
        let mut problems = servers(shard);
        if let Some(seen) = seen {
            let limit = look.map_or(0, |look| look.max_wal_retained);
            problems.extend(primary(seen, limit));
        }
        problems.extend(from_elsewhere(facts, seen));
        if problems.is_empty() {
            problems.push(Finding::ok("shard", &shard.id, well(shard, seen)));
        }
        findings.extend(problems);
    }
    findings
}

fn well(shard: &pb::Shard, seen: Option<&pb::ShardInspection>) -> String {
    let replicas = shard
        .servers
        .iter()
        .filter(|it| it.role == "replica")
        .count();
    let Some(seen) = seen else {
        return format!("{}, {replicas} replicas", shard.status);
    };
    let kept: u64 = seen.slots.iter().map(|slot| slot.retained_bytes).sum();
    format!(
        "PostgreSQL {}, primary, {replicas} replicas, {} of {} connections, {} slots keep {}",
        seen.version,
        seen.connections,
        seen.max_connections,
        seen.slots.len(),
        bytes(kept)
    )
}

fn warn(shard: &str, finding: String, advice: &str) -> Finding {
    Finding::bad((Level::Warn, "shard"), shard, finding, advice)
}

fn servers(shard: &pb::Shard) -> Vec<Finding> {
    let mut found = Vec::new();
    if shard.promoting {
        let advice = "see docs/failover.md when it does not end by itself";
        found.push(warn(
            &shard.id,
            "a replica is being promoted".to_owned(),
            advice,
        ));
    }
    for server in shard
        .servers
        .iter()
        .filter(|server| server.role != "primary")
    {
        let is_replica = shard.replicas.contains(&server.endpoint);
        if !server.reachable && is_replica {
            found.push(warn(
                &shard.id,
                format!(
                    "replica {} does not answer: {}",
                    server.endpoint, server.error
                ),
                "start it, or it is missing when the primary fails",
            ));
        }
        let late = server.lag_seconds.is_some_and(|lag| lag > LAG_SECONDS);
        if server.role == "replica" && (late || server.lag_bytes > Some(LAG_BYTES)) {
            let behind = bytes(server.lag_bytes.unwrap_or_default());
            let seconds = server.lag_seconds.unwrap_or_default();
            found.push(warn(
                &shard.id,
                format!(
                    "replica {} is {behind}, {seconds:.0} s behind",
                    server.endpoint
                ),
                "look at its disk, its network and long queries on it",
            ));
        }
    }
    found
}

fn primary(seen: &pb::ShardInspection, max_wal_retained: u64) -> Vec<Finding> {
    let id = seen.shard_id.as_str();
    if !seen.error.is_empty() {
        let finding = format!("does not answer: {}", seen.error);
        let advice = "start it, or promote a replica: shardctl shards promote (runbook shard-down)";
        return vec![Finding::bad((Level::Fail, "shard"), id, finding, advice)];
    }
    if seen.in_recovery {
        let finding = "takes no writes: it is a replica".to_owned();
        let advice = "promote it, or register the primary's address (docs/failover.md)";
        return vec![Finding::bad((Level::Fail, "shard"), id, finding, advice)];
    }
    let mut found = settings(seen);
    found.extend(slots(seen, max_wal_retained));
    if let Some(first) = seen.remains.first() {
        let count = seen.remains.len();
        let finding = format!(
            "{count} objects of jobs that are over, e.g. {} {}",
            first.kind, first.name
        );
        let advice = "the next leader removes them: restart the one that leads";
        found.push(warn(id, finding, advice));
    }
    let old = |it: &&pb::PreparedTransaction| it.age_seconds > PREPARED_SECONDS;
    let (ours, others): (Vec<_>, Vec<_>) = seen.prepared.iter().filter(old).partition(|it| it.ours);
    if !ours.is_empty() {
        let finding = format!("{} transactions of routers are in doubt", ours.len());
        let advice =
            "the manager ends them once their shards answer (runbook transactions-in-doubt)";
        found.push(warn(id, finding, advice));
    }
    if let Some(first) = others.first() {
        let finding = format!(
            "prepared transaction {:?} is open for {:.0} s",
            first.name, first.age_seconds
        );
        let advice = "end it: COMMIT PREPARED or ROLLBACK PREPARED on the shard; no router made it";
        found.push(warn(id, finding, advice));
    }
    found
}

fn settings(seen: &pb::ShardInspection) -> Vec<Finding> {
    let id = seen.shard_id.as_str();
    let mut found = Vec::new();
    let mut warned = |finding: String, advice: &str| found.push(warn(id, finding, advice));
    if seen.version_number < 120_000 {
        let advice = "upgrade to PostgreSQL 12 or newer, 14 to have rows moved";
        warned(
            format!("PostgreSQL {} is not supported", seen.version),
            advice,
        );
    } else if seen.version_number < 140_000 {
        let advice = "upgrade to PostgreSQL 14 or newer to have rows moved";
        warned(
            format!("PostgreSQL {}: its rows cannot be moved", seen.version),
            advice,
        );
    }
    if seen.wal_level != "logical" {
        let advice = "set wal_level = logical and restart it, to have rows moved";
        warned(format!("wal_level is {}", seen.wal_level), advice);
    }
    let prepared = u32::try_from(seen.prepared.len()).unwrap_or(u32::MAX);
    if seen.max_prepared_transactions == 0 {
        let advice = "set it to 100 or more and restart it, for transactions on several shards";
        warned("max_prepared_transactions is 0".to_owned(), advice);
    } else if prepared.saturating_mul(10) > seen.max_prepared_transactions.saturating_mul(8) {
        let finding = format!(
            "{prepared} of {} prepared transactions",
            seen.max_prepared_transactions
        );
        warned(finding, "raise max_prepared_transactions and restart it");
    }
    let most = usize::try_from(seen.max_replication_slots).unwrap_or(usize::MAX);
    if most.saturating_sub(seen.slots.len()) < FREE_SLOTS {
        let finding = format!("{} of {most} replication slots are taken", seen.slots.len());
        warned(
            finding,
            "drop those that nobody reads, or raise max_replication_slots",
        );
    }
    if seen.connections.saturating_mul(10) > seen.max_connections.saturating_mul(9) {
        let finding = format!(
            "{} of {} connections are taken",
            seen.connections, seen.max_connections
        );
        warned(
            finding,
            "lower the routers' max_connections, or raise the server's",
        );
    }
    found
}

fn slots(seen: &pb::ShardInspection, max_wal_retained: u64) -> Vec<Finding> {
    let id = seen.shard_id.as_str();
    let mut found = Vec::new();
    for slot in &seen.slots {
        let kept = bytes(slot.retained_bytes);
        if slot.lost {
            let finding = format!("slot {} has lost its place in the log", slot.name);
            let advice = "drop it: SELECT pg_drop_replication_slot(..); its reader begins anew";
            found.push(warn(id, finding, advice));
        } else if !slot.active && slot.retained_bytes > IDLE_SLOT_BYTES {
            let finding = format!(
                "slot {} keeps {kept} of log, and nobody reads it",
                slot.name
            );
            let advice = "start its reader, or drop the slot: the disk fills";
            found.push(warn(id, finding, advice));
        } else if max_wal_retained > 0 && slot.retained_bytes > max_wal_retained / 2 {
            let finding = format!(
                "slot {} keeps {kept} of {}",
                slot.name,
                bytes(max_wal_retained)
            );
            let advice = "see what slows its reader (runbook wal-retention)";
            found.push(warn(id, finding, advice));
        }
    }
    found
}

/// A shard that one manager reaches and another does not.
fn from_elsewhere(facts: &Facts, seen: Option<&pb::ShardInspection>) -> Vec<Finding> {
    let Some(seen) = seen.filter(|seen| seen.error.is_empty()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for manager in &facts.managers {
        let (Ok(status), Ok(look)) = (&manager.status, &manager.inspection) else {
            continue;
        };
        let mut all = look.found.shards.iter();
        let theirs = all.find(|it| it.shard_id == seen.shard_id);
        if let Some(theirs) = theirs.filter(|it| !it.error.is_empty()) {
            let finding = format!("{} does not reach it: {}", status.manager_id, theirs.error);
            let advice = "mend the network between the two, before that manager leads";
            found.push(warn(&seen.shard_id, finding, advice));
        }
    }
    found
}
