//! Copies from one server to others, held against what should have moved.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use manager::reshard::copy::keeper::Keeper;
use manager::reshard::copy::{Attempt, Copied, Error, Order, Rates, Target, Throttle, copy_leg};
use manager::reshard::flow::MovedTable;
use manager::reshard::progress::Progress;
use manager::reshard::session::Class;
use manager::reshard::snapshot::SnapshotHolder;
use platform::TaskGroup;
use tests::postgres::Auth;
use topology::hash::token_of;
use topology::{Key, KeyType};

use crate::setup::{self, Server, moved};

const HALF: u32 = 1 << 31;
const SLOT: &str = "vg_0123456789ab_0";

/// An owner and two mirrors that take half of the ring each, and the tables on all of them.
struct Shards {
    owner: Server,
    mirrors: [Server; 2],
    tasks: TaskGroup,
}

impl Shards {
    async fn start(schema: &str) -> Self {
        let starting = ["a", "b", "c"].map(Server::start);
        let started = futures_util::future::join_all(starting).await;
        let [owner, b, c] = started.try_into().unwrap_or_else(|_| unreachable!());
        for server in [&owner, &b, &c] {
            server.psql(schema).await;
        }
        for server in [&b, &c] {
            server.leader(&setup::leg()).await;
        }
        Self {
            owner,
            mirrors: [b, c],
            tasks: TaskGroup::new(),
        }
    }

    fn order(&self, snapshot: &str, tables: &[MovedTable]) -> Order {
        let target = |mirror: &Server, after, last| Target {
            shard: mirror.shard.clone(),
            bounds: setup::bounds(after, last),
        };
        let [b, c] = &self.mirrors;
        Order {
            config: setup::config(Auth::Trust),
            leg: setup::leg(),
            term: setup::TERM,
            owner: self.owner.shard.clone(),
            snapshot: snapshot.to_owned(),
            targets: vec![
                target(b, u32::MAX, HALF / 2),
                target(c, HALF, HALF + HALF / 2),
            ],
            tables: tables.to_vec(),
            workers: NonZeroUsize::new(3).unwrap(),
            attempt: Attempt::begin(),
        }
    }

    async fn holder(&self) -> SnapshotHolder {
        SnapshotHolder::create(&setup::config(Auth::Trust), &self.owner.shard, "test", SLOT)
            .await
            .unwrap()
    }

    async fn copy(&self, tables: &[MovedTable]) -> Result<Copied, Error> {
        let holder = self.holder().await;
        let order = self.order(holder.snapshot(), tables);
        let progress = Arc::new(Progress::default());
        let throttle = Arc::new(Throttle::default());
        let copied = copy_leg(order, &self.tasks, Arc::clone(&progress), throttle).await?;
        let reading = progress.read();
        assert_eq!(reading.rows_copied, copied.rows);
        assert_eq!(reading.bytes_copied, copied.bytes);
        assert_eq!(reading.rows_scanned, copied.rows_scanned);
        assert_eq!(reading.blocks_copied, reading.blocks_total);
        Ok(copied)
    }

    /// Holds the mirrors' rows against the owner's, whose keys stand first.
    async fn check(&self, sql: &str, key_type: KeyType) -> u64 {
        let mut wanted: [Vec<String>; 2] = Default::default();
        for line in self.owner.psql(sql).await.lines() {
            let key = line.split('|').next().unwrap();
            let token = token_of(&Key::from_text(key_type, key.as_bytes()).unwrap());
            match token.0 {
                ..=0x4000_0000 => wanted[0].push(line.to_owned()),
                0x8000_0001..=0xc000_0000 => wanted[1].push(line.to_owned()),
                _ => {}
            }
        }
        for (mirror, wanted) in self.mirrors.iter().zip(&wanted) {
            let found = mirror.psql(sql).await;
            let found: Vec<&str> = found.lines().collect();
            assert_eq!(&found, wanted);
        }
        u64::try_from(wanted.concat().len()).unwrap()
    }
}

