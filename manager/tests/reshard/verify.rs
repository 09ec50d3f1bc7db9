//! Comparisons of both sides, of rows that are equal and of rows that are not.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use manager::reshard::flow::{Bounds, MovedTable};
use manager::reshard::follow::Follow;
use manager::reshard::ids::LegId;
use manager::reshard::progress::Progress;
use manager::reshard::verify::freeze::{Followed, Freezer, at_one_moment};
use manager::reshard::verify::{Comparison, Difference, Kind, Order, Side, compare};
use platform::TaskGroup;
use tests::postgres::Auth;
use tokio::time::timeout;
use topology::KeyType;
use topology::hash::token_of;

use crate::follow::Field;
use crate::setup::{self, Server, moved};

const HALF: u32 = 1 << 31;
const LIMIT: Duration = Duration::from_secs(60);

fn order(leg: &LegId, owners: Vec<Side>, mirrors: Vec<Side>, tables: &[MovedTable]) -> Order {
    Order {
        config: setup::config(Auth::Trust),
        leg: leg.clone(),
        owners,
        mirrors,
        tables: tables.to_vec(),
        workers: NonZeroUsize::new(2).unwrap(),
    }
}

/// Compares an owner with mirrors as they are.
async fn compared(
    owner: &Server,
    mirrors: [(&Server, Bounds); 2],
    tables: &[MovedTable],
) -> Comparison {
    let (config, leg) = (setup::config(Auth::Trust), setup::leg());
    let freeze = async |server: &Server| {
        let freezer = Freezer::connect(&config, &server.shard, &leg).await;
        freezer.unwrap().freeze().await.unwrap()
    };
    let owned = freeze(owner).await;
    let (mut frozen, mut sides) = (Vec::new(), Vec::new());
    for (mirror, bounds) in mirrors {
        let one = freeze(mirror).await;
        sides.push(one.side(bounds));
        frozen.push(one);
    }
    let order = order(
        &leg,
        vec![owned.side(setup::bounds(u32::MAX, HALF))],
        sides,
        tables,
    );
    let progress = Arc::new(Progress::default());
    let tasks = TaskGroup::new();
    let comparison = compare(order, &tasks, Arc::clone(&progress), Arc::default()).await;
    assert!(progress.rows_compared.value() > 0);
    comparison.unwrap()
}

fn inside(key: i64, after: u32, last: u32) -> bool {
    let token = token_of(&topology::Key::Bigint(key));
    setup::bounds(after, last).contains(token)
}

#[tokio::test]
async fn rows_that_are_missing_extra_changed_or_doubled_are_found() {
    let starting = ["a", "b", "c"].map(Server::start);
    let started = futures_util::future::join_all(starting).await;
    let [a, b, c] = started.try_into().unwrap_or_else(|_| unreachable!());
    let schema = "
        CREATE TYPE pair AS (x int, y text);
        CREATE TABLE orders (note jsonb, customer int, id int, at timestamptz DEFAULT now(),
          doubled int GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (customer, id))
          PARTITION BY RANGE (id);
        CREATE TABLE orders_0 PARTITION OF orders FOR VALUES FROM (0) TO (500);
        CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (500) TO (100000);
        CREATE TABLE events (who text, what pair);";
    let rows = "
        INSERT INTO orders SELECT jsonb_build_object('i', i), i, i, 'epoch'
          FROM generate_series(1, 3000) i;
        INSERT INTO events SELECT 'user' || i % 100, ROW(i, 'x')::pair
          FROM generate_series(1, 2000) i;";
    for server in [&a, &b, &c] {
        server.psql(schema).await;
        server.psql(rows).await;
    }
    let tables = [
        moved("orders", "customer", KeyType::Bigint),
        moved("events", "who", KeyType::Text),
    ];
    let mirrors = || {
        [
            (&b, setup::bounds(u32::MAX, HALF / 2)),
            (&c, setup::bounds(HALF / 2, HALF)),
        ]
    };
    // Rows outside of a mirror's ranges are none of its business.
    let stays = (1..3_000)
        .find(|key| !inside(*key, u32::MAX, HALF))
        .unwrap();
    b.psql(&format!("DELETE FROM orders WHERE customer = {stays}"))
        .await;
    let comparison = compared(&a, mirrors(), &tables).await;
    assert!(comparison.equal, "{comparison:?}");
    let [orders, events] = comparison.tables.as_slice() else {
        panic!("{comparison:?}");
    };
    assert!(orders.rows > 1_000 && orders.rows == orders.mirror_rows);
    assert!(events.rows > 500 && events.rows == events.mirror_rows);
    let certificate = comparison.certificate("now");
    assert!(certificate.is_equal);
    assert_eq!(certificate.rows, orders.rows + events.rows);

    let on_b: Vec<i64> = (1..3_000)
        .filter(|key| inside(*key, u32::MAX, HALF / 2))
        .collect();
    let (missing, extra, changed) = (on_b[0], on_b[1], on_b[2]);
    let wrong = format!(
        "DELETE FROM orders WHERE customer = {missing};
         INSERT INTO orders VALUES ('{{}}', {extra}, 99999, 'epoch');
         UPDATE orders SET note = '{{\"i\": 0}}' WHERE customer = {changed}"
    );
    b.psql(&wrong).await;
    c.psql("INSERT INTO events SELECT * FROM events").await;
    let comparison = compared(&a, mirrors(), &tables).await;
    assert!(!comparison.equal);
    let difference = |key: String, kind| Difference { key, kind };
    let mut wanted = vec![
        difference(format!("({missing},{missing})"), Kind::Missing),
        difference(format!("({extra},99999)"), Kind::Extra),
        difference(format!("({changed},{changed})"), Kind::Changed),
    ];
    wanted.sort();
    assert_eq!(comparison.tables[0].differing, wanted);
    let events = &comparison.tables[1];
    assert!(events.mirror_rows > events.rows && events.differing_buckets > 0);
    assert_eq!(events.differing.len(), 100);
    assert!(events.differing.iter().all(|row| row.kind == Kind::Extra));
}

