//! Pure: who waits for the end of a hold, in which order, within which limits.
//!
//! One total transition function: [`Queue::step`] takes any event at any time. A statement that
//! waits holds a ticket; tickets are given in the order of arrival and end in that order.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use topology::Epoch;
use topology::records::Hold;

/// What the queue may grow to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all statements that wait.
    pub max_bytes: usize,
    /// Statements that wait.
    pub max_waiting: usize,
    /// How long a statement waits, from its first hold on.
    pub max_wait: Duration,
}

/// Why a statement does not wait, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Too many bytes wait.
    Bytes,
    /// Too many statements wait.
    Count,
    /// It has waited for as long as it may.
    Time,
    /// The router is going to end.
    Shutdown,
}

impl Reason {
    /// Every reason.
    pub(super) const ALL: [Self; 4] = [Self::Bytes, Self::Count, Self::Time, Self::Shutdown];

    /// As metrics call it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Count => "count",
            Self::Time => "time",
            Self::Shutdown => "shutdown",
        }
    }
}

/// A statement's place. Lower ones came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(u64);

/// A statement that would wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    /// The hold that it met, as its snapshot has it.
    pub(super) hold: &'a Hold,
    /// That snapshot's epoch.
    pub(super) epoch: Epoch,
    /// What it takes in memory.
    pub(super) bytes: usize,
    /// When it met its first hold.
    pub(super) since: Instant,
}

/// What can happen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event<'a> {
    /// A statement met a hold.
    Arrived(Arrival<'a>),
    /// Nobody waits for this statement's answer any more.
    Left(Ticket),
    /// A topology was published.
    Published { epoch: Epoch, holds: &'a [Hold] },
    /// Somebody's time may be up.
    TimePassed,
    /// The router is going to end.
    Closed,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The newcomer waits; time is to be told again at `until`.
    Waits { ticket: Ticket, until: Instant },
    /// The newcomer is to be routed anew at once.
    GoesOn,
    /// The newcomer may not wait.
    Refused(Reason),
    /// A statement's waiting ends: it is routed anew, or refused.
    Ends {
        ticket: Ticket,
        how: Result<(), Reason>,
    },
}

/// How a hold that a snapshot shows stands by what the queue knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Until then, at the latest.
    InForce(Instant),
    /// Its own deadline has passed: the present owner goes on.
    Expired,
    /// A newer topology does not have it.
    Over,
}

/// Everybody who waits.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    /// Of the newest topology that was published.
    epoch: Epoch,
    holds: Vec<Known>,
    waiting: BTreeMap<Ticket, Waiting>,
    /// The sum over `waiting`.
    bytes: usize,
    next: u64,
    closed: bool,
}

/// A hold, and when it ends by its own deadline: counted from when this router first saw it, so
/// that a hold that nobody takes away delays the first statements and not all of them.
#[derive(Debug)]
struct Known {
    hold: Hold,
    until: Instant,
}

