//! Pure: the SQL that gives each shard's sequences values of their own.
//!
//! A sequence that was declared as `START a INCREMENT i` gives, on the shard of number n, the
//! values a + i·n, a + i·n + i·N, a + i·n + 2·i·N and so on, where N is 1,024 for a bigint and 64
//! for an integer. So no two shards ever give the same one, whatever they gave before and however
//! rows move. Such a sequence is known by an increment that is a multiple of N and by MINVALUE
//! being its START.

/// The N of a type, by its id in PostgreSQL; NULL for a type that is too small.
const MODULUS: &str = "CASE q.seqtypid WHEN 20 THEN 1024 WHEN 23 THEN 64 END";

/// Whether the present transaction, or a part of it since a savepoint, has written a catalog's row.
macro_rules! ours {
    ($xmin:literal) => {
        concat!(
            "(CASE WHEN pg_catalog.age(",
            $xmin,
            ") <= pg_catalog.age(pg_catalog.pg_current_xact_id()::pg_catalog.xid) \
             THEN pg_catalog.pg_xact_status((pg_catalog.pg_current_xact_id()::text::numeric \
             + pg_catalog.age(pg_catalog.pg_current_xact_id()::pg_catalog.xid) \
             - pg_catalog.age(",
            $xmin,
            "))::text::pg_catalog.xid8) = 'in progress' ELSE false END)"
        )
    };
}

/// The sequences of this transaction that have values of their own already. It is undone with them.
const SPREAD: &str = "coalesce(pg_catalog.current_setting('sharding_own.spread', true), '')";

/// A question: whether this transaction has made or changed a sequence, or a default.
pub const TOUCHED: &str = concat!(
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_sequence WHERE ",
    ours!("xmin"),
    ") OR EXISTS (SELECT FROM pg_catalog.pg_attrdef WHERE ",
    ours!("xmin"),
    ")"
);

/// A statement for the transaction that has made or changed sequences: those that it made get the
/// values of the shard of this number, those that it changed keep theirs. What can't be made so is
/// an error, with the way out as its hint.
#[must_use]
pub fn spread(number: u16) -> String {
    format!(
        "DO $sharding$
DECLARE
  s record; called boolean; last bigint; first bigint; step bigint;
BEGIN
  FOR s IN SELECT n.nspname, c.relname, {MODULUS} AS modulus, q.*,
    EXISTS (SELECT FROM pg_catalog.pg_attribute a
      WHERE a.attrelid = c.oid AND a.attname = 'last_value' AND {new})
      AND NOT q.seqrelid::text = ANY (pg_catalog.string_to_array({SPREAD}, ',')) AS is_new
    FROM pg_catalog.pg_sequence q JOIN pg_catalog.pg_class c ON c.oid = q.seqrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE {made} AND n.nspname <> 'vg'
  LOOP
    IF s.modulus IS NULL OR s.modulus <= {number} THEN
      RAISE EXCEPTION 'sequence % is of a type that is too small for values of its own on each shard', s.relname
        USING ERRCODE = '0A000', HINT = 'use bigserial, or an identity column of type bigint';
    ELSIF s.seqcycle OR s.seqincrement < 1 THEN
      RAISE EXCEPTION 'sequence % cycles or descends, and so gives a value on more than one shard', s.relname
        USING ERRCODE = '0A000', HINT = 'declare it without CYCLE and with a positive INCREMENT';
    END IF;
    EXECUTE pg_catalog.format('SELECT is_called, last_value FROM %I.%I', s.nspname, s.relname) INTO called, last;
    IF s.is_new THEN
      IF called THEN
        RAISE EXCEPTION 'sequence % has given values to rows that are there already, the same ones on each shard', s.relname
          USING ERRCODE = '0A000', HINT = 'add a plain column, fill it, and give it a default from a sequence then';
      END IF;
      first := s.seqstart + s.seqincrement * {number};
      EXECUTE pg_catalog.format('ALTER SEQUENCE %I.%I INCREMENT BY %s MINVALUE %s START WITH %s RESTART',
        s.nspname, s.relname, s.seqincrement * s.modulus, first, first);
      PERFORM pg_catalog.set_config('sharding_own.spread', {SPREAD} || ',' || s.seqrelid::text, true);
    ELSIF s.seqincrement % s.modulus <> 0 OR s.seqmin <> s.seqstart THEN
      RAISE EXCEPTION 'sequence % has values of its own on each shard, which a new increment or start would end', s.relname
        USING ERRCODE = '0A000', HINT = 'use RESTART WITH, or create another sequence';
    ELSE
      step := CASE WHEN called THEN s.seqincrement ELSE 0 END;
      first := last + step + ((s.seqmin - last - step) % s.seqincrement + s.seqincrement) % s.seqincrement;
      EXECUTE pg_catalog.format('ALTER SEQUENCE %I.%I RESTART WITH %s', s.nspname, s.relname, first);
    END IF;
  END LOOP;
  FOR s IN SELECT c.relname FROM pg_catalog.pg_attrdef f
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid
      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    JOIN pg_catalog.pg_sequence q ON q.seqrelid = d.refobjid
    JOIN pg_catalog.pg_class c ON c.oid = q.seqrelid
    WHERE {given} AND coalesce(q.seqincrement % {MODULUS} <> 0 OR q.seqmin <> q.seqstart, true)
  LOOP
    RAISE EXCEPTION 'sequence % was not created through the router, and gives the same values on each shard', s.relname
      USING ERRCODE = '0A000', HINT = 'drop it on the shards and create it through the router';
  END LOOP;
END $sharding$",
        new = ours!("a.xmin"),
        made = ours!("q.xmin"),
        given = ours!("f.xmin"),
    )
}

/// A statement for the transaction that has copied sequences from the shard of number `from` to
/// that of number `to`: they get the values of the latter, none of which it gave before.
#[must_use]
pub fn shift(from: u16, to: u16) -> String {
    format!(
        "DO $sharding$
DECLARE
  s record; first bigint;
BEGIN
  FOR s IN SELECT n.nspname, c.relname, {MODULUS} AS modulus, q.*
    FROM pg_catalog.pg_sequence q JOIN pg_catalog.pg_class c ON c.oid = q.seqrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE {made} AND n.nspname <> 'vg'
      AND q.seqincrement % {MODULUS} = 0 AND q.seqmin = q.seqstart
  LOOP
    IF s.modulus <= {to} THEN
      RAISE EXCEPTION 'sequence % of type integer has no values left for shard number {to}', s.relname
        USING ERRCODE = '0A000', HINT = 'make it a bigint on all shards: see docs/ids.md';
    END IF;
    first := s.seqstart + s.seqincrement / s.modulus * ({to} - {from});
    EXECUTE pg_catalog.format('ALTER SEQUENCE %I.%I MINVALUE %s START WITH %s RESTART', s.nspname, s.relname, first, first);
  END LOOP;
END $sharding$",
        made = ours!("q.xmin"),
    )
}
