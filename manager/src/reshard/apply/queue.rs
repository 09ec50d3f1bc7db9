//! What waits for a lane: chunks in order, bounded in bytes, and how far the lane is.
//!
//! Whole transactions are joined until there is enough for one target transaction, or until the
//! first of them has waited long enough. A transaction that is too large comes in parts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::chunk::{Chunk, Untold};
use crate::reshard::lsn::Lsn;

/// Rows that are written by one target transaction, unless one source transaction has more.
pub const BATCH_ROWS: usize = 2000;
/// Bytes that are written by one target transaction, unless one source transaction has more.
pub const BATCH_BYTES: usize = 1 << 20;
/// Bytes that may wait for a lane. The stream stands still while there are more.
pub const QUEUE_BYTES: usize = 16 << 20;
/// How long a small transaction waits for others.
pub const LINGER: Duration = Duration::from_millis(5);
/// How often a lane without work records how far it is.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);

/// What a lane does next.
#[derive(Debug)]
pub enum Work {
    /// These changes.
    Chunk(Chunk),
    /// Nothing, but its origin is to say that it is here.
    Record(Lsn),
}

/// How far a lane is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// All that is for this lane up to here is committed on the mirror.
    pub applied: Lsn,
    /// The mirror's origin says so up to here.
    pub recorded: Lsn,
    /// Whether it is between transactions and does nothing.
    pub is_resting: bool,
    /// Whether something that it may do waits for it.
    pub has_work: bool,
}

#[derive(Debug)]
struct State {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// The chunk that is being written, as far as waiting for others is concerned.
    running: Option<Lsn>,
    /// Whether the mirror's transaction goes on with the next chunk.
    is_open: bool,
    first_at: Option<Instant>,
    recorded_at: Instant,
    applied: Lsn,
    recorded: Lsn,
    gate: Gate,
}

/// Which transactions a lane may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gate {
    /// All.
    #[default]
    Open,
    /// None.
    Closed,
    /// Those whose commit record is before.
    Before(Lsn),
}

/// The queue of a lane. The stream puts in, the lane takes out.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    readable: Notify,
    changed: Arc<watch::Sender<u64>>,
}

impl Queue {
    /// An empty queue of a lane that is at `start`; `changed` is told whenever the lane gets on.
    #[must_use]
    pub fn new(start: Lsn, gate: Gate, changed: Arc<watch::Sender<u64>>) -> Self {
        Self {
            state: Mutex::new(State {
                chunks: VecDeque::new(),
                bytes: 0,
                running: None,
                is_open: false,
                first_at: None,
                recorded_at: Instant::now(),
                applied: start,
                recorded: start,
                gate,
            }),
            readable: Notify::new(),
            changed,
        }
    }

    /// Puts in what follows; the chunk is empty afterwards.
    ///
    /// # Errors
    /// [`Untold::TooLarge`]; chunks are far smaller.
    pub fn put(&self, chunk: &mut Chunk) -> Result<(), Untold> {
        let mut state = self.state();
        let bytes = chunk.bytes();
        let is_urgent = chunk.fence.is_some() || !chunk.is_complete;
        // Behind a gate transactions stay apart, so that the lane can stop between any two.
        let is_open = state.gate == Gate::Open;
        let joins = |last: &Chunk| {
            is_open
                && last.is_complete
                && chunk.is_complete
                && last.rows().len() + chunk.rows().len() <= BATCH_ROWS
                && last.bytes() + bytes <= BATCH_BYTES
        };
        match state.chunks.back_mut() {
            Some(last) if joins(last) => last.append(chunk)?,
            Some(_) | None => state.chunks.push_back(std::mem::take(chunk)),
        }
        state.bytes += bytes;
        let was_empty = state.first_at.is_none();
        state.first_at.get_or_insert_with(Instant::now);
        let wakes = was_empty || is_urgent || state.chunks.len() > 1;
        drop(state);
        if wakes {
            self.readable.notify_one();
        }
        Ok(())
    }

    /// Nothing more comes for this lane before `to`.
    pub fn advance(&self, to: Lsn) {
        let mut state = self.state();
        if let Some(last) = state.chunks.back_mut() {
            last.safe = last.safe.max(to);
        } else if let Some(safe) = &mut state.running {
            *safe = (*safe).max(to);
        } else {
            state.applied = state.applied.max(to);
        }
    }

    /// Whether the stream must wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.state().bytes >= QUEUE_BYTES
    }

    /// Lets other transactions begin than before.
    pub fn set_gate(&self, gate: Gate) {
        self.state().gate = gate;
        self.readable.notify_one();
    }

    /// How far the lane is.
    #[must_use]
    pub fn reached(&self) -> Reached {
        let state = self.state();
        Reached {
            applied: state.applied,
            recorded: state.recorded,
            is_resting: state.running.is_none() && !state.is_open,
            has_work: state.may_take(),
        }
    }

    /// The next work. Cancel-safe. The lane must say [`Queue::done`] before it asks again.
    pub async fn take(&self) -> Work {
        loop {
            let until = match self.try_take() {
                Next::Work(work) => return work,
                Next::At(until) => until,
            };
            tokio::select! {
                biased;
                () = self.readable.notified() => {}
                () = sleep_until(until) => {}
            }
        }
    }

    fn try_take(&self) -> Next {
        let mut state = self.state();
        let now = Instant::now();
        if state.may_take() {
            let due = state.first_at.map_or(now, |first| first + LINGER);
            if now < due && !state.is_urgent() {
                return Next::At(due);
            }
            if let Some(chunk) = state.chunks.pop_front() {
                state.first_at = state.chunks.front().map(|_| now);
                state.running = Some(chunk.safe);
                return Next::Work(Work::Chunk(chunk));
            }
        }
        let due = state.recorded_at + RECORD_INTERVAL;
        let is_behind = state.recorded < state.applied;
        if is_behind && now >= due && !state.is_open && state.chunks.is_empty() {
            let applied = state.applied;
            state.running = Some(applied);
            return Next::Work(Work::Record(applied));
        }
        Next::At(due.max(now + RECORD_INTERVAL / 4))
    }

    /// What was taken is written: `committed` is the end of the last transaction, or nothing when
    /// the transaction goes on. `bytes` is what the chunk took.
    pub fn done(&self, bytes: usize, committed: Option<Lsn>) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(bytes);
        let safe = state.running.take();
        state.is_open = committed.is_none();
        if let Some(end) = committed {
            state.applied = state.applied.max(safe.unwrap_or(end)).max(end);
            state.recorded = state.recorded.max(end);
            state.recorded_at = Instant::now();
        }
        drop(state);
        self.changed.send_modify(|version| *version += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Next {
    Work(Work),
    At(Instant),
}

impl State {
    fn may_take(&self) -> bool {
        self.chunks.front().is_some_and(|chunk| {
            self.is_open
                || match self.gate {
                    Gate::Open => true,
                    Gate::Closed => false,
                    Gate::Before(lsn) => chunk.last.commit < lsn,
                }
        })
    }

    /// Whether waiting for more would not make a better batch, or somebody waits for this one.
    fn is_urgent(&self) -> bool {
        self.chunks.len() > 1
            || self.is_open
            || self.gate != Gate::Open
            || self.chunks.front().is_some_and(|chunk| {
                chunk.fence.is_some()
                    || !chunk.is_complete
                    || chunk.rows().len() >= BATCH_ROWS
                    || chunk.bytes() >= BATCH_BYTES
            })
    }
}

#[cfg(test)]
mod tests;
