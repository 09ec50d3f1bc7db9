//! Who gets a backend next: sessions are served in the order in which they came, the line is
//! bounded, and an operator can close it.
//!
//! bb8 wakes whoever waits and lets a newcomer take the backend first; so everybody passes here
//! before asking bb8, and there are as many permits as backends may be.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::metrics::OfShard;

/// The right to one backend.
pub(super) type Pass = OwnedSemaphorePermit;

/// Why somebody did not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    /// As many wait as may.
    Full,
    /// It was not their turn in time.
    Late,
    /// The pool is no longer used.
    Retired,
}

/// Why a pool is not paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPaused {
    /// Another operator waits for the same.
    #[error("is being paused already")]
    Underway,
    /// Another operator resumed it.
    #[error("was resumed before its backends were idle")]
    Resumed,
}

/// The line before the backends of one pool.
#[derive(Debug)]
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    backends: u32,
    max_waiting: usize,
    line: Mutex<Line>,
    /// Read by everybody, before they choose a pool.
    closed: AtomicBool,
    door: Mutex<Door>,
    retired: CancellationToken,
}

/// Those who wait, since when, the longest-waiting first.
#[derive(Debug, Default)]
struct Line {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

/// Whether an operator has closed the pool.
#[derive(Debug, Default)]
enum Door {
    #[default]
    Open,
    /// An operator stands in the line, for all backends at once.
    Closing(CancellationToken),
    /// An operator holds all backends.
    Closed { _all: Pass },
}

impl Gate {
    /// A gate to so many backends.
    pub(super) fn new(backends: u32, max_waiting: u32) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(
                usize::try_from(backends).unwrap_or(Semaphore::MAX_PERMITS),
            )),
            backends,
            max_waiting: usize::try_from(max_waiting).unwrap_or(usize::MAX),
            line: Mutex::default(),
            closed: AtomicBool::new(false),
            door: Mutex::default(),
            retired: CancellationToken::new(),
        }
    }

    /// Waits for its turn, at most `patience`. Whoever finds no line pays for no clock and no
    /// metric.
    pub(super) async fn enter(
        &self,
        patience: Duration,
        metrics: &OfShard,
    ) -> Result<Pass, Turned> {
        // Free permits are given to those who wait, so that this overtakes nobody.
        if let Ok(pass) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(pass);
        }
        let place = self.line_up(metrics)?;
        let turn = Arc::clone(&self.permits).acquire_owned();
        let turn = tokio::time::timeout(patience, turn);
        let turn = tokio::select! {
            biased;
            () = self.retired.cancelled() => return Err(Turned::Retired),
            turn = turn => turn,
        };
        metrics.waited(place.since.elapsed());
        match turn {
            Ok(Ok(pass)) => Ok(pass),
            // The permits are never closed.
            Ok(Err(_)) | Err(_) => Err(Turned::Late),
        }
    }

    /// Returns once those who wait are sent away.
    pub(super) async fn retired(&self) {
        self.retired.cancelled().await;
    }

    /// Sends those who wait away, and whoever would have to wait from now on.
    pub(super) fn retire(&self) {
        self.retired.cancel();
    }

    fn line_up<'a>(&'a self, metrics: &'a OfShard) -> Result<Place<'a>, Turned> {
        let mut line = self.line();
        if line.since.len() >= self.max_waiting {
            return Err(Turned::Full);
        }
        let since = Instant::now();
        let number = line.next;
        line.next += 1;
        line.since.insert(number, since);
        metrics.waiting.inc();
        Ok(Place {
            gate: self,
            metrics,
            number,
            since,
        })
    }

    /// Whether somebody who asks now would have to wait.
    pub(super) fn is_busy(&self) -> bool {
        self.permits.available_permits() == 0
    }

    /// Whether more than one pass is out.
    pub(super) fn is_shared(&self) -> bool {
        let passes = usize::try_from(self.backends).unwrap_or(usize::MAX);
        self.permits.available_permits() + 1 < passes
    }

    /// How many wait, and how long the first of them has.
    pub(super) fn waiting(&self) -> (usize, Duration) {
        let line = self.line();
        let first = line.since.first_key_value();
        let longest = first.map_or(Duration::ZERO, |(_, since)| since.elapsed());
        (line.since.len(), longest)
    }

    /// Whether an operator has closed the gate, or is about to.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Waits until every backend is idle and lets nobody in from then on. Those who were in the
    /// line before go first; those who come later wait. Dropped while it waits, the gate is open
    /// again.
    pub(super) async fn close(&self) -> Result<(), NotPaused> {
        let resumed = CancellationToken::new();
        {
            let mut door = self.door();
            match *door {
                Door::Closed { .. } => return Ok(()),
                Door::Closing(_) => return Err(NotPaused::Underway),
                Door::Open => *door = Door::Closing(resumed.clone()),
            }
        }
        self.closed.store(true, Ordering::Relaxed);
        let attempt = Attempt {
            gate: self,
            resumed: resumed.clone(),
        };
        let all = Arc::clone(&self.permits).acquire_many_owned(self.backends);
        tokio::select! {
            // Resumed first: a gate that was opened stays open.
            biased;
            () = resumed.cancelled() => Err(NotPaused::Resumed),
            all = all => {
                let mut door = self.door();
                match (all, resumed.is_cancelled()) {
                    (Ok(all), false) => {
                        *door = Door::Closed { _all: all };
                        drop(door);
                        drop(attempt);
                        Ok(())
                    }
                    (_, _) => {
                        drop(door);
                        Err(NotPaused::Resumed)
                    }
                }
            }
        }
    }

    /// Lets those in who wait. False when the gate was open.
    pub(super) fn open(&self) -> bool {
        let mut door = self.door();
        self.closed.store(false, Ordering::Relaxed);
        match std::mem::take(&mut *door) {
            Door::Open => false,
            Door::Closing(resumed) => {
                resumed.cancel();
                true
            }
            Door::Closed { .. } => true,
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line.
struct Place<'a> {
    gate: &'a Gate,
    metrics: &'a OfShard,
    number: u64,
    since: Instant,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.gate.line().since.remove(&self.number);
        self.metrics.waiting.dec();
    }
}

/// An operator who waits for the backends; gone, the gate is open again unless it was closed.
struct Attempt<'a> {
    gate: &'a Gate,
    resumed: CancellationToken,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut door = self.gate.door();
        // Resumed: what the door says now is another operator's.
        if !self.resumed.is_cancelled() && matches!(*door, Door::Closing(_)) {
            *door = Door::Open;
            self.gate.closed.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
