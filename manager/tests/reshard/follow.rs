//! Owners that are followed by mirrors while they are written to, held against each other row by
//! row.

mod changes;
mod crashes;
mod large;
mod pauses;
mod rate;
mod refusals;
mod reverse;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use manager::reshard::flow::{MovedTable, Ranges};
use manager::reshard::follow::{Follow, Mirror, Spec};
use manager::reshard::ids::LegId;
use manager::reshard::lsn::Lsn;
use manager::reshard::progress::Progress;
use platform::TaskGroup;
use tests::wait;
use tokio_postgres::Client;
use topology::records::TokenRange;
use topology::{Key, Token, hash};

use crate::setup::{self, Server};

/// Enough for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// An owner, mirrors, and the tables that are followed.
pub(super) struct Field {
    pub(super) owner: Server,
    pub(super) mirrors: Vec<Server>,
    pub(super) tables: Vec<MovedTable>,
    pub(super) leg: LegId,
    pub(super) tasks: TaskGroup,
    pub(super) progress: Arc<Progress>,
    ranges: Vec<Ranges>,
}

/// The parts of the ring for as many mirrors; an eighth of it stays with the owner.
fn parts(mirrors: u32) -> Vec<Ranges> {
    let width = u32::MAX / 8 * 7 / mirrors;
    let part = |at: u32| {
        let after = if at == 0 { u32::MAX } else { at * width };
        Ranges::new(vec![TokenRange {
            after: Token(after),
            last: Token((at + 1) * width),
        }])
    };
    (0..mirrors).map(part).collect()
}

impl Field {
    pub(super) async fn new(schema: &str, tables: Vec<MovedTable>, mirrors: u32) -> Self {
        let leg = setup::leg();
        let owner = Server::start("a").await;
        owner.psql(schema).await;
        drop(owner.leader(&leg).await);
        let mut others = Vec::new();
        for at in 0..mirrors {
            let mirror = Server::start(&format!("m{at}")).await;
            mirror.psql(schema).await;
            drop(mirror.leader(&leg).await);
            others.push(mirror);
        }
        let field = Self {
            owner,
            mirrors: others,
            tables,
            leg,
            tasks: TaskGroup::new(),
            progress: Arc::new(Progress::default()),
            ranges: parts(mirrors),
        };
        field.publish(&field.owner).await;
        field
    }

    /// Makes a server one that can be followed.
    pub(super) async fn publish(&self, server: &Server) {
        let names: Vec<_> = self
            .tables
            .iter()
            .map(|each| each.name.to_string())
            .collect();
        let (publication, slot) = (self.leg.publication(), self.leg.slot());
        let publish = format!(
            "CREATE PUBLICATION {publication} FOR TABLE {} WITH (publish_via_partition_root)",
            names.join(", ")
        );
        server.psql(&publish).await;
        let create = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
        server.psql(&create).await;
    }

    pub(super) fn spec(&self) -> Spec {
        let mirrors = self.mirrors.iter().zip(&self.ranges);
        Spec {
            owner: self.owner.shard.clone(),
            mirrors: mirrors
                .map(|(mirror, ranges)| Mirror {
                    shard: mirror.shard.clone(),
                    ranges: ranges.clone(),
                })
                .collect(),
            tables: self.tables.clone(),
            leg: self.leg.clone(),
            term: setup::TERM,
        }
    }

    pub(super) fn follow(&self) -> Follow {
        self.follow_as(self.spec())
    }

    pub(super) fn follow_as(&self, spec: Spec) -> Follow {
        let sessions = self.owner.sessions.clone();
        Follow::start(sessions, &self.tasks, spec, Arc::clone(&self.progress))
    }

    /// Waits until the mirrors have all that is on the owner now.
    pub(super) async fn synced(&self, follow: &Follow) {
        synced(&self.owner, follow).await;
    }

    /// Holds all rows of the mirrors against the owner's.
    pub(super) async fn compare(&self) {
        let owner = self.owner.postgres.client().await.unwrap();
        self.compare_with(&owner).await;
    }

    /// The same, as a session sees the owner.
    pub(super) async fn compare_with(&self, owner: &Client) {
        for table in &self.tables {
            let all = rows(owner, table).await;
            for (mirror, ranges) in self.mirrors.iter().zip(&self.ranges) {
                let found = rows(&mirror.postgres.client().await.unwrap(), table).await;
                let is_in = |key: &str| {
                    let key = Key::from_text(table.key_type, key.as_bytes()).unwrap();
                    ranges.contains(hash::token_of(&key))
                };
                let mut wanted = all.clone();
                wanted.retain(|(key, _), _| is_in(key));
                let missing: Vec<_> = wanted.iter().filter(|row| !has(&found, *row)).collect();
                let extra: Vec<_> = found.iter().filter(|row| !has(&wanted, *row)).collect();
                assert!(
                    missing.is_empty() && extra.is_empty(),
                    "{} on {}: {} of {} missing, {} extra: {:?} {:?}",
                    table.name,
                    mirror.shard.id,
                    missing.len(),
                    wanted.len(),
                    extra.len(),
                    missing.first(),
                    extra.first()
                );
            }
        }
    }
}

type Rows = BTreeMap<(String, String), i64>;

fn has(rows: &Rows, (row, count): (&(String, String), &i64)) -> bool {
    rows.get(row) == Some(count)
}

/// All rows of a table by key and text, with how often each is there.
async fn rows(client: &Client, table: &MovedTable) -> Rows {
    let sql = format!(
        "SELECT {key}::text, t::text, count(*) FROM {name} t GROUP BY 1, 2",
        key = table.key_column,
        name = table.name
    );
    let rows = client.query(&sql, &[]).await.unwrap();
    let row = |row: &tokio_postgres::Row| ((row.get(0), row.get(1)), row.get(2));
    rows.iter().map(row).collect()
}

pub(super) async fn synced(owner: &Server, follow: &Follow) {
    let now: Lsn = owner
        .psql("SELECT pg_current_wal_lsn()")
        .await
        .trim()
        .parse()
        .unwrap();
    wait::until("the mirrors", LIMIT, || async {
        let position = follow.position();
        if position.applied < now {
            let stopped = tokio::time::timeout(Duration::ZERO, follow.error()).await;
            anyhow::bail!("{now} is not applied: {position:?} {stopped:?}");
        }
        Ok(())
    })
    .await
    .unwrap();
}

/// Numbers that are the same in each run.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}
