//! The SQL of guards, as text. Nothing here talks to a server.

use std::fmt::Write as _;

use topology::{Epoch, KeyType, Term, hash};
use wire::quote::{ident, literal};

use super::Guarded;
use crate::reshard::flow::{Bounds, MovedTable};
use crate::reshard::ids::LegId;

mod ddl;

pub use ddl::{create_ddl_triggers, ddl_functions, drop_ddl_triggers};

/// Creates all objects that legs share on a shard.
#[must_use]
pub fn schema() -> String {
    // As a function its plan is made once in a session, which takes longer than to run it.
    let hash = crate::reshard::schema::hash_query("names");
    format!(
        "{} {} CREATE OR REPLACE FUNCTION vg.schema_hash(names text[]) RETURNS text \
         LANGUAGE plpgsql STABLE SET search_path = '' SET plan_cache_mode = force_generic_plan \
         AS $vg$ BEGIN RETURN ({hash}); END $vg$;",
        include_str!("schema.sql"),
        include_str!("stamp.sql")
    )
}

/// Class of the advisory lock of the term.
pub const TERM_CLASS: i32 = 7301;
/// Class of the advisory locks of fences.
pub const FENCE_CLASS: i32 = 7302;

/// Texts as an SQL array.
#[must_use]
pub fn array(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| literal(text)).collect();
    format!("ARRAY[{}]::text[]", texts.join(","))
}

/// The key of a leg's advisory lock, within [`FENCE_CLASS`]. Two legs with the same key would
/// only wait for each other's writers.
#[must_use]
pub fn lock_key(leg: &LegId) -> i32 {
    let hash = hash::hash_bytes(leg.tag().as_bytes()).0 >> 1;
    i32::try_from(hash).unwrap_or(i32::MAX)
}

/// The trigger before rows change. It sorts behind all names of letters, so that other triggers
/// have done to the row what they do.
#[must_use]
pub fn guard_trigger(leg: &LegId) -> String {
    format!("~vg_guard_{}", leg.tag())
}

/// The trigger before a table is emptied.
#[must_use]
pub fn truncate_trigger(leg: &LegId) -> String {
    format!("~vg_truncate_{}", leg.tag())
}

/// The name of the function of a leg's `number`th table, within schema `vg`.
#[must_use]
pub fn guard_function(leg: &LegId, number: usize) -> String {
    format!("guard_{}_{number}", leg.tag())
}

/// An expression that is true for a key in the ranges; null for a null key.
#[must_use]
pub fn is_inside(key: &str, key_type: KeyType, bounds: &Bounds) -> String {
    let token = token_of(key, key_type);
    let mut list = String::with_capacity(bounds.as_slice().len() * 11);
    for bound in bounds.as_slice() {
        let comma = if list.is_empty() { "" } else { "," };
        write!(list, "{comma}{bound}").expect("a string takes any text");
    }
    format!("(pg_catalog.width_bucket({token}, '{{{list}}}'::bigint[]) % 2 = 1)")
}

/// An expression for the token of a key.
#[must_use]
pub fn token_of(key: &str, key_type: KeyType) -> String {
    match key_type {
        KeyType::Bigint => format!("vg.token_bigint({key}::bigint)"),
        KeyType::Text => format!("vg.token_text({key}::text)"),
        KeyType::Uuid => format!("vg.token_uuid({key})"),
    }
}

/// A condition that is false only in the manager's own sessions that write rows of this leg.
#[must_use]
pub fn is_client(leg: &LegId) -> String {
    format!(
        "pg_catalog.current_setting('session_replication_role') <> 'replica' OR \
         pg_catalog.current_setting('vg.apply', true) IS DISTINCT FROM '{}'",
        leg.tag()
    )
}

