//! Keeps a leg from filling the disks of its shards with log that a slot of it holds back.

use std::time::Duration;

use tokio::time::sleep;
use topology::Shard;

use super::Trouble;
use super::hands::Hands;
use crate::reshard::ids::LegId;
use crate::reshard::metrics::Metrics;
use crate::reshard::session::{self, Session, Sessions};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(2);

/// What the leg's slot on a shard holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Retained {
    bytes: u64,
    /// Whether the server has thrown away what the slot needs.
    is_lost: bool,
}

/// Watches the slots of a leg.
#[derive(Debug)]
pub(super) struct Watch {
    sessions: Sessions,
    shards: Vec<Shard>,
    leg: LegId,
    limit: u64,
    metrics: Metrics,
}

impl Hands {
    pub(super) fn wal_watch(&self) -> Watch {
        let shards = self.everywhere().into_iter();
        Watch {
            sessions: self.context.sessions.clone(),
            shards: shards.filter_map(|id| self.shard(&id).ok()).collect(),
            leg: self.leg.id.clone(),
            limit: self.context.settings.max_wal_retained,
            metrics: self.context.metrics.clone(),
        }
    }
}

impl Watch {
    /// Ends when a shard keeps more of its log for the leg than it may, or no longer what the leg
    /// needs. A shard that cannot be asked is asked again.
    pub(super) async fn overrun(self) -> Trouble {
        let mut open: Vec<Option<Session>> = self.shards.iter().map(|_| None).collect();
        loop {
            for (shard, session) in self.shards.iter().zip(&mut open) {
                match self.look(shard, session).await {
                    Ok(found) => {
                        let job = &self.leg.job;
                        self.metrics.wal_retained(job, &shard.id, found.bytes);
                        if let Some(trouble) = self.judge(shard, found) {
                            return trouble;
                        }
                    }
                    Err(error) => {
                        *session = None;
                        tracing::debug!(leg = %self.leg, shard = %shard.id,
                            error = platform::telemetry::error_chain(&error),
                            "retained log not looked at");
                    }
                }
            }
            sleep(INTERVAL).await;
        }
    }

    async fn look(
        &self,
        shard: &Shard,
        session: &mut Option<Session>,
    ) -> Result<Retained, session::Error> {
        let session = match session {
            Some(session) => session,
            None => session.insert(self.sessions.open(shard, &self.leg, "wal").await?),
        };
        let question = "SELECT coalesce(max(pg_catalog.pg_wal_lsn_diff(\
               pg_catalog.pg_current_wal_lsn(), restart_lsn)), 0)::int8, \
             coalesce(bool_or(wal_status = 'lost'), false) \
             FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";
        let row = session.query_one(question, &[&self.leg.slot()]).await;
        let row = row.map_err(|error| session.error("look at retained log", error))?;
        Ok(Retained {
            bytes: u64::try_from(row.get::<_, i64>(0)).unwrap_or(0),
            is_lost: row.get(1),
        })
    }

    fn judge(&self, shard: &Shard, found: Retained) -> Option<Trouble> {
        let Retained { bytes, is_lost } = found;
        if is_lost {
            return Some(Trouble::lasting(format!(
                "shard {}: the server has removed log that the leg had not read yet \
                 (max_slot_wal_keep_size)",
                shard.id
            )));
        }
        (bytes > self.limit).then(|| {
            Trouble::lasting(format!(
                "shard {}: {bytes} bytes of log are kept for the leg, more than \
                 resharding.max_wal_retained, {}",
                shard.id, self.limit
            ))
        })
    }
}
