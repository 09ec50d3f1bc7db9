//! Guards: what they refuse, to whom, and what they leave behind.

use std::time::Duration;

use manager::reshard::guard::fence;
use manager::reshard::guard::install::{self, Initial};
use manager::reshard::guard::{Error, Guarded, Patience, term};
use manager::reshard::ids::LegId;
use manager::reshard::lsn::Lsn;
use manager::reshard::schema;
use manager::reshard::session::{Class, Session};
use topology::{Epoch, KeyType, Term};

use crate::setup::{Server, TERM, guarded, half, keys, leg, moved, refusal, table};

const BUDGET: Duration = Duration::from_millis(300);

async fn install(session: &mut Session, guarded: &Guarded, initial: Initial) {
    install::install(session, TERM, guarded, initial, Patience::default())
        .await
        .unwrap();
}

/// A server with table t of keys 0..1000 whose lower half is guarded.
async fn shard() -> (Server, LegId, Session) {
    let server = Server::start("a").await;
    let sql = "CREATE TABLE t (k bigint PRIMARY KEY, v int DEFAULT 0); \
               INSERT INTO t SELECT g FROM generate_series(0, 999) g";
    server.psql(sql).await;
    let leg = leg();
    let mut session = server.leader(&leg).await;
    install(&mut session, &guarded(&leg), Initial::Open).await;
    (server, leg, session)
}

#[tokio::test]
async fn the_hash_in_sql_agrees_with_the_golden_vectors() {
    let server = Server::start("a").await;
    let session = server.leader(&leg()).await;
    let vectors = [
        (
            "bigint",
            include_str!("../../../topology/testdata/bigint.txt"),
        ),
        ("text", include_str!("../../../topology/testdata/text.txt")),
        ("uuid", include_str!("../../../topology/testdata/uuid.txt")),
    ];
    for (name, lines) in vectors {
        let mut count = 0;
        for line in lines.lines().filter(|line| !line.starts_with('#')) {
            let (wanted, key) = line.split_once(' ').unwrap();
            let key = if name == "text" {
                serde_json::from_str(key).unwrap()
            } else {
                key.to_owned()
            };
            let sql = format!("SELECT vg.token_{name}($1::text::{name})");
            let token: i64 = session.query_one(&sql, &[&key]).await.unwrap().get(0);
            assert_eq!(format!("{token:08x}"), wanted, "{name} {key:?}");
            count += 1;
        }
        assert!(count > 100, "{name}");
    }
}

#[tokio::test]
async fn a_closed_fence_refuses_moving_rows_and_no_others() {
    let (server, leg, mut session) = shard().await;
    let guarded = guarded(&leg);
    assert!(install::is_installed(&session, &guarded).await.unwrap());
    let client = server.postgres.client().await.unwrap();
    let (moving, staying) = keys();
    let everything = "UPDATE t SET v = v + 1";
    assert_eq!(refusal(&client, everything).await, None);
    fence::close(&mut session, TERM, &leg, Epoch(12), BUDGET)
        .await
        .unwrap();
    let state = fence::state(&session, &leg).await.unwrap();
    assert_eq!(state, Some(Epoch(12)));
    let list = |keys: &[i64]| format!("{keys:?}").replace('[', "(").replace(']', ")");
    let moved = Some("VG001".to_owned());
    for key in moving.iter().take(5) {
        for sql in [
            format!("UPDATE t SET v = 1 WHERE k = {key}"),
            format!("DELETE FROM t WHERE k = {key}"),
            format!("INSERT INTO t VALUES ({key}, 1) ON CONFLICT (k) DO UPDATE SET v = 2"),
        ] {
            assert_eq!(refusal(&client, &sql).await, moved, "{sql}");
        }
    }
    let error = client.batch_execute(everything).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.detail(), Some("epoch 12"));
    assert_eq!(error.hint(), Some("retry"));
    let others = format!("UPDATE t SET v = 5 WHERE k IN {}", list(&staying));
    assert_eq!(refusal(&client, &others).await, None);
    fence::open(&mut session, TERM, &leg).await.unwrap();
    assert_eq!(refusal(&client, everything).await, None);
}