/// The body of the trigger function of one table.
#[must_use]
pub fn guard_body(leg: &LegId, table: &MovedTable, bounds: &Bounds) -> String {
    let column = ident(&table.key_column);
    let (old, new) = (format!("OLD.{column}"), format!("NEW.{column}"));
    let is_same = match table.key_type {
        // Equal texts may differ in bytes under some collations.
        KeyType::Text => format!("{old}::text COLLATE pg_catalog.\"C\" = {new}::text"),
        KeyType::Bigint | KeyType::Uuid => format!("{old} = {new}"),
    };
    let (was, is) = (
        is_inside(&old, table.key_type, bounds),
        is_inside(&new, table.key_type, bounds),
    );
    let (fence, key) = (leg.fence(), lock_key(leg));
    format!(
        "
DECLARE
  was boolean := false;
  inside boolean := false;
  fence bigint;
BEGIN
  IF TG_OP = 'INSERT' THEN
    inside := {is};
  ELSIF TG_OP = 'DELETE' OR {is_same} THEN
    inside := {was};
  ELSE
    was := coalesce({was}, false);
    inside := coalesce({is}, false);
    IF was <> inside THEN
      RAISE EXCEPTION USING ERRCODE = 'VG003',
        MESSAGE = 'the key of this row may not change while rows are being moved',
        HINT = 'retry after the move, or delete the row and insert it anew';
    END IF;
  END IF;
  IF inside THEN
    IF NOT pg_catalog.pg_try_advisory_xact_lock_shared({FENCE_CLASS}, {key}) THEN
      RAISE EXCEPTION USING ERRCODE = 'VG002',
        MESSAGE = 'this row is being moved to another shard', HINT = 'retry';
    END IF;
    fence := pg_catalog.pg_sequence_last_value('vg.{fence}'::pg_catalog.regclass);
    IF fence IS DISTINCT FROM 0 THEN
      RAISE EXCEPTION USING ERRCODE = 'VG001',
        MESSAGE = 'this row is on another shard',
        DETAIL = 'epoch ' || coalesce(fence::text, 'unknown'), HINT = 'retry';
    END IF;
  END IF;
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  RETURN NEW;
END
"
    )
}

/// Creates or replaces a function without arguments in schema `vg`.
#[must_use]
pub fn create_function(name: &str, returns: &str, body: &str) -> String {
    let mut tag = "$vg$".to_owned();
    while body.contains(&tag) {
        tag.insert(1, 'x');
    }
    format!(
        "CREATE OR REPLACE FUNCTION vg.{name}() RETURNS {returns} LANGUAGE plpgsql AS {tag}{body}{tag};"
    )
}

/// Creates the triggers on the top of one table's tree of partitions, which hands the one of rows
/// down to all of them.
#[must_use]
pub fn create_guard_trigger(leg: &LegId, number: usize, relation: &str) -> String {
    format!(
        "CREATE TRIGGER {} BEFORE INSERT OR UPDATE OR DELETE ON {relation} FOR EACH ROW \
         WHEN ({}) EXECUTE FUNCTION vg.{}();",
        ident(&guard_trigger(leg)),
        is_client(leg),
        guard_function(leg, number),
    )
}

/// Creates the trigger that refuses TRUNCATE, which partitions do not inherit.
#[must_use]
pub fn create_truncate_trigger(leg: &LegId, relation: &str) -> String {
    format!(
        "CREATE TRIGGER {} BEFORE TRUNCATE ON {relation} FOR EACH STATEMENT WHEN ({}) \
         EXECUTE FUNCTION vg.refuse_truncate();",
        ident(&truncate_trigger(leg)),
        is_client(leg),
    )
}

/// Makes a trigger fire in every session, whatever its replication role.
#[must_use]
pub fn enable_always(trigger: &str, relation: &str) -> String {
    let trigger = ident(trigger);
    format!("ALTER TABLE ONLY {relation} ENABLE ALWAYS TRIGGER {trigger};")
}

