//! Whether requests are running on a connection, and until when it may stay without one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Limits;

/// How long a connection without a running request lives once it is asked to end: enough for an
/// HTTP/2 client to answer a GOAWAY.
const HANG_UP_GRACE: Duration = Duration::from_secs(1);

pub(super) struct Activity {
    opened_at: Instant,
    running: AtomicUsize,
    /// When the last request ended, in milliseconds after `opened_at`, rounded up; 0 before.
    ended_after_ms: AtomicU64,
    /// Set while the client takes no byte of what is written, which has a time-out of its own.
    is_write_blocked: Arc<AtomicBool>,
}

impl Activity {
    pub(super) fn new(is_write_blocked: Arc<AtomicBool>) -> Self {
        Self {
            opened_at: Instant::now(),
            running: AtomicUsize::new(0),
            ended_after_ms: AtomicU64::new(0),
            is_write_blocked,
        }
    }

    /// Until when the connection may stay as it is. While a request runs, or the end of an answer
    /// is still on its way to a slow client, that is never reached.
    pub(super) fn quiet_until(&self, limits: &Limits, asked_to_end_at: Option<Instant>) -> Instant {
        let patience = if asked_to_end_at.is_some() {
            HANG_UP_GRACE
        } else {
            limits.idle_timeout
        };
        let is_busy = self.running.load(Ordering::Acquire) > 0;
        if is_busy || self.is_write_blocked.load(Ordering::Relaxed) {
            return Instant::now() + patience;
        }
        let ended_after = Duration::from_millis(self.ended_after_ms.load(Ordering::Acquire));
        let quiet_since = self.opened_at + ended_after;
        match asked_to_end_at {
            Some(asked_at) => quiet_since.max(asked_at) + patience,
            None if ended_after.is_zero() => self.opened_at + limits.header_read_timeout,
            None => quiet_since + patience,
        }
    }
}

/// One running request; it ends when its answer is written or given up.
pub(super) struct Running(Arc<Activity>);

impl Running {
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(activity))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let open_for = self.0.opened_at.elapsed().as_millis();
        let ended_after = u64::try_from(open_for)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        self.0.ended_after_ms.store(ended_after, Ordering::Release);
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}
