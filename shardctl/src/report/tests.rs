//! Each report against `testdata/<name>.txt` and `testdata/<name>.json`.

use std::collections::BTreeMap;
use std::path::Path;

use proto::manager::v1 as pb;

use super::*;

mod reshard;

/// Compares both forms with the golden files. `UPDATE_GOLDEN=1` writes them instead; what changed
/// is then seen in the difference, and scripts rely on the JSON.
pub(crate) fn check(name: &str, report: &impl Report) {
    for (output, extension) in [(Output::Table, "txt"), (Output::Json, "json")] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
        let path = folder.join(format!("{name}.{extension}"));
        let text = render(report, output);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, golden, "{}", path.display());
    }
}

fn shard(id: &str, status: &str, owned_vnodes: u32) -> pb::Shard {
    pb::Shard {
        id: id.to_owned(),
        name: id.to_owned(),
        primary_endpoint: format!("postgres://{id}.internal:5432/app"),
        status: status.to_owned(),
        version: 3,
        vnode_count: 256,
        created_at: "2026-11-20T08:00:00Z".to_owned(),
        updated_at: "2026-11-21T09:30:00Z".to_owned(),
        owned_vnodes,
        weight: 1,
        ..pb::Shard::default()
    }
}

fn status_of(id: &str, is_leader: bool) -> pb::GetStatusResponse {
    let health = |shard_id: &str, healthy, error: &str| pb::ShardHealth {
        shard_id: shard_id.to_owned(),
        healthy,
        error: error.to_owned(),
    };
    pb::GetStatusResponse {
        manager_id: id.to_owned(),
        is_leader,
        leader_id: "manager-1".to_owned(),
        leader_address: "http://10.0.0.1:50052".to_owned(),
        term: 4711,
        epoch: 12,
        version: "0.1.0".to_owned(),
        shards: vec![
            health("alpha", true, ""),
            health("beta", false, "connection refused"),
        ],
    }
}

#[test]
fn status_shows_every_manager_and_shard() {
    let chosen = status_of("manager-1", true);
    let answers = vec![
        ("http://10.0.0.1:50052".to_owned(), Ok(chosen.clone())),
        (
            "http://10.0.0.2:50052".to_owned(),
            Ok(status_of("manager-2", false)),
        ),
        (
            "http://10.0.0.3:50052".to_owned(),
            Err("connection refused".to_owned()),
        ),
    ];
    let topology = pb::GetTopologyResponse {
        epoch: 12,
        shards: vec![
            shard("alpha", "active", 256),
            shard("beta", "draining", 256),
            shard("gamma", "inactive", 0),
        ],
        ..pb::GetTopologyResponse::default()
    };
    check("status", &status::Status::new(answers, &chosen, topology));
}

#[test]
fn status_says_that_nobody_leads() {
    let chosen = pb::GetStatusResponse {
        epoch: 3,
        ..pb::GetStatusResponse::default()
    };
    let topology = pb::GetTopologyResponse {
        epoch: 3,
        ..pb::GetTopologyResponse::default()
    };
    check(
        "status-without-leader",
        &status::Status::new(Vec::new(), &chosen, topology),
    );
}

#[test]
fn shards_are_listed() {
    let mut replicated = shard("alpha", "active", 256);
    replicated.replicas = vec!["postgres://alpha-2.internal:5432/app".to_owned()];
    check(
        "shards",
        &shards::Shards::from(vec![replicated, shard("b", "inactive", 0)]),
    );
    check("shards-none", &shards::Shards::from(Vec::new()));
}

#[test]
fn a_shard_is_shown_in_full() {
    let mut replicated = shard("alpha", "active", 200);
    replicated.replicas = vec![
        "postgres://a2:5432/app".to_owned(),
        "postgres://a3:5432/app".to_owned(),
    ];
    check("shard", &shards::Shard::from(replicated.clone()));
    let server = |endpoint: &str, role: &str, lag_bytes| pb::ShardServer {
        endpoint: endpoint.to_owned(),
        role: role.to_owned(),
        reachable: true,
        system_identifier: "7361234567890123456".to_owned(),
        timeline: 2,
        received_lsn: "0/3000148".to_owned(),
        lag_bytes,
        seen_at: "2026-11-21T09:31:00Z".to_owned(),
        ..pb::ShardServer::default()
    };
    replicated.timeline = 2;
    replicated.system_identifier = "7361234567890123456".to_owned();
    replicated.servers = vec![
        server("postgres://alpha.internal:5432/app", "primary", None),
        server("postgres://a2:5432/app", "replica", Some(48)),
    ];
    check("shard-probed", &shards::Shard::from(replicated));
}

#[test]
fn a_promotion_says_what_may_be_lost() {
    let outlook = pb::Promotion {
        shard_id: "alpha".to_owned(),
        from: "postgres://alpha.internal:5432/app".to_owned(),
        to: "postgres://a2:5432/app".to_owned(),
        old_primary_error: "connection refused".to_owned(),
        received_lsn: "0/3000148".to_owned(),
        behind_bytes: Some(48),
        may_be_lost: "the primary was asynchronous".to_owned(),
        system_identifier: "7361234567890123456".to_owned(),
        old_timeline: 1,
        jobs: vec!["0123456789ab".to_owned()],
        ..pb::Promotion::default()
    };
    check(
        "promotion-outlook",
        &promotion::Promotion::from(outlook.clone()),
    );
    let done = pb::Promotion {
        done: true,
        new_timeline: 2,
        epoch: 13,
        took_ms: 1_352,
        notes: vec!["the old primary was not fenced".to_owned()],
        ..outlook
    };
    check("promotion", &promotion::Promotion::from(done));
}

