//! The streams of a leg: from each owner to its mirrors.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use topology::ShardId;
use wire::quote::ident;

use super::Trouble;
use super::hands::Hands;
use crate::identifier;
use crate::reshard::apply;
use crate::reshard::follow::{Follow, Mirror, Spec};
use crate::reshard::guard::fence;
use crate::reshard::machine::{Machine, Side};
use crate::reshard::replication::{ReplicationConnection, SnapshotExport};
use crate::reshard::session::application_name;

/// How long it is waited for mirrors to be close for some time, before being near is enough.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(5);
/// A transaction that has written moving rows and is older than this keeps a cutover from being
/// begun: its fence would have to wait for it.
const LONG_TRANSACTION: Duration = Duration::from_millis(200);
/// How long such transactions are waited for at a time.
const LONG_TRANSACTION_LIMIT: Duration = Duration::from_secs(30);

/// Running streams.
#[derive(Debug)]
pub(super) struct Streams {
    pub(super) owner: Side,
    pub(super) follows: Vec<(ShardId, Follow)>,
}

impl Streams {
    pub(super) async fn stop(self) {
        for (_, follow) in self.follows {
            follow.stop().await;
        }
    }

    /// What stops one of them.
    async fn error(&self) -> Arc<apply::Error> {
        let errors = self.follows.iter().map(|(_, f)| Box::pin(f.error()));
        let (error, _, _) = futures_util::future::select_all(errors).await;
        error
    }

    /// Whether all of them are less than this behind.
    fn are_near(&self, limit: Duration) -> bool {
        let mut positions = self.follows.iter().map(|(_, follow)| follow.position());
        positions.all(|position| position.lag.is_some_and(|lag| lag < limit))
    }

    async fn caught_up(&self, settle: Duration) -> Result<(), Trouble> {
        for (_, follow) in &self.follows {
            follow.caught_up(settle).await?;
        }
        Ok(())
    }
}

impl Hands {
    /// Runs the streams and waits until the mirrors are close; where a cutover is to come, makes
    /// what its way back needs.
    pub(super) async fn follow(&mut self, machine: Machine) -> Result<(), Trouble> {
        let owner = self.leg.phase.owner();
        if owner == Side::From {
            self.release_copy().await?;
        }
        self.run_streams().await?;
        let settle = self.context.settings.settle;
        let near = self.options.max_pause() / 2;
        self.watch_over(async |streams: &Streams| {
            loop {
                match timeout(CATCH_UP_LIMIT, streams.caught_up(settle)).await {
                    Ok(caught_up) => return caught_up,
                    // On a busy machine a mirror is never close for long: a cutover that takes its
                    // time is given up anyway.
                    Err(_) if streams.are_near(near) => return Ok(()),
                    Err(_) => {}
                }
            }
        })
        .await?;
        if owner == Side::From && machine.goal() == crate::reshard::machine::Goal::Move {
            for mirror in self.mirrors() {
                self.prepare_reverse(&mirror).await?;
            }
        }
        Ok(())
    }

    /// Makes sure that the streams from the present owner run.
    pub(super) async fn run_streams(&mut self) -> Result<(), Trouble> {
        let owner = self.leg.phase.owner();
        let runs = self.streams.as_ref().is_some_and(|s| s.owner == owner);
        if !runs {
            if let Some(old) = self.streams.take() {
                old.stop().await;
            }
            self.streams = Some(self.start_streams()?);
        }
        Ok(())
    }

    /// Does something with the running streams, while telling how far they are and watching what
    /// log they hold back.
    pub(super) async fn watch_over(
        &self,
        work: impl AsyncFnOnce(&Streams) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let Some(streams) = &self.streams else {
            return Err(Trouble::passing("the streams do not run"));
        };
        tokio::select! {
            done = work(streams) => done,
            overrun = self.wal_watch().overrun() => Err(overrun),
            never = self.tell_lag(streams) => match never {},
        }
    }

