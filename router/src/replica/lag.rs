//! Pure: how far a replica is behind, from what it says of itself.

use std::time::Duration;

use tokio::time::Instant;

/// What a replica is asked. In the first column whether it follows a primary; in the second its
/// lag in microseconds, NULL when it does not know.
///
/// It is 0 when everything that was received is replayed and more could be received: without that,
/// a replica that has lost its primary would look as if it had caught up. Else it is the age of the
/// last transaction that was replayed, by the replica's clock and the primary's.
pub(super) const QUESTION: &str = "\
SELECT pg_catalog.pg_is_in_recovery(), CASE \
WHEN pg_catalog.pg_last_wal_replay_lsn() >= pg_catalog.pg_last_wal_receive_lsn() \
AND EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver) THEN 0 \
ELSE (extract(epoch FROM pg_catalog.clock_timestamp() \
- pg_catalog.pg_last_xact_replay_timestamp()) * 1000000)::pg_catalog.int8 END";

/// A replica's lag at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    /// Its lag.
    pub(super) lag: Duration,
    /// When it was asked.
    pub(super) at: Instant,
}

impl Measured {
    /// The lag that it has at most now: it may have replayed nothing since it was asked.
    pub(super) fn at_most(&self, now: Instant) -> Duration {
        self.lag + now.saturating_duration_since(self.at)
    }
}

/// The lag in an answer to [`QUESTION`]; none when the server is not to be read from.
pub(super) fn of_answer(in_recovery: Option<&str>, micros: Option<&str>) -> Option<Duration> {
    if in_recovery != Some("t") {
        return None;
    }
    let micros: i64 = micros?.parse().ok()?;
    // Clocks differ: a transaction of the future has no age.
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_follows_nobody_or_knows_no_lag_is_not_read_from() {
        assert_eq!(of_answer(Some("f"), Some("0")), None);
        assert_eq!(of_answer(Some("t"), None), None);
        assert_eq!(of_answer(None, Some("0")), None);
        let lag = of_answer(Some("t"), Some("1500000"));
        assert_eq!(lag, Some(Duration::from_millis(1500)));
        assert_eq!(of_answer(Some("t"), Some("-5")), Some(Duration::ZERO));
    }

    #[test]
    fn a_lag_grows_until_it_is_measured_again() {
        let at = Instant::now();
        let lag = Duration::from_secs(2);
        let later = at + Duration::from_secs(3);
        assert_eq!(Measured { lag, at }.at_most(later), Duration::from_secs(5));
        assert_eq!(Measured { lag, at: later }.at_most(at), lag);
    }
}
