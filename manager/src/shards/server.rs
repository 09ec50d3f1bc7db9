//! What one server of a shard says of itself: whether it is the primary, of which cluster and
//! timeline, and how far its log reaches. One question, which only reads.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, Row};
use topology::{Endpoint, Lineage, ShardId};

use super::{Error, Shards};
use crate::reshard::lsn::Lsn;

/// Longest that a server may take to answer after its login.
const LIMIT: Duration = Duration::from_secs(5);

/// A replica's timeline is the highest that it has heard of: its last checkpoint may be from before
/// the last promotion. The log that a replica has received may have been read from an archive.
const QUESTION: &str = "\
SELECT r.r, (SELECT system_identifier::text FROM pg_catalog.pg_control_system()), \
  CASE WHEN r.r THEN (SELECT greatest(timeline_id, \
      (SELECT min_recovery_end_timeline FROM pg_catalog.pg_control_recovery()), \
      (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver)) \
    FROM pg_catalog.pg_control_checkpoint()) \
  ELSE ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))\
::bit(32)::int4 END, \
  (CASE WHEN r.r THEN greatest(pg_catalog.pg_last_wal_receive_lsn(), \
      pg_catalog.pg_last_wal_replay_lsn()) - '0/0' \
    ELSE pg_catalog.pg_current_wal_flush_lsn() - '0/0' END)::int8, \
  (CASE WHEN r.r THEN pg_catalog.pg_last_wal_replay_lsn() - '0/0' END)::int8, \
  (CASE WHEN r.r THEN CASE WHEN pg_catalog.pg_last_wal_receive_lsn() \
      = pg_catalog.pg_last_wal_replay_lsn() THEN 0 \
    ELSE extract(epoch FROM pg_catalog.clock_timestamp() \
      - pg_catalog.pg_last_xact_replay_timestamp()) END END)::float8, \
  pg_catalog.current_setting('synchronous_standby_names') <> '' \
    AND pg_catalog.current_setting('synchronous_commit') NOT IN ('off', 'local') \
FROM pg_catalog.pg_is_in_recovery() r(r)";

/// A server's own words.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Whether it takes writes: it is not in recovery.
    pub is_primary: bool,
    /// Its cluster and timeline.
    pub lineage: Lineage,
    /// How far its log is on its disk: written by a primary, received by a replica.
    pub position: Lsn,
    /// How far a replica has replayed it.
    pub replayed: Option<Lsn>,
    /// How old the last transaction is that a replica has replayed, where it has more to replay.
    pub lag: Option<Duration>,
    /// Whether a primary tells clients of a commit only once a standby has it.
    pub is_synchronous: bool,
}

impl Shards {
    /// Asks one server of a shard, whatever it is.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn look(&self, shard: &ShardId, server: &Endpoint) -> Result<Seen, Error> {
        let client = self.login_at(shard, server, self.reading()).await?;
        self.ask_server(shard, &client).await
    }

    /// Asks the server of a connection.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn ask_server(&self, shard: &ShardId, client: &Client) -> Result<Seen, Error> {
        let limit = self.config().statement_timeout.min(LIMIT);
        let late = |_| Error::Timeout {
            shard: shard.clone(),
            limit,
        };
        let asked = timeout(limit, client.query_one(QUESTION, &[])).await;
        let read = asked.map_err(late)?.and_then(|row| read(&row));
        read.map_err(|source| Error::Asked {
            shard: shard.clone(),
            what: "its role",
            source,
        })
    }
}

fn read(row: &Row) -> Result<Seen, tokio_postgres::Error> {
    let lsn = |number: i64| Lsn(u64::try_from(number).unwrap_or(0));
    let timeline: i32 = row.try_get(2)?;
    let position: Option<i64> = row.try_get(3)?;
    let replayed: Option<i64> = row.try_get(4)?;
    let lag: Option<f64> = row.try_get(5)?;
    Ok(Seen {
        is_primary: !row.try_get::<_, bool>(0)?,
        lineage: Lineage {
            system: row.try_get(1)?,
            timeline: u32::try_from(timeline).unwrap_or(0),
        },
        position: lsn(position.unwrap_or(0)),
        replayed: replayed.map(lsn),
        lag: lag.and_then(|lag| Duration::try_from_secs_f64(lag.max(0.0)).ok()),
        is_synchronous: row.try_get(6)?,
    })
}