#[tokio::test]
async fn a_key_that_would_cross_the_ranges_is_refused_and_so_is_truncate() {
    let (server, leg, _session) = shard().await;
    let client = server.postgres.client().await.unwrap();
    let (moving, staying) = keys();
    let set =
        |from: i64, to: i64| format!("UPDATE t SET k = {to} + 10000 - 10000 WHERE k = {from}");
    client
        .batch_execute(&format!(
            "DELETE FROM t WHERE k IN ({}, {})",
            moving[1], staying[1]
        ))
        .await
        .unwrap();
    let refused = Some("VG003".to_owned());
    assert_eq!(refusal(&client, &set(moving[0], staying[1])).await, refused);
    assert_eq!(refusal(&client, &set(staying[0], moving[1])).await, refused);
    assert_eq!(refusal(&client, &set(moving[0], moving[1])).await, None);
    assert_eq!(refusal(&client, &set(staying[0], staying[1])).await, None);
    assert_eq!(refusal(&client, "TRUNCATE t").await, refused);
    let writer = server.writer(&leg).await;
    assert_eq!(refusal(&writer, "TRUNCATE t").await, None);
}

#[tokio::test]
async fn only_the_legs_own_writers_pass_a_closed_fence() {
    let (server, leg, mut session) = shard().await;
    fence::close(&mut session, TERM, &leg, Epoch(3), BUDGET)
        .await
        .unwrap();
    let writer = server.writer(&leg).await;
    assert_eq!(refusal(&writer, "UPDATE t SET v = 9").await, None);
    let other = server.writer(&crate::setup::leg()).await;
    let moved = Some("VG001".to_owned());
    assert_eq!(refusal(&other, "UPDATE t SET v = 8").await, moved);
    let replica = server.postgres.client().await.unwrap();
    let sql = "SET session_replication_role = replica; UPDATE t SET v = 8";
    assert_eq!(refusal(&replica, sql).await, moved);
    let client = server.postgres.client().await.unwrap();
    let sql = format!("SET vg.apply = '{}'; UPDATE t SET v = 8", leg.tag());
    assert_eq!(refusal(&client, &sql).await, moved);
}

#[tokio::test]
async fn a_role_without_privileges_is_refused_by_the_fence_and_by_nothing_else() {
    let (server, leg, mut session) = shard().await;
    let sql =
        "CREATE ROLE plain LOGIN; GRANT ALL ON t TO plain; GRANT USAGE ON SCHEMA public TO plain";
    server.psql(sql).await;
    let client = server.postgres.client().await.unwrap();
    client.batch_execute("SET ROLE plain").await.unwrap();
    assert_eq!(refusal(&client, "UPDATE t SET v = 9").await, None);
    fence::close(&mut session, TERM, &leg, Epoch(3), BUDGET)
        .await
        .unwrap();
    let moved = Some("VG001".to_owned());
    assert_eq!(refusal(&client, "UPDATE t SET v = 9").await, moved);
    let forbidden = Some("42501".to_owned());
    for sql in [
        "SELECT vg.raise_term(99)".to_owned(),
        format!("SELECT setval('vg.{}', 0)", leg.fence()),
        "SELECT setval('vg.term', 0)".to_owned(),
    ] {
        assert_eq!(refusal(&client, &sql).await, forbidden, "{sql}");
    }
}

