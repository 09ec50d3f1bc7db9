//! Short reads stand in lanes: a session joins the line before a backend that others of its thread
//! use, or opens a lane on its own (docs/decisions/0020).

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use platform::trace;
use tokio::time::Instant;

use super::Session;
use super::attach::{Attachment, Stopped};
use super::several::Ties;
use super::state::Transaction;
use crate::cache::Planned;
use crate::error::Error;
use crate::metrics::route_of;
use crate::pool::{self, Place, Pool, Request, Turn};
use crate::query::Class;
use crate::route::Target;
use crate::view::Serving;

/// What a session is answered later after it joined a line is not looked at: the statement may have
/// begun when its rows were somewhere else already (docs/decisions/0020).
const TRUSTED: Duration = Duration::from_millis(20);

/// A place in the line before a backend.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    /// Where the session's turn comes.
    pub(super) place: Place,
    pub(super) pool: &'a Pool,
    pub(super) target: Target,
    /// Since when.
    pub(super) joined: Instant,
}

impl Session {
    /// Whether a request that is for one shard and only reads there may share a backend with
    /// strangers: it is a query, and nothing of the session is on a backend.
    pub(super) fn may_share(&self, planned: &Planned) -> bool {
        let first = planned.analysis.statements.first();
        let is_query = first.is_some_and(|it| matches!(it.class, Class::Select(_)));
        is_query && self.may_share_now()
    }

    /// Whether nothing of the session keeps it from sharing.
    pub(super) fn may_share_now(&self) -> bool {
        self.front.core.config.pgwire.share_backends
            && !self.flight.was_sent_away
            && self.transaction == Transaction::Idle
            && self.attachment.is_none()
            && self.company.is_none()
            && !self.is_bound()
            && !self.scripted
            && !self.torn
            && !self.settings.is_changed()
            && !self.clock.is_short()
            && !trace::is_on()
    }

    /// The end of a line in which a request waits for its turn; none where it has to go to a
    /// backend of its own.
    pub(super) fn line_up<'a>(
        &self,
        serving: &'a Serving,
        target: Target,
        request: &Request<'_>,
    ) -> Result<Option<Standing<'a>>, Stopped> {
        let Target::Shard { index, .. } = target else {
            return Ok(None);
        };
        self.check_hold(serving, target)?;
        let pool = serving.primary(index).ok_or(Error::NoShard)?;
        let place = pool.join(request);
        Ok(place.map(|place| Standing {
            place,
            pool,
            target,
            joined: Instant::now(),
        }))
    }

    /// Waits for the session's turn on a backend, and takes it; gives the time when it lined up.
    ///
    /// # Errors
    /// As [`Self::its_turn`].
    pub(super) async fn wait_for_turn(
        &mut self,
        serving: &Serving,
        mut standing: Standing<'_>,
    ) -> Result<Instant, Stopped> {
        self.cancel.lines_up();
        let turn = (&mut standing.place).await.ok();
        let turn = self.its_turn(turn, serving, (&standing, Instant::now()))?;
        self.take_turn(turn, serving, standing.target);
        Ok(standing.joined)
    }

    /// The session's turn, where it has come in time.
    ///
    /// # Errors
    /// [`pool::Error::Retired`] when the session was sent away: its request has to be routed anew,
    /// to a backend of its own.
    pub(super) fn its_turn(
        &mut self,
        turn: Option<Turn>,
        serving: &Serving,
        (standing, now): (&Standing<'_>, Instant),
    ) -> Result<Turn, Stopped> {
        if self.cancel.was_called_off() {
            // Whoever stands behind it is sent away, and its backend closed.
            drop(turn);
            return Err(Error::Cancelled.into());
        }
        let turn = turn.filter(|_| now.saturating_duration_since(standing.joined) <= TRUSTED);
        let turn = turn.and_then(|turn| self.still_there(turn, serving));
        standing.pool.metrics().left_line(turn.is_some());
        turn.ok_or_else(|| {
            self.flight.was_sent_away = true;
            let shard = standing.pool.shard().clone();
            Error::Pool(pool::Error::Retired { shard }).into()
        })
    }

    /// Makes the backend that a turn has brought the session's own, to ask what it is to be asked
    /// of a target.
    pub(super) fn take_turn(&mut self, turn: Turn, serving: &Serving, target: Target) {
        let Turn {
            mut lease,
            baton,
            unsent,
        } = turn;
        // It may have parsed one of a stranger's.
        lease.unnamed = None;
        self.cancel.attach(Arc::clone(&lease.cancel));
        let shard = lease.pool().shard().clone();
        self.attachment = Some(Attachment {
            lease,
            shard,
            movable: None,
            rewind: Some(None),
            ties: Ties::default(),
            unsynced: false,
            on_replica: false,
            idle: true,
            baton: Some(baton),
        });
        self.outbound.extend_from_slice(&unsent);
        self.flight.route = route_of(target);
        self.front.core.metrics.routed(&serving.snapshot, target);
        self.flight.note(serving.snapshot.epoch(), target);
    }

    /// A turn; none where its request is not written yet, and would be by a topology that is in
    /// force no more, or to a backend that has ended.
    fn still_there(&self, mut turn: Turn, serving: &Serving) -> Option<Turn> {
        if turn.unsent.is_empty() {
            return Some(turn);
        }
        if turn.lease.is_stale() || turn.lease.pool().is_cut() {
            return None;
        }
        if self
            .front
            .core
            .view
            .leave(serving.snapshot.epoch())
            .is_some()
        {
            return Some(turn);
        }
        // Nobody behind it has been written either, and all were routed before.
        drop(turn.baton);
        turn.lease.give_back();
        None
    }

    /// Lets others join, if the request that is about to be sent is short as a rule; gives way to
    /// those who are about to, so that what they ask is sent with it.
    pub(super) async fn open_lane(&mut self) {
        if self.lets_others_join() {
            give_way().await;
        }
    }

    /// Whether what is being asked is one statement, executed once: a simple query, or a batch with
    /// one portal.
    pub(super) fn is_one_read(&self) -> bool {
        let executed = self.flight.effects.len();
        match self.portals.len() {
            0 => executed <= 1,
            1 => executed == 1,
            _ => false,
        }
    }

    fn lets_others_join(&mut self) -> bool {
        let Some(planned) = &self.flight.shares else {
            return false;
        };
        // What it was when the statement was bound need not be so any more.
        let is_alone = self.transaction == Transaction::Idle
            && self.company.is_none()
            && !self.scripted
            && !self.torn
            && !self.flight.strips
            && !self.flight.prepares
            && self.is_one_read();
        if let Some(attachment) = &mut self.attachment
            && is_alone
            && attachment.baton.is_none()
            && !attachment.on_replica
            && planned.pace.is_short()
        {
            let lease = &attachment.lease;
            let settings = self.settings.committed();
            attachment.baton = lease.pool().open_lane(settings, &lease.prepared);
            return attachment.baton.is_some();
        }
        false
    }
}

/// Lets the tasks run that are ready. Unlike tokio's own it does not look for new events first.
async fn give_way() {
    let mut has_given_way = false;
    poll_fn(|context| {
        if has_given_way {
            return Poll::Ready(());
        }
        has_given_way = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
