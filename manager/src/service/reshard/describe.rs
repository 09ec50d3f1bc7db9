//! Plans and jobs in the messages of the API.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use proto::manager::v1;
use topology::ShardId;

use crate::reshard::api::{Certificate, JobView, LegView};
use crate::reshard::estimate::{Estimate, Estimator};
use crate::reshard::flow::Flow;
use crate::reshard::plan::Plan;
use crate::reshard::plan::diff::{Change, Widths};

/// A plan with all that is shown of it.
pub(super) struct Proposal<'a> {
    pub(super) plan: &'a Plan,
    pub(super) widths: Widths<'a>,
    pub(super) estimator: Estimator,
    /// The shards that the topology has, without those that the job would register.
    pub(super) registered: BTreeSet<ShardId>,
    pub(super) notes: Vec<String>,
}

impl Proposal<'_> {
    pub(super) fn describe(self) -> v1::Plan {
        let flows: Vec<&Flow> = self.plan.flows().collect();
        let estimates: Option<Vec<Estimate>> = flows
            .iter()
            .map(|flow| self.estimator.of(&self.widths, flow))
            .collect();
        let whole = estimates.map(|estimates| {
            let none = Estimate::default();
            estimates.into_iter().fold(none, Estimate::and)
        });
        let changes = self.widths.changes(self.plan);
        v1::Plan {
            id: self.plan.id.to_string(),
            r#type: self.plan.kind.as_str().to_owned(),
            epoch: self.plan.epoch.0,
            legs: self.plan.legs.iter().map(|leg| self.leg(leg)).collect(),
            shards: changes.iter().map(|change| self.shard(change)).collect(),
            moved_vnodes: number(self.plan.vnode_count()),
            moved_share: flows.iter().map(|flow| self.widths.share(flow)).sum(),
            rows: whole.map(|whole| whole.rows),
            bytes: whole.map(|whole| whole.bytes),
            seconds: whole.map(|whole| whole.time.as_secs_f64()),
            assumed_rate: self.estimator.rate(),
            notes: self.notes,
        }
    }

    fn leg(&self, flows: &[Flow]) -> v1::PlanLeg {
        let source = flows.first().map(|flow| flow.from.to_string());
        v1::PlanLeg {
            source_shard: source.unwrap_or_default(),
            flows: flows.iter().map(|flow| self.flow(flow)).collect(),
        }
    }

    fn flow(&self, flow: &Flow) -> v1::PlanFlow {
        let estimate = self.estimator.of(&self.widths, flow);
        v1::PlanFlow {
            from: flow.from.to_string(),
            to: flow.to.to_string(),
            vnodes: flow.vnodes.iter().map(|token| token.0).collect(),
            share: self.widths.share(flow),
            rows: estimate.map(|estimate| estimate.rows),
            bytes: estimate.map(|estimate| estimate.bytes),
            seconds: estimate.map(|estimate| estimate.time.as_secs_f64()),
        }
    }

    fn shard(&self, change: &Change) -> v1::PlanShard {
        v1::PlanShard {
            shard_id: change.shard.to_string(),
            is_new: !self.registered.contains(&change.shard),
            vnodes_before: number(change.before.vnodes),
            vnodes_after: number(change.after.vnodes),
            share_before: change.before.share(),
            share_after: change.after.share(),
        }
    }
}

pub(super) fn job(job: &JobView) -> v1::Job {
    v1::Job {
        id: job.id.to_string(),
        r#type: job.kind.as_str().to_owned(),
        plan_id: job.plan.to_string(),
        source_shards: texts(&job.source_shards),
        target_shards: texts(&job.target_shards),
        status: job.status.as_str().to_owned(),
        state: job.state.clone(),
        reversible: job.is_reversible,
        settled: job.is_settled,
        progress: job.progress,
        keys_migrated: job.keys_migrated,
        total_keys: job.total_keys,
        bytes_migrated: job.bytes_migrated,
        total_bytes: job.total_bytes,
        lag_bytes: job.lag_bytes,
        lag_ms: u64::try_from(job.lag.as_millis()).unwrap_or(u64::MAX),
        rate: job.rate,
        eta_seconds: job.eta.map(|eta| eta.as_secs_f64()),
        pause_ms: millis(job.pause),
        longest_pause_ms: millis(job.max_pause),
        attempts: job.attempts,
        error_message: job.error_message.clone().unwrap_or_default(),
        created_by: job.created_by.clone(),
        created_at: time(job.created_at),
        started_at: job.started_at.map(time).unwrap_or_default(),
        completed_at: job.completed_at.map(time).unwrap_or_default(),
        max_pause_ms: job.options.max_pause_ms,
        keep_reverse_seconds: job.options.keep_reverse_secs,
        legs: job.legs.iter().map(leg).collect(),
    }
}

fn leg(leg: &LegView) -> v1::JobLeg {
    let source = leg.flows.first().map(|flow| flow.from.to_string());
    v1::JobLeg {
        number: leg.number.into(),
        source_shard: source.unwrap_or_default(),
        target_shards: leg.flows.iter().map(|flow| flow.to.to_string()).collect(),
        vnodes: number(leg.flows.iter().map(|flow| flow.vnodes.len()).sum()),
        phase: leg.phase.clone(),
        step: leg.step.clone(),
        progress: leg.progress,
        keys_migrated: leg.keys_migrated,
        total_keys: leg.total_keys,
        pause_ms: leg.pause.map(millis),
        attempts: leg.attempts,
        certificates: leg.certificates.iter().map(certificate).collect(),
        error: leg.error.clone().unwrap_or_default(),
    }
}

fn certificate(certificate: &Certificate) -> v1::Certificate {
    v1::Certificate {
        at: time(certificate.at),
        instant: certificate.instant.clone(),
        equal: certificate.is_equal,
        tables: certificate.tables,
        rows: certificate.rows,
        digest: certificate.digest.clone(),
    }
}

fn texts(shards: &[ShardId]) -> Vec<String> {
    shards.iter().map(ToString::to_string).collect()
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
