//! What those who follow and those who ask know of each other: how far the lanes are, which
//! transactions they may begin, and what stopped them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::lag::Lag;
use crate::reshard::apply;
use crate::reshard::apply::chunk::{Chunk, Untold};
use crate::reshard::apply::lane::Observer;
use crate::reshard::apply::queue::{Gate, Queue};
use crate::reshard::lsn::Lsn;
use crate::reshard::progress::Progress;
use crate::reshard::stream::Outlet;

/// How far the mirrors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Whether the stream and all lanes are connected.
    pub is_connected: bool,
    /// The owner's log was read up to here.
    pub received: Lsn,
    /// All mirrors have everything up to here.
    pub applied: Lsn,
    /// The owner may forget its log up to here.
    pub confirmed: Lsn,
    /// What of the owner's log is not on all mirrors.
    pub lag_bytes: u64,
    /// How old the newest write is that is not on all mirrors; nothing while that is not known.
    pub lag: Option<Duration>,
    /// Connections that broke since the beginning.
    pub reconnects: u64,
}

#[derive(Debug, Default)]
struct State {
    queues: Vec<Arc<Queue>>,
    is_connected: bool,
    gate: Gate,
    owner_end: Lsn,
    drained: Vec<u64>,
    lag: Lag,
    error: Option<Arc<apply::Error>>,
    reconnects: u64,
}

/// Shared by the stream, the lanes and the handle.
#[derive(Debug)]
pub(super) struct Hub {
    changed: Arc<watch::Sender<u64>>,
    state: Mutex<State>,
    received: AtomicU64,
    progress: Arc<Progress>,
}

impl Hub {
    pub(super) fn new(lanes: usize, progress: Arc<Progress>) -> Self {
        let state = State {
            drained: vec![0; lanes],
            ..State::default()
        };
        Self {
            changed: Arc::new(watch::Sender::new(0)),
            state: Mutex::new(state),
            received: AtomicU64::new(0),
            progress,
        }
    }

    /// New queues for lanes that are at these places.
    pub(super) fn connect(&self, starts: &[Lsn]) -> Vec<Arc<Queue>> {
        let mut state = self.state();
        let queue = |start: &Lsn| {
            let changed = Arc::clone(&self.changed);
            Arc::new(Queue::new(*start, state.gate, changed))
        };
        let queues: Vec<_> = starts.iter().map(queue).collect();
        state.queues.clone_from(&queues);
        state.is_connected = true;
        state.lag.forget();
        // What was received and not applied comes again.
        let start = starts.iter().min().copied().unwrap_or_default();
        self.received.store(start.0, Ordering::Release);
        drop(state);
        self.tell();
        queues
    }

    pub(super) fn disconnect(&self) {
        let mut state = self.state();
        state.is_connected = false;
        state.reconnects += 1;
        drop(state);
        self.tell();
    }

