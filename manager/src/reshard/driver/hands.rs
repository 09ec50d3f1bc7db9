//! What a driver holds in its hands, and which hand does which step.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use topology::store::Revision;
use topology::{Shard, ShardId, Term};

use super::streams::Streams;
use super::verify::Exact;
use super::{Context, Report, Trouble, rest};
use crate::reshard::copy::keeper::Running;
use crate::reshard::flow::{Flow, Ranges};
use crate::reshard::guard::Guarded;
use crate::reshard::leg::Leg;
use crate::reshard::machine::{Event, Machine, Side, Step};
use crate::reshard::progress::Progress;
use crate::reshard::record::Options;
use crate::reshard::session::Session;
use crate::reshard::verify::freeze::{Freezer, Frozen};

/// A cutover that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    pub(super) since: Instant,
    pub(super) at: SystemTime,
    pub(super) to: Side,
    /// How long its record took to be written.
    pub(super) write: Duration,
}

/// All that a step may need.
pub(super) struct Hands {
    pub(super) context: Arc<Context>,
    pub(super) term: Term,
    pub(super) leg: Leg,
    pub(super) seen: Revision,
    pub(super) options: Options,
    pub(super) progress: Arc<Progress>,
    pub(super) streams: Option<Streams>,
    pub(super) hold: Option<Hold>,
    /// Sessions that were opened before a cutover, for use within it.
    pub(super) ready: Vec<Session>,
    /// By owner, what changes with the definition of its tables, from right before the cutover.
    pub(super) stamps: HashMap<ShardId, String>,
    /// The side that owned when both were last compared and found equal.
    pub(super) verified: Option<Side>,
    /// Sessions that can take a snapshot within a cutover.
    pub(super) freezers: Vec<(ShardId, Freezer)>,
    /// Whether the tables take values from sequences.
    pub(super) has_sequences: bool,
    /// The snapshots that they took.
    pub(super) frozen: Vec<(ShardId, Frozen)>,
    /// The comparison of them.
    pub(super) exact: Option<Exact>,
    /// The copy that goes on, found when the step before it had to discard nothing.
    pub(super) resumed: Option<Running>,
    /// Why the present cutover is being taken back.
    pub(super) reason: Option<String>,
    report: watch::Sender<Report>,
}

impl Hands {
    pub(super) fn new(
        context: Arc<Context>,
        term: Term,
        (leg, seen): (Leg, Revision),
        options: Options,
        progress: Arc<Progress>,
        report: watch::Sender<Report>,
    ) -> Self {
        Self {
            context,
            term,
            leg,
            seen,
            options,
            progress,
            streams: None,
            hold: None,
            ready: Vec::new(),
            stamps: HashMap::new(),
            verified: None,
            freezers: Vec::new(),
            has_sequences: true,
            frozen: Vec::new(),
            exact: None,
            resumed: None,
            reason: None,
            report,
        }
    }

    /// Tells whoever runs the job how its leg is.
    pub(super) fn tell(&self, change: impl FnOnce(&mut Report)) {
        self.report.send_modify(|report| {
            report.leg.clone_from(&self.leg);
            change(report);
        });
    }

    /// Keeps what the record has to say of a step that was not done.
    pub(super) fn remember(&mut self, step: Step, event: Event, text: String) {
        if event == Event::Refused && !self.leg.phase.is_held() {
            self.leg.failure = Some(format!("{}: {text}", super::super::view::step_name(step)));
        }
        self.reason = Some(text);
    }

