//! What a server must allow: logical decoding, room for streams, and the privileges of the role.

use tokio_postgres::error::SqlState;

use super::{Finding, Severity};
use crate::reshard::session::{Error, Session};

/// What a shard is in a leg. Both stream in the end, since a move can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Source,
    Target,
}

/// A question whose rows are problems.
struct Check {
    name: &'static str,
    severity: Severity,
    sql: &'static str,
    remedy: &'static str,
}

const CHECKS: &[Check] = &[
    Check {
        name: "primary",
        severity: Severity::Refuses,
        sql: "SELECT 'it is a standby' WHERE pg_catalog.pg_is_in_recovery()",
        remedy: "register the address of the primary",
    },
    Check {
        name: "wal-level",
        severity: Severity::Refuses,
        sql: "SELECT 'wal_level is ' || pg_catalog.current_setting('wal_level') \
              WHERE pg_catalog.current_setting('wal_level') <> 'logical'",
        remedy: "set wal_level = logical and restart the server",
    },
    Check {
        name: "version",
        severity: Severity::Refuses,
        sql: "SELECT 'PostgreSQL ' || pg_catalog.current_setting('server_version') || ' is too old' \
              WHERE pg_catalog.current_setting('server_version_num')::int < 140000",
        remedy: "upgrade to PostgreSQL 14 or later",
    },
    Check {
        name: "replication-slots",
        severity: Severity::Refuses,
        // One for the stream, one for a while to verify.
        sql: "SELECT pg_catalog.format('%s of %s replication slots are taken, 2 are needed', n, most) FROM \
              (SELECT pg_catalog.count(*) AS n FROM pg_catalog.pg_replication_slots) s, \
              (SELECT pg_catalog.current_setting('max_replication_slots')::int AS most) m WHERE most - n < 2",
        remedy: "raise max_replication_slots and restart the server, or drop slots that nobody reads",
    },
    Check {
        name: "wal-senders",
        severity: Severity::Refuses,
        sql: "SELECT pg_catalog.format('%s of %s WAL senders are taken, 2 are needed', n, most) FROM \
              (SELECT pg_catalog.count(*) AS n FROM pg_catalog.pg_stat_replication) s, \
              (SELECT pg_catalog.current_setting('max_wal_senders')::int AS most) m WHERE most - n < 2",
        remedy: "raise max_wal_senders and restart the server",
    },
    Check {
        name: "connections",
        severity: Severity::Refuses,
        sql: "SELECT pg_catalog.format('%s of %s connections are taken, 12 are needed', n, most) FROM \
              (SELECT pg_catalog.count(*) AS n FROM pg_catalog.pg_stat_activity \
               WHERE backend_type = 'client backend') s, \
              (SELECT pg_catalog.current_setting('max_connections')::int AS most) m WHERE most - n < 12",
        remedy: "raise max_connections, or lower the routers' max_connections",
    },
    Check {
        name: "privileges",
        severity: Severity::Refuses,
        sql: "SELECT pg_catalog.format('role %s may not %s', current_user, what) \
              FROM pg_catalog.pg_roles r, LATERAL (VALUES \
                ('replicate', r.rolreplication), \
                ('create schemas in the database', pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')), \
                ('end other sessions', pg_catalog.pg_has_role('pg_signal_backend', 'MEMBER')), \
                ('use replication origins', pg_catalog.has_function_privilege('pg_catalog.pg_replication_origin_create(text)', 'EXECUTE'))) p(what, may) \
              WHERE r.rolname = current_user AND NOT r.rolsuper AND NOT p.may",
        remedy: "let the manager log in as a superuser, or grant this",
    },
    Check {
        name: "ddl-guard",
        severity: Severity::Notes,
        sql: "SELECT pg_catalog.format('role %s may not create event triggers', current_user) \
              WHERE pg_catalog.current_setting('is_superuser') <> 'on'",
        remedy: "schema changes are not refused while rows move, but found before the cutover, which then stops",
    },
    Check {
        name: "prepared-transactions",
        severity: Severity::Notes,
        sql: "SELECT pg_catalog.format('%s prepared transactions are older than a minute', pg_catalog.count(*)) \
              FROM pg_catalog.pg_prepared_xacts WHERE prepared < pg_catalog.now() - interval '1 minute' \
              HAVING pg_catalog.count(*) > 0",
        remedy: "end them: copying cannot begin before",
    },
    Check {
        name: "long-transactions",
        severity: Severity::Notes,
        sql: "SELECT pg_catalog.format('%s transactions are older than a minute', pg_catalog.count(*)) \
              FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL \
              AND xact_start < pg_catalog.now() - interval '1 minute' HAVING pg_catalog.count(*) > 0",
        remedy: "copying begins only after they have ended",
    },
    Check {
        name: "wal-retention",
        severity: Severity::Notes,
        sql: "SELECT 'max_slot_wal_keep_size is ' || pg_catalog.current_setting('max_slot_wal_keep_size') \
              WHERE pg_catalog.current_setting('max_slot_wal_keep_size') <> '-1'",
        remedy: "a stream that falls behind by more loses its place, and the copy begins anew",
    },
    Check {
        name: "synchronous-commit",
        severity: Severity::Notes,
        sql: "SELECT 'synchronous_commit is ' || pg_catalog.current_setting('synchronous_commit') \
              WHERE pg_catalog.current_setting('synchronous_commit') IN ('off', 'local')",
        remedy: "acknowledged writes can be lost in a crash of the server, moved or not",
    },
];

pub(super) async fn check(session: &Session, role: Role) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for check in CHECKS {
        let rows = session.query(check.sql, &[]).await;
        let rows = rows.map_err(|e| session.error(check.name, e))?;
        findings.extend(rows.iter().map(|row| Finding {
            severity: check.severity,
            check: check.name,
            shard: session.shard().clone(),
            table: None,
            problem: row.get(0),
            remedy: check.remedy.to_owned(),
        }));
    }
    let set = "SELECT pg_catalog.set_config('session_replication_role', 'origin', true)";
    if let Err(error) = session.query(set, &[]).await {
        if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            return Err(session.error("privileges", error));
        }
        findings.push(Finding {
            severity: Severity::Refuses,
            check: "privileges",
            shard: session.shard().clone(),
            table: None,
            problem: "the manager's role may not set session_replication_role".to_owned(),
            remedy: "let the manager log in as a superuser, or grant this".to_owned(),
        });
    }
    if role == Role::Target {
        let sql = "SELECT pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(pg_catalog.current_database()))";
        let row = session.query_one(sql, &[]).await;
        let row = row.map_err(|e| session.error("size", e))?;
        findings.push(Finding {
            severity: Severity::Notes,
            check: "disk",
            shard: session.shard().clone(),
            table: None,
            problem: format!("its database has {}", row.get::<_, &str>(0)),
            remedy: "see to it that its disk has room for what moves: PostgreSQL does not tell"
                .to_owned(),
        });
    }
    Ok(findings)
}