fn table(name: &str, kind: &str) -> pb::Table {
    pb::Table {
        name: name.to_owned(),
        kind: kind.to_owned(),
        ..pb::Table::default()
    }
}

#[test]
fn tables_of_every_kind_are_listed() {
    let mut sharded = table("public.orders", "sharded");
    sharded.shard_key = "customer_id".to_owned();
    sharded.key_type = "bigint".to_owned();
    sharded.group = "default".to_owned();
    let mut unsharded = table("public.a\nb", "unsharded");
    unsharded.shard_id = "alpha".to_owned();
    check("table", &tables::Table::from(sharded.clone()));
    let all = vec![table("public.countries", "reference"), sharded, unsharded];
    check("tables", &tables::Tables::from(all));
}

#[test]
fn groups_are_listed() {
    let group = |name: &str, key_type: &str| pb::Group {
        name: name.to_owned(),
        key_type: key_type.to_owned(),
    };
    check("group", &groups::Group::from(group("default", "bigint")));
    let all = vec![group("default", "bigint"), group("sessions", "uuid")];
    check("groups", &groups::Groups::from(all));
}

#[test]
fn routers_are_listed_with_what_they_have_applied() {
    let router = |number, address: &str| pb::Router {
        number,
        address: address.to_owned(),
        incarnation: format!("{:016x}", 255 + number),
        applied_epoch: 12,
        version: "0.1.0".to_owned(),
    };
    let all = vec![router(7, "router-a:6432"), router(1234, "10.0.0.7:6432")];
    let listed = pb::ListRoutersResponse {
        routers: all,
        epoch: 13,
    };
    check("routers", &routers::Routers::from(listed));
}

#[test]
fn the_ring_shows_shares() {
    let share = |shard_id: &str, tokens: &[u32], share| pb::RingShare {
        shard_id: shard_id.to_owned(),
        tokens: tokens.to_vec(),
        share,
    };
    let shares = vec![
        share("alpha", &[7, 1 << 31], 0.5001),
        share("beta", &[u32::MAX], 0.4999),
        share("gamma", &[], 0.0),
    ];
    check(
        "ring",
        &ring::Ring::from(pb::GetRingResponse {
            epoch: 12,
            vnode_count: 2,
            shares,
        }),
    );
}

#[test]
fn a_route_shows_token_and_vnode_in_hexadecimal() {
    let answer = pb::ShardForKeyResponse {
        shard_id: "beta".to_owned(),
        token: 0x00c0_ffee,
        vnode: 0x00c1_0000,
        epoch: 12,
    };
    check(
        "route",
        &route::Route::new("4711".to_owned(), "default".to_owned(), answer),
    );
}

#[test]
fn a_removal_is_confirmed() {
    check(
        "removed",
        &removed::Removed::new("shard", "alpha".to_owned()),
    );
}

#[test]
fn versions_are_shown_with_managers_that_are_not_there() {
    let managers = vec![
        ("http://10.0.0.1:50052".to_owned(), Ok("0.1.0".to_owned())),
        (
            "http://10.0.0.2:50052".to_owned(),
            Err("connection refused".to_owned()),
        ),
    ];
    check("version", &version::Version::new("0.1.0", managers));
}

fn counted(table: &str, shard_id: &str, rows: u64) -> pb::RowCount {
    pb::RowCount {
        table: table.to_owned(),
        shard_id: shard_id.to_owned(),
        rows,
        error: String::new(),
    }
}

fn kinds() -> BTreeMap<String, String> {
    [
        ("public.countries", "reference"),
        ("public.orders", "sharded"),
    ]
    .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
    .into()
}

#[test]
fn counts_add_up_for_a_sharded_table_and_agree_for_a_reference_table() {
    let counts = vec![
        counted("public.orders", "beta", 99_881),
        counted("public.orders", "alpha", 100_119),
        counted("public.countries", "alpha", 7),
        counted("public.countries", "beta", 7),
    ];
    let counts = count::Counts::new(counts, &kinds());
    assert!(counts.uncounted().is_empty());
    check("count", &counts);
}

#[test]
fn a_total_is_unknown_when_a_shard_was_not_counted_or_copies_differ() {
    let lost = pb::RowCount {
        error: "connection refused".to_owned(),
        ..counted("public.orders", "beta", 0)
    };
    let counts = vec![
        counted("public.orders", "alpha", 100_119),
        lost,
        counted("public.countries", "alpha", 7),
        counted("public.countries", "beta", 6),
    ];
    let counts = count::Counts::new(counts, &kinds());
    let reason = ("beta".to_owned(), "connection refused".to_owned());
    assert_eq!(counts.uncounted(), [reason]);
    check("count-incomplete", &counts);
}

#[test]
fn users_are_shown_without_what_their_passwords_are_checked_by() {
    let user = |name: &str, enabled| pb::User {
        name: name.to_owned(),
        enabled,
        version: 2,
        created_at: "2026-11-20T08:00:00.000Z".to_owned(),
        updated_at: "2026-11-21T09:30:00.000Z".to_owned(),
    };
    let all = vec![user("app", true), user("reports", false)];
    check("users", &users::Users::from(all));
    check("user", &users::User::from(user("app", true)));
}
