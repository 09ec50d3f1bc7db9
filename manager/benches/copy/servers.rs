//! Two servers, the tables on them, and the two ways to copy from one to the other.

use std::num::NonZeroUsize;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use manager::reshard::copy::{Attempt, Order, Target, copy_leg};
use manager::reshard::flow::{Bounds, MovedTable, Ranges};
use manager::reshard::guard::install::{Initial, install, uninstall};
use manager::reshard::guard::{Guarded, Patience, term};
use manager::reshard::ids::{JobId, LegId};
use manager::reshard::session::Sessions;
use manager::reshard::snapshot::SnapshotHolder;
use manager::shards::Config;
use manager::shards::tls::Tls;
use platform::TaskGroup;
use tests::Postgres;
use tests::postgres::Options;
use tokio::process::Command;
use topology::records::TokenRange;
use topology::{Endpoint, Epoch, KeyType, Shard, ShardId, ShardState, TableName, Term, Token};

use crate::Way;

/// A table of the benchmark.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    key_column: &'static str,
    columns: &'static str,
    rows: &'static str,
}

/// pgbench's accounts, and orders as applications have them.
pub(crate) const TABLES: [Table; 2] = [
    Table {
        name: "narrow",
        key_column: "aid",
        columns: "aid int NOT NULL, bid int, abalance int, filler char(84)",
        rows: "i, i % 20, 0, ''",
    },
    Table {
        name: "wide",
        key_column: "tenant_id",
        columns: "id bigint NOT NULL, tenant_id bigint NOT NULL, created_at timestamptz NOT NULL, \
                  amount numeric(12,2), status text, payload jsonb",
        rows: "i, i % 5000, timestamptz '2025-01-01' + i * interval '1 s', i % 100000 / 100.0, \
               (ARRAY['new', 'paid', 'shipped'])[i % 3 + 1], \
               jsonb_build_object('sku', 'sku-' || i % 1000, 'quantity', i % 7, 'gift', i % 2 = 0, \
               'note', repeat('n', i % 60))",
    },
];

const TERM: Term = Term(1);

pub(crate) struct Servers {
    source: Postgres,
    target: Postgres,
    sessions: Sessions,
    leg: LegId,
    tasks: TaskGroup,
}

impl Servers {
    pub(crate) async fn start(rows: usize) -> Self {
        let options = || Options {
            settings: vec![
                ("shared_buffers", "512MB".to_owned()),
                ("max_wal_size", "8GB".to_owned()),
                ("autovacuum", "off".to_owned()),
            ],
            ..Options::default()
        };
        let tasks = TaskGroup::new();
        let servers = Self {
            source: Postgres::start_with(options()).await.unwrap(),
            target: Postgres::start_with(options()).await.unwrap(),
            sessions: Sessions::new(config(), tasks.clone()),
            leg: LegId {
                job: JobId::new(),
                number: 0,
            },
            tasks,
        };
        for table in TABLES {
            let create = format!("CREATE TABLE {} ({})", table.name, table.columns);
            servers.source.psql(&create).await.unwrap();
            servers.target.psql(&create).await.unwrap();
            let fill = format!(
                "INSERT INTO {} SELECT {} FROM generate_series(1, {rows}) i",
                table.name, table.rows
            );
            servers.source.psql(&fill).await.unwrap();
        }
        servers.source.psql("VACUUM ANALYZE").await.unwrap();
        let shard = servers.mirror();
        let session = servers.sessions.open(&shard, &servers.leg, "bench");
        term::raise(&mut session.await.unwrap(), TERM)
            .await
            .unwrap();
        servers
    }

    fn mirror(&self) -> Shard {
        shard("target", &self.target)
    }

    /// What all rows of a table take in the binary format.
    pub(crate) async fn bytes(&self, table: &str) -> usize {
        let copy = format!("COPY {table} TO STDOUT (FORMAT binary)");
        let script = format!("psql -XAtqc '{copy}' | wc -c");
        let mut command = self.shell(&script, &self.source);
        let output = command.output().await.unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }

    /// Empties the target and lets both servers come to rest.
    pub(crate) async fn prepare(&self, table: Table, way: Way) {
        let mirror = self.mirror();
        let session = self.sessions.open(&mirror, &self.leg, "bench");
        let mut session = session.await.unwrap();
        let guarded = self.guarded(table);
        uninstall(&mut session, TERM, &guarded.leg, Patience::default())
            .await
            .unwrap();
        self.target
            .psql(&format!("TRUNCATE {}", table.name))
            .await
            .unwrap();
        if way == Way::Guarded {
            let closed = Initial::Closed(Epoch(1));
            install(&mut session, TERM, &guarded, closed, Patience::default())
                .await
                .unwrap();
        }
        let slots = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots";
        self.source.psql(slots).await.unwrap();
        for server in [&self.source, &self.target] {
            server.psql("CHECKPOINT").await.unwrap();
        }
    }