#[tokio::test]
async fn a_fence_waits_for_writers_of_moving_rows_within_its_budget() {
    let (server, leg, mut session) = shard().await;
    let guarded = guarded(&leg);
    let (moving, staying) = keys();
    let (client, other) = (
        server.postgres.client().await.unwrap(),
        server.postgres.client().await.unwrap(),
    );
    let write = |key: i64| format!("BEGIN; UPDATE t SET v = 1 WHERE k = {key}");
    other.batch_execute(&write(staying[0])).await.unwrap();
    assert_eq!(fence::holders(&session, &leg).await.unwrap(), []);
    client.batch_execute(&write(moving[0])).await.unwrap();
    let holders = fence::holders(&session, &leg).await.unwrap();
    assert_eq!(holders.len(), 1);
    assert_eq!(holders[0].state, "idle in transaction");
    let attempt = fence::fence(&mut session, TERM, &guarded, Epoch(5), BUDGET);
    assert_eq!(attempt.await.unwrap_err().class(), Class::Retryable);
    assert_eq!(fence::state(&session, &leg).await.unwrap(), Some(Epoch(0)));
    let prepare = "PREPARE TRANSACTION 'someone'";
    client.batch_execute(prepare).await.unwrap();
    let holders = fence::holders(&session, &leg).await.unwrap();
    assert_eq!(holders[0].gid.as_deref(), Some("someone"));
    let attempt = fence::fence(&mut session, TERM, &guarded, Epoch(5), BUDGET);
    assert_eq!(attempt.await.unwrap_err().class(), Class::Retryable);
    client
        .batch_execute("COMMIT PREPARED 'someone'")
        .await
        .unwrap();
    client.batch_execute(&write(moving[1])).await.unwrap();
    let ended = fence::terminate_holders(&session, &leg, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(ended.len(), 1);
    let lsn = fence::fence(&mut session, TERM, &guarded, Epoch(5), BUDGET)
        .await
        .unwrap();
    assert!(lsn > Lsn(0));
    assert_eq!(fence::state(&session, &leg).await.unwrap(), Some(Epoch(5)));
    let found = server
        .psql(&format!("SELECT v FROM t WHERE k = {}", moving[0]))
        .await;
    assert_eq!(found, "1");
}

#[tokio::test]
async fn a_writer_that_meets_a_fence_on_its_way_is_told_to_retry_and_never_waits() {
    let (server, leg, session) = shard().await;
    let holder = server.postgres.client().await.unwrap();
    let sql = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(7302, {})",
        manager::reshard::guard::sql::lock_key(&leg)
    );
    holder.batch_execute(&sql).await.unwrap();
    let client = server.postgres.client().await.unwrap();
    let moved = Some("VG002".to_owned());
    assert_eq!(refusal(&client, "UPDATE t SET v = 9").await, moved);
    drop(session);
}

#[tokio::test]
async fn an_earlier_term_changes_nothing_any_more() {
    let (server, leg, mut session) = shard().await;
    let mut later = server.session(&leg).await;
    term::raise(&mut later, Term(8)).await.unwrap();
    assert_eq!(term::present(&later).await.unwrap(), Some(Term(8)));
    let guarded = guarded(&leg);
    let stale = |result: Result<(), Error>| {
        assert_eq!(result.unwrap_err().class(), Class::StaleTerm);
    };
    stale(fence::open(&mut session, TERM, &leg).await);
    stale(fence::close(&mut session, TERM, &leg, Epoch(3), BUDGET).await);
    let fenced = fence::fence(&mut session, TERM, &guarded, Epoch(3), BUDGET).await;
    stale(fenced.map(drop));
    stale(term::raise(&mut session, TERM).await);
    let removed = install::uninstall(&mut session, TERM, &leg, Patience::default()).await;
    stale(removed);
    assert_eq!(
        session.begin(TERM).await.unwrap_err().class(),
        Class::StaleTerm
    );
    assert_eq!(fence::state(&session, &leg).await.unwrap(), Some(Epoch(0)));
    session.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test]
async fn a_term_is_raised_only_after_open_transactions_of_the_last_one() {
    let (server, leg, mut session) = shard().await;
    let mut later = server.session(&leg).await;
    let work = session.begin(TERM).await.unwrap();
    let slow = async {
        work.run("work", "SELECT pg_sleep(2.5)").await.unwrap();
        work.commit("commit what took long").await.unwrap();
        tokio::time::Instant::now()
    };
    let raising = async {
        term::raise(&mut later, Term(9)).await.unwrap();
        tokio::time::Instant::now()
    };
    let (committed, raised) = tokio::join!(slow, raising);
    assert!(committed <= raised, "a transaction was not waited for");
}

