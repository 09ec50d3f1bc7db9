//! How fast a copy may go. Whoever watches replicas' lag or clients' latency turns the rates down,
//! or stops it for a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The rates of all workers of a copy together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Rows read on the source in a second; none for as many as it gives.
    pub rows: Option<u64>,
    /// Their bytes in a second.
    pub bytes: Option<u64>,
}

/// Shared by the workers of a copy and those that pace it.
#[derive(Debug)]
pub struct Throttle {
    pace: watch::Sender<Pace>,
    debts: Mutex<Debts>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    rates: Rates,
    is_paused: bool,
}

/// When what was spent will have been earned.
#[derive(Debug)]
struct Debts {
    rows: Instant,
    bytes: Instant,
}

impl Throttle {
    /// Begins with these rates.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        let is_paused = false;
        let pace = watch::Sender::new(Pace { rates, is_paused });
        let now = Instant::now();
        let debts = Mutex::new(Debts {
            rows: now,
            bytes: now,
        });
        Self { pace, debts }
    }

    /// Changes the rates; those who wait for the old ones start over.
    pub fn set_rates(&self, rates: Rates) {
        self.pace.send_modify(|pace| pace.rates = rates);
    }

    /// The rates.
    #[must_use]
    pub fn rates(&self) -> Rates {
        self.pace.borrow().rates
    }

    /// Lets nobody go on until [`Self::resume`]. Transactions that are open on mirrors stay so.
    pub fn pause(&self) {
        self.pace.send_modify(|pace| pace.is_paused = true);
    }

    /// Ends a pause.
    pub fn resume(&self) {
        self.pace.send_modify(|pace| pace.is_paused = false);
    }

    /// Returns when these rows may have been read. Cancel-safe: the rows stay paid for.
    pub async fn spend(&self, rows: u64, bytes: u64) {
        let mut pace = self.pace.subscribe();
        let mut now = *pace.borrow_and_update();
        let mut until = self.earned_at(now.rates, rows, bytes);
        loop {
            if now.is_paused {
                // The sender is ours, so there is always a change to come.
                if pace.changed().await.is_err() {
                    return;
                }
            } else if until <= Instant::now() {
                return;
            } else {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => return,
                    changed = pace.changed() => if changed.is_err() { return },
                }
            }
            let before = std::mem::replace(&mut now, *pace.borrow_and_update());
            if before.rates != now.rates {
                until = self.forget_debts();
            }
        }
    }

    fn earned_at(&self, rates: Rates, rows: u64, bytes: u64) -> Instant {
        let now = Instant::now();
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        debts.rows = debts.rows.max(now) + time_for(rows, rates.rows);
        debts.bytes = debts.bytes.max(now) + time_for(bytes, rates.bytes);
        debts.rows.max(debts.bytes)
    }

    fn forget_debts(&self) -> Instant {
        let now = Instant::now();
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        (debts.rows, debts.bytes) = (now, now);
        now
    }
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new(Rates::default())
    }
}

fn time_for(amount: u64, rate: Option<u64>) -> Duration {
    rate.map_or(Duration::ZERO, |rate| {
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(LONGEST)
    })
}

/// A rate that was set by mistake must not put the end of a wait out of the clock's range.
const LONGEST: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use platform::TaskGroup;

    use super::*;

    const RATES: Rates = Rates {
        rows: Some(1_000),
        bytes: Some(1_000_000),
    };

    #[tokio::test(start_paused = true)]
    async fn the_slower_of_the_two_rates_is_kept_by_all_together() {
        let throttle = Throttle::new(RATES);
        let start = Instant::now();
        for _ in 0..10 {
            tokio::join!(throttle.spend(50, 10), throttle.spend(50, 10));
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        throttle.spend(1, 2_000_000).await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn without_rates_nobody_waits() {
        let throttle = Throttle::default();
        let start = Instant::now();
        throttle.spend(u64::MAX, u64::MAX).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_lasts_until_it_is_ended() {
        let (throttle, tasks) = (Arc::new(Throttle::default()), TaskGroup::new());
        throttle.pause();
        let worker = Arc::clone(&throttle);
        let waiting = tasks.spawn("worker", async move { worker.spend(1, 1).await });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!waiting.is_finished());
        throttle.resume();
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_slow_rate_goes_on_when_it_is_raised() {
        let slow = Rates {
            rows: Some(1),
            bytes: None,
        };
        let (throttle, tasks) = (Arc::new(Throttle::new(slow)), TaskGroup::new());
        let start = Instant::now();
        let worker = Arc::clone(&throttle);
        let waiting = tasks.spawn("worker", async move { worker.spend(1_000, 1).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        throttle.set_rates(RATES);
        waiting.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}
