//! Every kind of change and of value.

use topology::KeyType;

use super::{Dice, Field};
use crate::setup::moved;

const SCHEMA: &str = "\
CREATE TYPE mood AS ENUM ('sad', 'not so sad', 'happy');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN small AS int CHECK (value < 1000);
CREATE TABLE everything (
  tenant bigint NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  big text,
  \"Flag\" boolean,
  padded char(8),
  short varchar(5),
  bits bit(5),
  n numeric(12,3),
  exact numeric,
  f double precision,
  r real,
  j jsonb,
  js json,
  a int[],
  ta text[][],
  m mood,
  p pair,
  s small,
  b bytea,
  ts timestamptz,
  d date,
  iv interval,
  u uuid,
  ip inet,
  one \"char\",
  rg int4range,
  x xml,
  doubled numeric GENERATED ALWAYS AS (n * 2) STORED,
  PRIMARY KEY (tenant, id)
);
ALTER TABLE everything ALTER big SET STORAGE EXTERNAL;
CREATE TABLE loose (k text NOT NULL, v int, w numeric, f boolean, c char(4), j json);
ALTER TABLE loose REPLICA IDENTITY FULL;
CREATE TABLE full_key (k bigint PRIMARY KEY, v text, big text);
ALTER TABLE full_key REPLICA IDENTITY FULL;
CREATE TABLE chosen (id int PRIMARY KEY, k uuid NOT NULL, v text);
CREATE UNIQUE INDEX chosen_k ON chosen (k, id);
ALTER TABLE chosen REPLICA IDENTITY USING INDEX chosen_k;
CREATE TABLE bare (k int PRIMARY KEY);
CREATE TABLE parted (k bigint, id int, v text, PRIMARY KEY (k, id)) PARTITION BY LIST (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1, 2);
CREATE TABLE parted_2 PARTITION OF parted DEFAULT;
";

async fn field() -> Field {
    let tables = vec![
        moved("everything", "tenant", KeyType::Bigint),
        moved("loose", "k", KeyType::Text),
        moved("full_key", "k", KeyType::Bigint),
        moved("chosen", "k", KeyType::Uuid),
        moved("bare", "k", KeyType::Bigint),
        moved("parted", "k", KeyType::Bigint),
    ];
    Field::new(SCHEMA, tables, 2).await
}

const VALUES: &str = "\
INSERT INTO everything
  (tenant, big, \"Flag\", padded, short, bits, n, exact, f, r, j, js, a, ta, m, p, s, b, ts, d, iv,
   u, ip, one, rg, x)
SELECT t, repeat('big ' || t, 2000), t % 2 = 0, 'ab', 'xyz', B'10101', t / 7.0, t / 3.0,
  t / 3.0::float8, 'nan', '{\"a\": [1, null, \"\\u00fc\"]}', '{\"b\" :  1}', ARRAY[1, NULL, t::int],
  ARRAY[['a,b', '\"c\"'], ['{d}', '']], 'not so sad', ROW(1, 'x,y')::pair, 7, '\\x00ff', now(),
  'infinity', '1 month -3 days 04:05:06.7', gen_random_uuid(), '10.0.0.0/8', 'q', '[1,5)',
  '<a>1</a>'
FROM generate_series(1, 60) t;
INSERT INTO everything (tenant) SELECT t FROM generate_series(50, 90) t;
INSERT INTO everything (tenant, big, short, b, a) SELECT t, '', '', '', '{}'
FROM generate_series(80, 120) t;
INSERT INTO loose SELECT 'key ' || i % 40, nullif(i % 3, 0), i % 2 + 0.50, i % 2 = 0, 'x',
  CASE WHEN i % 5 > 0 THEN '{\"a\":1}'::json END FROM generate_series(1, 200) i;
INSERT INTO full_key SELECT i, 'v', repeat(md5(i::text), 200) FROM generate_series(1, 80) i;
INSERT INTO chosen SELECT i, md5(i::text)::uuid, 'v' FROM generate_series(1, 80) i;
INSERT INTO bare SELECT generate_series(1, 100);
INSERT INTO parted SELECT i, i % 5, 'v' FROM generate_series(1, 100) i;
";

#[tokio::test]
async fn values_of_every_type_arrive_as_they_are() {
    let field = field().await;
    let follow = field.follow();
    field.owner.psql(VALUES).await;
    field.synced(&follow).await;
    field.compare().await;
    follow.stop().await;
}

