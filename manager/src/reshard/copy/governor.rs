//! Slows a copy down for the sake of others: while a replica is too far behind, or a shard is
//! slower to answer than its clients should have to bear.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Throttle;
use crate::reshard::lsn::Lsn;
use crate::reshard::session::Session;

/// How often shards are asked.
const INTERVAL: Duration = Duration::from_millis(250);
/// What is not answered by then is slow, whatever the limit.
const PATIENCE: Duration = Duration::from_secs(2);
/// For slowness alone a copy rests at most this many times in a row: it is to end some day on a
/// shard that is slow for other reasons. A replica has to be waited for.
const MAX_RESTS: u32 = 4;

/// What others have to bear at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How far a streaming replica of a shard may be behind.
    pub replica_lag: Duration,
    /// How long a shard may take to answer a question that costs nothing.
    pub latency: Duration,
}

/// What the shards said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Load {
    replica_lag: Duration,
    latency: Duration,
}

/// Whether the copy is to rest, after so many rests in a row.
fn is_to_rest(load: Load, limits: Limits, rests: u32) -> bool {
    load.replica_lag > limits.replica_lag || (load.latency > limits.latency && rests < MAX_RESTS)
}

/// Pauses and resumes a copy by what its shards say, for as long as it is polled.
pub async fn govern(throttle: Arc<Throttle>, shards: Vec<Session>, limits: Limits) -> Infallible {
    let _resuming = Resuming(&throttle);
    let mut shards: Vec<_> = shards.into_iter().map(|s| (s, Lag::default())).collect();
    let mut rests = 0;
    loop {
        let asked = shards.iter_mut().map(|(shard, lag)| ask(shard, lag));
        let loads = futures_util::future::join_all(asked).await;
        let worst = loads.into_iter().fold(Load::default(), |a, b| Load {
            replica_lag: a.replica_lag.max(b.replica_lag),
            latency: a.latency.max(b.latency),
        });
        if is_to_rest(worst, limits, rests) {
            if rests == 0 {
                tracing::info!(?worst, "a copy rests");
            }
            rests += 1;
            throttle.pause();
        } else {
            rests = 0;
            throttle.resume();
        }
        sleep(INTERVAL).await;
    }
}

/// A copy is not left resting by a governor that is no longer there.
struct Resuming<'a>(&'a Throttle);

impl Drop for Resuming<'_> {
    fn drop(&mut self) {
        self.0.resume();
    }
}

/// How long ago the log of a shard was where its replicas are.
///
/// What the server itself says (`replay_lag`) is of the last place that a replica has reached: it
/// stands still when the replica does.
#[derive(Debug, Default)]
struct Lag {
    /// Ends of the log that not every replica has reached, with when they were seen.
    unreached: VecDeque<(Instant, Lsn)>,
}

impl Lag {
    /// More would be a replica that stands still for longer than any limit.
    const MOST: usize = 4096;

    fn seen(&mut self, now: Instant, end: Lsn, reached: Lsn) -> Duration {
        while self
            .unreached
            .front()
            .is_some_and(|(_, lsn)| *lsn <= reached)
        {
            self.unreached.pop_front();
        }
        let is_further = self.unreached.back().is_none_or(|(_, lsn)| *lsn < end);
        if end > reached && is_further && self.unreached.len() < Self::MOST {
            self.unreached.push_back((now, end));
        }
        let oldest = self.unreached.front();
        oldest.map_or(Duration::ZERO, |(at, _)| now.duration_since(*at))
    }
}

/// Asks a shard how far its replicas are; the question itself tells the latency. One that does not
/// answer has other trouble, which the copy itself meets.
async fn ask(shard: &Session, lag: &mut Lag) -> Load {
    // The streams of jobs are listed there, too, and are no replicas.
    let question = "SELECT pg_catalog.pg_current_wal_lsn()::text, min(replay_lsn)::text \
                    FROM pg_catalog.pg_stat_replication r \
                    WHERE state = 'streaming' AND NOT EXISTS (SELECT 1 \
                      FROM pg_catalog.pg_replication_slots s \
                      WHERE s.active_pid = r.pid AND s.slot_type = 'logical')";
    let begun = Instant::now();
    let answer = timeout(PATIENCE, shard.query_one(question, &[])).await;
    let latency = begun.elapsed();
    let read = |text: Option<&str>| text.and_then(|text| text.parse::<Lsn>().ok());
    let replica_lag = match answer {
        Ok(Ok(row)) => {
            let (end, reached) = (read(row.get(0)), read(row.get(1)));
            let places = end.zip(reached);
            places.map_or(Duration::ZERO, |(end, reached)| {
                lag.seen(begun, end, reached)
            })
        }
        Ok(Err(_)) | Err(_) => Duration::ZERO,
    };
    Load {
        replica_lag,
        latency,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        replica_lag: Duration::from_secs(5),
        latency: Duration::from_millis(100),
    };

    fn load(replica_lag_s: u64, latency_ms: u64) -> Load {
        Load {
            replica_lag: Duration::from_secs(replica_lag_s),
            latency: Duration::from_millis(latency_ms),
        }
    }

    #[test]
    fn a_replica_is_as_late_as_the_oldest_log_that_it_lacks() {
        let (mut lag, begin) = (Lag::default(), Instant::now());
        let at = |secs| begin + Duration::from_secs(secs);
        assert_eq!(lag.seen(at(0), Lsn(100), Lsn(100)), Duration::ZERO);
        assert_eq!(lag.seen(at(1), Lsn(200), Lsn(100)), Duration::ZERO);
        // It stands still, whether or not more is written.
        assert_eq!(lag.seen(at(3), Lsn(200), Lsn(100)), Duration::from_secs(2));
        assert_eq!(lag.seen(at(4), Lsn(300), Lsn(100)), Duration::from_secs(3));
        // It catches up in part, and then all the way.
        assert_eq!(lag.seen(at(5), Lsn(300), Lsn(250)), Duration::from_secs(1));
        assert_eq!(lag.seen(at(6), Lsn(300), Lsn(300)), Duration::ZERO);
    }

    #[test]
    fn nobody_rests_within_the_limits() {
        assert!(!is_to_rest(load(5, 100), LIMITS, 0));
    }

    #[test]
    fn a_replica_is_waited_for_however_long_it_takes() {
        assert!(is_to_rest(load(6, 1), LIMITS, 1_000));
    }

    #[test]
    fn slowness_alone_does_not_stop_a_copy_for_ever() {
        assert!(is_to_rest(load(0, 101), LIMITS, MAX_RESTS - 1));
        assert!(!is_to_rest(load(0, 101), LIMITS, MAX_RESTS));
    }
}
