//! Event triggers that refuse changes of the schema of tables while rows of them are being moved:
//! the log that a stream reads does not have them.

use super::super::Guarded;
use super::create_function;
use crate::reshard::ids::LegId;

/// Changes that do not matter to rows.
const HARMLESS: &str = "'COMMENT', 'SECURITY LABEL', 'GRANT', 'REVOKE', 'CREATE STATISTICS', \
     'REINDEX', 'CREATE PUBLICATION', 'ALTER PUBLICATION', 'DROP PUBLICATION'";

/// The functions of both event triggers.
///
/// What was dropped can no longer be looked up, so that relations and their indexes are named in
/// the text: `oids` are those of the tables, of their partitions and of the indexes of both.
#[must_use]
pub fn ddl_functions(guarded: &Guarded, oids: &[u32]) -> Vec<(String, String)> {
    let tag = guarded.leg.tag();
    let list: Vec<String> = oids.iter().map(ToString::to_string).collect();
    let list = list.join(",");
    let refuse = "
    RAISE EXCEPTION USING ERRCODE = 'VG003',
      MESSAGE = pg_catalog.format('%s of %s is refused while rows are being moved', TG_TAG, victim),
      HINT = 'retry after the move';";
    let changed = format!(
        "
DECLARE
  victim text;
BEGIN
  IF {OURS} THEN
    RETURN;
  END IF;
  SELECT c.object_identity INTO victim
  FROM pg_catalog.pg_event_trigger_ddl_commands() c
  CROSS JOIN LATERAL (SELECT CASE c.classid
      WHEN 'pg_catalog.pg_trigger'::pg_catalog.regclass THEN
        (SELECT tgrelid FROM pg_catalog.pg_trigger WHERE oid = c.objid)
      WHEN 'pg_catalog.pg_policy'::pg_catalog.regclass THEN
        (SELECT polrelid FROM pg_catalog.pg_policy WHERE oid = c.objid)
      WHEN 'pg_catalog.pg_rewrite'::pg_catalog.regclass THEN
        (SELECT ev_class FROM pg_catalog.pg_rewrite WHERE oid = c.objid)
      WHEN 'pg_catalog.pg_constraint'::pg_catalog.regclass THEN
        (SELECT conrelid FROM pg_catalog.pg_constraint WHERE oid = c.objid)
      WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN
        coalesce((SELECT indrelid FROM pg_catalog.pg_index WHERE indexrelid = c.objid), c.objid)
    END AS relation) o
  WHERE c.command_tag NOT IN ({HARMLESS})
    AND (o.relation = ANY ('{{{list}}}'::oid[]) OR EXISTS (SELECT FROM pg_catalog.pg_inherits i
      WHERE i.inhrelid = o.relation AND i.inhparent = ANY ('{{{list}}}'::oid[])))
  LIMIT 1;
  IF victim IS NOT NULL THEN{refuse}
  END IF;
END
"
    );
    let dropped = format!(
        "
DECLARE
  victim text;
BEGIN
  IF {OURS} THEN
    RETURN;
  END IF;
  SELECT o.object_identity INTO victim
  FROM pg_catalog.pg_event_trigger_dropped_objects() o
  WHERE (o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
      AND o.objid = ANY ('{{{list}}}'::oid[]))
    OR o.schema_name = 'vg' OR (o.object_type = 'schema' AND o.object_name = 'vg')
    OR (o.object_type IN ('trigger', 'policy', 'rule', 'table constraint')
      AND pg_catalog.to_regclass(pg_catalog.format('%I.%I', o.address_names[1], o.address_names[2]))
        = ANY ('{{{list}}}'::oid[]))
  LIMIT 1;
  IF victim IS NOT NULL THEN{refuse}
  END IF;
END
"
    );
    vec![
        (format!("ddl_{tag}"), changed),
        (format!("drop_{tag}"), dropped),
    ]
}

/// Sessions of the manager, whichever leg they work for.
const OURS: &str = "pg_catalog.current_setting('session_replication_role') = 'replica' \
     AND coalesce(pg_catalog.current_setting('vg.apply', true), '') <> ''";

/// Creates or replaces the functions, and makes the event triggers anew.
#[must_use]
pub fn create_ddl_triggers(guarded: &Guarded, oids: &[u32]) -> String {
    let tag = guarded.leg.tag();
    let mut text = drop_ddl_triggers(&guarded.leg);
    for (name, body) in ddl_functions(guarded, oids) {
        text += &create_function(&name, "event_trigger", &body);
    }
    text + &format!(
        "CREATE EVENT TRIGGER vg_ddl_{tag} ON ddl_command_end EXECUTE FUNCTION vg.ddl_{tag}(); \
         CREATE EVENT TRIGGER vg_drop_{tag} ON sql_drop EXECUTE FUNCTION vg.drop_{tag}(); \
         ALTER EVENT TRIGGER vg_ddl_{tag} ENABLE ALWAYS; \
         ALTER EVENT TRIGGER vg_drop_{tag} ENABLE ALWAYS;"
    )
}

/// Drops the event triggers, if they are there.
#[must_use]
pub fn drop_ddl_triggers(leg: &LegId) -> String {
    let tag = leg.tag();
    format!(
        "DROP EVENT TRIGGER IF EXISTS vg_ddl_{tag}; DROP EVENT TRIGGER IF EXISTS vg_drop_{tag};"
    )
}
