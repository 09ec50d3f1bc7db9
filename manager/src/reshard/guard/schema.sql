-- The objects that all legs of all jobs share on a shard. Everybody may read what triggers read;
-- what changes anything is the manager's.
CREATE SCHEMA IF NOT EXISTS vg;
GRANT USAGE ON SCHEMA vg TO PUBLIC;
CREATE SEQUENCE IF NOT EXISTS vg.term MINVALUE 0 START 0;
-- Legs that have left something here.
CREATE TABLE IF NOT EXISTS vg.leg (tag text PRIMARY KEY, since timestamptz NOT NULL DEFAULT pg_catalog.now());
-- Tables that were created here and still lack their keys and indexes; '*' is the whole database.
CREATE TABLE IF NOT EXISTS vg.unfinished (name text PRIMARY KEY);

-- Transactions on several shards that were decided here: the row's commit is the decision.
CREATE TABLE IF NOT EXISTS vg.decision (gid text PRIMARY KEY, committed boolean NOT NULL,
  decided_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp());

-- Decides that the present transaction commits, and with it what is prepared elsewhere. Such a
-- commit must be on disk before anybody acts by it, whatever the session has set.
CREATE OR REPLACE FUNCTION vg.decide(wanted text) RETURNS void LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog AS $vg$
BEGIN
  PERFORM pg_catalog.set_config('synchronous_commit', CASE
    WHEN pg_catalog.current_setting('synchronous_commit') = 'remote_apply' THEN 'remote_apply'
    ELSE 'on' END, true);
  INSERT INTO vg.decision (gid, committed) VALUES (wanted, true) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = '40001',
      MESSAGE = 'the transaction was rolled back: its commit took too long',
      HINT = 'retry the transaction';
  END IF;
END $vg$;

CREATE OR REPLACE FUNCTION vg.enter(wanted bigint) RETURNS void LANGUAGE plpgsql AS $vg$
DECLARE
  present bigint;
BEGIN
  PERFORM pg_catalog.pg_advisory_xact_lock_shared(7301, 0);
  present := pg_catalog.pg_sequence_last_value('vg.term'::pg_catalog.regclass);
  IF present IS DISTINCT FROM wanted THEN
    RAISE EXCEPTION USING ERRCODE = 'VG004',
      MESSAGE = pg_catalog.format('term %s is not the present term %s', wanted, present);
  END IF;
END $vg$;

CREATE OR REPLACE FUNCTION vg.raise_term(wanted bigint) RETURNS void LANGUAGE plpgsql AS $vg$
DECLARE
  present bigint;
BEGIN
  PERFORM pg_catalog.pg_advisory_xact_lock(7301, 0);
  present := coalesce(pg_catalog.pg_sequence_last_value('vg.term'::pg_catalog.regclass), 0);
  IF present > wanted THEN
    RAISE EXCEPTION USING ERRCODE = 'VG004',
      MESSAGE = pg_catalog.format('term %s is not the present term %s', wanted, present);
  END IF;
  IF present < wanted THEN
    PERFORM pg_catalog.setval('vg.term', wanted);
  END IF;
END $vg$;

CREATE OR REPLACE FUNCTION vg.expect(actual text, wanted text, what text) RETURNS void
LANGUAGE plpgsql AS $vg$
BEGIN
  IF actual IS DISTINCT FROM wanted THEN
    RAISE EXCEPTION USING ERRCODE = 'VG005',
      MESSAGE = pg_catalog.format('%s: found %L, expected %L', what, actual, wanted);
  END IF;
END $vg$;

-- A relation without the trigger in force, of some tables with their partitions.
CREATE OR REPLACE FUNCTION vg.unguarded(guard name, names text[]) RETURNS text
LANGUAGE plpgsql STABLE AS $vg$
DECLARE
  answer text;
BEGIN
  SELECT n INTO answer FROM pg_catalog.unnest(names) n
  WHERE pg_catalog.to_regclass(n) IS NULL LIMIT 1;
  IF answer IS NULL THEN
    SELECT r.relation::pg_catalog.oid::pg_catalog.regclass::text INTO answer
    FROM pg_catalog.unnest(names) n, vg.tree(pg_catalog.to_regclass(n)) AS r(relation)
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = r.relation
      AND t.tgname = guard AND t.tgenabled = 'A') LIMIT 1;
  END IF;
  RETURN answer;
END $vg$;