    /// Tells how far behind the streams are.
    async fn tell_lag(&self, streams: &Streams) -> Infallible {
        loop {
            let positions = streams.follows.iter().map(|(_, follow)| follow.position());
            let (mut bytes, mut lag) = (0, Duration::ZERO);
            for position in positions {
                bytes = bytes.max(position.lag_bytes);
                lag = lag.max(position.lag.unwrap_or_default());
            }
            self.progress.lag_bytes.set(bytes);
            let millis = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
            self.progress.lag_ms.set(millis);
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    fn start_streams(&self) -> Result<Streams, Trouble> {
        let owner = self.leg.phase.owner();
        let mut follows = Vec::new();
        for id in self.owners() {
            let mut mirrors = Vec::new();
            for flow in self.flows().into_iter().filter(|flow| flow.from == id) {
                let shard = self.shard(&flow.to)?;
                let ranges = flow.ranges;
                mirrors.push(Mirror { shard, ranges });
            }
            let spec = Spec {
                owner: self.shard(&id)?,
                mirrors,
                tables: self.leg.tables.clone(),
                leg: self.leg.id.clone(),
                term: self.term,
            };
            let sessions = self.context.sessions.clone();
            follows.push((
                id,
                Follow::start(
                    sessions,
                    &self.context.tasks,
                    spec,
                    Arc::clone(&self.progress),
                ),
            ));
        }
        Ok(Streams { owner, follows })
    }

    /// Streams and nothing else, until one of them stops for good.
    pub(super) async fn stay(&mut self) -> Result<(), Trouble> {
        if self.leg.phase.owner() == Side::To {
            self.certify().await?;
        }
        self.watch_over(async |streams: &Streams| Err(Trouble::from(streams.error().await)))
            .await
    }

    /// Makes the publication that a stream from a shard reads, if it is not there.
    pub(super) async fn publish(&self, shard: &ShardId) -> Result<(), Trouble> {
        let mut session = self.session(shard, "publication").await?;
        let name = self.leg.id.publication();
        let work = session.begin(self.term).await?;
        let question = "SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = $1";
        let found = work.query_opt(question, &[&name]).await;
        let found = found.map_err(|error| work.error("look for a publication", error))?;
        if found.is_none() {
            let tables: Vec<String> = self
                .leg
                .tables
                .iter()
                .map(|table| identifier::quoted(&table.name))
                .collect();
            let sql = format!(
                "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)",
                ident(&name),
                tables.join(", ")
            );
            work.run("create a publication", &sql).await?;
        }
        Ok(work.commit("create a publication").await?)
    }

    /// Makes the slot that a stream back would read, anew, so that it keeps no more of the log
    /// than it needs to. Waits until every transaction that writes on the mirror has ended.
    async fn prepare_reverse(&self, mirror: &ShardId) -> Result<(), Trouble> {
        self.publish(mirror).await?;
        let shard = self.shard(mirror)?;
        let name = application_name(&self.leg.id, "slot");
        let config = self.context.sessions.config();
        let mut connection = ReplicationConnection::connect(config, &shard, &name).await?;
        let slot = self.leg.id.slot();
        connection.drop_slot(&slot).await?;
        connection
            .create_slot(&slot, SnapshotExport::Nothing)
            .await?;
        Ok(())
    }

    /// Waits until no old transaction holds what a fence would have to wait for.
    pub(super) async fn await_long_transactions(&self) -> Result<(), Trouble> {
        for owner in self.owners() {
            let session = self.session(&owner, "holders").await?;
            let deadline = tokio::time::Instant::now() + LONG_TRANSACTION_LIMIT;
            loop {
                let holders = fence::holders(&session, &self.leg.id).await?;
                let Some(old) = holders.iter().find(|h| h.age > LONG_TRANSACTION) else {
                    break;
                };
                if tokio::time::Instant::now() > deadline {
                    return Err(Trouble::passing(format!(
                        "shard {owner}: a transaction of {:?} ({}) has written moving rows: it \
                         keeps the cutover from being begun",
                        old.age, old.state
                    )));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }
}