    fn guarded(&self, table: Table) -> Guarded {
        Guarded {
            leg: self.leg.clone(),
            tables: vec![table.moved()],
            bounds: ring(),
        }
    }

    /// Two psql a worker, each with its part of the table.
    pub(crate) async fn by_psql(&self, table: Table, workers: NonZeroUsize) -> u64 {
        let name = table.name;
        let sql = format!("SELECT pg_relation_size('{name}') / 8192");
        let blocks = self.source.psql(&sql).await.unwrap();
        let step = blocks.trim().parse::<usize>().unwrap() / workers + 1;
        let target = self.target.address().port;
        let copies = (0..workers.get()).map(|index| {
            let (begin, end) = (index * step, (index + 1) * step);
            format!(
                "(psql -Xqc \"COPY (SELECT * FROM ONLY {name} WHERE ctid >= '({begin},0)'::tid \
                 AND ctid < '({end},0)'::tid) TO STDOUT (FORMAT binary)\" | psql -p {target} -Xqc \
                 \"COPY {name} FROM STDIN (FORMAT binary)\") & "
            )
        });
        let script = copies.collect::<String>() + "wait";
        let status = self.shell(&script, &self.source).status().await.unwrap();
        assert!(status.success());
        let sql = format!("SELECT count(*) FROM {name}");
        let count = self.source.psql(&sql).await;
        count.unwrap().trim().parse().unwrap()
    }

    pub(crate) async fn by_manager(&self, table: Table, workers: NonZeroUsize, way: Way) -> u64 {
        let owner = shard("source", &self.source);
        let name = self.leg.slot();
        let config = config();
        let holder = SnapshotHolder::create(&config, &owner, "bench", &name);
        let holder = holder.await.unwrap();
        let bounds = match way {
            Way::Half => bounds(u32::MAX / 2),
            Way::Psql | Way::Manager | Way::Guarded => ring(),
        };
        let order = Order {
            config: config.clone(),
            leg: self.leg.clone(),
            term: TERM,
            owner,
            snapshot: holder.snapshot().to_owned(),
            targets: vec![Target {
                shard: self.mirror(),
                bounds,
            }],
            tables: vec![table.moved()],
            workers,
            attempt: Attempt::begin(),
        };
        let copied = copy_leg(order, &self.tasks, Arc::default(), Arc::default());
        copied.await.unwrap().rows
    }

    pub(crate) async fn check(&self, table: Table, copied: u64) {
        let sql = format!("SELECT count(*) FROM {}", table.name);
        let count = self.target.psql(&sql).await;
        assert_eq!(count.unwrap().trim(), copied.to_string());
    }

    fn shell(&self, script: &str, server: &Postgres) -> Command {
        let address = server.address();
        let mut command = Command::new("bash");
        command
            .args(["-o", "pipefail", "-c", script])
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", address.port.to_string())
            .env("PGUSER", address.user)
            .env("PGDATABASE", address.database)
            .stdin(Stdio::null());
        command
    }
}

impl Table {
    fn moved(self) -> MovedTable {
        MovedTable {
            name: TableName::try_from_parts("public", self.name).unwrap(),
            key_column: self.key_column.to_owned(),
            key_type: KeyType::Bigint,
        }
    }
}

fn ring() -> Bounds {
    bounds(u32::MAX)
}

fn bounds(last: u32) -> Bounds {
    let (after, last) = (Token(u32::MAX), Token(last));
    let first = TokenRange {
        after,
        last: Token(0),
    };
    let after = Token(0);
    Ranges::new(vec![first, TokenRange { after, last }]).bounds()
}

fn config() -> Config {
    Config {
        user: tests::postgres::USER.to_owned(),
        password: None,
        tls: Tls::default(),
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(10),
    }
}

fn shard(id: &str, server: &Postgres) -> Shard {
    Shard {
        id: ShardId::try_new(id).unwrap(),
        name: id.to_owned(),
        primary_endpoint: Endpoint::try_new(&server.endpoint()).unwrap(),
        replicas: Vec::new(),
        state: ShardState::Active,
        weight: 1,
        vnode_count: 64,
        version: 1,
        created_at: SystemTime::UNIX_EPOCH,
        updated_at: SystemTime::UNIX_EPOCH,
        lineage: None,
        promotion: None,
    }
}
