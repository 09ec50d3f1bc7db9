//! What two shards must have in common, and what the target must not have yet.

use std::collections::BTreeMap;

use topology::TableName;

use super::{Finding, Inquiry, Severity};
use crate::identifier;
use crate::reshard::flow::Bounds;
use crate::reshard::guard::sql;
use crate::reshard::schema;
use crate::reshard::session::{Error, Session};

/// What must be equal, as name and value.
const EQUAL: &str = "SELECT 'major version', (pg_catalog.current_setting('server_version_num')::int / 10000)::text \
    UNION ALL SELECT 'encoding', pg_catalog.pg_encoding_to_char(encoding) FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database() \
    UNION ALL SELECT 'collation', datcollate FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database() \
    UNION ALL SELECT 'character type', datctype FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database() \
    UNION ALL SELECT 'block size', pg_catalog.current_setting('block_size')";

/// What the target must have because the source has it.
const PRESENT: &str = "SELECT 'extension ' || extname, extversion FROM pg_catalog.pg_extension";
const AVAILABLE: &str =
    "SELECT 'extension ' || name, version FROM pg_catalog.pg_available_extension_versions";

/// Roles that own something of the source's tables, or are granted something.
const ROLES: &str = "SELECT DISTINCT 'role ' || r.rolname, '' FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
      AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'vg') \
    CROSS JOIN LATERAL (SELECT c.relowner AS role UNION ALL SELECT a.grantee FROM pg_catalog.aclexplode(c.relacl) a) g \
    JOIN pg_catalog.pg_roles r ON r.oid = g.role";
const ALL_ROLES: &str = "SELECT 'role ' || rolname, '' FROM pg_catalog.pg_roles";

/// How long a target may look for rows of the ranges in one table.
const LOOK_LIMIT_MS: u32 = 60_000;

pub(super) async fn check(
    source: &mut Session,
    target: &mut Session,
    inquiry: &Inquiry<'_>,
    bounds: &Bounds,
) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let refuse = |check, table: Option<&TableName>, problem: String, remedy: &str| Finding {
        severity: Severity::Refuses,
        check,
        shard: target.shard().clone(),
        table: table.cloned(),
        problem,
        remedy: remedy.to_owned(),
    };
    let (mine, theirs) = (pairs(source, EQUAL).await?, pairs(target, EQUAL).await?);
    for (name, value) in &mine {
        let other = theirs.get(name).map_or("unknown", String::as_str);
        if value != other {
            findings.push(refuse(
                "equal-servers",
                None,
                format!(
                    "its {name} is {other}, that of shard {} is {value}",
                    source.shard()
                ),
                "move to a server that was set up alike",
            ));
        }
    }
    let (wanted, available) = (
        pairs(source, PRESENT).await?,
        pairs(target, AVAILABLE).await?,
    );
    let present = pairs(target, PRESENT).await?;
    for (name, version) in &wanted {
        let found = present.get(name).or_else(|| available.get(name));
        if found.is_none() || present.get(name).is_some_and(|found| found != version) {
            let found = found.map_or("missing", String::as_str);
            findings.push(refuse(
                "extensions",
                None,
                format!(
                    "{name} is {found}, on shard {} it is {version}",
                    source.shard()
                ),
                "install the same version",
            ));
        }
    }
    let (wanted, present) = (pairs(source, ROLES).await?, pairs(target, ALL_ROLES).await?);
    for role in wanted.keys().filter(|role| !present.contains_key(*role)) {
        let remedy = "create it, with the privileges that it has on the source";
        findings.push(refuse(
            "roles",
            None,
            format!("{role} does not exist"),
            remedy,
        ));
    }
    findings.extend(tables(source, target, inquiry).await?);
    findings.extend(rows(target, inquiry, bounds).await?);
    Ok(findings)
}