-- A table and all of its partitions.
CREATE OR REPLACE FUNCTION vg.tree(root oid) RETURNS SETOF oid LANGUAGE plpgsql STABLE AS $vg$
BEGIN
  RETURN NEXT root;
  RETURN QUERY SELECT relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree(root)
    WHERE relid::pg_catalog.oid <> root;
END $vg$;

CREATE OR REPLACE FUNCTION vg.refuse_truncate() RETURNS trigger LANGUAGE plpgsql AS $vg$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'VG003',
    MESSAGE = pg_catalog.format('table %I.%I may not be truncated while rows of it are being moved',
      TG_TABLE_SCHEMA, TG_TABLE_NAME),
    HINT = 'retry after the move, or delete the rows';
END $vg$;

-- murmur3 x86_32, seed 0. Lanes are of 32 bits within a bigint; a product is taken in two halves
-- where it would not fit.
CREATE OR REPLACE FUNCTION vg.token_bigint(key bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $vg$
DECLARE
  k bigint := key & 4294967295;
  h bigint;
BEGIN
  k := (k * 11601 + (((k * 52382) & 65535) << 16)) & 4294967295;
  h := ((((k << 15) | (k >> 17)) & 4294967295) * 461845907) & 4294967295;
  h := ((((h << 13) | (h >> 19)) & 4294967295) * 5 + 3864292196) & 4294967295;
  k := (key >> 32) & 4294967295;
  k := (k * 11601 + (((k * 52382) & 65535) << 16)) & 4294967295;
  h := h # (((((k << 15) | (k >> 17)) & 4294967295) * 461845907) & 4294967295);
  h := (((((h << 13) | (h >> 19)) & 4294967295) * 5 + 3864292196) & 4294967295) # 8;
  h := h # (h >> 16);
  h := (h * 51819 + (((h * 34283) & 65535) << 16)) & 4294967295;
  h := h # (h >> 13);
  h := (h * 44597 + (((h * 49842) & 65535) << 16)) & 4294967295;
  RETURN h # (h >> 16);
END $vg$;

CREATE OR REPLACE FUNCTION vg.token_bytes(key bytea) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $vg$
DECLARE
  size int := pg_catalog.length(key);
  place int := 0;
  k bigint;
  h bigint := 0;
BEGIN
  FOR i IN 1 .. size >> 2 LOOP
    k := pg_catalog.get_byte(key, place)::bigint | (pg_catalog.get_byte(key, place + 1)::bigint << 8)
      | (pg_catalog.get_byte(key, place + 2)::bigint << 16)
      | (pg_catalog.get_byte(key, place + 3)::bigint << 24);
    place := place + 4;
    k := (k * 11601 + (((k * 52382) & 65535) << 16)) & 4294967295;
    h := h # (((((k << 15) | (k >> 17)) & 4294967295) * 461845907) & 4294967295);
    h := ((((h << 13) | (h >> 19)) & 4294967295) * 5 + 3864292196) & 4294967295;
  END LOOP;
  IF size & 3 > 0 THEN
    k := pg_catalog.get_byte(key, place);
    IF size & 3 >= 2 THEN
      k := k | (pg_catalog.get_byte(key, place + 1)::bigint << 8);
    END IF;
    IF size & 3 >= 3 THEN
      k := k | (pg_catalog.get_byte(key, place + 2)::bigint << 16);
    END IF;
    k := (k * 11601 + (((k * 52382) & 65535) << 16)) & 4294967295;
    h := h # (((((k << 15) | (k >> 17)) & 4294967295) * 461845907) & 4294967295);
  END IF;
  h := h # size;
  h := h # (h >> 16);
  h := (h * 51819 + (((h * 34283) & 65535) << 16)) & 4294967295;
  h := h # (h >> 13);
  h := (h * 44597 + (((h * 49842) & 65535) << 16)) & 4294967295;
  RETURN h # (h >> 16);
END $vg$;

CREATE OR REPLACE FUNCTION vg.token_text(key text) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $vg$
BEGIN
  RETURN vg.token_bytes(pg_catalog.convert_to(key, 'UTF8'));
END $vg$;

CREATE OR REPLACE FUNCTION vg.token_uuid(key uuid) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $vg$
BEGIN
  RETURN vg.token_bytes(pg_catalog.uuid_send(key));
END $vg$;

REVOKE ALL ON FUNCTION vg.enter(bigint), vg.raise_term(bigint), vg.expect(text, text, text),
  vg.unguarded(name, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION vg.token_bigint(bigint), vg.token_bytes(bytea), vg.token_text(text),
  vg.token_uuid(uuid), vg.tree(oid) TO PUBLIC;
