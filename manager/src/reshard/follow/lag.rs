//! How far behind a mirror is in time: each heartbeat that the owner's log carries is timed from
//! its writing until everything before it is on all mirrors.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::reshard::lsn::Lsn;

/// How often the owner's log gets a heartbeat.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);
/// More that are on their way are not kept: the oldest tells enough.
const MAX_BEATS: usize = 10_000;

#[derive(Debug)]
struct Beat {
    number: u64,
    sent: Instant,
    before: Option<Lsn>,
}

/// The heartbeats on their way, and what the last one that came through took.
#[derive(Debug, Default)]
pub(super) struct Lag {
    beats: VecDeque<Beat>,
    last: Option<(Instant, Duration)>,
}

impl Lag {
    /// A heartbeat is being written.
    pub(super) fn sent(&mut self, number: u64, now: Instant) {
        if self.beats.len() < MAX_BEATS {
            self.beats.push_back(Beat {
                number,
                sent: now,
                before: None,
            });
        }
    }

    /// It came in the stream; those before it that did not come never will.
    pub(super) fn arrived(&mut self, number: u64, before: Lsn) {
        while self
            .beats
            .front()
            .is_some_and(|beat| beat.number < number && beat.before.is_none())
        {
            self.beats.pop_front();
        }
        let beat = self.beats.iter_mut().find(|beat| beat.number == number);
        if let Some(beat) = beat {
            beat.before = Some(before);
        }
    }

    /// All mirrors have everything up to here. Whether a heartbeat came through.
    pub(super) fn applied(&mut self, to: Lsn, now: Instant) -> bool {
        let mut came = false;
        while let Some(beat) = self.beats.front() {
            if beat.before.is_none_or(|before| before > to) {
                break;
            }
            self.last = Some((beat.sent, now.duration_since(beat.sent)));
            self.beats.pop_front();
            came = true;
        }
        came
    }

    /// The lag now: what the last heartbeat took, or how long the next one is overdue if that is
    /// more. Nothing while none came through.
    #[must_use]
    pub(super) fn now(&self, now: Instant) -> Option<Duration> {
        let (sent, took) = self.last?;
        let waiting = self.beats.front().map(|beat| now.duration_since(beat.sent));
        // Somebody must have sent another meanwhile.
        let silent = now.duration_since(sent).saturating_sub(INTERVAL * 2);
        Some(took.max(waiting.unwrap_or_default()).max(silent))
    }

    /// The connection broke: what was on its way is not timed.
    pub(super) fn forget(&mut self) {
        self.beats.clear();
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_lag_is_what_a_heartbeat_takes_to_be_on_all_mirrors() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        assert_eq!(lag.now(start), None);
        lag.sent(1, start);
        lag.arrived(1, Lsn(10));
        assert!(!lag.applied(Lsn(9), start + MS));
        assert!(lag.applied(Lsn(10), start + MS * 7));
        assert_eq!(lag.now(start + MS * 8), Some(MS * 7));
        lag.sent(2, start + MS * 100);
        assert_eq!(lag.now(start + MS * 150), Some(MS * 50));
    }

    #[test]
    fn silence_is_lag() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        lag.sent(1, start);
        lag.arrived(1, Lsn(10));
        lag.applied(Lsn(10), start + MS);
        assert_eq!(lag.now(start + MS * 1200), Some(MS * 1000));
        lag.forget();
        assert_eq!(lag.now(start + MS * 1200), None);
    }

    #[test]
    fn a_heartbeat_that_was_lost_does_not_count_for_ever() {
        let (mut lag, start) = (Lag::default(), Instant::now());
        lag.sent(1, start);
        lag.sent(2, start + MS * 100);
        lag.arrived(2, Lsn(20));
        assert!(lag.applied(Lsn(20), start + MS * 104));
        assert_eq!(lag.now(start + MS * 104), Some(MS * 4));
    }
}
