//! Following an owner: its changes are on the mirrors soon after, exactly once, for as long as the
//! handle lives. Connections that break are opened again; whatever else goes wrong stops it.

use std::sync::Arc;
use std::time::Duration;

use platform::TaskGroup;
use platform::backoff::Backoff;
use platform::telemetry::error_chain;
use tokio::time::{Instant, sleep, timeout};
use topology::{Shard, Term};

use self::attempt::Owned;
use self::hub::Hub;
pub use self::hub::Position;
use super::apply::Error;
use super::apply::queue::Gate;
use super::flow::{MovedTable, Ranges};
use super::ids::LegId;
use super::lsn::Lsn;
use super::progress::Progress;
use super::session::{Class, Sessions};
use super::stream::sort::Shapes;

mod attempt;
mod heartbeat;
mod hub;
mod lag;

/// The first and the longest wait before connections are opened again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// What ran as long as this was no failed attempt.
const STEADY: Duration = Duration::from_secs(5);
/// What counts as caught up.
const MAX_LAG_BYTES: u64 = 64 << 10;
const MAX_LAG: Duration = Duration::from_millis(20);
/// How long a mirror that was caught up may seem not to be before that counts: one slow commit
/// says nothing.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// A shard that gets rows.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// The shard.
    pub shard: Shard,
    /// The rows, by their tokens.
    pub ranges: Ranges,
}

/// What is followed. The slot, named by [`LegId::slot`], and the publication are there.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The shard that has the rows.
    pub owner: Shard,
    /// The shards that get them.
    pub mirrors: Vec<Mirror>,
    /// The tables.
    pub tables: Vec<MovedTable>,
    /// In whose name.
    pub leg: LegId,
    /// At which term.
    pub term: Term,
}

/// What one attempt leaves to the next.
#[derive(Debug, Default)]
struct Memory {
    system: Option<(String, u32)>,
    shapes: Shapes,
}

/// Why a pause cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PauseError {
    /// The lanes were not told to stop before the place was chosen.
    #[error("the lanes are not held")]
    NotHeld,
    /// The following has stopped.
    #[error(transparent)]
    Stopped(#[from] Arc<Error>),
}

/// A running follower. Dropping it ends it; nothing that was begun is left half done.
#[derive(Debug)]
pub struct Follow {
    hub: Arc<Hub>,
    task: Owned<()>,
}

impl Follow {
    /// Starts to follow, from where the mirrors are.
    #[must_use]
    pub fn start(
        sessions: Sessions,
        tasks: &TaskGroup,
        spec: Spec,
        progress: Arc<Progress>,
    ) -> Self {
        let hub = Arc::new(Hub::new(spec.mirrors.len(), progress));
        let lanes = tasks.clone();
        let run = supervise(sessions, lanes, spec, Arc::clone(&hub));
        let task = Owned(tasks.spawn("reshard follow", run));
        Self { hub, task }
    }

    /// How far the mirrors are.
    #[must_use]
    pub fn position(&self) -> Position {
        self.hub.position()
    }

    /// Returns once the mirrors have been close behind the owner for as long as this.
    /// Cancel-safe.
    ///
    /// # Errors
    /// What stopped the following.
    pub async fn caught_up(&self, for_as_long_as: Duration) -> Result<(), Arc<Error>> {
        let mut since = None;
        loop {
            if let Some(error) = self.hub.error() {
                return Err(error);
            }
            let position = self.hub.position();
            let is_close =
                position.lag.is_some_and(|lag| lag < MAX_LAG) && position.lag_bytes < MAX_LAG_BYTES;
            since = since.filter(|_| is_close).or(is_close.then(Instant::now));
            if since.is_some_and(|since: Instant| since.elapsed() >= for_as_long_as) {
                return Ok(());
            }
            sleep(LOOK_INTERVAL.min(for_as_long_as.max(Duration::from_millis(1)))).await;
        }
    }

    /// Returns once all mirrors have committed everything before the fence marker of this epoch.
    /// Cancel-safe.
    ///
    /// # Errors
    /// What stopped the following.
    pub async fn drained(&self, epoch: u64) -> Result<(), Arc<Error>> {
        let drained = |hub: &Hub| hub.has_drained(epoch).then_some(());
        self.hub.until(drained).await
    }

    /// Stops the lanes between two transactions. Whatever commits on the owner after this returned
    /// is not applied before [`Follow::resume`] or, up to its place, [`Follow::pause_at`].
    /// Cancel-safe; the lanes stay stopped.
    ///
    /// # Errors
    /// What stopped the following.
    pub async fn hold(&self) -> Result<(), Arc<Error>> {
        self.hub.set_gate(Gate::Closed);
        self.hub.until(|hub| hub.is_resting().then_some(())).await
    }

    /// Applies exactly the transactions that commit before `place` and stops there. The place, a
    /// slot's consistent point, must have been made after [`Follow::hold`] returned. Cancel-safe.
    ///
    /// # Errors
    /// When the lanes are not held, or what stopped the following.
    pub async fn pause_at(&self, place: Lsn) -> Result<(), PauseError> {
        if self.hub.gate() == Gate::Open {
            return Err(PauseError::NotHeld);
        }
        self.hub.set_gate(Gate::Before(place));
        let is_there = |hub: &Hub| (hub.received() >= place && hub.is_resting()).then_some(());
        self.hub.until(is_there).await?;
        Ok(())
    }

    /// Lets the lanes go on.
    pub fn resume(&self) {
        self.hub.set_gate(Gate::Open);
    }

    /// Returns what stopped the following, once something has. Cancel-safe.
    pub async fn error(&self) -> Arc<Error> {
        let never = self.hub.until(|_| None::<std::convert::Infallible>).await;
        match never {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    /// Ends the following and returns when nothing of it runs any more here; servers roll back
    /// what was not committed.
    pub async fn stop(mut self) {
        const LIMIT: Duration = Duration::from_secs(5);
        self.task.0.abort();
        let _ended = timeout(LIMIT, &mut self.task.0).await;
    }
}

async fn supervise(sessions: Sessions, tasks: TaskGroup, spec: Spec, hub: Arc<Hub>) {
    let mut memory = Memory::default();
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let start = Instant::now();
        let error = attempt::run(&sessions, &tasks, &spec, &mut memory, &hub).await;
        if error.class() != Class::Retryable {
            hub.fail(error);
            return;
        }
        tracing::warn!(
            leg = %spec.leg,
            owner = %spec.owner.id,
            error = error_chain(&error),
            "connections of a leg are opened again"
        );
        hub.disconnect();
        if start.elapsed() >= STEADY {
            backoff.reset();
        }
        sleep(backoff.next_delay()).await;
    }
}