/// As that of a manager which is frozen in the middle of it.
#[tokio::test]
async fn a_term_is_raised_over_a_transaction_that_rests() {
    let (server, leg, mut session) = shard().await;
    let work = session.begin(TERM).await.unwrap();
    let mut later = server.session(&leg).await;
    term::raise(&mut later, Term(9)).await.unwrap();
    assert!(work.run("look", "SELECT 1").await.is_err());
    let ended = server.sessions.end_others(&server.shard, &leg).await;
    assert_eq!(ended.unwrap(), 1);
}

#[tokio::test]
async fn a_fence_survives_the_death_of_the_server_right_after_it() {
    let (mut server, leg, mut session) = shard().await;
    for epoch in 1..4 {
        let guarded = guarded(&leg);
        fence::fence(&mut session, TERM, &guarded, Epoch(epoch), BUDGET)
            .await
            .unwrap();
        server.postgres.kill().await.unwrap();
        server.postgres.restart().await.unwrap();
        session = server.session(&leg).await;
        assert_eq!(
            fence::state(&session, &leg).await.unwrap(),
            Some(Epoch(epoch))
        );
        assert_eq!(term::present(&session).await.unwrap(), Some(TERM));
        let client = server.postgres.client().await.unwrap();
        let moved = Some("VG001".to_owned());
        assert_eq!(refusal(&client, "UPDATE t SET v = 9").await, moved);
    }
}

#[tokio::test]
async fn a_guard_is_put_on_all_partitions_and_taken_away_again() {
    let server = Server::start("a").await;
    let sql = "CREATE TABLE t (k bigint, at date, PRIMARY KEY (k, at)) PARTITION BY RANGE (at); \
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2020-01-01') TO ('2021-01-01'); \
        CREATE TABLE t2 PARTITION OF t FOR VALUES FROM ('2021-01-01') TO ('2022-01-01') PARTITION BY HASH (k); \
        CREATE TABLE t2a PARTITION OF t2 FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
        CREATE TABLE t2b PARTITION OF t2 FOR VALUES WITH (MODULUS 2, REMAINDER 1); \
        INSERT INTO t SELECT g, '2020-05-05'::date + (g % 700)::int FROM generate_series(0, 599) g; \
        CREATE TABLE \"Odd \"\"Name\" (\"K ey\" uuid PRIMARY KEY); \
        CREATE TABLE words (w varchar(20))";
    server.psql(sql).await;
    let leg = leg();
    let mut guarded = guarded(&leg);
    guarded
        .tables
        .push(moved("Odd \"Name", "K ey", KeyType::Uuid));
    guarded.tables.push(moved("words", "w", KeyType::Text));
    let mut session = server.leader(&leg).await;
    for _ in 0..2 {
        install(&mut session, &guarded, Initial::Closed(Epoch(4))).await;
        assert!(install::is_installed(&session, &guarded).await.unwrap());
    }
    let client = server.postgres.client().await.unwrap();
    let moved = Some("VG001".to_owned());
    for sql in [
        "UPDATE t SET at = at",
        "UPDATE t1 SET at = at",
        "UPDATE t2 SET at = at",
        "UPDATE t2b SET at = at",
        "DELETE FROM t2a",
        "INSERT INTO \"Odd \"\"Name\" SELECT gen_random_uuid() FROM generate_series(1, 50)",
        "INSERT INTO words SELECT g FROM generate_series(1, 50) g",
    ] {
        assert_eq!(refusal(&client, sql).await, moved, "{sql}");
    }
    let refused = Some("VG003".to_owned());
    for table in ["t", "t1", "t2", "t2b"] {
        assert_eq!(
            refusal(&client, &format!("TRUNCATE {table}")).await,
            refused
        );
    }
    let writer = server.writer(&leg).await;
    writer
        .batch_execute("INSERT INTO words SELECT g FROM generate_series(1, 50) g")
        .await
        .unwrap();
    for sql in ["UPDATE words SET w = w", "UPDATE words SET w = w || w"] {
        let found = refusal(&client, sql).await;
        assert!(found == moved || found == refused, "{sql}: {found:?}");
    }
    let keyless = "INSERT INTO words VALUES (NULL)";
    assert_eq!(refusal(&client, keyless).await, None);
    server
        .psql("SET session_replication_role = replica; SET vg.apply = 'x'; ALTER TABLE t2b DISABLE TRIGGER ALL")
        .await;
    assert!(!install::is_installed(&session, &guarded).await.unwrap());
    install(&mut session, &guarded, Initial::Open).await;
    assert!(install::is_installed(&session, &guarded).await.unwrap());
    let state = fence::state(&session, &leg).await.unwrap();
    assert_eq!(state, Some(Epoch(4)), "an installation opened a fence");
    install::uninstall(&mut session, TERM, &leg, Patience::default())
        .await
        .unwrap();
    let left = "SELECT (SELECT count(*) FROM pg_trigger WHERE tgname ~ '^~vg'), \
        (SELECT count(*) FROM pg_event_trigger), (SELECT count(*) FROM vg.leg), \
        (SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'vg'::regnamespace AND relkind = 'S'), \
        (SELECT count(*) FROM pg_proc WHERE pronamespace = 'vg'::regnamespace AND proname ~ '_0')";
    assert_eq!(server.psql(left).await, "0|0|0|term|0");
}