    /// Does a step.
    pub(super) async fn perform(&mut self, machine: Machine, failures: u32) -> Result<(), Trouble> {
        match machine.step() {
            Step::RaiseTerm => self.raise_term().await,
            Step::Preflight => self.preflight().await,
            Step::Prepare => self.prepare().await,
            Step::Discard => self.discard().await,
            Step::Copy => {
                let watch = self.wal_watch();
                tokio::select! {
                    copied = self.copy() => copied,
                    overrun = watch.overrun() => Err(overrun),
                }
            }
            Step::Follow => self.follow(machine).await,
            Step::Verify => self.verify().await,
            Step::Stay => self.stay().await,
            Step::AwaitAcks => self.await_acks().await,
            Step::Fence => self.fence().await,
            Step::Drain => self.drain().await,
            Step::Open => self.open_mirrors().await,
            Step::Close | Step::CloseUnrecorded => self.close().await,
            Step::Unfence | Step::UnfenceUnrecorded => self.open(self.owners()).await,
            Step::StopStreams => self.stop_streams().await,
            Step::Remove => self.remove().await,
            Step::AwaitRouters => self.await_routers().await,
            Step::DropGuards => self.drop_guards().await,
            Step::Record(phase) => self.record(phase).await,
            Step::Rest => {
                rest(failures).await;
                Ok(())
            }
            Step::Halt | Step::End => std::future::pending().await,
        }
    }

    /// The flows from the present owner to the mirror.
    pub(super) fn flows(&self) -> Vec<Flow> {
        match self.leg.phase.owner() {
            Side::From => self.leg.flows.clone(),
            Side::To => self.leg.flows.iter().map(Flow::reversed).collect(),
        }
    }

    pub(super) fn owners(&self) -> BTreeSet<ShardId> {
        self.flows().into_iter().map(|flow| flow.from).collect()
    }

    pub(super) fn mirrors(&self) -> BTreeSet<ShardId> {
        self.flows().into_iter().map(|flow| flow.to).collect()
    }

    pub(super) fn everywhere(&self) -> BTreeSet<ShardId> {
        let mut all = self.owners();
        all.extend(self.mirrors());
        all
    }

    pub(super) fn shard(&self, id: &ShardId) -> Result<Shard, Trouble> {
        let snapshot = self.context.topology.snapshot();
        let found = snapshot.shards().iter().find(|shard| shard.id == *id);
        found
            .cloned()
            .ok_or_else(|| Trouble::passing(format!("shard {id} is not registered")))
    }

    /// What is guarded on a shard: all that comes to it or leaves it.
    pub(super) fn guarded(&self, shard: &ShardId) -> Guarded {
        let flows = self.leg.flows.iter();
        let touching = flows.filter(|flow| flow.from == *shard || flow.to == *shard);
        let ranges = touching.flat_map(|flow| flow.ranges.iter().copied());
        Guarded {
            leg: self.leg.id.clone(),
            tables: self.leg.tables.clone(),
            bounds: Ranges::new(ranges.collect()).bounds(),
        }
    }

    pub(super) async fn session(
        &self,
        shard: &ShardId,
        purpose: &'static str,
    ) -> Result<Session, Trouble> {
        let shard = self.shard(shard)?;
        let sessions = &self.context.sessions;
        Ok(sessions.open(&shard, &self.leg.id, purpose).await?)
    }

    pub(super) async fn writer(
        &self,
        shard: &ShardId,
        purpose: &'static str,
    ) -> Result<Session, Trouble> {
        let shard = self.shard(shard)?;
        let sessions = &self.context.sessions;
        Ok(sessions.open_writer(&shard, &self.leg.id, purpose).await?)
    }

    /// The one session of the leg on a shard by which fences are opened and closed: what an
    /// earlier one was asked and has not done, such as opening one, is not done any more.
    pub(super) async fn alone(&self, shard: &ShardId) -> Result<Session, Trouble> {
        let shard = self.shard(shard)?;
        let sessions = &self.context.sessions;
        Ok(sessions.open_alone(&shard, &self.leg.id, "cutover").await?)
    }

    /// A session that was made ready before, or a new one. Whoever is done with it gives it back.
    pub(super) async fn ready(&mut self, shard: &ShardId) -> Result<Session, Trouble> {
        let found = self.ready.iter().position(|ready| ready.shard() == shard);
        match found.map(|at| self.ready.swap_remove(at)) {
            Some(session) if !session.is_closed() => Ok(session),
            Some(_) | None => self.alone(shard).await,
        }
    }
}
