//! Everything that stands in a job's way is said at once.

use manager::reshard::flow::MovedTable;
use manager::reshard::preflight::{Finding, Inquiry, Severity, check};
use manager::reshard::session::Sessions;
use tests::postgres::Options;
use topology::{KeyType, TableName};

use crate::setup::{Server, half, leg, moved, table};

struct Setting {
    tables: Vec<MovedTable>,
    reference: Vec<TableName>,
}

async fn findings(source: &Server, target: &Server, setting: &Setting) -> Vec<Finding> {
    let leg = leg();
    let inquiry = Inquiry {
        leg: &leg,
        source: &source.shard,
        targets: vec![(&target.shard, half().bounds())],
        tables: &setting.tables,
        reference: &setting.reference,
    };
    let sessions: &Sessions = &source.sessions;
    check(sessions, &inquiry).await.unwrap()
}

fn of(findings: &[Finding], severity: Severity) -> Vec<String> {
    let some = findings.iter().filter(|f| f.severity == severity);
    let mut lines: Vec<String> = some
        .map(|f| {
            let table = f.table.as_ref().map_or("", TableName::name);
            format!("{} {} {table}", f.check, f.shard).trim().to_owned()
        })
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn shards_that_are_ready_meet_no_refusal() {
    let (source, target) = (Server::start("a").await, Server::start("b").await);
    let sql = "CREATE TABLE countries (code text PRIMARY KEY); \
        CREATE TABLE orders (k bigint, id bigserial, country text REFERENCES countries, PRIMARY KEY (k, id)); \
        CREATE TABLE items (k int NOT NULL, order_id bigint NOT NULL, n int, \
          FOREIGN KEY (k, order_id) REFERENCES orders (k, id), PRIMARY KEY (n, k)); \
        CREATE TABLE loose (k bigint NOT NULL, v int); CREATE UNIQUE INDEX loose_ri ON loose (k, v); \
        ALTER TABLE loose ALTER v SET NOT NULL, REPLICA IDENTITY USING INDEX loose_ri; \
        CREATE TABLE p (k bigint, n int, PRIMARY KEY (k, n)) PARTITION BY RANGE (n); \
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); \
        CREATE TABLE full_one (k bigint, v int); ALTER TABLE full_one REPLICA IDENTITY FULL";
    source.psql(sql).await;
    let key = |name| moved(name, "k", KeyType::Bigint);
    let setting = Setting {
        tables: ["orders", "items", "loose", "p", "full_one"]
            .map(key)
            .to_vec(),
        reference: vec![table("countries")],
    };
    let found = findings(&source, &target, &setting).await;
    assert_eq!(
        of(&found, Severity::Refuses),
        Vec::<String>::new(),
        "{found:#?}"
    );
    let notes = of(&found, Severity::Notes);
    for note in [
        "null-key a full_one",
        "primary-key a loose",
        "sequences a orders",
        "schema b orders",
        "disk b",
    ] {
        assert!(notes.contains(&note.to_owned()), "{note}: {notes:?}");
    }
}

/// Tables of which each is unfit in its own way.
const UNFIT: &str = "CREATE ROLE gone; \
        CREATE TABLE other (id int PRIMARY KEY); CREATE TABLE sub (k bigint, id int, PRIMARY KEY (k, id)); \
        CREATE TABLE no_pk (k bigint); \
        CREATE TABLE pk_without (k bigint, id int PRIMARY KEY); \
        CREATE UNLOGGED TABLE unlogged (k bigint PRIMARY KEY); \
        CREATE TABLE fk (k bigint PRIMARY KEY, o int REFERENCES other); \
        CREATE TABLE fk_apart (k bigint PRIMARY KEY, a bigint, b int, FOREIGN KEY (a, b) REFERENCES sub (k, id)); \
        CREATE TABLE referrer (id int PRIMARY KEY, k bigint REFERENCES fk); \
        CREATE TABLE ex (k bigint PRIMARY KEY, r int4range, EXCLUDE USING gist (r WITH &&)); \
        CREATE TABLE typed (k numeric PRIMARY KEY); \
        CREATE TABLE parent (k bigint PRIMARY KEY); CREATE TABLE kid () INHERITS (parent); \
        CREATE TABLE triggered (k bigint PRIMARY KEY); \
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; \
        CREATE TRIGGER always BEFORE UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION f(); \
        ALTER TABLE triggered ENABLE ALWAYS TRIGGER always; \
        CREATE TRIGGER \"~~late\" BEFORE UPDATE ON triggered FOR EACH ROW EXECUTE FUNCTION f(); \
        CREATE TABLE lo (k bigint PRIMARY KEY, o oid); SELECT lo_create(0); \
        CREATE TABLE cached (k bigint PRIMARY KEY, n bigint); CREATE SEQUENCE c CACHE 50 OWNED BY cached.n; \
        CREATE TABLE differs (k bigint PRIMARY KEY, a int); \
        CREATE TABLE full_of (k bigint PRIMARY KEY); GRANT SELECT ON full_of TO gone; \
        CREATE TABLE silent (k bigint PRIMARY KEY); ALTER TABLE silent REPLICA IDENTITY NOTHING";

/// Each with its shard and its table.
const REFUSALS: [&str; 22] = [
    "exclusion a ex",
    "foreign-key a fk",
    "foreign-key a fk_apart",
    "inheritance a parent",
    "key-column a typed",
    "large-objects a lo",
    "referenced a fk",
    "replica-identity a no_pk",
    "replica-identity a pk_without",
    "replica-identity a silent",
    "replication-slots b",
    "roles b",
    "schema b differs",
    "sequence-cache a cached",
    "table a absent",
    "target-rows b full_of",
    "trigger-in-replicas a triggered",
    "trigger-order a triggered",
    "unique a pk_without",
    "unlogged a unlogged",
    "wal-level b",
    "wal-senders b",
];

#[tokio::test]
async fn every_reason_is_told_at_once() {
    let small = Options {
        settings: vec![
            ("wal_level", "replica".to_owned()),
            ("max_replication_slots", "1".to_owned()),
            ("max_wal_senders", "1".to_owned()),
        ],
        ..Options::default()
    };
    let (source, target) = (
        Server::start("a").await,
        Server::start_with("b", small).await,
    );
    source.psql(UNFIT).await;
    let leg = leg();
    drop(target.leader(&leg).await);
    target
        .psql("CREATE TABLE differs (k bigint PRIMARY KEY, a bigint); CREATE TABLE full_of (k bigint PRIMARY KEY); \
               INSERT INTO full_of SELECT g FROM generate_series(1, 9) g")
        .await;
    let names = [
        "no_pk",
        "pk_without",
        "unlogged",
        "fk",
        "fk_apart",
        "sub",
        "ex",
        "typed",
        "parent",
        "triggered",
        "lo",
        "cached",
        "differs",
        "full_of",
        "silent",
        "absent",
    ];
    let setting = Setting {
        tables: names.map(|name| moved(name, "k", KeyType::Bigint)).to_vec(),
        reference: Vec::new(),
    };
    let found = findings(&source, &target, &setting).await;
    assert_eq!(of(&found, Severity::Refuses), REFUSALS, "{found:#?}");
    assert!(
        found
            .iter()
            .all(|f| !f.problem.is_empty() && !f.remedy.is_empty())
    );
}

#[tokio::test]
async fn a_role_without_privileges_and_a_shard_that_is_away_are_findings() {
    let (source, mut target) = (Server::start("a").await, Server::start("b").await);
    source
        .psql("CREATE TABLE t (k bigint PRIMARY KEY); CREATE ROLE plain LOGIN; GRANT ALL ON t TO plain")
        .await;
    target.postgres.stop().await.unwrap();
    let mut config = source.sessions.config().clone();
    config.user = "plain".to_owned();
    let sessions = Sessions::new(config, platform::TaskGroup::new());
    let leg = leg();
    let tables = [moved("t", "k", KeyType::Bigint)];
    let inquiry = Inquiry {
        leg: &leg,
        source: &source.shard,
        targets: vec![(&target.shard, half().bounds())],
        tables: &tables,
        reference: &[],
    };
    let found = check(&sessions, &inquiry).await.unwrap();
    let refusals = of(&found, Severity::Refuses);
    let privileges = refusals.iter().filter(|line| *line == "privileges a");
    assert_eq!(privileges.count(), 5, "{found:#?}");
    assert!(refusals.contains(&"reachable b".to_owned()), "{found:#?}");
}
