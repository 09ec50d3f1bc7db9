//! Statements whose keys are being moved wait here until the topology says where the keys are.
//!
//! A hold is for the clients' comfort: it saves them an error while a cutover runs. That no write
//! is lost is seen to on the shard, so that going on early, or late, is safe. Who waits, in which
//! order and within which limits, is decided by [`queue`]; this file brings the clock, the metrics
//! and the tasks that wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use platform::Shutdown;
use tokio::sync::oneshot;
use tokio::time::Instant;
use topology::records::Hold;
use topology::{Epoch, Snapshot, Token};

mod metrics;
mod queue;

pub use queue::{Limits, Reason};

use metrics::Metrics;
use queue::{Arrival, Effect, Event, Queue, Standing, Ticket};

/// A statement may not be sent now: one of its keys is under this hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    hold: Box<Hold>,
    epoch: Epoch,
}

/// Why a statement is not run although nothing is wrong with it. It was sent to no shard.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Whoever can wait has [`Holding::wait`] say when the statement is to be routed anew.
    #[error("the statement's keys are being moved (hold {:?})", .0.hold.id)]
    Held(Held),
    /// It has waited for as long as it may.
    #[error("the statement's keys are being moved (hold {hold:?}), and were for {waited:?}")]
    TooLong {
        /// The hold's id.
        hold: String,
        /// How long it has waited.
        waited: Duration,
    },
    /// Too many wait already.
    #[error("the statement's keys are being moved (hold {hold:?}), and {limit} statements wait")]
    TooMany {
        /// The hold's id.
        hold: String,
        /// How many may.
        limit: usize,
    },
    /// What waits is too large already, or the statement is by itself.
    #[error(
        "the statement's keys are being moved (hold {hold:?}), and it would wait with more than \
         {limit} bytes"
    )]
    TooLarge {
        /// The hold's id.
        hold: String,
        /// How many bytes may wait.
        limit: usize,
    },
    /// The router is going to end.
    #[error("the router is shutting down")]
    ShuttingDown,
}

impl Error {
    /// The SQLSTATE. Applications that retry transactions do so at 40001.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Held(_) | Self::TooLong { .. } => "40001",
            Self::TooMany { .. } | Self::TooLarge { .. } => "53400",
            Self::ShuttingDown => "57P01",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Held(_) | Self::TooLong { .. } => {
                Some("it was sent to no shard: run the transaction again")
            }
            Self::TooMany { .. } => Some("run it again later, or raise sharding.hold.max_waiting"),
            Self::TooLarge { .. } => Some("run it again later, or raise sharding.hold.max_bytes"),
            Self::ShuttingDown => None,
        }
    }
}

/// Everybody who waits for the end of a hold. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Holding(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
    metrics: Metrics,
    shutdown: Shutdown,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// How each of the queue's tickets hears of its end.
    told: HashMap<Ticket, oneshot::Sender<Result<(), Reason>>>,
}

impl Holding {
    /// An empty queue; `shutdown` sends everybody away.
    ///
    /// # Errors
    /// When a metric's name is taken.
    pub fn register(
        limits: Limits,
        registry: &prometheus::Registry,
        shutdown: Shutdown,
    ) -> Result<Self, prometheus::Error> {
        let state = State {
            queue: Queue::new(limits),
            told: HashMap::new(),
        };
        Ok(Self(Arc::new(Shared {
            limits,
            state: Mutex::new(state),
            metrics: Metrics::register(registry)?,
            shutdown,
        })))
    }

    /// Whether a statement with a key of this token may be sent now, under this snapshot.
    ///
    /// # Errors
    /// [`Held`] when it may not.
    pub fn check(&self, snapshot: &Snapshot, token: Option<Token>) -> Result<(), Held> {
        let hold = token.and_then(|token| snapshot.hold_of(token));
        let Some(hold) = hold else { return Ok(()) };
        let epoch = snapshot.epoch();
        let standing = self.locked(|state| state.queue.standing(hold, epoch, Instant::now()));
        match standing {
            // Its time is up: the keys' present owner goes on serving them, and refuses what it
            // must not do.
            Standing::Expired => Ok(()),
            // When it is over, waiting ends at once and the statement is routed by what is newer.
            Standing::InForce(_) | Standing::Over => Err(Held {
                hold: Box::new(hold.clone()),
                epoch,
            }),
        }
    }

