//! How long requests of one form keep a backend, as a rule: only short ones stand in a lane.
//!
//! What is measured is how long a backend takes that does nothing else, or has answered all that
//! came before. On a busy machine most of that is waiting for a core, so that the estimate goes
//! down fast and up slowly: it stays near the shortest times. What takes long now and then is kept
//! out for a while each time.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Longest estimate with which a request stands in a lane, in microseconds.
const SHORT_MICROS: u32 = 500;

/// How long the last in a line waits, at most, by the estimate, in microseconds.
const LINE_MICROS: u32 = 1_000;

/// The longest line.
const MOST_IN_LINE: usize = 8;

/// The same where a backend of their own would have to be waited for.
const MOST_IN_A_CROWD: usize = 32;

/// A request that took so long keeps its form out of the lanes for a while.
const SLOW: Duration = Duration::from_millis(10);

/// For how long.
const PENALTY: Duration = Duration::from_millis(100);

/// Nothing is known.
const UNKNOWN: u32 = u32::MAX;

/// What times are counted from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The pace of one form. What threads do to it at once may be lost, which does no harm.
#[derive(Debug)]
pub struct Pace {
    /// In microseconds.
    estimate: AtomicU32,
    /// Until when requests are kept out, in milliseconds since the start; 0 where they are not.
    kept_out: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            estimate: AtomicU32::new(UNKNOWN),
            kept_out: AtomicU64::new(0),
        }
    }
}

impl Pace {
    /// A backend took so long for a request.
    pub fn took(&self, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(UNKNOWN - 1);
        let known = self.estimate.load(Ordering::Relaxed);
        let next = match known {
            UNKNOWN => micros,
            known if micros < known => known - (known - micros).div_ceil(2),
            known => known + (micros - known).min(known / 8 + 1),
        };
        if next != known {
            self.estimate.store(next, Ordering::Relaxed);
        }
        if took >= SLOW {
            let until = START.elapsed() + PENALTY;
            self.kept_out.store(millis(until), Ordering::Relaxed);
        }
    }

    /// Whether a request may stand in a lane.
    #[must_use]
    pub fn is_short(&self) -> bool {
        let is_short = self.estimate.load(Ordering::Relaxed) <= SHORT_MICROS;
        is_short && !self.is_kept_out()
    }

    /// Costs no look at a clock unless it was slow once.
    fn is_kept_out(&self) -> bool {
        let until = self.kept_out.load(Ordering::Relaxed);
        if until == 0 {
            return false;
        }
        let is_over = millis(START.elapsed()) >= until;
        if is_over {
            self.kept_out.store(0, Ordering::Relaxed);
        }
        !is_over
    }

    /// How many may be in a line that a request joins behind them; none when it is too long for
    /// any.
    pub(super) fn most_in_line(&self, is_crowded: bool) -> Option<usize> {
        let estimate = self.estimate.load(Ordering::Relaxed).max(1);
        let longest = match is_crowded {
            true => MOST_IN_A_CROWD,
            false => MOST_IN_LINE,
        };
        let most = usize::try_from(LINE_MICROS / estimate).unwrap_or(longest);
        self.is_short().then_some(most.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(micros: impl IntoIterator<Item = u64>) -> Pace {
        let pace = Pace::default();
        for micros in micros {
            pace.took(Duration::from_micros(micros));
        }
        pace
    }

    #[test]
    fn what_is_not_known_or_long_stands_in_no_lane() {
        assert!(!pace([]).is_short());
        assert!(!pace([501; 10]).is_short());
        assert_eq!(pace([501]).most_in_line(true), None);
        for is_crowded in [false, true] {
            assert_eq!(pace([500]).most_in_line(is_crowded), Some(2));
            assert_eq!(pace([200]).most_in_line(is_crowded), Some(5));
        }
        assert_eq!(pace([0]).most_in_line(false), Some(MOST_IN_LINE));
        assert_eq!(pace([0]).most_in_line(true), Some(MOST_IN_A_CROWD));
    }

    #[test]
    fn on_a_busy_machine_the_short_times_count() {
        let busy = std::iter::repeat_n([900, 1_500, 100, 1_200], 50).flatten();
        assert!(pace(busy).is_short());
        assert!(!pace(std::iter::repeat_n([3_000; 40], 2).flatten()).is_short());
    }

    #[test]
    fn what_has_become_long_is_found_out() {
        let grown = std::iter::repeat_n(50, 100).chain(std::iter::repeat_n(2_000, 40));
        assert!(!pace(grown).is_short());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_keeps_its_form_out_for_a_while() {
        let slow = pace(std::iter::repeat_n(50, 10).chain([10_000]));
        for _ in 0..100 {
            slow.took(Duration::from_micros(50));
        }
        assert!(slow.estimate.load(Ordering::Relaxed) <= SHORT_MICROS);
        assert!(!slow.is_short());
        tokio::time::advance(PENALTY + Duration::from_millis(1)).await;
        assert!(slow.is_short());
        assert!(!pace([u64::MAX]).is_short());
    }
}