#[tokio::test]
async fn writers_hardly_notice_an_installation_beside_a_long_transaction() {
    let server = Server::start("a").await;
    server
        .psql("CREATE TABLE t (k bigint PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)")
        .await;
    let leg = leg();
    let mut session = server.leader(&leg).await;
    let holder = server.postgres.client().await.unwrap();
    holder
        .batch_execute("BEGIN; UPDATE t SET v = 1 WHERE k = 1")
        .await
        .unwrap();
    let writer = server.postgres.client().await.unwrap();
    let writes = async {
        let mut worst = Duration::ZERO;
        for key in 10..110 {
            let start = tokio::time::Instant::now();
            let sql = format!("INSERT INTO t VALUES ({key}, 0)");
            writer.batch_execute(&sql).await.unwrap();
            worst = worst.max(start.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        holder.batch_execute("COMMIT").await.unwrap();
        worst
    };
    let guarded = guarded(&leg);
    let installing = install(&mut session, &guarded, Initial::Open);
    let (worst, ()) = futures_util::join!(writes, installing);
    assert!(worst < Duration::from_millis(200), "{worst:?}");
    let patience = Patience {
        lock_timeout: Duration::from_millis(20),
        limit: Duration::from_millis(100),
    };
    holder.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
    let failed = install::uninstall(&mut session, TERM, &leg, patience).await;
    assert!(matches!(failed, Err(Error::Busy { .. })), "{failed:?}");
}

#[tokio::test]
async fn schema_changes_are_refused_while_rows_move_but_not_to_managers() {
    let (server, leg, mut session) = shard().await;
    server
        .psql("CREATE TABLE u (a int); CREATE INDEX u_a ON u (a)")
        .await;
    let client = server.postgres.client().await.unwrap();
    let refused = Some("VG003".to_owned());
    for sql in [
        "ALTER TABLE t ADD COLUMN more int",
        "ALTER TABLE t DROP COLUMN v",
        "ALTER TABLE t RENAME COLUMN v TO w",
        "ALTER TABLE t RENAME TO tt",
        "CREATE INDEX t_v ON t (v)",
        "CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION vg.refuse_truncate()",
        "ALTER TABLE t DISABLE TRIGGER ALL",
        "DROP TABLE t",
        "DROP INDEX t_pkey CASCADE",
        "DROP SCHEMA public CASCADE",
        "DROP FUNCTION vg.token_uuid(uuid)",
        "CREATE RULE r AS ON INSERT TO t DO ALSO SELECT 1",
    ] {
        let found = refusal(&client, sql).await;
        let is_expected = found == refused || sql.starts_with("DROP INDEX");
        assert!(is_expected && found.is_some(), "{sql}: {found:?}");
    }
    for sql in [
        "COMMENT ON TABLE t IS 'moving'",
        "GRANT SELECT ON t TO PUBLIC",
        "ALTER TABLE u ADD COLUMN b int",
        "DROP INDEX u_a",
        "DROP TABLE u",
        "CREATE TABLE w (a int)",
        "CREATE TEMP TABLE y (k int)",
        "ANALYZE t",
    ] {
        assert_eq!(refusal(&client, sql).await, None, "{sql}");
    }
    let tag = format!("DROP TRIGGER \"~vg_guard_{}\" ON t", leg.tag());
    assert_eq!(refusal(&client, &tag).await, refused);
    let writer = server.writer(&crate::setup::leg()).await;
    assert_eq!(refusal(&writer, "CREATE INDEX t_v ON t (v)").await, None);
    install::uninstall(&mut session, TERM, &leg, Patience::default())
        .await
        .unwrap();
    assert_eq!(
        refusal(&client, "ALTER TABLE t ADD COLUMN more int").await,
        None
    );
}

/// Changes of a table's definition.
const CHANGES: [&str; 12] = [
    "CREATE TYPE mood AS ENUM ('good'); ALTER TABLE t ADD COLUMN more mood",
    "ALTER TYPE mood ADD VALUE 'bad'",
    "ALTER TABLE t ALTER COLUMN more SET DEFAULT 'good'",
    "ALTER TABLE t RENAME COLUMN more TO most",
    "ALTER TABLE t ALTER COLUMN most TYPE text USING most::text",
    "ALTER TABLE t ADD CHECK (most <> 'x') NOT VALID",
    "CREATE INDEX t_most ON t (most)",
    "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY p ON t USING (true)",
    "CREATE RULE r AS ON INSERT TO t WHERE false DO INSTEAD NOTHING",
    "CREATE TRIGGER u BEFORE UPDATE ON t FOR EACH ROW \
     EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER TABLE t DROP COLUMN most CASCADE",
];

/// What servers do by themselves, and what is done to other tables.
const NO_CHANGE: &str = "INSERT INTO t SELECT g FROM generate_series(100001, 100009) g; \
    ANALYZE t; CREATE TABLE other (k bigint); DROP TABLE other";

#[tokio::test]
async fn a_cutover_is_refused_where_a_guard_is_off_or_the_schema_is_another() {
    let (server, leg, mut session) = shard().await;
    let guarded = guarded(&leg);
    let tables = [table("t")];
    let hash = fence::schema_hash(&session, &guarded).await.unwrap();
    let asked = schema::hash(&mut session, &tables).await.unwrap();
    assert_eq!(asked, hash);
    let stamp = fence::schema_stamp(&session, &guarded).await.unwrap();
    for _ in 0..3 {
        let start = tokio::time::Instant::now();
        fence::fence(&mut session, TERM, &guarded, Epoch(5), BUDGET)
            .await
            .unwrap();
        let fenced = start.elapsed();
        let seen = fence::schema_stamp(&session, &guarded).await.unwrap();
        assert_eq!(seen, stamp);
        println!("fence {fenced:?}, with the stamp {:?}", start.elapsed());
        fence::open(&mut session, TERM, &leg).await.unwrap();
    }
    let writer = server.writer(&leg).await;
    let mut seen = vec![stamp];
    for change in CHANGES {
        writer.batch_execute(change).await.unwrap();
        let stamp = fence::schema_stamp(&session, &guarded).await.unwrap();
        assert_ne!(seen.last(), Some(&stamp), "{change}");
        seen.push(stamp);
    }
    writer.batch_execute(NO_CHANGE).await.unwrap();
    let after = fence::schema_stamp(&session, &guarded).await.unwrap();
    assert_eq!(seen.last(), Some(&after));
    writer
        .batch_execute("ALTER TABLE t DISABLE TRIGGER ALL")
        .await
        .unwrap();
    let off = fence::fence(&mut session, TERM, &guarded, Epoch(6), BUDGET).await;
    assert_eq!(off.unwrap_err().class(), Class::Fatal);
    assert_eq!(fence::state(&session, &leg).await.unwrap(), Some(Epoch(0)));
    assert!(half().contains(topology::Token(1)));
}