    /// Waits until the statement is to be routed anew. `bytes` is what it takes in memory and
    /// `since` when it began to wait, if it has waited before. Dropped, it gives its place up.
    ///
    /// # Errors
    /// [`Error`]; the statement is not to be run.
    pub async fn wait(&self, held: &Held, bytes: usize, since: Instant) -> Result<(), Error> {
        let waited = self.wait_in_turn(held, bytes, since).await;
        waited.map_err(|reason| {
            self.0.metrics.rejected(reason);
            self.error(reason, held, since)
        })
    }

    async fn wait_in_turn(&self, held: &Held, bytes: usize, since: Instant) -> Result<(), Reason> {
        if self.0.shutdown.is_requested() {
            return Err(Reason::Shutdown);
        }
        let Some((_place, mut told, mut until)) = self.arrive(held, bytes, since)? else {
            return Ok(());
        };
        let shared = &self.0;
        let mut closed = false;
        let _waiting = shared.metrics.waiting();
        loop {
            let event = tokio::select! {
                // Who was told does not ask again.
                biased;
                end = &mut told => {
                    // The sender is dropped only with the queue, which this future keeps.
                    return end.unwrap_or(Err(Reason::Shutdown));
                }
                () = shared.shutdown.requested(), if !closed => {
                    closed = true;
                    Event::Closed
                }
                () = tokio::time::sleep_until(until) => {
                    // Should the clock be a little early, it is asked again.
                    until = Instant::now() + RECHECK;
                    Event::TimePassed
                }
            };
            self.locked(|state| state.step(event));
        }
    }

    /// A place in the queue; none when there is nothing to wait for.
    fn arrive(&self, held: &Held, bytes: usize, since: Instant) -> Result<Option<Arrived>, Reason> {
        let arrival = Arrival {
            hold: &held.hold,
            epoch: held.epoch,
            bytes,
            since,
        };
        self.locked(|state| {
            let effects = state.step(Event::Arrived(arrival));
            for effect in effects {
                match effect {
                    Effect::Waits { ticket, until } => {
                        let (tell, told) = oneshot::channel();
                        state.told.insert(ticket, tell);
                        let place = Place {
                            holding: self.clone(),
                            ticket,
                        };
                        return Ok(Some((place, told, until)));
                    }
                    Effect::Refused(reason) => return Err(reason),
                    Effect::GoesOn | Effect::Ends { .. } => {}
                }
            }
            Ok(None)
        })
    }

    /// A newer topology is in force and can be routed by: whoever waits for a hold that is not in
    /// it goes on, in the order of arrival.
    pub fn publish(&self, snapshot: &Snapshot) {
        let (epoch, holds) = (snapshot.epoch(), snapshot.holds());
        self.locked(|state| state.step(Event::Published { epoch, holds }));
    }

    fn error(&self, reason: Reason, held: &Held, since: Instant) -> Error {
        let hold = held.hold.id.clone();
        match reason {
            Reason::Time => Error::TooLong {
                hold,
                waited: since.elapsed(),
            },
            Reason::Count => Error::TooMany {
                hold,
                limit: self.0.limits.max_waiting,
            },
            Reason::Bytes => Error::TooLarge {
                hold,
                limit: self.0.limits.max_bytes,
            },
            Reason::Shutdown => Error::ShuttingDown,
        }
    }

    fn locked<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        run(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Between two looks at the clock when the first was too early.
const RECHECK: Duration = Duration::from_millis(1);

type Arrived = (Place, oneshot::Receiver<Result<(), Reason>>, Instant);

/// A place in the queue, given up when it is dropped.
struct Place {
    holding: Holding,
    ticket: Ticket,
}

impl Drop for Place {
    fn drop(&mut self) {
        let ticket = self.ticket;
        self.holding.locked(|state| {
            state.told.remove(&ticket);
            state.step(Event::Left(ticket));
        });
    }
}

impl State {
    /// Has the queue decide and tells those whose waiting has ended, first come first.
    fn step(&mut self, event: Event<'_>) -> Vec<Effect> {
        let effects = self.queue.step(event, Instant::now());
        for effect in &effects {
            match effect {
                Effect::Ends { ticket, how } => {
                    if let Some(tell) = self.told.remove(ticket) {
                        // Whoever does not listen any more has left.
                        let _heard = tell.send(*how);
                    }
                }
                Effect::Waits { .. } | Effect::GoesOn | Effect::Refused(_) => {}
            }
        }
        effects
    }
}

#[cfg(test)]
mod tests;