/// Creates a leg's fence, if it is not there: open, or closed by an epoch.
#[must_use]
pub fn create_fence(leg: &LegId, closed_by: Option<Epoch>) -> String {
    let (fence, tag) = (leg.fence(), leg.tag());
    let epoch = closed_by.unwrap_or_default();
    format!(
        "INSERT INTO vg.leg (tag) VALUES ('{tag}') ON CONFLICT (tag) DO NOTHING; \
         CREATE SEQUENCE vg.{fence} MINVALUE 0 START 0; \
         GRANT SELECT ON SEQUENCE vg.{fence} TO PUBLIC; \
         SELECT pg_catalog.setval('vg.{fence}', {epoch});"
    )
}

/// Takes the lock that every writer of a moving row shares.
#[must_use]
pub fn lock_fence(leg: &LegId) -> String {
    let key = lock_key(leg);
    format!("SELECT pg_catalog.pg_advisory_xact_lock({FENCE_CLASS}, {key});")
}

/// Opens a fence (epoch 0), or closes it.
#[must_use]
pub fn set_fence(leg: &LegId, epoch: Epoch) -> String {
    format!("SELECT pg_catalog.setval('vg.{}', {epoch});", leg.fence())
}

/// The prefix of the marker in the log by which a stream knows where a fence is.
pub const MARKER: &str = "vg-fence";

/// The content of the marker.
#[must_use]
pub fn marker(leg: &LegId, epoch: Epoch) -> String {
    format!("{} {epoch}", leg.tag())
}

/// The whole fence as one message, so that it costs one round trip: what it relies on is looked
/// at under the lock, then the fence is closed and the marker written.
#[must_use]
pub fn fence(guarded: &Guarded, term: Term, epoch: Epoch, lock_timeout_ms: u128) -> String {
    let leg = &guarded.leg;
    let names = array(&guarded.names());
    format!(
        "BEGIN; SELECT vg.enter({term}); SET LOCAL lock_timeout = {lock_timeout_ms}; \
         {sync} {lock} \
         SELECT vg.expect(vg.unguarded('{trigger}', {names}), NULL, 'guarded tables'); {set} \
         SELECT pg_catalog.pg_logical_emit_message(true, '{MARKER}', '{marker}'); \
         COMMIT; SELECT pg_catalog.pg_current_wal_insert_lsn();",
        sync = STRONG_COMMIT,
        lock = lock_fence(leg),
        trigger = guard_trigger(leg),
        set = set_fence(leg, epoch),
        marker = marker(leg, epoch),
    )
}

/// What [`fence`] does, as far as it can be done without an effect. The first time in a session
/// costs milliseconds, for functions that are compiled and catalogs that are read.
#[must_use]
pub fn rehearse(guarded: &Guarded, term: Term) -> String {
    let (fence, names) = (guarded.leg.fence(), array(&guarded.names()));
    format!(
        "BEGIN; SELECT vg.enter({term}); SET LOCAL lock_timeout = 0; {STRONG_COMMIT} \
         SELECT vg.unguarded('{trigger}', {names}); SELECT vg.expect(NULL, NULL, 'a rehearsal'); \
         SELECT pg_catalog.pg_sequence_last_value(pg_catalog.to_regclass('vg.{fence}')); \
         SELECT pg_catalog.pg_logical_emit_message(true, 'vg-rehearsal', ''); ROLLBACK",
        trigger = guard_trigger(&guarded.leg),
    )
}

/// An expression for the fingerprint of the schema of the tables.
#[must_use]
pub fn schema_hash_of(guarded: &Guarded) -> String {
    format!("vg.schema_hash({})", array(&guarded.names()))
}

/// An expression for the versions of what describes the tables.
#[must_use]
pub fn schema_stamp_of(guarded: &Guarded) -> String {
    format!("vg.schema_stamp({})", array(&guarded.names()))
}

/// Makes a commit wait at least for the shard's own disk, and for its synchronous standbys.
pub const STRONG_COMMIT: &str = "SELECT pg_catalog.set_config('synchronous_commit', CASE \
     WHEN pg_catalog.current_setting('synchronous_commit') = 'remote_apply' THEN 'remote_apply' \
     ELSE 'on' END, true);";