    pub(super) fn fail(&self, error: apply::Error) {
        let mut state = self.state();
        state.is_connected = false;
        state.error = Some(Arc::new(error));
        drop(state);
        self.tell();
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits until `check` gives something, or what is followed has stopped.
    pub(super) async fn until<T>(
        &self,
        mut check: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T, Arc<apply::Error>> {
        let mut changed = self.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(error) = self.error() {
                return Err(error);
            }
            if let Some(value) = check(self) {
                return Ok(value);
            }
            // The hub has the sender, so that this cannot end early.
            let _told = changed.changed().await;
        }
    }

    pub(super) fn error(&self) -> Option<Arc<apply::Error>> {
        self.state().error.clone()
    }

    pub(super) fn set_gate(&self, gate: Gate) {
        let mut state = self.state();
        state.gate = gate;
        for queue in &state.queues {
            queue.set_gate(gate);
        }
    }

    pub(super) fn gate(&self) -> Gate {
        self.state().gate
    }

    /// Whether every lane stands between two transactions and has none that it may begin.
    pub(super) fn is_resting(&self) -> bool {
        let state = self.state();
        state.is_connected
            && state.queues.iter().all(|queue| {
                let reached = queue.reached();
                reached.is_resting && !reached.has_work
            })
    }

    pub(super) fn received(&self) -> Lsn {
        Lsn(self.received.load(Ordering::Acquire))
    }

    pub(super) fn has_drained(&self, epoch: u64) -> bool {
        self.state().drained.iter().all(|drained| *drained >= epoch)
    }

    pub(super) fn position(&self) -> Position {
        let now = Instant::now();
        let state = self.state();
        let (applied, confirmed) = reached(&state.queues);
        Position {
            is_connected: state.is_connected,
            received: self.received(),
            applied,
            confirmed,
            lag_bytes: state.owner_end.bytes_since(applied),
            lag: state.lag.now(now).filter(|_| state.is_connected),
            reconnects: state.reconnects,
        }
    }

    /// What the slot may be told.
    pub(super) fn confirmed(&self) -> Lsn {
        reached(&self.state().queues).1
    }

    pub(super) fn heartbeat_sent(&self, number: u64) {
        self.state().lag.sent(number, Instant::now());
    }

    pub(super) fn heartbeat_arrived(&self, number: u64, before: Lsn) {
        self.state().lag.arrived(number, before);
    }

    pub(super) fn owner_end(&self, end: Lsn) {
        let mut state = self.state();
        state.owner_end = state.owner_end.max(end);
    }

    /// Times heartbeats that are on all mirrors by now.
    pub(super) fn look(&self) {
        let mut state = self.state();
        let (applied, _) = reached(&state.queues);
        let came = state.lag.applied(applied, Instant::now());
        drop(state);
        if came {
            let position = self.position();
            self.progress.lag_bytes.set(position.lag_bytes);
            let lag = position.lag.unwrap_or_default().as_millis();
            self.progress
                .lag_ms
                .set(u64::try_from(lag).unwrap_or(u64::MAX));
            self.tell();
        }
    }

    fn tell(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far all lanes are, and how far all of them have recorded that.
fn reached(queues: &[Arc<Queue>]) -> (Lsn, Lsn) {
    let reached = queues.iter().map(|queue| queue.reached());
    let least = reached.map(|reached| (reached.applied, reached.recorded));
    let least = least.reduce(|a, b| (a.0.min(b.0), a.1.min(b.1)));
    least.unwrap_or_default()
}

/// The work of one of the lanes, as the hub hears of it.
#[derive(Debug)]
pub(super) struct LaneObserver {
    pub(super) hub: Arc<Hub>,
    pub(super) lane: usize,
}

impl Observer for LaneObserver {
    fn applied(&self, rows: u64, transactions: u64) {
        self.hub.progress.rows_applied.add(rows);
        self.hub.progress.txns_applied.add(transactions);
    }

    fn drained(&self, epoch: u64) {
        let mut state = self.hub.state();
        if let Some(drained) = state.drained.get_mut(self.lane) {
            *drained = epoch.max(*drained);
        }
        drop(state);
        self.hub.tell();
    }
}

/// Where the sorted stream goes.
#[derive(Debug)]
pub(super) struct Queues {
    pub(super) hub: Arc<Hub>,
    pub(super) queues: Vec<Arc<Queue>>,
}

impl Queues {
    pub(super) fn is_full(&self) -> bool {
        self.queues.iter().any(|queue| queue.is_full())
    }
}

impl Outlet for Queues {
    fn put(&self, lane: usize, chunk: &mut Chunk) -> Result<(), Untold> {
        match self.queues.get(lane) {
            Some(queue) => queue.put(chunk),
            None => Ok(()),
        }
    }

    fn drained(&self, lane: usize, epoch: u64) {
        let hub = Arc::clone(&self.hub);
        LaneObserver { hub, lane }.drained(epoch);
    }

    fn advance(&self, to: Lsn) {
        for queue in &self.queues {
            queue.advance(to);
        }
        let before = self.hub.received.fetch_max(to.0, Ordering::AcqRel);
        // Somebody may wait for a place in the log while no lane has anything to do.
        if before < to.0 && self.hub.gate() != Gate::Open {
            self.hub.tell();
        }
    }

    fn heartbeat(&self, number: u64, before: Lsn) {
        self.hub.heartbeat_arrived(number, before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_place_hears_of_it_while_the_lanes_rest() {
        let hub = Arc::new(Hub::new(1, Arc::new(Progress::default())));
        let queues = hub.connect(&[Lsn(10)]);
        hub.set_gate(Gate::Closed);
        let outlet = Queues {
            hub: Arc::clone(&hub),
            queues,
        };
        let there = hub.until(|hub| (hub.received() >= Lsn(20)).then_some(()));
        let (there, ()) =
            tokio::join!(tokio::time::timeout(Duration::from_secs(1), there), async {
                tokio::task::yield_now().await;
                outlet.advance(Lsn(20));
            });
        there.expect("in time").expect("nothing has stopped");
    }
}