#[tokio::test]
async fn rows_move_with_their_keys_whatever_their_types() {
    let shards = Shards::start(
        "CREATE TYPE mood AS ENUM ('sad', 'happy');
         CREATE TYPE pair AS (a int, b mood);
         CREATE TABLE orders (
           id int GENERATED ALWAYS AS IDENTITY, dropped text, customer int NOT NULL,
           total numeric, doubled numeric GENERATED ALWAYS AS (total * 2) STORED,
           at timestamptz, tags text[], doc jsonb, feeling mood, raw bytea);
         ALTER TABLE orders DROP COLUMN dropped;
         CREATE TABLE words (meaning pair, moods mood[], \"The Word\" varchar(40) PRIMARY KEY);
         CREATE TABLE things (id uuid PRIMARY KEY, part int) PARTITION BY HASH (id);
         CREATE TABLE things_0 PARTITION OF things FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE things_1 (part int, id uuid NOT NULL);
         ALTER TABLE things ATTACH PARTITION things_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE nothing (id bigint PRIMARY KEY);",
    )
    .await;
    let rows = "
        INSERT INTO orders (customer, total, at, tags, doc, feeling, raw)
          SELECT i - 500, i / 7.0, 'epoch'::timestamptz + i * interval '1 h',
            CASE WHEN i % 3 = 0 THEN ARRAY['a', NULL, i::text] END,
            jsonb_build_object('i', i), (ARRAY['sad', 'happy', NULL])[i % 3 + 1]::mood,
            decode(repeat('00ff', i), 'hex') FROM generate_series(1, 3000) i;
        INSERT INTO words SELECT ROW(i, 'sad')::pair, ARRAY['happy', 'sad']::mood[],
          E'tab\\t\\\\' || i || E'\\n' FROM generate_series(1, 1000) i;
        INSERT INTO things SELECT md5(i::text)::uuid, i FROM generate_series(1, 2000) i;";
    // The kinds of things that differ between servers have other numbers on the mirrors.
    shards.owner.psql(rows).await;
    let tables = [
        moved("orders", "customer", KeyType::Bigint),
        moved("words", "The Word", KeyType::Text),
        moved("things", "id", KeyType::Uuid),
        moved("nothing", "id", KeyType::Bigint),
    ];
    let copied = shards.copy(&tables).await.unwrap();
    assert_eq!(copied.rows_scanned, 6_000);
    let orders = "SELECT customer, id, total, doubled, at, tags, doc, feeling, md5(raw) \
                  FROM orders ORDER BY id";
    let words = "SELECT replace(\"The Word\", E'\\n', 'n'), meaning, moods FROM words ORDER BY 1";
    let things = "SELECT id, part, tableoid::regclass FROM things ORDER BY part";
    let moved = shards.check(orders, KeyType::Bigint).await;
    let moved = moved + shards.check(things, KeyType::Uuid).await;
    assert!(moved > 2_000);
    // Keys with line feeds are not told apart by lines: these are counted.
    let mut words_moved = 0;
    for mirror in &shards.mirrors {
        let count = mirror.psql("SELECT count(*) FROM words").await;
        words_moved += count.trim().parse::<u64>().unwrap();
        let all = mirror.psql(words).await;
        assert!(all.contains("(") && all.contains("{happy,sad}"));
    }
    let keys = (1..=1_000).map(|i| format!("tab\t\\{i}\n"));
    let tokens = keys.map(|key| token_of(&Key::Text(key.into())).0);
    let wanted = tokens.filter(|token| token % (1 << 31) <= HALF / 2 && *token != HALF);
    assert_eq!(words_moved, u64::try_from(wanted.count()).unwrap());
    assert_eq!(copied.rows, moved + words_moved);
}

#[tokio::test]
async fn a_copy_in_many_ranges_has_every_row_of_the_snapshot_once() {
    let shards = Shards::start("CREATE TABLE big (id bigint PRIMARY KEY, pad text)").await;
    let sql = "INSERT INTO big SELECT i, repeat('x', 900) FROM generate_series(1, 60000) i";
    shards.owner.psql(sql).await;
    let holder = shards.holder().await;
    // None of this is in the snapshot.
    let sql = "INSERT INTO big SELECT i, 'late' FROM generate_series(60001, 61000) i; \
               DELETE FROM big WHERE id <= 500; UPDATE big SET pad = 'new' WHERE id % 50 = 0";
    shards.owner.psql(sql).await;
    let order = shards.order(holder.snapshot(), &[moved("big", "id", KeyType::Bigint)]);
    let progress = Arc::new(Progress::default());
    let copied = copy_leg(order, &shards.tasks, progress, Arc::default())
        .await
        .unwrap();
    assert_eq!(copied.rows_scanned, 60_000);
    assert!(copied.ranges > 4, "{}", copied.ranges);
    let mut count = BTreeMap::new();
    for (name, mirror) in ["b", "c"].into_iter().zip(&shards.mirrors) {
        let sql = "SELECT count(*), count(*) FILTER (WHERE length(pad) = 900), max(id) <= 60000 \
                   FROM big";
        let found = mirror.psql(sql).await;
        let fields: Vec<&str> = found.trim().split('|').collect();
        assert_eq!((fields[0], fields[2]), (fields[1], "t"));
        count.insert(name, fields[0].parse::<u64>().unwrap());
        let sql = "SELECT sum(rows) FROM vg.copied";
        assert_eq!(mirror.psql(sql).await.trim(), fields[0]);
    }
    assert_eq!(count.values().sum::<u64>(), copied.rows);
}

#[tokio::test]
async fn ranges_whose_connections_break_are_tried_again_and_stored_once() {
    let shards = Shards::start("CREATE TABLE big (id bigint NOT NULL, pad text)").await;
    let sql = "INSERT INTO big SELECT i, repeat('x', 900) FROM generate_series(1, 80000) i";
    shards.owner.psql(sql).await;
    let holder = shards.holder().await;
    let order = shards.order(holder.snapshot(), &[moved("big", "id", KeyType::Bigint)]);
    let progress = Arc::new(Progress::default());
    // Slow enough to be hit a few times.
    let throttle = Arc::new(Throttle::new(Rates {
        rows: Some(40_000),
        bytes: None,
    }));
    let copying = copy_leg(order, &shards.tasks, progress, throttle);
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE application_name LIKE 'sharding-reshard/%/copy'";
    let killing = async {
        let mut killed = 0;
        for server in [&shards.mirrors[0], &shards.owner, &shards.mirrors[1]] {
            tokio::time::sleep(Duration::from_millis(500)).await;
            killed += server.psql(kill).await.trim().parse::<u32>().unwrap();
        }
        killed
    };
    let (copied, killed) = tokio::join!(copying, killing);
    assert!(killed > 0);
    copied.unwrap();
    let moved = shards
        .check("SELECT id FROM big ORDER BY id", KeyType::Bigint)
        .await;
    assert!(moved > 30_000);
}

#[tokio::test]
async fn a_copy_that_was_broken_off_goes_on_in_the_snapshot_that_somebody_keeps() {
    // Without a unique key nothing but the books tells that a row is there already.
    let shards = Shards::start("CREATE TABLE big (id bigint NOT NULL, pad text)").await;
    let sql = "INSERT INTO big SELECT i, repeat('x', 900) FROM generate_series(1, 80000) i";
    shards.owner.psql(sql).await;
    let holder = shards.holder().await;
    let tables = [moved("big", "id", KeyType::Bigint)];
    let mut order = shards.order(holder.snapshot(), &tables);
    let config = setup::config(Auth::Trust);
    let (leg, attempt) = (order.leg.clone(), order.attempt.id.clone());
    let at = (&leg, &shards.owner.shard);
    let opened = Keeper::open(&config, at, &attempt, holder.snapshot(), &tables);
    let mut keeper = opened.await.unwrap();
    let layout = keeper.layout(&tables).await.unwrap();
    let throttle = Arc::new(Throttle::new(Rates {
        rows: Some(40_000),
        bytes: None,
    }));
    let progress = Arc::new(Progress::default());
    let copying = copy_leg(order.clone(), &shards.tasks, progress, throttle);
    let stored = async {
        let exists = "SELECT to_regclass('vg.copied') IS NOT NULL";
        let count = "SELECT count(*) FROM vg.copied";
        let mirror = &shards.mirrors[0];
        while mirror.psql(exists).await.trim() != "t" || mirror.psql(count).await.trim() == "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        done = copying => panic!("{done:?} before it was broken off"),
        () = stored => {}
    }
    drop(holder);
    // Clients go on: rows get other places, or are gone.
    let sql = "UPDATE big SET pad = 'new' WHERE id % 3 = 0; DELETE FROM big WHERE id % 7 = 0; \
               INSERT INTO big SELECT i, 'late' FROM generate_series(80001, 81000) i";
    shards.owner.psql(sql).await;
    assert_eq!(keeper.layout(&tables).await.unwrap(), layout);
    order.snapshot = keeper.export().await.unwrap();
    order.attempt.is_resumed = true;
    let progress = Arc::new(Progress::default());
    let copied = copy_leg(order, &shards.tasks, Arc::clone(&progress), Arc::default())
        .await
        .unwrap();
    assert!(copied.kept > 0 && copied.rows > 0, "{copied:?}");
    let token = |id: i64| token_of(&Key::Bigint(id)).0;
    let ids = |belongs: fn(u32) -> bool| {
        let ids = (1..=80_000).filter(|id| belongs(token(*id)));
        ids.map(|id| format!("{id}\n")).collect::<String>()
    };
    let wanted = [
        ids(|token| token <= 0x4000_0000),
        ids(|token| (0x8000_0001..=0xc000_0000).contains(&token)),
    ];
    let mut rows = 0;
    for (mirror, wanted) in shards.mirrors.iter().zip(&wanted) {
        let found = mirror.psql("SELECT id FROM big ORDER BY id").await;
        assert!(found.trim() == wanted.trim(), "rows twice, or missing");
        let changed = "SELECT count(*) FROM big WHERE length(pad) <> 900";
        assert_eq!(mirror.psql(changed).await.trim(), "0");
        rows += u64::try_from(wanted.lines().count()).unwrap();
    }
    assert_eq!(copied.kept + copied.rows, rows);
    assert_eq!(progress.read().rows_copied, rows);
    assert_eq!(
        progress.blocks_copied.value(),
        progress.blocks_total.value()
    );
}

#[tokio::test]
async fn a_table_that_is_rewritten_while_nobody_keeps_it_is_known_by_its_layout() {
    let shards = Shards::start("CREATE TABLE t (id bigint PRIMARY KEY, v int)").await;
    let tables = [moved("t", "id", KeyType::Bigint)];
    let holder = shards.holder().await;
    let (config, leg) = (setup::config(Auth::Trust), setup::leg());
    let at = (&leg, &shards.owner.shard);
    let layout = async || {
        let opened = Keeper::open(&config, at, "1", holder.snapshot(), &tables);
        opened.await.unwrap().layout(&tables).await.unwrap()
    };
    let before = layout().await;
    assert_eq!(layout().await, before);
    shards.owner.psql("VACUUM FULL t").await;
    assert_ne!(layout().await, before);
}

#[tokio::test]
async fn a_copy_without_its_snapshot_or_its_term_does_not_go_on() {
    let shards = Shards::start("CREATE TABLE t (id bigint PRIMARY KEY)").await;
    shards
        .owner
        .psql("INSERT INTO t SELECT generate_series(1, 10)")
        .await;
    let tables = [moved("t", "id", KeyType::Bigint)];
    let copy = |order| copy_leg(order, &shards.tasks, Arc::default(), Arc::default());
    let error = copy(shards.order("00000003-00000002-1", &tables))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::SnapshotGone(_)), "{error:?}");
    assert_eq!(error.class(), Class::Retryable);
    let holder = shards.holder().await;
    shards.mirrors[1].psql("SELECT setval('vg.term', 8)").await;
    let error = copy(shards.order(holder.snapshot(), &tables))
        .await
        .unwrap_err();
    assert_eq!(error.class(), Class::StaleTerm, "{error:?}");
    let count = shards.mirrors[1].psql("SELECT count(*) FROM t").await;
    assert_eq!(count.trim(), "0");
}

#[tokio::test]
async fn rows_that_cannot_be_stored_or_have_no_key_stop_the_copy() {
    let shards = Shards::start("CREATE TABLE t (id bigint, v int)").await;
    let sql = "INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i";
    shards.owner.psql(sql).await;
    let mirror = &shards.mirrors[0];
    mirror.psql("ALTER TABLE t ADD CHECK (v < 500)").await;
    let tables = [moved("t", "id", KeyType::Bigint)];
    let error = shards.copy(&tables).await.unwrap_err();
    let text = platform::telemetry::error_chain(&error);
    assert!(
        text.contains("shard b") && text.contains("violates check"),
        "{text}"
    );
    assert_eq!(error.class(), Class::Fatal);
    shards
        .owner
        .psql(&format!("SELECT pg_drop_replication_slot('{SLOT}')"))
        .await;
    shards.owner.psql("INSERT INTO t VALUES (NULL, 1)").await;
    mirror.psql("ALTER TABLE t DROP CONSTRAINT t_v_check").await;
    let error = shards.copy(&tables).await.unwrap_err();
    assert!(matches!(error, Error::Rows { .. }), "{error:?}");
}