async fn pairs(session: &Session, sql: &str) -> Result<BTreeMap<String, String>, Error> {
    let rows = session.query(sql, &[]).await;
    let rows = rows.map_err(|e| session.error("compare shards", e))?;
    Ok(rows
        .iter()
        .map(|row| {
            (
                row.get(0),
                row.get::<_, Option<String>>(1).unwrap_or_default(),
            )
        })
        .collect())
}

/// Tables of the target are those of the source, or are not there yet.
async fn tables(
    source: &mut Session,
    target: &mut Session,
    inquiry: &Inquiry<'_>,
) -> Result<Vec<Finding>, Error> {
    let sharded = inquiry.tables.iter().map(|table| table.name.clone());
    let names: Vec<TableName> = sharded.chain(inquiry.reference.iter().cloned()).collect();
    let mine = schema::describe(source, &names).await?;
    let theirs = schema::describe(target, &names).await?;
    let unfinished = schema::unfinished(target).await?;
    let mut findings = Vec::new();
    for table in names.iter().filter(|table| mine.has(table)) {
        let mut finding = Finding {
            severity: Severity::Notes,
            check: "schema",
            shard: target.shard().clone(),
            table: Some(table.clone()),
            problem: "it does not exist yet".to_owned(),
            remedy: "it is created like that of the source".to_owned(),
        };
        if !theirs.has(table) {
            findings.push(finding);
            continue;
        }
        let differences = if unfinished.holds(table) {
            mine.differences_in_columns(&theirs, table)
        } else {
            mine.differences(&theirs, table)
        };
        if !differences.is_empty() {
            finding.severity = Severity::Refuses;
            finding.problem = format!(
                "it differs from that of shard {}: {}",
                source.shard(),
                differences.join("; ")
            );
            finding.remedy =
                "make both equal, or drop it on the target if it has no rows".to_owned();
            findings.push(finding);
        }
    }
    Ok(findings)
}

/// The target must have no rows of the ranges: they would be taken for what an earlier attempt
/// had left, and be removed.
async fn rows(
    target: &Session,
    inquiry: &Inquiry<'_>,
    bounds: &Bounds,
) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    for table in inquiry.tables {
        let name = identifier::quoted(&table.name);
        let question = "SELECT pg_catalog.to_regclass($1) IS NOT NULL, \
                        pg_catalog.to_regprocedure('vg.token_bigint(bigint)') IS NOT NULL";
        let row = target.query_one(question, &[&name]).await;
        let row = row.map_err(|e| target.error("look for tables", e))?;
        let (exists, has_hash): (bool, bool) = (row.get(0), row.get(1));
        if !exists {
            continue;
        }
        let condition = sql::is_inside(
            &wire::quote::ident(&table.key_column),
            table.key_type,
            bounds,
        );
        let look = if has_hash {
            format!("SELECT EXISTS (SELECT 1 FROM {name} WHERE {condition})")
        } else {
            format!("SELECT EXISTS (SELECT 1 FROM {name})")
        };
        let limit = format!("SET statement_timeout = {LOOK_LIMIT_MS}");
        let set = target.batch_execute(&limit).await;
        set.map_err(|e| target.error("set a limit", e))?;
        let (severity, problem, remedy) = match target.query_one(&look, &[]).await {
            Ok(row) if !row.get::<_, bool>(0) => continue,
            Ok(_) if has_hash => (
                Severity::Refuses,
                "it has rows of the ranges that are to move there",
                "they belong to no shard that owns them: look at them, and delete them",
            ),
            Ok(_) => (
                Severity::Notes,
                "it has rows, and no job was here before",
                "rows of the ranges that are to move there are removed before the copy",
            ),
            Err(error) if error.code().is_some() => (
                Severity::Notes,
                "it could not be searched for rows of the ranges in a minute",
                "rows of the ranges that are to move there are removed before the copy",
            ),
            Err(error) => return Err(target.error("look for rows", error)),
        };
        findings.push(Finding {
            severity,
            check: "target-rows",
            shard: target.shard().clone(),
            table: Some(table.name.clone()),
            problem: problem.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
    Ok(findings)
}
