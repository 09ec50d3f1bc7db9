//! What is made of what was found.

use super::*;
use crate::report::doctor::Doctor;
use crate::report::tests::check;

const NOW: u64 = 1_800_000_000;

fn seen(id: &str) -> pb::ShardInspection {
    pb::ShardInspection {
        shard_id: id.to_owned(),
        version: "15.14".to_owned(),
        version_number: 150_014,
        wal_level: "logical".to_owned(),
        max_prepared_transactions: 100,
        max_replication_slots: 10,
        max_wal_senders: 10,
        max_connections: 100,
        connections: 12,
        ..pb::ShardInspection::default()
    }
}

fn shard(id: &str) -> pb::Shard {
    pb::Shard {
        id: id.to_owned(),
        status: "active".to_owned(),
        ..pb::Shard::default()
    }
}

fn manager(id: &str, leads: bool) -> Manager {
    Manager {
        address: format!("http://{id}:50052"),
        status: Ok(pb::GetStatusResponse {
            manager_id: id.to_owned(),
            is_leader: leads,
            leader_id: "m1".to_owned(),
            term: 7,
            epoch: 12,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..pb::GetStatusResponse::default()
        }),
        inspection: Ok(Inspection {
            found: pb::InspectResponse {
                clock_ms: NOW * 1000,
                etcd_latency_ms: 1.25,
                last_backup_at: NOW - 7200,
                max_wal_retained: 10 << 30,
                shards: vec![seen("alpha"), seen("beta")],
                ..pb::InspectResponse::default()
            },
            asked_ms: NOW * 1000,
            answered_ms: NOW * 1000,
        }),
    }
}

fn well() -> Facts {
    let router = pb::Router {
        number: 1,
        address: "r1:6432".to_owned(),
        applied_epoch: 12,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..pb::Router::default()
    };
    Facts {
        now: NOW,
        etcd: Vec::new(),
        managers: vec![manager("m1", true), manager("m2", false)],
        routers: Ok(pb::ListRoutersResponse {
            routers: vec![router],
            epoch: 12,
        }),
        shards: Ok(vec![shard("alpha"), shard("beta")]),
        jobs: Ok(Vec::new()),
        schema: Ok(pb::DiffResponse {
            shard_ids: vec!["alpha".to_owned(), "beta".to_owned()],
            objects: 9,
            ..pb::DiffResponse::default()
        }),
        metrics: vec![(
            "r1:9090".to_owned(),
            Ok(Samples::parse("topology_watch_connected 1\n")),
        )],
    }
}

fn worst(facts: &Facts, check: &str) -> Option<Level> {
    let of = judge(facts).into_iter().filter(|it| it.check == check);
    let levels: Vec<Level> = of.map(|it| it.level).collect();
    let has = |level| levels.contains(&level).then_some(level);
    has(Level::Fail)
        .or_else(|| has(Level::Warn))
        .or_else(|| has(Level::Ok))
}

#[test]
fn a_system_that_is_well_has_a_line_for_each_thing() {
    check("doctor", &Doctor::new(judge(&well())));
}

#[test]
fn what_is_wrong_comes_with_what_to_do() {
    let mut facts = well();
    facts.etcd = vec![("e1:2379".to_owned(), Err("connection refused".to_owned()))];
    facts.managers[1].status = Err("connection refused".to_owned());
    if let Ok(look) = &mut facts.managers[0].inspection {
        look.found.clock_ms += 5000;
        look.found.last_backup_at = 0;
        look.found.shards[0].error = "connection refused".to_owned();
        let beta = &mut look.found.shards[1];
        beta.wal_level = "replica".to_owned();
        beta.max_prepared_transactions = 0;
        beta.clock_offset_ms = -3000;
        beta.slots = vec![pb::ReplicationSlot {
            name: "old".to_owned(),
            active: false,
            retained_bytes: 3 << 30,
            lost: false,
        }];
        beta.remains = vec![pb::Remain {
            job_id: "0123456789ab".to_owned(),
            kind: "slot".to_owned(),
            name: "vg_0123456789ab_0".to_owned(),
        }];
        beta.prepared = vec![pb::PreparedTransaction {
            name: "mine".to_owned(),
            age_seconds: 90.0,
            ours: false,
        }];
    }
    if let Ok(listed) = &mut facts.routers {
        listed.routers[0].applied_epoch = 11;
    }
    facts
        .metrics
        .push(("r2:9090".to_owned(), Err("connection refused".to_owned())));
    facts.schema = Err("shard alpha does not answer".to_owned());
    let report = Doctor::new(judge(&facts));
    assert_eq!(report.failures(), 2);
    check("doctor-unwell", &report);
}

#[test]
fn without_a_manager_only_what_is_known_is_told() {
    let mut facts = well();
    for manager in &mut facts.managers {
        manager.status = Err("connection refused".to_owned());
        manager.inspection = Err("connection refused".to_owned());
    }
    let findings = judge(&facts);
    assert_eq!(findings.len(), 2);
    assert!(
        findings
            .iter()
            .all(|it| it.level == Level::Fail && it.advice.is_some())
    );
}

#[test]
fn nobody_who_leads_is_a_failure_and_two_are_a_warning() {
    let mut facts = well();
    for manager in &mut facts.managers {
        if let Ok(status) = &mut manager.status {
            status.leader_id.clear();
        }
    }
    assert_eq!(worst(&facts, "leader"), Some(Level::Fail));
    let mut facts = well();
    if let Ok(status) = &mut facts.managers[1].status {
        (status.leader_id, status.term) = ("m2".to_owned(), 8);
    }
    assert_eq!(worst(&facts, "leader"), Some(Level::Warn));
}

#[test]
fn certificates_are_told_before_they_end() {
    let with = |days: i64| {
        let at = i64::try_from(NOW).unwrap() + days * 86_400;
        let mut facts = well();
        let line = format!(
            "tls_certificate_expiry_seconds{{used_for=\"server\",part=\"certificate\"}} {at}\n"
        );
        facts.metrics = vec![("r1:9090".to_owned(), Ok(Samples::parse(&line)))];
        worst(&facts, "certificate")
    };
    assert_eq!(with(-1), Some(Level::Fail));
    assert_eq!(with(3), Some(Level::Warn));
    assert_eq!(with(90), Some(Level::Ok));
    assert_eq!(worst(&well(), "certificate"), None);
}

#[test]
fn a_job_that_does_not_get_on_is_told() {
    let mut facts = well();
    let job = pb::Job {
        id: "j1".to_owned(),
        r#type: "split".to_owned(),
        status: "precopy".to_owned(),
        progress: 0.5,
        ..pb::Job::default()
    };
    facts.jobs = Ok(vec![job]);
    assert_eq!(worst(&facts, "job"), Some(Level::Ok));
    let line = format!(
        "reshard_job_last_progress_timestamp_seconds{{job_id=\"j1\"}} {}\n",
        NOW - 900
    );
    facts.metrics = vec![("m1:9091".to_owned(), Ok(Samples::parse(&line)))];
    assert_eq!(worst(&facts, "job"), Some(Level::Warn));
}
