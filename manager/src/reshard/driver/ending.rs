//! What is done once no mirror is wanted any more: nothing of the leg is left on any shard.

use std::time::Duration;

use tokio::time::sleep;
use topology::{Epoch, ShardId, presence, routers};

use super::Trouble;
use super::hands::Hands;
use crate::reshard::cleanup;
use crate::reshard::guard::{Patience, horizon, install};

/// How often it is looked whether routers have applied the last flip.
const HORIZON_INTERVAL: Duration = Duration::from_millis(200);
/// How long backends may take to end.
const STRANGERS_LIMIT: Duration = Duration::from_secs(10);

impl Hands {
    pub(super) async fn stop_streams(&mut self) -> Result<(), Trouble> {
        if let Some(streams) = self.streams.take() {
            streams.stop().await;
        }
        self.release_copy().await?;
        for shard in self.everywhere() {
            let mut session = self.session(&shard, "drop-streams").await?;
            cleanup::drop_streams(&mut session, self.term, &self.leg.id).await?;
        }
        Ok(())
    }

    pub(super) async fn remove(&mut self) -> Result<(), Trouble> {
        let progress = std::sync::Arc::clone(&self.progress);
        let count = move |rows| progress.rows_removed.add(rows);
        for mirror in self.mirrors() {
            let mut session = self.writer(&mirror, "remove").await?;
            let guarded = self.guarded(&mirror);
            let throttle = cleanup::Throttle::default();
            cleanup::remove_rows(&mut session, self.term, &guarded, throttle, &count).await?;
        }
        Ok(())
    }

    /// Guards stay until nobody routes by a topology from before the last flip: every live router
    /// says that it does not, and backends of all others are ended, after the shards were told to
    /// let no such router in (docs/decisions/0009).
    pub(super) async fn await_routers(&mut self) -> Result<(), Trouble> {
        let Some(flip) = self.leg.flip_epoch else {
            return Ok(());
        };
        let known = loop {
            let listed = routers::list(self.context.store.as_ref()).await;
            let listed = listed
                .map_err(|error| Trouble::passing(platform::telemetry::error_chain(&error)))?;
            let behind = |router: &&routers::Router| router.record.applied_epoch < flip;
            let Some(behind) = listed.all.iter().find(behind) else {
                break listed.all;
            };
            tracing::debug!(leg = %self.leg.id, router = behind.number, "router is behind a flip");
            sleep(HORIZON_INTERVAL).await;
        };
        let keys = known
            .iter()
            .map(|one| presence::lock_key(one.record.incarnation));
        let keys: Vec<i32> = keys.collect();
        for shard in self.everywhere() {
            self.raise_horizon(&shard, flip).await?;
            self.end_strangers(&shard, &keys).await?;
        }
        Ok(())
    }

    /// From now on a shard lets only routers in that know this epoch.
    async fn raise_horizon(&self, shard: &ShardId, flip: Epoch) -> Result<(), Trouble> {
        let mut session = self.session(shard, "horizon").await?;
        Ok(horizon::raise(&mut session, self.term, flip).await?)
    }

    /// Ends the backends of routers that are not known to be up to date.
    async fn end_strangers(&self, shard: &ShardId, known: &[i32]) -> Result<(), Trouble> {
        let session = self.session(shard, "horizon").await?;
        let sql = "SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_locks \
                   WHERE locktype = 'advisory' AND classid = $1::int4::oid AND objsubid = 2 \
                     AND database = (SELECT oid FROM pg_catalog.pg_database \
                                     WHERE datname = pg_catalog.current_database()) \
                     AND NOT objid = ANY (SELECT k::oid FROM pg_catalog.unnest($2::int4[]) k)";
        let deadline = tokio::time::Instant::now() + STRANGERS_LIMIT;
        loop {
            let found = session.query(sql, &[&presence::LOCK_CLASS, &known]).await;
            let found = found.map_err(|e| session.error("end backends of old routers", e))?;
            if found.is_empty() {
                return Ok(());
            }
            tracing::warn!(leg = %self.leg.id, %shard, count = found.len(),
                "backends of routers that are out of date are ended");
            if tokio::time::Instant::now() > deadline {
                return Err(Trouble::passing(format!(
                    "shard {shard}: {} backends of routers that are out of date do not end",
                    found.len()
                )));
            }
            sleep(HORIZON_INTERVAL).await;
        }
    }

    pub(super) async fn drop_guards(&mut self) -> Result<(), Trouble> {
        for shard in self.everywhere() {
            let mut session = self.session(&shard, "drop-guards").await?;
            let (leg, patience) = (&self.leg.id, Patience::default());
            install::uninstall(&mut session, self.term, leg, patience).await?;
        }
        self.ready.clear();
        Ok(())
    }
}
