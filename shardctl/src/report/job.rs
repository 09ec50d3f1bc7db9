//! Jobs: one, or all of them.

use proto::manager::v1 as pb;
use serde::Serialize;

use super::amount::{bytes, count, percent, seconds};
use super::{Report, present};
use crate::grid::{Grid, NONE, facts, or_none};

/// A job.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    id: String,
    r#type: String,
    plan_id: String,
    source_shards: Vec<String>,
    target_shards: Vec<String>,
    status: String,
    state: String,
    reversible: bool,
    settled: bool,
    progress: f64,
    keys_migrated: u64,
    total_keys: u64,
    bytes_migrated: u64,
    total_bytes: u64,
    lag_bytes: u64,
    lag_ms: u64,
    rate: f64,
    eta_seconds: Option<f64>,
    pause_ms: f64,
    longest_pause_ms: f64,
    attempts: u32,
    error_message: Option<String>,
    created_by: String,
    created_at: String,
    started_at: Option<String>,
    completed_at: Option<String>,
    max_pause_ms: u32,
    keep_reverse_seconds: u64,
    legs: Vec<Leg>,
}

#[derive(Debug, Clone, Serialize)]
struct Leg {
    number: u32,
    source_shard: String,
    target_shards: Vec<String>,
    vnodes: u32,
    phase: String,
    step: String,
    progress: f64,
    keys_migrated: u64,
    total_keys: u64,
    pause_ms: Option<f64>,
    attempts: u32,
    certificates: Vec<Certificate>,
    error: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Certificate {
    at: String,
    instant: String,
    equal: bool,
    tables: u32,
    rows: u64,
    digest: String,
}

impl From<pb::Job> for Job {
    fn from(job: pb::Job) -> Self {
        Self {
            id: job.id,
            r#type: job.r#type,
            plan_id: job.plan_id,
            source_shards: job.source_shards,
            target_shards: job.target_shards,
            status: job.status,
            state: job.state,
            reversible: job.reversible,
            settled: job.settled,
            progress: job.progress,
            keys_migrated: job.keys_migrated,
            total_keys: job.total_keys,
            bytes_migrated: job.bytes_migrated,
            total_bytes: job.total_bytes,
            lag_bytes: job.lag_bytes,
            lag_ms: job.lag_ms,
            rate: job.rate,
            eta_seconds: job.eta_seconds,
            pause_ms: job.pause_ms,
            longest_pause_ms: job.longest_pause_ms,
            attempts: job.attempts,
            error_message: present(job.error_message),
            created_by: job.created_by,
            created_at: job.created_at,
            started_at: present(job.started_at),
            completed_at: present(job.completed_at),
            max_pause_ms: job.max_pause_ms,
            keep_reverse_seconds: job.keep_reverse_seconds,
            legs: job.legs.into_iter().map(Leg::from).collect(),
        }
    }
}

impl From<pb::JobLeg> for Leg {
    fn from(leg: pb::JobLeg) -> Self {
        let certificates = leg.certificates.into_iter();
        Self {
            number: leg.number,
            source_shard: leg.source_shard,
            target_shards: leg.target_shards,
            vnodes: leg.vnodes,
            phase: leg.phase,
            step: leg.step,
            progress: leg.progress,
            keys_migrated: leg.keys_migrated,
            total_keys: leg.total_keys,
            pause_ms: leg.pause_ms,
            attempts: leg.attempts,
            certificates: certificates.map(Certificate::from).collect(),
            error: present(leg.error),
        }
    }
}

impl From<pb::Certificate> for Certificate {
    fn from(certificate: pb::Certificate) -> Self {
        Self {
            at: certificate.at,
            instant: certificate.instant,
            equal: certificate.equal,
            tables: certificate.tables,
            rows: certificate.rows,
            digest: certificate.digest,
        }
    }
}

impl Report for Job {
    fn table(&self) -> String {
        let time = |time: &Option<String>| time.clone().unwrap_or_else(|| NONE.to_owned());
        let mut status = self.status.clone();
        if self.reversible {
            status.push_str(", can be rolled back");
        }
        let mut lines = vec![
            ("Job", self.id.clone()),
            ("Type", self.r#type.replace('_', " ")),
            ("From", self.source_shards.join(", ")),
            ("To", self.target_shards.join(", ")),
            ("Status", status),
            ("State", or_none(&self.state)),
            ("Progress", percent(self.progress)),
            ("Rows", of(self.keys_migrated, self.total_keys, count)),
            ("Size", of(self.bytes_migrated, self.total_bytes, bytes)),
            ("Rate", format!("{:.0} rows/s", self.rate)),
            ("Left", seconds(self.eta_seconds)),
            (
                "Lag",
                format!("{}, {} ms", bytes(self.lag_bytes), self.lag_ms),
            ),
            ("Pause", self.pause()),
            ("Attempts", self.attempts.to_string()),
            ("Verified", self.verified()),
            ("Started", time(&self.started_at)),
            ("Completed", time(&self.completed_at)),
            ("By", or_none(&self.created_by)),
        ];
        if let Some(error) = &self.error_message {
            lines.push(("Error", error.clone()));
        }
        format!("{}\n{}", facts(&lines), self.legs())
    }
}

impl Job {
    fn pause(&self) -> String {
        let (longest, sum) = (self.longest_pause_ms, self.pause_ms);
        let most = self.max_pause_ms;
        format!("{longest:.1} ms at most, {sum:.1} ms in all, limit {most} ms")
    }

