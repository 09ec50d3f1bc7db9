//! Plans and jobs as JSON.

use proto::manager::v1;
use serde::Serialize;
use utoipa::ToSchema;

/// A plan.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Plan {
    id: String,
    r#type: String,
    epoch: u64,
    legs: Vec<PlanLeg>,
    shards: Vec<PlanShard>,
    moved_vnodes: u32,
    moved_share: f64,
    rows: Option<u64>,
    bytes: Option<u64>,
    seconds: Option<f64>,
    assumed_bytes_per_second: u64,
    notes: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PlanLeg {
    source_shard: String,
    flows: Vec<PlanFlow>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PlanFlow {
    from: String,
    to: String,
    vnode_count: usize,
    vnodes: Vec<u32>,
    share: f64,
    rows: Option<u64>,
    bytes: Option<u64>,
    seconds: Option<f64>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PlanShard {
    shard_id: String,
    is_new: bool,
    vnodes_before: u32,
    vnodes_after: u32,
    share_before: f64,
    share_after: f64,
}

impl From<v1::Plan> for Plan {
    fn from(plan: v1::Plan) -> Self {
        Self {
            id: plan.id,
            r#type: plan.r#type,
            epoch: plan.epoch,
            legs: plan.legs.into_iter().map(PlanLeg::from).collect(),
            shards: plan.shards.into_iter().map(PlanShard::from).collect(),
            moved_vnodes: plan.moved_vnodes,
            moved_share: plan.moved_share,
            rows: plan.rows,
            bytes: plan.bytes,
            seconds: plan.seconds,
            assumed_bytes_per_second: plan.assumed_rate,
            notes: plan.notes,
        }
    }
}

impl From<v1::PlanLeg> for PlanLeg {
    fn from(leg: v1::PlanLeg) -> Self {
        Self {
            source_shard: leg.source_shard,
            flows: leg.flows.into_iter().map(PlanFlow::from).collect(),
        }
    }
}

impl From<v1::PlanFlow> for PlanFlow {
    fn from(flow: v1::PlanFlow) -> Self {
        Self {
            from: flow.from,
            to: flow.to,
            vnode_count: flow.vnodes.len(),
            vnodes: flow.vnodes,
            share: flow.share,
            rows: flow.rows,
            bytes: flow.bytes,
            seconds: flow.seconds,
        }
    }
}

impl From<v1::PlanShard> for PlanShard {
    fn from(shard: v1::PlanShard) -> Self {
        Self {
            shard_id: shard.shard_id,
            is_new: shard.is_new,
            vnodes_before: shard.vnodes_before,
            vnodes_after: shard.vnodes_after,
            share_before: shard.share_before,
            share_after: shard.share_after,
        }
    }
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Job {
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
    legs: Vec<JobLeg>,
}

#[derive(Debug, Serialize, ToSchema)]
struct JobLeg {
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

#[derive(Debug, Serialize, ToSchema)]
struct Certificate {
    at: String,
    instant: String,
    equal: bool,
    tables: u32,
    rows: u64,
    digest: String,
}

/// Empty texts of an answer are absent values.
fn present(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl From<v1::Job> for Job {
    fn from(job: v1::Job) -> Self {
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
            legs: job.legs.into_iter().map(JobLeg::from).collect(),
        }
    }
}

impl From<v1::JobLeg> for JobLeg {
    fn from(leg: v1::JobLeg) -> Self {
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
            certificates: leg
                .certificates
                .into_iter()
                .map(Certificate::from)
                .collect(),
            error: present(leg.error),
        }
    }
}

impl From<v1::Certificate> for Certificate {
    fn from(certificate: v1::Certificate) -> Self {
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