async fn write(field: Arc<Field>, stop: Arc<AtomicBool>) {
    let client = field.owner.postgres.client().await.unwrap();
    let mut k = 0;
    while !stop.load(Ordering::Relaxed) {
        k += 1;
        let sql = format!(
            "INSERT INTO t VALUES ({k}, 0); UPDATE t SET n = n + 1 WHERE k = {}; \
             DELETE FROM t WHERE k = {}",
            k / 2,
            k / 3
        );
        client.batch_execute(&sql).await.unwrap();
        // A machine that is busy otherwise must be able to follow.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_are_equal_at_one_moment_while_clients_write() {
    let schema = "CREATE TABLE t (k bigint PRIMARY KEY, n bigint NOT NULL)";
    let tables = vec![moved("t", "k", KeyType::Bigint)];
    let field = Arc::new(Field::new(schema, tables.clone(), 2).await);
    let stop = Arc::new(AtomicBool::new(false));
    let writing = write(Arc::clone(&field), Arc::clone(&stop));
    let writer = field.tasks.spawn("writer", writing);
    let follow = field.follow();
    let caught_up = timeout(LIMIT, follow.caught_up(Duration::from_millis(100)));
    caught_up.await.unwrap().unwrap();
    for _ in 0..4 {
        let comparison = at_a_moment(&field, &follow, &tables).await;
        assert!(
            comparison.equal && comparison.tables[0].rows > 0,
            "{comparison:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mirror = &field.mirrors[1];
    let changed = "UPDATE t SET n = -1 WHERE k = (SELECT max(k) - 100 FROM t WHERE n = 1 AND k < \
                   (SELECT max(k) - 100 FROM t)) OR k = (SELECT max(k) FROM t) RETURNING k";
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    field.synced(&follow).await;
    mirror.psql(changed).await;
    let comparison = at_a_moment(&field, &follow, &tables).await;
    assert!(!comparison.equal);
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE temporary";
    tests::wait::until("the end of the slots", tests::wait::SETTLE, || async {
        let left = field.owner.psql(slots).await;
        anyhow::ensure!(left.trim() == "0", "{left} slots");
        Ok(())
    })
    .await
    .unwrap();
}

async fn at_a_moment(field: &Field, follow: &Follow, tables: &[MovedTable]) -> Comparison {
    let spec = field.spec();
    let bounds: Vec<Bounds> = spec.mirrors.iter().map(|m| m.ranges.bounds()).collect();
    let all = spec
        .mirrors
        .iter()
        .flat_map(|mirror| mirror.ranges.iter().copied());
    let all = manager::reshard::flow::Ranges::new(all.collect()).bounds();
    let owners = [Followed {
        shard: &spec.owner,
        bounds: &all,
        follow,
    }];
    let mirrors: Vec<_> = spec
        .mirrors
        .iter()
        .map(|mirror| &mirror.shard)
        .zip(&bounds)
        .collect();
    let config = setup::config(Auth::Trust);
    let moment = at_one_moment(&config, &field.leg, &owners, &mirrors);
    let moment = timeout(LIMIT, moment).await.unwrap().unwrap();
    let order = order(
        &field.leg,
        moment.owners.clone(),
        moment.mirrors.clone(),
        tables,
    );
    let comparison = compare(order, &field.tasks, Arc::default(), Arc::default());
    timeout(LIMIT, comparison).await.unwrap().unwrap()
}
