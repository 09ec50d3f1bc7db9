//! The steps of a cutover, each within what is left of the pause.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use topology::{Epoch, ShardId, routers};

use super::Trouble;
use super::hands::Hands;
use super::prepare::table_names;
use crate::reshard::guard::fence;
use crate::reshard::schema;

/// How long routers may take to say that they hold. It is for clients' comfort only.
const ACKS_LIMIT: Duration = Duration::from_millis(20);
/// How often it is looked whether they have.
const ACKS_INTERVAL: Duration = Duration::from_millis(1);
/// What of the pause is kept for opening the new owner and for the record.
const RESERVE: Duration = Duration::from_millis(15);
/// How long taking a cutover back may wait for writers.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

impl Hands {
    /// What the fence and the drain may still take.
    fn budget(&self) -> Result<Duration, Trouble> {
        let since = self.hold.as_ref().map(|hold| hold.since);
        let end = since.unwrap_or_else(Instant::now) + self.options.max_pause();
        let left = end.saturating_duration_since(Instant::now());
        let left = left.saturating_sub(RESERVE.min(self.options.max_pause() / 4));
        if left.is_zero() {
            let limit = self.options.max_pause();
            return Err(Trouble::passing(format!(
                "the pause is longer than {limit:?}"
            )));
        }
        Ok(left)
    }

    /// The epoch that closes the owner and that marks its log.
    fn fence_epoch(&self) -> Epoch {
        self.leg.hold_epoch.unwrap_or(Epoch(1))
    }

    pub(super) async fn await_acks(&mut self) -> Result<(), Trouble> {
        let wanted = self.fence_epoch();
        let deadline = Instant::now() + ACKS_LIMIT.min(self.budget()?);
        while Instant::now() < deadline {
            let listed = timeout(ACKS_LIMIT, routers::list(self.context.store.as_ref())).await;
            let Ok(Ok(listed)) = listed else { break };
            if listed
                .all
                .iter()
                .all(|router| router.record.applied_epoch >= wanted)
            {
                break;
            }
            sleep(ACKS_INTERVAL).await;
        }
        Ok(())
    }

    pub(super) async fn fence(&mut self) -> Result<(), Trouble> {
        let epoch = self.fence_epoch();
        for owner in self.owners() {
            let budget = self.budget()?;
            let mut session = self.ready(&owner).await?;
            let guarded = self.guarded(&owner);
            let hash = self.hashes.get(&owner).map(String::as_str);
            let term = self.term;
            let fencing = fence::fence(&mut session, term, &guarded, (epoch, hash), budget);
            match timeout(budget, fencing).await {
                Ok(fenced) => drop(fenced?),
                Err(_) => return Err(Trouble::passing("the fence took too long")),
            }
            self.ready.push(session);
        }
        Ok(())
    }

    pub(super) async fn drain(&mut self) -> Result<(), Trouble> {
        let (epoch, budget) = (self.fence_epoch(), self.budget()?);
        let Some(streams) = &self.streams else {
            return Err(Trouble::passing("the streams do not run"));
        };
        for (_, follow) in &streams.follows {
            match timeout(budget, follow.drained(epoch.0)).await {
                Ok(drained) => drained?,
                Err(_) => return Err(Trouble::passing("the mirrors did not drain in time")),
            }
        }
        self.freeze().await?;
        self.carry_sequences().await
    }

    /// Sequences are not in the log: the mirrors' go on where the owners' have stopped.
    async fn carry_sequences(&mut self) -> Result<(), Trouble> {
        let names = table_names(&self.leg.tables);
        for flow in self.flows() {
            let from = self.ready(&flow.from).await?;
            let mut to = self.ready(&flow.to).await?;
            schema::carry_sequences(&from, &mut to, self.term, &names).await?;
            self.ready.extend([from, to]);
        }
        Ok(())
    }

    pub(super) async fn open(&mut self, shards: BTreeSet<ShardId>) -> Result<(), Trouble> {
        for shard in shards {
            let mut session = self.ready(&shard).await?;
            fence::open(&mut session, self.term, &self.leg.id).await?;
            self.ready.push(session);
        }
        Ok(())
    }

    pub(super) async fn close(&mut self) -> Result<(), Trouble> {
        let epoch = self.fence_epoch();
        for shard in self.mirrors() {
            let mut session = self.ready(&shard).await?;
            fence::close(&mut session, self.term, &self.leg.id, epoch, CLOSE_LIMIT).await?;
            self.ready.push(session);
        }
        Ok(())
    }
}
