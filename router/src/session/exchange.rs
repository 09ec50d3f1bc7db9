//! One exchange with the session's backend: what is waiting is sent, and every answer relayed.

use tokio::time::Instant;

use super::attach::Stopped;
use super::expect::{Guarded, Outdated, Seen};
use super::patience::{Imposed, given_up};
use super::relay::{self, RelayError, Sharing, exchange};
use super::{Ended, Session};
use crate::error::Error;
use crate::pool::metrics::Outcome;
use crate::pool::{Lease, traced};

impl Session {
    /// Sends what is waiting and relays until every answer has come.
    pub(super) async fn exchange(&mut self) -> Result<Seen, Stopped> {
        let leave = self.leave()?;
        let unread = self.client.outbound.len();
        let Some(attachment) = &mut self.attachment else {
            while let Some(frames) = self.expected.next_local() {
                self.client.outbound.extend_from_slice(&frames);
                self.batch.was_told();
            }
            return Ok(self.expected.take_seen());
        };
        let lease = &mut attachment.lease;
        let connect_timeout = self.front.core.config.sharding.connect_timeout;
        let limit = self.clock.answer_limit(&lease.cancel, connect_timeout);
        let mut scanner = relay::scanner();
        let sharing = (attachment.baton.as_ref()).map(|baton| Sharing {
            baton,
            pool: lease.pool().clone(),
            view: &self.front.core.view,
        });
        let relayed = exchange(
            (&mut self.client, lease),
            &mut self.outbound,
            &mut self.expected,
            (&mut scanner, leave),
            sharing,
        );
        let relayed = match limit {
            None => relayed.await,
            // Boxed, as all that is rare or large: a message that meets none of it is to cost
            // no memory for it (docs/decisions/0008).
            Some(limit) => match Box::pin(limit.impose(relayed)).await {
                Imposed::InTime(relayed) => relayed,
                Imposed::Cancelled(relayed) => {
                    // The request may still be on its way.
                    lease.forbid_reuse();
                    relayed
                }
                Imposed::Silent { limit } => {
                    Err(given_up(&self.client, scanner.is_at_boundary(), limit))
                }
            },
        };
        let is_answered = self.expected.is_empty() && scanner.is_at_boundary();
        match relayed {
            Ok(()) => {}
            // What is lost is others', who are sent away.
            Err(RelayError::Backend { .. } | RelayError::Late { .. })
                if is_answered && attachment.baton.is_some() =>
            {
                lease.forbid_reuse();
            }
            Err(error) => return Err(self.lost(error)),
        }
        Ok(self.take_in(unread))
    }

    /// What came of an exchange, before which so many bytes waited for the client.
    fn take_in(&mut self, unread: usize) -> Seen {
        let seen = self.expected.take_seen();
        let Some(attachment) = &mut self.attachment else {
            return seen;
        };
        if let Some(status) = seen.status {
            attachment.idle = status == b'I';
        }
        let moving = &self.front.core.moving;
        match &seen.guarded {
            Some(Guarded::TakenBack(said)) => moving.refused(said.code(), true),
            Some(Guarded::Told(said)) if said.is_passing() => moving.refused(said.code(), false),
            Some(Guarded::Told(_)) | None => {}
        }
        if seen.is_taken_back() {
            self.client.outbound.truncate(unread);
        } else {
            self.batch.answered();
        }
        // The schema was changed by another router, or on the shard itself.
        match seen.outdated {
            Some(Outdated::Plans) => self.front.statements.forget_all(),
            Some(Outdated::Columns) => self.front.core.schema.forget_all(),
            // The next one asks, when it logs in.
            Some(Outdated::Server) => attachment.lease.forbid_reuse(),
            None => {}
        }
        follow(&mut attachment.lease, &seen);
        if !seen.is_taken_back() {
            attachment.keep();
        }
        self.batch.undo(&seen.undone, &mut self.statements);
        seen
    }

    /// As [`Self::exchange`], for a request that ends in ReadyForQuery; counts it.
    pub(super) async fn exchange_to_ready(&mut self) -> Result<Seen, Stopped> {
        self.open_lane().await;
        self.exchange_since(Instant::now()).await
    }

    /// As [`Self::exchange_to_ready`], of a request that was made earlier.
    pub(super) async fn exchange_since(&mut self, asked: Instant) -> Result<Seen, Stopped> {
        let started = Instant::now();
        self.listed.requests(started);
        // A backend that is lost is gone by then, and is counted all the same.
        let pool = self
            .attachment
            .as_ref()
            .map(|attachment| attachment.lease.pool().clone());
        let route = self.flight.route;
        let attachment = self.attachment.as_ref();
        let span = attachment.and_then(|attachment| traced::request(&attachment.shard, route));
        let is_one_read = self.is_one_read();
        let result = self.exchange().await;
        if self.flight.strips {
            Box::pin(self.renew_presence()).await;
        }
        if let Some(pool) = pool {
            let succeeded = result.as_ref().is_ok_and(|seen| !seen.error);
            let outcome = if succeeded {
                Outcome::Success
            } else {
                Outcome::Error
            };
            let now = Instant::now();
            let took = now - asked;
            if let Some(planned) = &self.flight.shares
                && is_one_read
            {
                planned.pace.took(now - started);
            }
            pool.metrics().answered(route, outcome, took);
            traced::answered(span, outcome);
            self.took = self.took.max(took);
        }
        self.must_not_keep_strangers(result)
    }

    /// A backend that others stand in line for goes on to them after one answer, outside of a
    /// transaction. Should that not be so, their answers would be read as this session's: it ends.
    fn must_not_keep_strangers(&mut self, result: Result<Seen, Stopped>) -> Result<Seen, Stopped> {
        let has_baton = (self.attachment.as_ref()).is_some_and(|it| it.baton.is_some());
        match result {
            Ok(seen) if has_baton && seen.status != Some(b'I') => {
                let shard = self.attachment.as_ref().map(|it| it.shard.clone());
                self.close_backend();
                let lost = shard.map_or(Error::NoShard, |shard| Error::BackendLost { shard });
                Err(Stopped::Ended(Ended::Broken(lost)))
            }
            result => result,
        }
    }
}

/// Keeps what is known of a backend's prepared statements in step with what it was asked and did
/// not do.
pub(super) fn follow(lease: &mut Lease, seen: &Seen) {
    for id in &seen.unprepared {
        lease.prepared.remove(*id);
        if lease.unnamed == Some(*id) {
            lease.unnamed = None;
        }
    }
    if seen.undescribed {
        // What it holds was not compared with what clients were told.
        lease.forbid_reuse();
    }
    for id in &seen.unclosed {
        if lease.prepared.add(*id).is_some() {
            // It holds one more statement than its list has room for.
            lease.forbid_reuse();
        }
    }
}
