//! How long to wait before the next attempt: exponential growth with full jitter, so that many
//! clients of a server that comes back do not all come at once.
//!
//! It only computes; the caller sleeps and decides when to give up.

use std::time::Duration;

/// The delays of one series of attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    attempt: u32,
    jitter: bool,
}

impl Backoff {
    /// Delays drawn from zero up to a bound that begins at `base` and doubles up to `max`.
    #[must_use]
    pub fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max,
            attempt: 0,
            jitter: true,
        }
    }

    /// As [`Self::new`], but each delay is its bound: for tests, and where nobody else retries.
    #[must_use]
    pub fn without_jitter(base: Duration, max: Duration) -> Self {
        Self {
            jitter: false,
            ..Self::new(base, max)
        }
    }

    /// The delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let bound = self.bound();
        self.attempt = self.attempt.saturating_add(1);
        if self.jitter {
            bound.mul_f64(rand::random::<f64>())
        } else {
            bound
        }
    }

    /// How many delays were asked for since the last success.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    fn bound(&self) -> Duration {
        let factor = 2_u32.checked_pow(self.attempt).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn bounds_double_up_to_the_maximum_and_begin_anew_after_reset() {
        let mut backoff = Backoff::without_jitter(BASE, MAX);
        let delays: Vec<_> = (0..8).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(backoff.attempt(), 8);
        backoff.reset();
        assert_eq!(backoff.next_delay(), BASE);
    }

    #[test]
    fn jittered_delays_stay_within_their_bound_and_differ() {
        let mut backoff = Backoff::new(BASE, MAX);
        let delays: Vec<_> = (0..200).map(|_| backoff.next_delay()).collect();
        assert!(delays.iter().all(|delay| *delay <= MAX));
        assert!(delays[0] <= BASE);
        assert!(delays[10..].windows(2).any(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn many_attempts_and_huge_bases_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        backoff.attempt = u32::MAX;
        assert!(backoff.next_delay() <= Duration::MAX);
        assert_eq!(backoff.attempt(), u32::MAX);
    }
}
