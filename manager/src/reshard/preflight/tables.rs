//! What the tables of the source must be like, so that no change of a row is missed on its way
//! and no two rows meet that were allowed apart.

use wire::quote::literal;

use super::{Finding, Inquiry, Severity};
use crate::identifier;
use crate::reshard::session::{Error, Session};

/// A question whose rows are a table's name and a problem.
struct Check {
    name: &'static str,
    severity: Severity,
    sql: &'static str,
    remedy: &'static str,
}

/// The tables as relations: `moved` by name, `tree` with their partitions, `reference`.
const RELATIONS: &str = "WITH moved AS (SELECT name, key, type, pg_catalog.to_regclass(name)::oid AS oid, \
      (SELECT attnum FROM pg_catalog.pg_attribute \
       WHERE attrelid = pg_catalog.to_regclass(name) AND attname = key AND NOT attisdropped) AS keynum \
    FROM (VALUES $MOVED) v(name, key, type)), \
  tree AS (SELECT name, key, oid AS root, oid FROM moved WHERE oid IS NOT NULL UNION \
    SELECT name, key, moved.oid, p.relid::oid FROM moved, pg_catalog.pg_partition_tree(moved.oid) p), \
  rel AS (SELECT tree.name, tree.key, tree.root, c.oid AS reloid, c.*, \
      (SELECT attnum FROM pg_catalog.pg_attribute WHERE attrelid = c.oid AND attname = tree.key) AS keynum \
    FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid), \
  reference AS (SELECT pg_catalog.to_regclass(name)::oid AS oid \
    FROM pg_catalog.unnest($REFERENCE) name) ";

