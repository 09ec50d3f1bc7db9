//! How long a session waits for its client and for a shard. What is switched off costs a look at
//! an option, and no timer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::client::Client;
use super::relay::RelayError;
use crate::config::TimeLimits;
use crate::error::{Error, Limit};
use crate::exec::cancel;
use crate::pool::CancelTarget;

/// How long a shard may take to answer a cancelled statement.
const GRACE: Duration = Duration::from_secs(5);

/// Shorter limits are to be kept to the millisecond.
const SHORT: Duration = Duration::from_secs(1);

/// A session's time limits, and when its transaction began.
#[derive(Debug)]
pub(super) struct Clock {
    limits: TimeLimits,
    /// Only kept where a transaction's time is limited.
    began: Option<Instant>,
}

/// What a wait for the client ends with.
#[derive(Debug)]
pub(super) struct Patience(Option<(Instant, Error)>);

impl Patience {
    /// Returns when the time is up, and why. Cancel-safe.
    pub(super) async fn ends(&self) -> Error {
        match &self.0 {
            Some((at, error)) => {
                tokio::time::sleep_until(*at).await;
                error.clone()
            }
            None => std::future::pending().await,
        }
    }
}

impl Clock {
    pub(super) fn new(limits: TimeLimits) -> Self {
        Self {
            limits,
            began: None,
        }
    }

    /// A message has come: a transaction begins, unless one is open.
    pub(super) fn start(&mut self) {
        if self.limits.transaction.is_some() && self.began.is_none() {
            self.began = Some(Instant::now());
        }
    }

    /// The session is outside of a transaction and holds no backend.
    pub(super) fn stop(&mut self) {
        self.began = None;
    }

    /// How long to wait for the next message of the client, by whether it is outside of a
    /// transaction and holds no backend.
    pub(super) fn patience(&self, idle: bool) -> Patience {
        let from_now = |limit: Option<Duration>, which: Limit| {
            limit.map(|limit| (Instant::now() + limit, Error::Expired(which, limit)))
        };
        if idle {
            return Patience(from_now(self.limits.client_idle, Limit::ClientIdle));
        }
        let inactive = from_now(self.limits.idle_in_transaction, Limit::IdleInTransaction);
        let whole = self
            .began
            .zip(self.limits.transaction)
            .map(|(began, limit)| (began + limit, Error::Expired(Limit::Transaction, limit)));
        let both = [inactive, whole].into_iter().flatten();
        Patience(both.min_by_key(|(at, _)| *at))
    }

    /// Whether a wait for strangers, which lasts milliseconds, would count.
    pub(super) fn is_short(&self) -> bool {
        let mut limits = [self.limits.query, self.limits.transaction].into_iter();
        limits.any(|limit| limit.is_some_and(|limit| limit < SHORT))
    }

    /// How long one statement may take.
    pub(super) fn query_limit(&self) -> Option<Duration> {
        self.limits.query
    }

    /// Until when an answer that begins now has to be there, and after how long that is.
    pub(super) fn answered_by(&self) -> Option<(Instant, Duration)> {
        let query = self
            .limits
            .query
            .map(|limit| (Instant::now() + limit, limit));
        let whole = self.began.zip(self.limits.transaction);
        let whole = whole.map(|(began, limit)| (began + limit, limit));
        let both = [query, whole].into_iter().flatten();
        both.min_by_key(|(at, _)| *at)
    }

    /// The limit of an answer of the shard that begins now; none where nothing is limited.
    pub(super) fn answer_limit(
        &self,
        victim: &Arc<CancelTarget>,
        connect_timeout: Duration,
    ) -> Option<AnswerLimit> {
        let (at, limit) = self.answered_by()?;
        Some(AnswerLimit {
            at,
            limit,
            victim: Arc::clone(victim),
            connect_timeout,
        })
    }
}

/// Until when a shard has to have answered.
#[derive(Debug)]
pub(super) struct AnswerLimit {
    at: Instant,
    limit: Duration,
    victim: Arc<CancelTarget>,
    connect_timeout: Duration,
}

/// What came of an exchange under a limit.
#[derive(Debug)]
pub(super) enum Imposed {
    /// It ended in time.
    InTime(Result<(), RelayError>),
    /// The shard was asked to cancel, and the exchange ended.
    Cancelled(Result<(), RelayError>),
    /// The shard was asked to cancel and did not answer that either.
    Silent {
        /// What the limit was.
        limit: Duration,
    },
}

impl AnswerLimit {
    /// Waits for the exchange; asks the shard to cancel when the time is up, and waits for its
    /// answer, which the client reads as it comes: SQLSTATE 57014, or the result if that was
    /// faster.
    pub(super) async fn impose<F>(self, exchange: F) -> Imposed
    where
        F: Future<Output = Result<(), RelayError>>,
    {
        tokio::pin!(exchange);
        if let Ok(ended) = tokio::time::timeout_at(self.at, &mut exchange).await {
            return Imposed::InTime(ended);
        }
        let connect_timeout = self.connect_timeout.min(GRACE);
        let ended = cancel::until(exchange, &self.victim, connect_timeout);
        match tokio::time::timeout(GRACE, ended).await {
            Ok(ended) => Imposed::Cancelled(ended),
            Err(_) => Imposed::Silent { limit: self.limit },
        }
    }
}

/// The error of an exchange that was given up: whether the client can still be told depends on
/// where in a message it was left.
pub(super) fn given_up(client: &Client, at_boundary: bool, limit: Duration) -> RelayError {
    RelayError::Late {
        limit,
        within_message: !at_boundary || client.is_midway(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> TimeLimits {
        TimeLimits {
            client_idle: Some(SECOND * 60),
            query: None,
            idle_in_transaction: Some(SECOND * 10),
            transaction: Some(SECOND * 15),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_switched_off_never_ends() {
        let mut clock = Clock::new(TimeLimits::default());
        clock.start();
        assert!(clock.began.is_none());
        for idle in [true, false] {
            let patience = clock.patience(idle);
            let ends = patience.ends();
            tokio::pin!(ends);
            tokio::time::advance(SECOND * 1_000_000).await;
            assert!(ends.now_or_never().is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_nearer_of_two_limits_ends_the_wait() {
        let mut clock = Clock::new(limits());
        let sqlstate = async |clock: &Clock, idle| {
            let began = Instant::now();
            let error = clock.patience(idle).ends().await;
            (error.sqlstate().to_owned(), began.elapsed())
        };
        assert_eq!(
            sqlstate(&clock, true).await,
            ("57P05".to_owned(), SECOND * 60)
        );
        clock.start();
        assert_eq!(
            sqlstate(&clock, false).await,
            ("25P03".to_owned(), SECOND * 10)
        );
        // The transaction is ten seconds old.
        clock.start();
        assert_eq!(
            sqlstate(&clock, false).await,
            ("25P04".to_owned(), SECOND * 5)
        );
        clock.stop();
        assert_eq!(
            sqlstate(&clock, false).await,
            ("25P03".to_owned(), SECOND * 10)
        );
    }
}
