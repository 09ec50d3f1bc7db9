//! The steps of a cutover, each within what is left of the pause.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::{try_join_all, try_join3};
use tokio::time::{Instant, timeout};
use topology::{Epoch, ShardId, routers};

use super::Trouble;
use super::hands::Hands;
use super::prepare::table_names;
use super::verify::freeze;
use crate::reshard::guard::fence;
use crate::reshard::schema;

/// How long routers may take to say that they hold. It is for clients' comfort only: a statement
/// that a router sends all the same is refused by the fence, and in most cases sent again.
const ACKS_LIMIT: Duration = Duration::from_millis(2);
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
        // Between two looks there is a round trip to the store, which is rest enough.
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
        let (of_owners, of_mirrors) = self.take_freezers();
        let Some(streams) = &self.streams else {
            return Err(Trouble::passing("the streams do not run"));
        };
        // Behind the fence the owners' rows stay as they are; the mirrors' do once all of the log
        // before it has arrived.
        let arrive = async {
            for (_, follow) in &streams.follows {
                follow.drained(epoch.0).await?;
            }
            freeze(of_mirrors).await
        };
        let all = try_join3(arrive, freeze(of_owners), self.expect_same_schema());
        let drained = timeout(budget, all).await;
        let late = |_| Trouble::passing("the mirrors did not drain in time");
        let (mirrors, owners, ()) = drained.map_err(late)??;
        self.frozen = owners.into_iter().chain(mirrors).collect();
        let late = |_| Trouble::passing("carrying sequences took too long");
        let carried = timeout(self.budget(true)?, self.carry_sequences()).await;
        carried.map_err(late)?
    }

    /// As the owners' tables were when the cutover was begun, they are behind the fences. A change
    /// that matters ends the job when the next cutover is made ready.
    async fn expect_same_schema(&self) -> Result<(), Trouble> {
        let mut asked = Vec::with_capacity(self.ready.len());
        for session in &self.ready {
            let Some(stamp) = self.stamps.get(session.shard()) else {
                continue; // A mirror.
            };
            let guarded = self.guarded(session.shard());
            asked.push(async move {
                if fence::schema_stamp(session, &guarded).await? == *stamp {
                    return Ok(());
                }
                let shard = session.shard();
                Err(Trouble::passing(format!(
                    "shard {shard}: the definition of the tables was changed within the cutover"
                )))
            });
        }
        try_join_all(asked).await.map(drop)
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