    /// What the newest comparison of each leg says.
    fn verified(&self) -> String {
        let newest: Vec<_> = self
            .legs
            .iter()
            .filter_map(|leg| leg.certificates.last())
            .collect();
        if newest.is_empty() {
            return NONE.to_owned();
        }
        let rows = newest.iter().map(|each| each.rows).sum();
        let legs = format!("{} of {} legs", newest.len(), self.legs.len());
        if newest.iter().all(|each| each.equal) {
            format!("{} rows equal on both sides, {legs}", count(rows))
        } else {
            format!("ROWS DIFFER, {legs}")
        }
    }

    fn legs(&self) -> String {
        let mut grid = Grid::new(&[
            "LEG", "FROM", "TO", "VNODES", "PHASE", "DONE", "PAUSE", "ERROR",
        ]);
        for leg in &self.legs {
            let pause = leg.pause_ms.map(|pause| format!("{pause:.1} ms"));
            let phase = if leg.step.is_empty() {
                leg.phase.clone()
            } else {
                format!("{}: {}", leg.phase, leg.step)
            };
            grid.row([
                (leg.number + 1).to_string(),
                leg.source_shard.clone(),
                leg.target_shards.join(", "),
                leg.vnodes.to_string(),
                phase,
                percent(leg.progress),
                pause.unwrap_or_else(|| NONE.to_owned()),
                leg.error.clone().unwrap_or_else(|| NONE.to_owned()),
            ]);
        }
        grid.render()
    }
}

fn of(done: u64, all: u64, write: fn(u64) -> String) -> String {
    format!("{} of about {}", write(done), write(all))
}

/// All jobs.
#[derive(Debug, Clone, Serialize)]
pub struct Jobs {
    jobs: Vec<Job>,
}

impl From<Vec<pb::Job>> for Jobs {
    fn from(jobs: Vec<pb::Job>) -> Self {
        Self {
            jobs: jobs.into_iter().map(Job::from).collect(),
        }
    }
}

impl Report for Jobs {
    fn table(&self) -> String {
        let mut grid = Grid::new(&[
            "ID", "TYPE", "FROM", "TO", "STATUS", "DONE", "PAUSE", "CREATED",
        ]);
        for job in &self.jobs {
            grid.row([
                job.id.clone(),
                job.r#type.clone(),
                job.source_shards.join(","),
                job.target_shards.join(","),
                job.status.clone(),
                percent(job.progress),
                format!("{:.1} ms", job.longest_pause_ms),
                job.created_at.clone(),
            ]);
        }
        grid.render()
    }
}
