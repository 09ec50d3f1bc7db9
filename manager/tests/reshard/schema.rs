//! Tables are created where they are missing, and are the same then.

use manager::reshard::guard::install::{self, Initial};
use manager::reshard::guard::{Guarded, Patience};
use manager::reshard::ids::LegId;
use manager::reshard::schema::{
    Creation, Error, Pair, Tools, carry_sequences, copy_reference, describe, differences,
};
use platform::tls::client::{ClientConfig, Mode};
use tests::postgres::{Auth, Options};
use topology::{Epoch, KeyType, TableName};

use crate::setup::{Server, TERM, half, leg, moved, table};

const SCHEMA: &str = "CREATE ROLE owner; CREATE ROLE reader; CREATE TYPE mood AS ENUM ('good', 'bad'); \
    CREATE SCHEMA sales; \
    CREATE TABLE countries (code text PRIMARY KEY, name text); \
    INSERT INTO countries SELECT 'c' || g, repeat('x', 100) FROM generate_series(1, 2000) g; \
    CREATE TABLE t (k bigint, id bigserial, m mood NOT NULL DEFAULT 'good', at date NOT NULL DEFAULT '2020-01-01', \
      country text REFERENCES countries, twice bigint GENERATED ALWAYS AS (k * 2) STORED, \
      PRIMARY KEY (k, id), CHECK (k > -5)); \
    CREATE INDEX t_at ON t (at) WHERE k > 7; ALTER TABLE t OWNER TO owner; GRANT SELECT ON t TO reader; \
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; \
    CREATE TRIGGER touch BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch(); \
    CREATE TABLE sales.\"Odd \"\"P\" (k bigint NOT NULL, n int NOT NULL, PRIMARY KEY (k, n)) PARTITION BY RANGE (n); \
    CREATE TABLE sales.p1 PARTITION OF sales.\"Odd \"\"P\" FOR VALUES FROM (0) TO (10); \
    CREATE VIEW v AS SELECT k FROM t; \
    INSERT INTO t (k) SELECT g FROM generate_series(1, 100) g; \
    INSERT INTO sales.\"Odd \"\"P\" SELECT g, g % 10 FROM generate_series(1, 100) g";

fn tools(server: &Server) -> Tools {
    let tls = ClientConfig {
        mode: Mode::Prefer,
        root_cert_path: None,
        identity: None,
    };
    Tools::new(server.sessions.config().clone(), tls)
}

fn odd() -> TableName {
    TableName::try_from_parts("sales", "Odd \"P").unwrap()
}

fn tables() -> Vec<TableName> {
    vec![table("t"), odd(), table("countries")]
}

async fn two() -> (Server, Server) {
    let scram = || Options {
        auth: Auth::Scram,
        ..Options::default()
    };
    let source = Server::start_with("a", scram()).await;
    let target = Server::start_with("b", scram()).await;
    source.psql(SCHEMA).await;
    target.psql("CREATE ROLE owner; CREATE ROLE reader").await;
    (source, target)
}

fn creation<'a>(
    (source, target): (&'a Server, &'a Server),
    tools: &'a Tools,
    leg: &'a LegId,
) -> Creation<'a> {
    Creation {
        sessions: &source.sessions,
        tools,
        leg,
        term: TERM,
        pair: Pair {
            source: &source.shard,
            target: &target.shard,
        },
    }
}