#[derive(Debug)]
struct Waiting {
    hold: String,
    bytes: usize,
    gives_up: Instant,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            epoch: Epoch::default(),
            holds: Vec::new(),
            waiting: BTreeMap::new(),
            bytes: 0,
            next: 0,
            closed: false,
        }
    }

    /// How a hold stands that the snapshot of `epoch` shows.
    pub(super) fn standing(&self, hold: &Hold, epoch: Epoch, now: Instant) -> Standing {
        match self.holds.iter().find(|known| known.hold == *hold) {
            Some(known) if now < known.until => Standing::InForce(known.until),
            Some(_) => Standing::Expired,
            // The snapshot is newer than what was published here so far.
            None if epoch > self.epoch => Standing::InForce(deadline(hold, now)),
            None => Standing::Over,
        }
    }

    /// What comes of an event.
    pub(super) fn step(&mut self, event: Event<'_>, now: Instant) -> Vec<Effect> {
        match event {
            Event::Arrived(arrival) => vec![self.arrive(arrival, now)],
            Event::Left(ticket) => {
                self.remove(ticket);
                Vec::new()
            }
            Event::Published { epoch, holds } => self.publish(epoch, holds, now),
            Event::TimePassed => {
                self.end_those(|queue, waiting| match queue.known(&waiting.hold) {
                    // Both at once is the better of the two for the client.
                    Some(known) if known.until <= now => Some(Ok(())),
                    Some(_) | None if waiting.gives_up <= now => Some(Err(Reason::Time)),
                    Some(_) | None => None,
                })
            }
            Event::Closed => {
                self.closed = true;
                self.end_those(|_, _| Some(Err(Reason::Shutdown)))
            }
        }
    }

    fn arrive(&mut self, arrival: Arrival<'_>, now: Instant) -> Effect {
        if self.closed {
            return Effect::Refused(Reason::Shutdown);
        }
        let Standing::InForce(until) = self.standing(arrival.hold, arrival.epoch, now) else {
            return Effect::GoesOn;
        };
        let gives_up = arrival.since + self.limits.max_wait;
        let bytes = self.bytes.saturating_add(arrival.bytes);
        if gives_up <= now {
            return Effect::Refused(Reason::Time);
        }
        if self.waiting.len() >= self.limits.max_waiting {
            return Effect::Refused(Reason::Count);
        }
        if bytes > self.limits.max_bytes {
            return Effect::Refused(Reason::Bytes);
        }
        self.know(arrival.hold, until);
        let ticket = Ticket(self.next);
        self.next += 1;
        self.bytes = bytes;
        let waiting = Waiting {
            hold: arrival.hold.id.clone(),
            bytes: arrival.bytes,
            gives_up,
        };
        self.waiting.insert(ticket, waiting);
        Effect::Waits {
            ticket,
            until: until.min(gives_up),
        }
    }

    /// Remembers a hold that a statement brought before the topology did.
    fn know(&mut self, hold: &Hold, until: Instant) {
        if !self.holds.iter().any(|known| known.hold == *hold) {
            self.holds.retain(|known| known.hold.id != hold.id);
            self.holds.push(Known {
                hold: hold.clone(),
                until,
            });
        }
    }

    fn publish(&mut self, epoch: Epoch, holds: &[Hold], now: Instant) -> Vec<Effect> {
        if epoch < self.epoch {
            return Vec::new();
        }
        self.epoch = epoch;
        let before = std::mem::take(&mut self.holds);
        for hold in holds {
            let known = before.iter().find(|known| known.hold == *hold);
            self.holds.push(Known {
                hold: hold.clone(),
                until: known.map_or_else(|| deadline(hold, now), |known| known.until),
            });
        }
        // One that has changed is another one: it may be of other keys.
        let unchanged = |id: &str| {
            before
                .iter()
                .any(|known| known.hold.id == id && holds.contains(&known.hold))
        };
        self.end_those(|_, waiting| (!unchanged(&waiting.hold)).then_some(Ok(())))
    }

    fn known(&self, id: &str) -> Option<&Known> {
        self.holds.iter().find(|known| known.hold.id == id)
    }

    /// Ends the waiting of those that `end` names, in the order of arrival.
    fn end_those(
        &mut self,
        end: impl Fn(&Self, &Waiting) -> Option<Result<(), Reason>>,
    ) -> Vec<Effect> {
        let all = self.waiting.iter();
        let ended = all.filter_map(|(ticket, waiting)| Some((*ticket, end(self, waiting)?)));
        let ended: Vec<_> = ended.collect();
        for (ticket, _) in &ended {
            self.remove(*ticket);
        }
        let effects = ended.into_iter();
        effects
            .map(|(ticket, how)| Effect::Ends { ticket, how })
            .collect()
    }

    fn remove(&mut self, ticket: Ticket) {
        if let Some(waiting) = self.waiting.remove(&ticket) {
            self.bytes -= waiting.bytes;
        }
    }
}

fn deadline(hold: &Hold, now: Instant) -> Instant {
    now + Duration::from_millis(hold.deadline_ms.into())
}

#[cfg(test)]
mod tests;
