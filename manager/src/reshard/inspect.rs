//! Looks at one shard for an operator's check-up: its version, its settings, what its replication
//! slots keep, what jobs have left on it, what is prepared. It only reads, and judges nothing.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout};
use topology::Shard;
use topology::decision::Global;
use topology::store::Store;

use super::api;
use super::cleanup::{Orphan, orphans};
use super::guard::{self, term};
use super::ids::LegId;
use super::session::{self, Session, Sessions};
use super::supervisor;

/// How long one shard may take.
const LIMIT: Duration = Duration::from_secs(8);

const SERVER: &str = "\
    SELECT pg_catalog.current_setting('server_version'), \
           pg_catalog.current_setting('server_version_num')::int, \
           pg_catalog.pg_is_in_recovery(), \
           pg_catalog.current_setting('wal_level'), \
           pg_catalog.current_setting('max_prepared_transactions')::int, \
           pg_catalog.current_setting('max_replication_slots')::int, \
           pg_catalog.current_setting('max_wal_senders')::int, \
           pg_catalog.current_setting('max_connections')::int, \
           (SELECT pg_catalog.count(*)::int FROM pg_catalog.pg_stat_activity \
            WHERE backend_type = 'client backend')";

const CLOCK: &str = "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint";

/// A server in recovery has no present end of its log to measure from.
const SLOTS: &str = "\
    SELECT slot_name::text, active, \
           CASE WHEN pg_catalog.pg_is_in_recovery() THEN 0 ELSE coalesce(greatest( \
             pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn), 0), 0) END::bigint, \
           coalesce(wal_status = 'lost', false) \
    FROM pg_catalog.pg_replication_slots WHERE NOT temporary ORDER BY slot_name";

const PREPARED: &str = "\
    SELECT gid, extract(epoch FROM pg_catalog.clock_timestamp() - prepared)::float8 \
    FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() ORDER BY gid";

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Whether somebody reads it.
    pub is_active: bool,
    /// Log that the server keeps for it.
    pub retained: u64,
    /// Whether the server has thrown away what it needs.
    pub is_lost: bool,
}

/// A prepared transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// Its name.
    pub name: String,
    /// Seconds since it was prepared.
    pub age: f64,
    /// Whether a router prepared it.
    pub is_ours: bool,
}

/// What a shard said.
#[derive(Debug, Clone)]
pub struct Found {
    /// As PostgreSQL calls it.
    pub version: String,
    /// The same as a number.
    pub version_number: u32,
    /// The server's clock less ours, in milliseconds.
    pub clock_offset_ms: i64,
    /// How long the question for it took.
    pub round_trip: Duration,
    /// Whether it takes no writes.
    pub is_in_recovery: bool,
    /// The setting.
    pub wal_level: String,
    /// The setting.
    pub max_prepared_transactions: u32,
    /// The setting.
    pub max_replication_slots: u32,
    /// The setting.
    pub max_wal_senders: u32,
    /// The setting.
    pub max_connections: u32,
    /// Of clients.
    pub connections: u32,
    /// All slots of the server.
    pub slots: Vec<Slot>,
    /// What legs have on the shard; [`left`] says of which of them nothing should be.
    pub of_legs: Vec<Orphan>,
    /// What is prepared in the database.
    pub prepared: Vec<Prepared>,
}

/// Why a shard was not looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No session, or a question was refused.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// What jobs have on it cannot be listed.
    #[error(transparent)]
    Guard(#[from] guard::Error),
    /// It takes too long.
    #[error("no answer within {limit:?}")]
    Late {
        /// The limit.
        limit: Duration,
    },
}

/// Looks at a shard's primary.
///
/// # Errors
/// When it cannot be asked.
pub async fn shard(sessions: &Sessions, shard: &Shard) -> Result<Found, Error> {
    let late = |_| Error::Late { limit: LIMIT };
    let looking = async {
        let session = sessions.open_for(shard, "inspect").await?;
        look(&session).await
    };
    timeout(LIMIT, looking).await.map_err(late)?
}

async fn look(session: &Session) -> Result<Found, Error> {
    let (clock_offset_ms, round_trip) = clock(session).await?;
    let row = session.query_one(SERVER, &[]).await;
    let row = row.map_err(|e| session.error("read the settings", e))?;
    let number = |index: usize| u32::try_from(row.get::<_, i32>(index)).unwrap_or_default();
    let of_legs = match term::present(session).await? {
        // No job was ever here.
        None => Vec::new(),
        Some(_) => orphans(session, &BTreeSet::new()).await?,
    };
    Ok(Found {
        version: row.get(0),
        version_number: number(1),
        clock_offset_ms,
        round_trip,
        is_in_recovery: row.get(2),
        wal_level: row.get(3),
        max_prepared_transactions: number(4),
        max_replication_slots: number(5),
        max_wal_senders: number(6),
        max_connections: number(7),
        connections: number(8),
        slots: slots(session).await?,
        of_legs,
        prepared: prepared(session).await?,
    })
}

/// The server answered about the middle of the time that the question took.
async fn clock(session: &Session) -> Result<(i64, Duration), Error> {
    let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let asked = Instant::now();
    let row = session.query_one(CLOCK, &[]).await;
    let row = row.map_err(|e| session.error("read the clock", e))?;
    let took = asked.elapsed();
    let middle = before.unwrap_or_default() + took / 2;
    let ours = i64::try_from(middle.as_millis()).unwrap_or(i64::MAX);
    Ok((row.get::<_, i64>(0).saturating_sub(ours), took))
}

async fn slots(session: &Session) -> Result<Vec<Slot>, Error> {
    let rows = session.query(SLOTS, &[]).await;
    let rows = rows.map_err(|e| session.error("list the replication slots", e))?;
    let slot = |row: &tokio_postgres::Row| Slot {
        name: row.get(0),
        is_active: row.get(1),
        retained: u64::try_from(row.get::<_, i64>(2)).unwrap_or_default(),
        is_lost: row.get(3),
    };
    Ok(rows.iter().map(slot).collect())
}

async fn prepared(session: &Session) -> Result<Vec<Prepared>, Error> {
    let rows = session.query(PREPARED, &[]).await;
    let rows = rows.map_err(|e| session.error("list prepared transactions", e))?;
    let prepared = |row: &tokio_postgres::Row| {
        let name: String = row.get(0);
        Prepared {
            age: row.get(1),
            is_ours: Global::of_prepared(&name).is_some(),
            name,
        }
    };
    Ok(rows.iter().map(prepared).collect())
}

/// The legs that may have something on shards. Asked for after what is there was listed: a job is
/// recorded before it makes anything.
///
/// # Errors
/// When the jobs cannot be read.
pub async fn live(store: &dyn Store) -> Result<BTreeSet<LegId>, api::Error> {
    supervisor::live_legs(store).await
}

/// What belongs to none of the live legs.
#[must_use]
pub fn left(mut of_legs: Vec<Orphan>, live: &BTreeSet<LegId>) -> Vec<Orphan> {
    of_legs.retain(|orphan| !live.contains(&orphan.leg));
    of_legs
}