const CHECKS: &[Check] = &[
    Check {
        name: "table",
        severity: Severity::Refuses,
        sql: "SELECT name, 'it does not exist' FROM moved WHERE oid IS NULL",
        remedy: "create it on every shard, or remove it from the registered tables",
    },
    Check {
        name: "table-kind",
        severity: Severity::Refuses,
        sql: "SELECT name, pg_catalog.format('%s is not an ordinary or a partitioned table', reloid::pg_catalog.regclass) \
              FROM rel WHERE relkind NOT IN ('r', 'p')",
        remedy: "its rows cannot be moved: take it out of the table",
    },
    Check {
        name: "key-column",
        severity: Severity::Refuses,
        sql: "SELECT name, CASE WHEN a.attnum IS NULL THEN pg_catalog.format('it has no column %I', key) \
                WHEN a.attgenerated <> '' THEN pg_catalog.format('its key %I is a generated column', key) \
                ELSE pg_catalog.format('its key %I is of type %s, not %s', key, pg_catalog.format_type(a.atttypid, a.atttypmod), type) END \
              FROM moved LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = moved.oid AND a.attnum = keynum \
              WHERE moved.oid IS NOT NULL AND (a.attnum IS NULL OR a.attgenerated <> '' OR NOT CASE type \
                WHEN 'bigint' THEN a.atttypid IN ('int2'::pg_catalog.regtype, 'int4'::pg_catalog.regtype, 'int8'::pg_catalog.regtype) \
                WHEN 'text' THEN a.atttypid IN ('text'::pg_catalog.regtype, 'varchar'::pg_catalog.regtype) \
                ELSE a.atttypid = 'uuid'::pg_catalog.regtype END)",
        remedy: "register the table with the key that it has",
    },
    Check {
        name: "null-key",
        severity: Severity::Notes,
        sql: "SELECT name, pg_catalog.format('its key %I may be null', key) FROM rel \
              JOIN pg_catalog.pg_attribute a ON a.attrelid = reloid AND a.attnum = keynum \
              WHERE NOT a.attnotnull AND reloid = root",
        remedy: "rows without a key stay where they are",
    },
    Check {
        name: "unlogged",
        severity: Severity::Refuses,
        sql: "SELECT name, pg_catalog.format('%s is not logged', reloid::pg_catalog.regclass) FROM rel WHERE relpersistence <> 'p'",
        remedy: "ALTER TABLE ... SET LOGGED",
    },
    Check {
        name: "inheritance",
        severity: Severity::Refuses,
        sql: "SELECT DISTINCT name, pg_catalog.format('%s inherits %s', i.inhrelid::pg_catalog.regclass, i.inhparent::pg_catalog.regclass) \
              FROM rel JOIN pg_catalog.pg_inherits i ON reloid IN (i.inhrelid, i.inhparent) \
              JOIN pg_catalog.pg_class p ON p.oid = i.inhparent AND p.relkind <> 'p'",
        remedy: "use declarative partitioning, or ALTER TABLE ... NO INHERIT",
    },
    Check {
        name: "replica-identity",
        severity: Severity::Refuses,
        sql: "SELECT name, CASE WHEN relreplident = 'n' THEN pg_catalog.format('%s has no replica identity', label) \
                WHEN relreplident = 'f' THEN pg_catalog.format('%s has replica identity FULL and %s of rows', label, \
                  pg_catalog.pg_size_pretty(pg_catalog.pg_relation_size(reloid))) \
                WHEN ident IS NULL AND relreplident = 'd' THEN pg_catalog.format('%s has no primary key', label) \
                WHEN ident IS NULL THEN pg_catalog.format('%s has lost the index of its replica identity', label) \
                ELSE pg_catalog.format('the replica identity of %s does not contain the key %I', label, key) END \
              FROM (SELECT rel.*, reloid::pg_catalog.regclass AS label, i.indrelid AS ident, \
                  keynum = ANY (i.indkey::int2[]) AS has_key FROM rel LEFT JOIN pg_catalog.pg_index i ON i.indrelid = reloid \
                  AND CASE relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END) r \
              WHERE relkind = 'r' AND keynum IS NOT NULL AND CASE relreplident WHEN 'n' THEN true \
                WHEN 'f' THEN pg_catalog.pg_relation_size(reloid) > 64 * 1024 * 1024 ELSE has_key IS NOT TRUE END",
        remedy: "make the key part of the primary key, or CREATE UNIQUE INDEX CONCURRENTLY over the key and the primary key, \
                 of columns that are not null, and ALTER TABLE ... REPLICA IDENTITY USING INDEX; \
                 FULL will do for tables up to 64 MB",
    },
    Check {
        name: "primary-key",
        severity: Severity::Notes,
        sql: "SELECT name, 'it has no primary key' FROM rel WHERE reloid = root AND NOT EXISTS \
              (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = reloid AND i.indisprimary)",
        remedy: "changes are found by the replica identity, with FULL by reading the table each time",
    },
    Check {
        name: "unique",
        severity: Severity::Refuses,
        sql: "SELECT name, pg_catalog.format('unique index %s does not contain the key %I', i.indexrelid::pg_catalog.regclass, key) \
              FROM rel JOIN pg_catalog.pg_index i ON i.indrelid = reloid AND i.indisunique AND reloid = root \
              WHERE keynum IS NOT NULL AND NOT keynum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])",
        remedy: "rows of two shards may be equal in it: make the key one of its columns",
    },
    Check {
        name: "exclusion",
        severity: Severity::Refuses,
        sql: "SELECT name, pg_catalog.format('it has exclusion constraint %I', k.conname) FROM rel \
              JOIN pg_catalog.pg_constraint k ON k.conrelid = reloid AND k.contype = 'x'",
        remedy: "rows of two shards may exclude each other: drop it",
    },
    Check {
        name: "foreign-key",
        severity: Severity::Refuses,
        sql: "SELECT name, CASE WHEN to_moved IS NULL THEN pg_catalog.format('foreign key %I refers to %s, which does not move along', \
                  conname, confrelid::pg_catalog.regclass) \
                ELSE pg_catalog.format('foreign key %I does not join the keys of both tables', conname) END \
              FROM (SELECT rel.name, k.*, m.oid AS to_moved, EXISTS (SELECT FROM unnest(k.conkey, k.confkey) u(mine, theirs) \
                  WHERE u.mine = rel.keynum AND u.theirs = m.keynum) AS joins_keys \
                FROM rel JOIN pg_catalog.pg_constraint k ON k.conrelid = reloid AND k.contype = 'f' AND k.conparentid = 0 \
                LEFT JOIN moved m ON m.oid = k.confrelid) k \
              WHERE confrelid NOT IN (SELECT oid FROM reference WHERE oid IS NOT NULL) AND joins_keys IS NOT TRUE",
        remedy: "make the key part of the foreign key on both sides, register the other table, or drop the foreign key",
    },
    Check {
        name: "referenced",
        severity: Severity::Refuses,
        sql: "SELECT name, pg_catalog.format('foreign key %I of %s refers to it, whose rows do not move along', k.conname, k.conrelid::pg_catalog.regclass) \
              FROM rel JOIN pg_catalog.pg_constraint k ON k.confrelid = reloid AND k.contype = 'f' AND k.conparentid = 0 \
              WHERE k.conrelid NOT IN (SELECT oid FROM tree)",
        remedy: "register the other table with the same key, or drop the foreign key",
    },
    Check {
        name: "trigger-in-replicas",
        severity: Severity::Refuses,
        sql: "SELECT name, pg_catalog.format('trigger %I of %s is enabled %s', t.tgname, reloid::pg_catalog.regclass, \
                CASE t.tgenabled WHEN 'A' THEN 'ALWAYS' ELSE 'for replicas' END) \
              FROM rel JOIN pg_catalog.pg_trigger t ON t.tgrelid = reloid AND NOT t.tgisinternal \
              WHERE t.tgenabled IN ('A', 'R') AND NOT pg_catalog.starts_with(t.tgname::text, '~vg_')",
        remedy: "it would fire for each row that is moved: ALTER TABLE ... ENABLE TRIGGER, without ALWAYS or REPLICA",
    },
    Check {
        name: "trigger-order",
        severity: Severity::Refuses,
        sql: "SELECT name, pg_catalog.format('trigger %I fires after the guard and might change a key that was looked at', t.tgname) \
              FROM rel JOIN pg_catalog.pg_trigger t ON t.tgrelid = reloid AND NOT t.tgisinternal \
              WHERE t.tgtype::int & 3 = 3 AND t.tgname::text COLLATE \"C\" > '~vg_h' AND t.tgparentid = 0 \
                AND NOT pg_catalog.starts_with(t.tgname::text, '~vg_')",
        remedy: "give it a name that begins with an ASCII letter",
    },
    Check {
        name: "triggers",
        severity: Severity::Notes,
        sql: "SELECT name, pg_catalog.format('trigger %I', t.tgname) FROM rel \
              JOIN pg_catalog.pg_trigger t ON t.tgrelid = reloid AND NOT t.tgisinternal AND t.tgparentid = 0 \
              WHERE t.tgenabled = 'O' AND NOT pg_catalog.starts_with(t.tgname::text, '~vg_')",
        remedy: "it does not fire again for rows that are moved",
    },
    Check {
        name: "large-objects",
        severity: Severity::Refuses,
        sql: "SELECT name, pg_catalog.format('column %I may refer to large objects', a.attname) FROM rel \
              JOIN pg_catalog.pg_attribute a ON a.attrelid = reloid AND a.attnum > 0 AND NOT a.attisdropped \
              JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
              WHERE reloid = root AND (t.typname = 'lo' OR t.oid = 'oid'::pg_catalog.regtype) \
                AND EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)",
        remedy: "large objects are not in the log: keep their content in a column of type bytea",
    },
    Check {
        name: "generated",
        severity: Severity::Notes,
        sql: "SELECT name, pg_catalog.format('column %I is generated', a.attname) FROM rel \
              JOIN pg_catalog.pg_attribute a ON a.attrelid = reloid AND a.attnum > 0 AND NOT a.attisdropped \
              WHERE reloid = root AND a.attgenerated <> ''",
        remedy: "it is computed anew on the target",
    },
    Check {
        name: "sequence-cache",
        severity: Severity::Refuses,
        sql: "SELECT name, pg_catalog.format('sequence %s hands out %s values at a time', s.seqrelid::pg_catalog.regclass, s.seqcache) \
              FROM tree JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                AND d.refobjid = root AND d.deptype IN ('a', 'i') AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
              JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.objid WHERE s.seqcache > 1 AND tree.oid = root",
        remedy: "sessions of the target would go on with values that rows which move may have: ALTER SEQUENCE ... CACHE 1",
    },
    Check {
        name: "sequences",
        severity: Severity::Notes,
        sql: "SELECT name, pg_catalog.format('sequence %s with increment %s', s.seqrelid::pg_catalog.regclass, s.seqincrement) \
              FROM tree JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                AND d.refobjid = root AND d.deptype IN ('a', 'i') AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
              JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.objid WHERE tree.oid = root",
        remedy: "with increment 1 the target's is raised above the source's at the cutover; \
                 with another one it is left as it is, and must be offset from that of every other shard",
    },
    Check {
        name: "row-security",
        severity: Severity::Notes,
        sql: "SELECT name, 'it has row level security' FROM rel WHERE relrowsecurity AND reloid = root",
        remedy: "the manager's role must see all rows: a superuser does, or one with BYPASSRLS",
    },
];

