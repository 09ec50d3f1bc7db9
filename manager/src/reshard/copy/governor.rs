//! Slows a copy down for the sake of others: while a replica is too far behind, or a shard is
//! slower to answer than its clients should have to bear.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Throttle;
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
    let mut rests = 0;
    loop {
        let asked = shards.iter().map(ask);
        let loads = futures_util::future::join_all(asked).await;
        let worst = loads.into_iter().fold(Load::default(), |a, b| Load {
            replica_lag: a.replica_lag.max(b.replica_lag),
            latency: a.latency.max(b.latency),
        });
        if is_to_rest(worst, limits, rests) {
            rests += 1;
            tracing::debug!(?worst, "a copy rests");
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

/// Asks a shard how far its replicas are behind; the question itself tells the latency. One that
/// does not answer has other trouble, which the copy itself meets.
async fn ask(shard: &Session) -> Load {
    // The streams of jobs are listed there, too, and are no replicas.
    let question = "SELECT coalesce(max(extract(epoch FROM replay_lag)), 0)::float8 \
                    FROM pg_catalog.pg_stat_replication r \
                    WHERE state = 'streaming' AND NOT EXISTS (SELECT 1 \
                      FROM pg_catalog.pg_replication_slots s \
                      WHERE s.active_pid = r.pid AND s.slot_type = 'logical')";
    let begun = Instant::now();
    let answer = timeout(PATIENCE, shard.query_one(question, &[])).await;
    let latency = begun.elapsed();
    let replica_lag = match answer {
        Ok(Ok(row)) => Duration::try_from_secs_f64(row.get::<_, f64>(0)).unwrap_or_default(),
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
