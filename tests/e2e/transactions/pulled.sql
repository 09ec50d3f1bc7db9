/* shard_key = k */ CREATE TABLE pu (k bigint PRIMARY KEY, v int DEFAULT 7 CHECK (v < 1000000), w varchar(5), n numeric(6,2), d int GENERATED ALWAYS AS (v * 2) STORED)
/* shard_key = k */ CREATE TABLE pu_text (k text PRIMARY KEY, v int)
/* shard_key = k */ CREATE TABLE pu_uuid (k uuid PRIMARY KEY, v int)
/* shard_key = k */ CREATE TABLE pu_small (k smallint, v text, PRIMARY KEY (k, v))
/* table_kind = reference */ CREATE TABLE pu_ref (id int PRIMARY KEY, name text)
/* table_kind = unsharded, shard = 'shard-2' */ CREATE TABLE pu_home (id int, name text)
CREATE TYPE pu_mood AS ENUM ('sad', 'ok', 'happy')
CREATE DOMAIN pu_few AS int CHECK (VALUE < 10)
/* shard_key = k */ CREATE TABLE pu_types (k int PRIMARY KEY, m pu_mood, s pu_few, a int[], aa text[][], j jsonb, js json, b bytea, f float8, r real, n numeric, ts timestamptz, tz time, i interval, u uuid, c char(4), q "char", nm name, bi bit(3), vb bit varying(4), ip inet, rg int4range, bo bool, dt date, pt point, t text)
/* shard_key = k */ CREATE TABLE pu_ids (k int PRIMARY KEY, always int GENERATED ALWAYS AS IDENTITY, v int)
/* shard_key = k */ CREATE TABLE pu_odd (k bigint PRIMARY KEY, v int)
INSERT INTO pu_ref VALUES (1, 'one'), (2, 'two'), (3, NULL)
INSERT INTO pu_home VALUES (10, 'ten'), (20, 'twenty'), (30, NULL)
INSERT INTO pu (k, v, w) SELECT g, g % 100, 'x' || g FROM generate_series(1, 3000) g
INSERT INTO pu (k, v) SELECT g, 1 FROM generate_series(2990, 3010) g
INSERT INTO pu SELECT g, '5', 'abc', 1.005 FROM generate_series(4001, 4010) g
INSERT INTO pu (k, w) SELECT g, 'toolong' FROM generate_series(5001, 5010) g
INSERT INTO pu (k, w) SELECT g, 'fit     ' FROM generate_series(5001, 5010) g
INSERT INTO pu (k, w) SELECT g, g FROM generate_series(5011, 5020) g
INSERT INTO pu (k, v) SELECT g + 0.5, g + 0.5 FROM generate_series(6001, 6010) g RETURNING k, v, d
INSERT INTO pu (k, v) SELECT g + 0.4, g::float8 / 3 FROM generate_series(6101, 6110) g
INSERT INTO pu (k, v) SELECT g::text, 3 FROM generate_series(1, 9) g
INSERT INTO pu (k, v) SELECT g, '3'::text FROM generate_series(1, 9) g
INSERT INTO pu (k, v) SELECT g, 'three' FROM generate_series(7001, 7009) g
INSERT INTO pu (k, v) SELECT g, NULL FROM generate_series(7001, 7009) g
INSERT INTO pu (v, w, k) SELECT NULL, 'y', g FROM generate_series(7011, 7019) g
INSERT INTO pu (k, v) SELECT NULLIF(g, 7105), 3 FROM generate_series(7101, 7109) g
INSERT INTO pu (k, v) SELECT g, 1000000 FROM generate_series(7101, 7109) g
INSERT INTO pu (k, v) SELECT g, 10 / (g - 7105) FROM generate_series(7101, 7109) g
INSERT INTO pu (k, n) SELECT g, 123456.7 FROM generate_series(7101, 7109) g
INSERT INTO pu (k, d) SELECT g, 1 FROM generate_series(7101, 7109) g
INSERT INTO pu (k, zz) SELECT g, 1 FROM generate_series(7101, 7109) g
INSERT INTO pu (k, v) SELECT g FROM generate_series(7101, 7109) g
INSERT INTO pu (k) SELECT g, 2 FROM generate_series(7101, 7109) g
INSERT INTO pu (k, k) SELECT g, 2 FROM generate_series(7101, 7109) g
INSERT INTO pu (k, v) SELECT g, missing FROM generate_series(7101, 7109) g
INSERT INTO pu (k, v) SELECT g, 1 FROM pu_missing g
INSERT INTO pu (k, v) SELECT g, 1 FROM generate_series(1, 0) g
INSERT INTO pu (k, v) SELECT id, id FROM pu_ref WHERE id > 100
INSERT INTO pu (k, v, w) SELECT id + 8000, id, name FROM pu_ref
INSERT INTO pu (k, v, w) SELECT id + 8100, id, left(name, 5) FROM pu_home
INSERT INTO pu (k, v, w) SELECT id + 8200, count(*), min(left(name, 5)) FROM pu_home GROUP BY id HAVING id > 10 RETURNING k, v, w
INSERT INTO pu (k, v) SELECT k + 10000, v FROM pu
INSERT INTO pu (k, v) SELECT k + 100000, v FROM pu ORDER BY k DESC LIMIT 7
INSERT INTO pu (k, v) SELECT v + 200000, count(*) FROM pu GROUP BY v
INSERT INTO pu (k, v) SELECT max(k) + 1, count(*) FROM pu
INSERT INTO pu (k, v) SELECT k + 1000000.5, v FROM pu WHERE k BETWEEN 200000 AND 200050
INSERT INTO pu (k, v) SELECT a.k + 300000, b.v FROM pu a JOIN pu b USING (k) WHERE a.k < 50
INSERT INTO pu (k, v) SELECT DISTINCT v + 400000, 1 FROM pu WHERE v IS NOT NULL
INSERT INTO pu (k, v) SELECT 500001, 1 UNION ALL SELECT 500002, 2 UNION ALL SELECT 500003, NULL
INSERT INTO pu (k, v, w) SELECT g, 1, 'a' FROM generate_series(510001, 510003) g UNION SELECT g, 2, 'b' FROM generate_series(510004, 510006) g
INSERT INTO pu (k, w) SELECT g, 'a' FROM generate_series(520001, 520003) g EXCEPT SELECT 520002, 'a'
WITH w AS (SELECT g FROM generate_series(530001, 530009) g) INSERT INTO pu (k, v) SELECT g, g % 7 FROM w ORDER BY g DESC LIMIT 3 RETURNING k, v
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 9) INSERT INTO pu (k, v) SELECT n + 540000, n FROM r
INSERT INTO pu (k, v) WITH w AS (SELECT k FROM pu WHERE k < 10) SELECT k + 550000, 1 FROM w
INSERT INTO pu (k, v) SELECT p0, p1::int FROM (VALUES (560001, '1'), (560002, '2'), (560003, NULL)) AS v(p0, p1)
INSERT INTO pu (k, v) SELECT p0 + 1, p1 FROM (VALUES (560001, 1)) AS v(p0, p1) ON CONFLICT DO NOTHING
INSERT INTO pu (k, v) SELECT * FROM unnest(ARRAY[570001, 570002, 570003], ARRAY[1, 2, NULL])
INSERT INTO pu (k, v) SELECT g, 3 FROM generate_series(1, 5) g ON CONFLICT (k) DO UPDATE SET v = pu.v + excluded.v RETURNING k, v
INSERT INTO pu (k, v) SELECT g % 3 + 1, 3 FROM generate_series(1, 5) g ON CONFLICT (k) DO UPDATE SET v = 0
INSERT INTO pu (k, v) SELECT g, 3 FROM generate_series(-5, 5) g ON CONFLICT DO NOTHING
INSERT INTO pu (k, v) SELECT g, 3 FROM generate_series(-5, 6) g ON CONFLICT (k) DO UPDATE SET v = excluded.v * 10 WHERE pu.v < 5
INSERT INTO pu AS x (k, v) SELECT g, 3 FROM generate_series(-15, -6) g RETURNING x.k + 1 AS more, x.v, 'c', x.*
INSERT INTO public.pu (k, v) SELECT g, (SELECT count(*) FROM pu_ref) FROM generate_series(580001, 580009) g
INSERT INTO pu (k, v) SELECT g, CASE WHEN g % 2 = 0 THEN 1 END FROM generate_series(590001, 590009) g
INSERT INTO pu (k) SELECT row_number() OVER (ORDER BY id) + 600000 FROM pu_home
INSERT INTO pu (k, v, w) SELECT k + 610000, v, w FROM pu WHERE k IN (1, 2, 3, 4, 5, 6, 7, 8)
INSERT INTO pu_text (k, v) SELECT 'key ' || g, g FROM generate_series(1, 200) g
INSERT INTO pu_text (k, v) SELECT g, g FROM generate_series(1, 20) g
INSERT INTO pu_text (k, v) SELECT chr(97 + g) || E'\t\\"{},NULL\n''' || g, g FROM generate_series(1, 20) g
INSERT INTO pu_text (k, v) SELECT ('p' || g)::char(6), g FROM generate_series(1, 20) g
INSERT INTO pu_text (k, v) SELECT (now() IS NULL)::text || g, g FROM generate_series(1, 20) g
INSERT INTO pu_text (k, v) SELECT '', 1 UNION ALL SELECT ' ', 2 UNION ALL SELECT 'NULL', 3
INSERT INTO pu_text (k, v) SELECT w, min(v) FROM pu WHERE w IS NOT NULL AND k < 100 GROUP BY w
INSERT INTO pu_uuid (k, v) SELECT md5(g::text)::uuid, g FROM generate_series(1, 50) g
INSERT INTO pu_uuid (k, v) SELECT md5(g::text), g FROM generate_series(51, 60) g
INSERT INTO pu_uuid (k, v) SELECT '00000000-0000-0000-0000-00000000000a', 1 UNION ALL SELECT md5(k), v FROM pu_text WHERE k = 'key 1'
INSERT INTO pu_small (k, v) SELECT g, repeat('y', g) FROM generate_series(1, 300) g
INSERT INTO pu_small (k, v) SELECT g, 'z' FROM generate_series(32760, 32770) g
INSERT INTO pu_small (k, v) SELECT v, 'of pu' FROM pu WHERE v BETWEEN 10 AND 20 AND k < 1000 ON CONFLICT (k, v) DO NOTHING
INSERT INTO pu_types (k, m) SELECT g, (ARRAY['sad','ok','happy'])[g % 3 + 1]::pu_mood FROM generate_series(1, 9) g
INSERT INTO pu_types (k, m) SELECT g, 'happy' FROM generate_series(11, 19) g
INSERT INTO pu_types (k, m) SELECT g, 'nope' FROM generate_series(21, 29) g
INSERT INTO pu_types (k, m) SELECT g, 'ok'::text FROM generate_series(21, 29) g
INSERT INTO pu_types (k, s) SELECT g, g - 20 FROM generate_series(21, 29) g
INSERT INTO pu_types (k, s) SELECT g, g FROM generate_series(31, 39) g
INSERT INTO pu_types (k, s) SELECT g, '9' FROM generate_series(31, 39) g
INSERT INTO pu_types (k, a, aa, j, js, b) SELECT g, ARRAY[g, NULL, 3], ARRAY[ARRAY['a"b', NULL], ARRAY['c,d', '\e']], jsonb_build_object('a', g), '{"b": [1, 2]}', '\x00ff' FROM generate_series(41, 43) g
INSERT INTO pu_types (k, f, r, n, bo) SELECT g, g / 3.0, g / 7.0, g / 3.0, g > 52 FROM generate_series(51, 53) g
INSERT INTO pu_types (k, f, r) SELECT 54, 'NaN', '-Infinity' UNION ALL SELECT 55, 1e300, 1e-30
INSERT INTO pu_types (k, ts, tz, i, dt) SELECT g, timestamptz '2020-01-01 10:11:12.123456+03' + g * interval '1 day', time '10:00' , g * interval '1 month 2 days -3 hours', date '2020-02-02' + g FROM generate_series(61, 63) g
INSERT INTO pu_types (k, ts) SELECT g, date '2020-02-02' + g FROM generate_series(64, 66) g
INSERT INTO pu_types (k, u, c, q, nm, t) SELECT g, md5(g::text)::uuid, 'ab', 'z', 'nam', 'ab'::char(5) FROM generate_series(71, 73) g
INSERT INTO pu_types (k, c) SELECT g, 'ab     ' FROM generate_series(74, 76) g
INSERT INTO pu_types (k, c) SELECT g, 'abcde' FROM generate_series(77, 79) g
INSERT INTO pu_types (k, t) SELECT k + 10, c FROM pu_types WHERE k IN (71, 72, 73, 74)
INSERT INTO pu_types (k, bi, vb, ip, rg, pt) SELECT g, '101', B'11', '10.0.0.1', int4range(g, g + 5), point(g, -0.5) FROM generate_series(91, 93) g
INSERT INTO pu_types (k, bi) SELECT g, B'1' FROM generate_series(94, 96) g
INSERT INTO pu_types SELECT k + 1000, m, s, a, aa, j, js, b, f, r, n, ts, tz, i, u, c, q, nm, bi, vb, ip, rg, bo, dt, pt, t FROM pu_types
INSERT INTO pu_types (k, t) SELECT k + 2000, to_json(a)::text FROM pu_types WHERE k < 100
INSERT INTO pu_types (k, t) SELECT 3000000000 + g, '' FROM generate_series(1, 3) g
INSERT INTO pu_types (k, t) SELECT g, '5' FROM generate_series(3001, 3003) g GROUP BY g ORDER BY 1, 2
INSERT INTO pu (k, v, w) SELECT a.id + 900000, x.*, 'x' FROM pu_ref a, (SELECT 1 AS p) x
CREATE FUNCTION pu_odd() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.v % 2 = 0 THEN RETURN NULL; END IF; NEW.v := NEW.v * 10; RETURN NEW; END'
CREATE TRIGGER pu_odd BEFORE INSERT ON pu_odd FOR EACH ROW EXECUTE FUNCTION pu_odd()
INSERT INTO pu_odd (k, v) SELECT g, g FROM generate_series(1, 2001) g
INSERT INTO pu_odd (k, v) SELECT g, g FROM generate_series(3001, 3011) g RETURNING k, v
INSERT INTO pu_ids (k, v) SELECT g, 1 FROM generate_series(1, 20) g
INSERT INTO pu_ids (k, always, v) SELECT g, 1, 1 FROM generate_series(21, 30) g
INSERT INTO pu_ids (k, always, v) OVERRIDING SYSTEM VALUE SELECT g, g, 1 FROM generate_series(21, 30) g
BEGIN
INSERT INTO pu (k, v) SELECT g, 1 FROM generate_series(700001, 700300) g
SAVEPOINT a
INSERT INTO pu (k, v) SELECT g, 1 FROM generate_series(700300, 700600) g
SELECT 1
ROLLBACK TO SAVEPOINT a
INSERT INTO pu (k, v) SELECT k + 1000, v + 1 FROM pu WHERE k > 700000 AND k < 701000
UPDATE pu SET v = v + 1 WHERE k > 700000
SELECT count(*), sum(v) FROM pu WHERE k > 700000
COMMIT
BEGIN
INSERT INTO pu (k, v) SELECT g, 1 FROM generate_series(800001, 800300) g RETURNING k
ROLLBACK
INSERT INTO pu (k) SELECT g FROM generate_series(810001, 810009) g; INSERT INTO pu (k) SELECT g FROM generate_series(820001, 820009) g
INSERT INTO pu (k) SELECT g FROM generate_series(830001, 830009) g; INSERT INTO pu (k) SELECT g FROM generate_series(830009, 830019) g
BEGIN READ ONLY
INSERT INTO pu (k) SELECT g FROM generate_series(840001, 840009) g
ROLLBACK
SELECT count(*), sum(v), count(DISTINCT k) FROM pu
refused INSERT INTO pu (k, v) SELECT a.k + 900000, b.v FROM pu a FULL JOIN pu b ON a.v = b.k
refused INSERT INTO pu (k, v) SELECT (SELECT max(k) FROM pu) + g, 1 FROM generate_series(1, 9) g
refused INSERT INTO pu (k, v) SELECT g, 1 FROM generate_series(900001, 900009) g RETURNING (SELECT max(id) FROM pu_ref)
refused WITH a AS (SELECT 1) INSERT INTO pu (k, v) WITH b AS (SELECT 2) SELECT g, 1 FROM b, generate_series(900001, 900009) g
refused INSERT INTO pu_ids (k, always, v) OVERRIDING USER VALUE SELECT g, g, 1 FROM generate_series(41, 50) g
refused INSERT INTO pu (k, v) SELECT g, 1 FROM generate_series(900001, 900009) g ON CONFLICT (k) DO UPDATE SET k = 5
refused INSERT INTO pu (k, v, w, n) SELECT a.id + 900000, x.*, 'x', y.* FROM pu_ref a, (SELECT 1 AS p) x, (SELECT 2.5 AS q) y
refused EXPLAIN INSERT INTO pu (k, v) SELECT g, 1 FROM generate_series(900001, 900009) g
