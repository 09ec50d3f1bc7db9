//! Plans and jobs.

use super::*;

fn plan() -> pb::Plan {
    let flow = |from: &str, vnodes: &[u32], share| pb::PlanFlow {
        from: from.to_owned(),
        to: "gamma".to_owned(),
        vnodes: vnodes.to_vec(),
        share,
        rows: Some(1_200_000),
        bytes: Some(400 << 20),
        seconds: Some(10.0),
    };
    let leg = |flow: pb::PlanFlow| pb::PlanLeg {
        source_shard: flow.from.clone(),
        flows: vec![flow],
    };
    let shard = |shard_id: &str, before, after| pb::PlanShard {
        shard_id: shard_id.to_owned(),
        is_new: before == 0,
        vnodes_before: before,
        vnodes_after: after,
        share_before: f64::from(before) / 6.0,
        share_after: f64::from(after) / 6.0,
    };
    pb::Plan {
        id: "0123456789abcdef".to_owned(),
        r#type: "add_shard".to_owned(),
        epoch: 12,
        legs: vec![
            leg(flow("alpha", &[7], 1.0 / 6.0)),
            leg(flow("beta", &[9], 1.0 / 6.0)),
        ],
        shards: vec![
            shard("alpha", 3, 2),
            shard("beta", 3, 2),
            shard("gamma", 0, 2),
        ],
        moved_vnodes: 2,
        moved_share: 2.0 / 6.0,
        rows: Some(2_400_000),
        bytes: Some(800 << 20),
        seconds: Some(20.0),
        assumed_rate: 40 << 20,
        notes: Vec::new(),
    }
}

#[test]
fn a_plan_shows_each_shard_before_and_after() {
    check("plan", &plan::Plan::from(plan()));
    let mut unknown = plan();
    (unknown.rows, unknown.bytes, unknown.seconds) = (None, None, None);
    for flow in unknown.legs.iter_mut().flat_map(|leg| &mut leg.flows) {
        (flow.rows, flow.bytes, flow.seconds) = (None, None, None);
    }
    unknown.notes = vec!["rows and bytes are not known: shard beta is away".to_owned()];
    check("plan-without-sizes", &plan::Plan::from(unknown));
}

fn job(status: &str) -> pb::Job {
    let leg = |number, source: &str| pb::JobLeg {
        number,
        source_shard: source.to_owned(),
        target_shards: vec!["gamma".to_owned()],
        vnodes: 1,
        phase: "planned".to_owned(),
        ..pb::JobLeg::default()
    };
    let certificate = pb::Certificate {
        at: "2026-11-21T09:30:00Z".to_owned(),
        instant: "at the cutover".to_owned(),
        equal: true,
        tables: 2,
        rows: 1_198_211,
        digest: "00ff".to_owned(),
    };
    let first = pb::JobLeg {
        phase: "following_to".to_owned(),
        step: "follow".to_owned(),
        progress: 1.0,
        pause_ms: Some(9.4),
        attempts: 1,
        certificates: vec![certificate],
        ..leg(0, "alpha")
    };
    pb::Job {
        id: "019a9b7c1d2e".to_owned(),
        r#type: "add_shard".to_owned(),
        plan_id: "0123456789abcdef".to_owned(),
        source_shards: vec!["alpha".to_owned(), "beta".to_owned()],
        target_shards: vec!["gamma".to_owned()],
        status: status.to_owned(),
        state: "leg 2 of 2: copying".to_owned(),
        progress: 0.62,
        keys_migrated: 1_500_000,
        total_keys: 2_400_000,
        bytes_migrated: 500 << 20,
        total_bytes: 800 << 20,
        lag_bytes: 4096,
        lag_ms: 12,
        rate: 85_000.0,
        eta_seconds: Some(11.0),
        pause_ms: 9.4,
        longest_pause_ms: 9.4,
        attempts: 1,
        created_by: "anonymous".to_owned(),
        created_at: "2026-11-21T09:29:00Z".to_owned(),
        started_at: "2026-11-21T09:29:01Z".to_owned(),
        max_pause_ms: 100,
        keep_reverse_seconds: 86_400,
        legs: vec![first, leg(1, "beta")],
        ..pb::Job::default()
    }
}

#[test]
fn a_job_is_shown_in_full() {
    check("job", &job::Job::from(job("precopy")));
    let mut failed = job("failed");
    failed.error_message = "shard gamma: disk full".to_owned();
    failed.legs[1].error = "disk full".to_owned();
    failed.legs[0].certificates[0].equal = false;
    check("job-failed", &job::Job::from(failed));
}

#[test]
fn jobs_are_listed() {
    let mut completed = job("completed");
    (completed.reversible, completed.progress) = (true, 1.0);
    check("jobs", &job::Jobs::from(vec![job("precopy"), completed]));
    check("jobs-none", &job::Jobs::from(Vec::new()));
}
