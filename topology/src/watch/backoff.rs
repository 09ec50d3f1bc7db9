//! How long the follower waits before it comes back to the store.

use std::time::Duration;

/// Waits drawn at random from zero up to a bound that begins at `initial` and doubles up to `max`,
/// so that many routers do not come back in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The bound of the first wait.
    pub initial: Duration,
    /// The bound of the longest wait.
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
    /// The waits of one series of attempts.
    pub(super) fn delays(self) -> platform::backoff::Backoff {
        platform::backoff::Backoff::new(self.initial, self.max)
    }
}
