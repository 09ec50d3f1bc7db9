//! Backups, the schema, and the jobs that move rows.

use proto::manager::v1 as pb;

use super::{Facts, Finding, Level};

/// As the alert BackupTooOld.
const BACKUP_HOURS: u64 = 26;

/// As the alert ReshardStalled.
const STALLED_SECONDS: f64 = 300.0;

pub(super) fn backup(facts: &Facts) -> Option<Finding> {
    let found = &facts.inspection()?.found;
    if !found.etcd_error.is_empty() {
        // The record of it is in etcd.
        return None;
    }
    let last = found.last_backup_at;
    let at = (Level::Warn, "backup");
    let advice = "take one: shardctl backup --to FOLDER (docs/backup.md)";
    if last == 0 {
        let finding = "none was ever completed";
        return Some(Finding::bad(at, "last", finding, advice));
    }
    let hours = facts.now.saturating_sub(last) / 3600;
    let finding = format!("completed {hours} hours ago");
    Some(if hours >= BACKUP_HOURS {
        Finding::bad(at, "last", finding, advice)
    } else {
        Finding::ok("backup", "last", finding)
    })
}

pub(super) fn schema(facts: &Facts) -> Vec<Finding> {
    let at = (Level::Warn, "schema");
    match &facts.schema {
        Err(error) => {
            let finding = format!("cannot be compared: {error}");
            vec![Finding::bad(
                at,
                "-",
                finding,
                "ask again when all shards answer",
            )]
        }
        Ok(diff) if !diff.differences.is_empty() => {
            let finding = format!("differs in {} objects", diff.differences.len());
            let advice = "see which: shardctl schema diff";
            vec![Finding::bad(at, diff.shard_ids.join(", "), finding, advice)]
        }
        Ok(diff) => {
            let finding = format!("{} objects, the same on all", diff.objects);
            vec![Finding::ok("schema", diff.shard_ids.join(", "), finding)]
        }
    }
}

pub(super) fn jobs(facts: &Facts) -> Vec<Finding> {
    let jobs = match &facts.jobs {
        Ok(jobs) => jobs,
        Err(error) => {
            let finding = format!("cannot be listed: {error}");
            let advice = "look at etcd: jobs are on record there";
            return vec![Finding::bad((Level::Warn, "job"), "-", finding, advice)];
        }
    };
    let on: Vec<Finding> = jobs.iter().filter_map(|it| judged(facts, it)).collect();
    if on.is_empty() {
        return vec![Finding::ok("job", "-", "none is on")];
    }
    on
}

/// Nothing for a job that is over.
fn judged(facts: &Facts, job: &pb::Job) -> Option<Finding> {
    let see = format!("shardctl reshard status {}", job.id);
    let bad = |finding: String, advice: String| {
        Some(Finding::bad((Level::Warn, "job"), &job.id, finding, advice))
    };
    let percent = job.progress * 100.0;
    match job.status.as_str() {
        "paused" => bad(
            format!(
                "{} is paused at {percent:.0} %, and keeps log on its shards",
                job.r#type
            ),
            format!("shardctl reshard resume {0}, or cancel {0}", job.id),
        ),
        "completed" if job.reversible => Some(Finding::ok(
            "job",
            &job.id,
            format!(
                "{} is completed and can be rolled back until it is finished",
                job.r#type
            ),
        )),
        _ if job.settled => None,
        status => {
            let now = f64::from(u32::try_from(facts.now).unwrap_or(u32::MAX));
            let last = facts.metrics.iter().filter_map(|(_, samples)| {
                let name = "reshard_job_last_progress_timestamp_seconds";
                samples.as_ref().ok()?.with(name, ("job_id", &job.id))
            });
            let still = last.map(|last| now - last).reduce(f64::min);
            if let Some(still) = still.filter(|still| *still > STALLED_SECONDS) {
                return bad(
                    format!(
                        "{} has not got on for {still:.0} s at {percent:.0} %",
                        job.r#type
                    ),
                    format!("see why: {see} (runbook reshard-stalled)"),
                );
            }
            if job.error_message.is_empty() {
                let finding = format!("{} is in {status}, {percent:.0} % done", job.r#type);
                Some(Finding::ok("job", &job.id, finding))
            } else {
                let finding = format!("{} in {status}: {}", job.r#type, job.error_message);
                bad(finding, see)
            }
        }
    }
}
