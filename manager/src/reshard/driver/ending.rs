//! What is done once no mirror is wanted any more: nothing of the leg is left on any shard.

use std::time::Duration;

use tokio::time::sleep;
use topology::routers;

use super::Trouble;
use super::hands::Hands;
use crate::reshard::cleanup;
use crate::reshard::guard::{Patience, install};

/// How often it is looked whether routers have applied the last flip.
const HORIZON_INTERVAL: Duration = Duration::from_millis(200);

impl Hands {
    pub(super) async fn stop_streams(&mut self) -> Result<(), Trouble> {
        if let Some(streams) = self.streams.take() {
            streams.stop().await;
        }
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

    /// Guards stay until no router that is known can route by an older topology.
    pub(super) async fn await_routers(&mut self) -> Result<(), Trouble> {
        let Some(flip) = self.leg.flip_epoch else {
            return Ok(());
        };
        loop {
            let listed = routers::list(self.context.store.as_ref()).await;
            let listed = listed
                .map_err(|error| Trouble::passing(platform::telemetry::error_chain(&error)))?;
            let behind = listed
                .all
                .iter()
                .find(|router| router.record.applied_epoch < flip);
            let Some(behind) = behind else { return Ok(()) };
            tracing::debug!(leg = %self.leg.id, router = behind.number, "router is behind a flip");
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