#[tokio::test]
async fn an_empty_database_gets_all_of_the_source_and_keys_after_the_copy() {
    let (source, target) = two().await;
    let leg = leg();
    let (mut from, mut to) = (source.leader(&leg).await, target.leader(&leg).await);
    let mut guarded = Guarded {
        leg: leg.clone(),
        tables: vec![moved("t", "k", KeyType::Bigint)],
        bounds: half().bounds(),
    };
    guarded.tables.push(manager::reshard::flow::MovedTable {
        name: odd(),
        key_column: "k".to_owned(),
        key_type: KeyType::Bigint,
    });
    install::install(
        &mut from,
        TERM,
        &guarded,
        Initial::Open,
        Patience::default(),
    )
    .await
    .unwrap();
    let tools = tools(&source);
    let creation = creation((&source, &target), &tools, &leg);
    for _ in 0..2 {
        let unfinished = creation.create(&tables(), (0, 1)).await.unwrap();
        assert!(unfinished.is_everything());
    }
    let initial = Initial::Closed(Epoch(2));
    install::install(&mut to, TERM, &guarded, initial, Patience::default())
        .await
        .unwrap();
    let mine = describe(&mut from, &tables()).await.unwrap();
    let theirs = describe(&mut to, &tables()).await.unwrap();
    for table in tables() {
        assert!(theirs.has(&table));
        let found = mine.differences_in_columns(&theirs, &table);
        assert_eq!(found, Vec::<String>::new());
        assert_ne!(mine.differences(&theirs, &table), Vec::<String>::new());
    }
    let (mut source_writer, mut target_writer) =
        (source.writer(&leg).await, target.writer(&leg).await);
    let countries = table("countries");
    let copied = copy_reference(&mut source_writer, &mut target_writer, TERM, &countries);
    assert_eq!(copied.await.unwrap(), 2000);
    for _ in 0..2 {
        creation.finish().await.unwrap();
    }
    differences(&mut from, &mut to, &tables()).await.unwrap();
    let found = "SELECT relowner::regrole, has_table_privilege('reader', 't', 'select'), \
        to_regclass('v') IS NOT NULL, (SELECT count(*) FROM vg.unfinished), \
        (SELECT count(*) FROM pg_event_trigger), (SELECT count(*) FROM pg_trigger WHERE tgname ~ '^~vg_guard') \
        FROM pg_class WHERE oid = 't'::regclass";
    assert_eq!(target.psql(found).await, "owner|t|t|0|2|3");
    assert!(install::is_installed(&to, &guarded).await.unwrap());
    let raised = carry_sequences(&from, &mut to, TERM, &[table("t")]).await;
    assert_eq!(raised.unwrap(), 1);
    assert_eq!(target.psql("SELECT nextval('t_id_seq')").await, "101");
    let raised = carry_sequences(&from, &mut to, TERM, &[table("t")]).await;
    assert_eq!(raised.unwrap(), 0);
}

#[tokio::test]
async fn a_database_that_has_some_of_the_tables_gets_the_others() {
    let (source, target) = two().await;
    target
        .psql("CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE other (a int); \
               CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; \
               CREATE TABLE countries (code text PRIMARY KEY, name text); INSERT INTO countries VALUES ('x', 'y')")
        .await;
    let leg = leg();
    let (mut from, mut to) = (source.leader(&leg).await, target.leader(&leg).await);
    let tools = tools(&source);
    let creation = creation((&source, &target), &tools, &leg);
    let unfinished = creation.create(&tables(), (0, 1)).await.unwrap();
    assert!(unfinished.holds(&odd()) && unfinished.holds(&table("t")));
    assert!(!unfinished.holds(&table("countries")));
    let countries = table("countries");
    let copied = copy_reference(&mut from, &mut to, TERM, &countries);
    assert!(matches!(copied.await, Err(Error::Differs { .. })));
    creation.finish().await.unwrap();
    differences(&mut from, &mut to, &tables()).await.unwrap();
    target.psql("ALTER TABLE t ADD COLUMN more int").await;
    let found = differences(&mut from, &mut to, &tables()).await;
    let text = found.unwrap_err().to_string();
    assert!(
        text.contains("only on the target: column") && text.contains("more"),
        "{text}"
    );
}

#[tokio::test]
async fn what_cannot_be_created_leaves_nothing_behind() {
    let (source, target) = two().await;
    target.psql("DROP ROLE reader").await;
    let leg = leg();
    let (_, to) = (source.leader(&leg).await, target.leader(&leg).await);
    let tools = tools(&source);
    let creation = creation((&source, &target), &tools, &leg);
    let error = creation.create(&tables(), (0, 1)).await.unwrap_err();
    let text = platform::telemetry::error_chain(&error);
    assert!(text.contains("reader"), "{text}");
    assert_eq!(target.psql("SELECT to_regclass('t') IS NULL").await, "t");
    drop(to);
}
