//! The steps of a cutover, each within what is left of the pause.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::{try_join, try_join_all};
use tokio::time::{Instant, sleep, timeout};
use topology::{Epoch, ShardId, routers};

use super::Trouble;
use super::hands::Hands;
use super::prepare::table_names;
use crate::reshard::guard::fence;
use crate::reshard::schema;

/// How long routers may take to say that they hold. It is for clients' comfort only: a statement
/// that a router sends all the same is refused by the fence, and in most cases sent again.
const ACKS_LIMIT: Duration = Duration::from_millis(5);
/// How often it is looked whether they have.
const ACKS_INTERVAL: Duration = Duration::from_millis(1);
/// What of the pause is at least kept for opening the new owner and for the record.
const RESERVE: Duration = Duration::from_millis(10);
/// How long taking a cutover back may wait for writers.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

impl Hands {
    /// What is left of the pause, but for what follows: the writes of the hold told how long one
    /// more write takes.
    fn budget(&self, opens: bool) -> Result<Duration, Trouble> {
        let now = Instant::now();
        let (since, write) = self
            .hold
            .map_or((now, Duration::ZERO), |hold| (hold.since, hold.write));
        let reserve = if opens { write + RESERVE } else { write };
        let end = since + self.options.max_pause();
        let left = end.saturating_duration_since(now);
        let left = left.saturating_sub(reserve.min(self.options.max_pause() / 3));
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
        let deadline = Instant::now() + ACKS_LIMIT.min(self.budget(true)?);
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
        let (epoch, term, budget) = (self.fence_epoch(), self.term, self.budget(true)?);
        let mut fences = Vec::new();
        for owner in self.owners() {
            let mut session = self.ready(&owner).await?;
            let guarded = self.guarded(&owner);
            fences.push(async move {
                fence::fence(&mut session, term, &guarded, epoch, budget).await?;
                Ok::<_, Trouble>(session)
            });
        }
        let fenced = timeout(budget, try_join_all(fences)).await;
        let sessions = fenced.map_err(|_| Trouble::passing("the fence took too long"))?;
        self.ready.extend(sessions?);
        Ok(())
    }

    pub(super) async fn drain(&mut self) -> Result<(), Trouble> {
        let (epoch, budget) = (self.fence_epoch(), self.budget(true)?);
        let Some(streams) = &self.streams else {
            return Err(Trouble::passing("the streams do not run"));
        };
        let arrive = async {
            for (_, follow) in &streams.follows {
                follow.drained(epoch.0).await?;
            }
            Ok::<_, Trouble>(())
        };
        let drained = timeout(budget, try_join(arrive, self.expect_schema())).await;
        drained.map_err(|_| Trouble::passing("the mirrors did not drain in time"))??;
        let budget = self.budget(true)?;
        let late = |_| Trouble::passing("the end of the drain took too long");
        timeout(budget, async {
            self.freeze().await?;
            self.carry_sequences().await
        })
        .await
        .map_err(late)?
    }

    /// What the owners' tables were when the cutover was begun, they are behind the fences.
    async fn expect_schema(&self) -> Result<(), Trouble> {
        let fenced = self.ready.iter().filter_map(|session| {
            let hash = self.hashes.get(session.shard())?;
            Some((session, self.guarded(session.shard()), hash))
        });
        let asked = fenced.map(async |(session, guarded, hash)| {
            fence::expect_schema(session, &guarded, hash).await
        });
        try_join_all(asked).await?;
        Ok(())
    }

    /// Sequences are not in the log: the mirrors' go on where the owners' have stopped.
    async fn carry_sequences(&mut self) -> Result<(), Trouble> {
        if !self.has_sequences {
            return Ok(());
        }
        let names = table_names(&self.leg.tables);
        for flow in self.flows() {
            let from = self.ready(&flow.from).await?;
            let mut to = self.ready(&flow.to).await?;
            schema::carry_sequences(&from, &mut to, self.term, &names).await?;
            self.ready.extend([from, to]);
        }
        Ok(())
    }

    /// Opens the mirrors as the last thing before the flip.
    pub(super) async fn open_mirrors(&mut self) -> Result<(), Trouble> {
        let budget = self.budget(false)?;
        let late = |_| Trouble::passing("opening the new owner took too long");
        let opened = timeout(budget, self.open(self.mirrors())).await;
        opened.map_err(late)??;
        // The flip is not sent when it would come too late.
        self.budget(false).map(drop)
    }

    pub(super) async fn open(&mut self, shards: BTreeSet<ShardId>) -> Result<(), Trouble> {
        let mut openings = Vec::new();
        for shard in shards {
            let mut session = self.ready(&shard).await?;
            let (term, leg) = (self.term, self.leg.id.clone());
            openings.push(async move {
                fence::open(&mut session, term, &leg).await?;
                Ok::<_, Trouble>(session)
            });
        }
        let opened = try_join_all(openings).await?;
        self.ready.extend(opened);
        Ok(())
    }

    pub(super) async fn close(&mut self) -> Result<(), Trouble> {
        let epoch = self.fence_epoch();
        for shard in self.mirrors() {
            // Through the only session that can have opened it: what it says stays true.
            let mut session = self.ready(&shard).await?;
            let state = fence::state(&session, &self.leg.id).await?;
            if state.is_none_or(|epoch| epoch == Epoch(0)) {
                fence::close(&mut session, self.term, &self.leg.id, epoch, CLOSE_LIMIT).await?;
            }
            self.ready.push(session);
        }
        Ok(())
    }
}
