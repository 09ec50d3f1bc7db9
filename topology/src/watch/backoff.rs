//! How long the follower waits before it comes back to the store.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Waits that double from `initial` up to `max`, each shortened by up to a half at random, so that
/// many routers do not come back in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub initial: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Default for Backoff {
    /// Short enough that a restarted etcd is followed again within moments, long enough that one
    /// that is down for hours is not a burden.
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(50),
            max: Duration::from_secs(5),
        }
    }
}

impl Backoff {
    /// The wait after `attempts` that came to nothing.
    pub(super) fn delay(&self, attempts: u32) -> Duration {
        let full = self
            .initial
            .saturating_mul(2_u32.saturating_pow(attempts))
            .min(self.max);
        // A fresh `RandomState` has fresh keys: randomness enough to spread waits.
        let percent = u32::try_from(RandomState::new().hash_one(attempts) % 51).unwrap_or(0);
        full - full * percent / 100
    }
}