pub(super) async fn check(session: &Session, inquiry: &Inquiry<'_>) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let tables = inquiry.tables;
    let values: Vec<String> = tables
        .iter()
        .map(|table| {
            let name = literal(&identifier::quoted(&table.name));
            let key = literal(&table.key_column);
            format!("({name}, {key}, '{}')", table.key_type)
        })
        .collect();
    if values.is_empty() {
        return Ok(findings);
    }
    let reference: Vec<String> = inquiry.reference.iter().map(identifier::quoted).collect();
    let relations = RELATIONS
        .replace("$MOVED", &values.join(", "))
        .replace("$REFERENCE", &crate::reshard::guard::sql::array(&reference));
    for check in CHECKS {
        let sql = format!("{relations} {}", check.sql);
        let rows = session.query(&sql, &[]).await;
        let rows = rows.map_err(|e| session.error(check.name, e))?;
        for row in rows {
            let name: &str = row.get(0);
            let table = tables
                .iter()
                .find(|table| identifier::quoted(&table.name) == name);
            findings.push(Finding {
                severity: check.severity,
                check: check.name,
                shard: session.shard().clone(),
                table: table.map(|table| table.name.clone()),
                problem: row.get(1),
                remedy: check.remedy.to_owned(),
            });
        }
    }
    Ok(findings)
}