#[tokio::test]
async fn rows_that_change_in_every_way_stay_the_same_on_both_sides() {
    let field = field().await;
    let follow = field.follow();
    for sql in [
        VALUES,
        // Values that are stored out of line and do not change are not told.
        "UPDATE everything SET n = n + 1, j = j || '{\"z\": 1}'",
        "UPDATE everything SET big = big || 'more' WHERE tenant % 3 = 0",
        "UPDATE everything SET big = NULL, m = 'happy' WHERE tenant % 5 = 0",
        // The primary key changes, and with it for some the mirror; its other parts do not.
        "UPDATE full_key SET k = k + 1000 WHERE k % 2 = 0",
        "UPDATE full_key SET v = 'w' WHERE k % 3 = 0",
        "UPDATE full_key SET big = 'small' WHERE k % 7 = 0",
        "UPDATE chosen SET id = id + 1000, v = 'w' WHERE id % 2 = 0",
        "UPDATE loose SET v = v + 1 WHERE k < 'key 20'",
        "UPDATE loose SET v = v",
        "UPDATE bare SET k = k",
        "UPDATE bare SET k = -k WHERE k % 2 = 0",
        "UPDATE parted SET id = id + 2 WHERE k % 2 = 0",
        "DELETE FROM loose WHERE ctid IN (SELECT min(ctid) FROM loose GROUP BY k)",
        "DELETE FROM everything WHERE tenant % 4 = 0",
        "DELETE FROM chosen WHERE id % 3 = 0",
        "DELETE FROM bare WHERE k % 3 = 0",
        "DELETE FROM parted WHERE k % 3 = 0",
    ] {
        field.owner.psql(sql).await;
    }
    field.synced(&follow).await;
    field.compare().await;
    follow.stop().await;
}

const ORDERED: &str = "\
CREATE TABLE t (k bigint, id int, s text, n int DEFAULT 0, PRIMARY KEY (k, id), UNIQUE (k, s));
";

#[tokio::test]
async fn one_row_again_and_again_and_unique_values_that_change_hands_end_as_on_the_owner() {
    let field = Field::new(ORDERED, vec![moved("t", "k", KeyType::Bigint)], 1).await;
    let follow = field.follow();
    let owner = field.owner.postgres.client().await.unwrap();
    let mut dice = Dice::new(11);
    for round in 0..150 {
        let (k, a, b) = (dice.roll(8), dice.roll(4), 4 + dice.roll(4));
        let sql = match dice.roll(6) {
            0 => format!(
                "INSERT INTO t VALUES ({k}, {a}, 'v{a}') ON CONFLICT DO NOTHING; \
                 DELETE FROM t WHERE k = {k} AND id = {a}; \
                 INSERT INTO t VALUES ({k}, {a}, 'v{a}') ON CONFLICT DO NOTHING; \
                 UPDATE t SET n = n + 1 WHERE k = {k} AND id = {a}; \
                 DELETE FROM t WHERE k = {k} AND id = {a}; \
                 INSERT INTO t VALUES ({k}, {a}, 'x{a}')"
            ),
            // Two rows swap a unique value.
            1 => format!(
                "INSERT INTO t VALUES ({k}, {a}, 'p{a}'), ({k}, {b}, 'p{b}') \
                   ON CONFLICT (k, id) DO UPDATE SET s = excluded.s; \
                 UPDATE t SET s = 'tmp' WHERE k = {k} AND id = {a}; \
                 UPDATE t SET s = 'p{a}' WHERE k = {k} AND id = {b}; \
                 UPDATE t SET s = 'p{b}' WHERE k = {k} AND id = {a}; \
                 DELETE FROM t WHERE k = {k} AND id IN ({a}, {b})"
            ),
            // Two rows swap their keys.
            2 => format!(
                "UPDATE t SET id = 100 WHERE k = {k} AND id = {a}; \
                 UPDATE t SET id = {a} WHERE k = {k} AND id = {b}; \
                 UPDATE t SET id = {b} WHERE k = {k} AND id = 100"
            ),
            3 => "UPDATE t SET n = n + 1".to_owned(),
            4 => format!(
                "DELETE FROM t WHERE k = {k}; \
                 INSERT INTO t SELECT {k}, i, 'r' || (i + {round}) % 8 FROM generate_series(0, 7) i"
            ),
            _ => format!(
                "UPDATE t SET n = n + 1 WHERE k = {k} AND id = {a}; \
                 UPDATE t SET n = n * 2 WHERE k = {k} AND id = {a}; \
                 UPDATE t SET n = n + 3 WHERE k = {k} AND id = {a}"
            ),
        };
        // Some values are taken already, on the owner as well.
        let _refused = owner.batch_execute(&format!("BEGIN; {sql}; COMMIT")).await;
        let _ended = owner.batch_execute("ROLLBACK").await;
    }
    field.synced(&follow).await;
    field.compare().await;
    follow.stop().await;
}
