//! A session that has left something with a connection, such as a temporary table, keeps that
//! connection: every transaction of it that goes to the shard runs there. What the shard sends
//! without being asked, such as a notification, is passed on. Ends with the session, or with
//! DISCARD ALL; the connection is closed then and never lent again.

use bytes::{Buf as _, BytesMut};
use topology::ShardId;
use wire::{Scanner, Step};

use super::notifiers::{self, Listener};
use super::{Session, local};
use crate::error::Error;
use crate::exec::ask::ask;
use crate::pool::Lease;
use crate::route::{Plan, Refusal, Temporary};
use crate::stream::Moved;
use crate::view::Serving;

/// Longest message that is passed on while nothing is being asked.
const MAX_NEWS_BYTES: usize = 1 << 20;

/// What a session keeps.
#[derive(Debug)]
pub(super) struct Bound {
    /// Its temporary tables, and the shard.
    temporary: Temporary,
    /// The connection, while no transaction runs on it.
    lease: Option<Lease>,
    /// By which its notifications are known to be this session's.
    notifier: notifiers::Entry,
}

/// What came of the connection while nothing was asked.
#[derive(Debug)]
pub(super) enum News {
    /// Messages for the client.
    Messages(BytesMut),
    /// It has ended.
    Lost,
}

impl Bound {
    /// Waits for what the shard says unasked, where the session is idle; for ever while a
    /// transaction runs.
    pub(super) async fn news(bound: &mut Option<Box<Self>>, is_idle: bool) -> News {
        let Some(bound) = bound.as_deref_mut().filter(|_| is_idle) else {
            return std::future::pending().await;
        };
        let Some(lease) = &mut bound.lease else {
            // Whoever had it has closed it.
            return News::Lost;
        };
        loop {
            let mut messages = BytesMut::new();
            let listener = bound.notifier.listener();
            if take_messages(&mut lease.inbound, &mut messages, listener).is_err() {
                return News::Lost;
            }
            if !messages.is_empty() {
                return News::Messages(messages);
            }
            lease.inbound.reserve(1 << 10);
            let backend = &mut **lease;
            let mut nothing = BytesMut::new();
            let moved = backend.stream.transfer(&mut nothing, &mut backend.inbound);
            match moved.await {
                Ok(Moved::In(0) | Moved::Out(_)) | Err(_) => return News::Lost,
                Ok(moved @ Moved::In(_)) => backend.traffic.count(moved),
            }
        }
    }
}

/// Moves whole messages; an error where something else comes than may come unasked.
fn take_messages(
    inbound: &mut BytesMut,
    out: &mut BytesMut,
    listener: &Listener,
) -> Result<(), ()> {
    loop {
        let mut scanner = Scanner::backend(MAX_NEWS_BYTES);
        let frame = match scanner.next(inbound).map_err(drop)? {
            Step::Incomplete { .. } => return Ok(()),
            Step::Whole(frame) if matches!(frame.tag(), b'A' | b'N' | b'S') => frame,
            // An error now is the last that the connection says.
            Step::Whole(_) | Step::Stream { .. } => return Err(()),
        };
        let is_notification = frame.tag() == b'A';
        match is_notification
            .then(|| listener.renamed(frame.body()))
            .flatten()
        {
            Some(renamed) => out.extend_from_slice(&renamed),
            None => out.extend_from_slice(frame.bytes()),
        }
        let bytes = frame.bytes().len();
        inbound.advance(bytes);
    }
}

impl Session {
    /// Whether the session keeps a connection.
    pub(super) fn is_bound(&self) -> bool {
        self.bound.is_some()
    }

    /// The temporary tables, if there are any.
    pub(super) fn temporary(&self) -> Option<&Temporary> {
        let bound = self.bound.as_deref()?;
        Some(&bound.temporary).filter(|temporary| !temporary.is_empty())
    }

    /// A statement with this plan has been completed on the present connection: the session keeps
    /// it, and knows the name of a table that came with it.
    pub(super) fn bind(&mut self, table: Option<&str>) {
        let Some(attachment) = &self.attachment else {
            return;
        };
        let bound = self.bound.get_or_insert_with(|| {
            let process_id = attachment.lease.cancel.process_id;
            let (shard, told) = (&attachment.shard, self.cancel.key().process_id);
            Box::new(Bound {
                temporary: Temporary::on(shard.clone()),
                lease: None,
                notifier: self.front.notifiers.enter(shard, process_id, told),
            })
        });
        self.expected
            .listen(Some(bound.notifier.listener().clone()));
        if let Some(table) = table {
            bound.temporary.add(table);
        }
    }

    /// Whether what a plan leaves with a connection can be left with that of the session.
    pub(super) fn check_bound(&self, plan: &Plan, serving: &Serving) -> Result<(), Refusal> {
        let (Some(bound), Plan::Bound(index)) = (&self.bound, plan) else {
            return Ok(());
        };
        let kept = bound.temporary.shard();
        match serving.snapshot.shard(*index) {
            Some(shard) if shard.id != *kept => Err(Refusal {
                sqlstate: "0A000",
                message: format!(
                    "the statement leaves something with a connection to shard {}, and the session \
                     keeps one to shard {kept}",
                    shard.id
                ),
                hint: Some("use another session, or DISCARD ALL first".to_owned()),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// The connection that is kept, if it is to this shard.
    pub(super) fn kept_lease(&mut self, shard: &ShardId) -> Option<Lease> {
        let bound = self.bound.as_deref_mut()?;
        if bound.temporary.shard() != shard {
            return None;
        }
        bound.lease.take()
    }

    /// The shard of the connection that is kept.
    pub(super) fn kept_shard(&self) -> Option<&ShardId> {
        let bound = self.bound.as_deref()?;
        Some(bound.temporary.shard())
    }

    /// Takes a connection to a shard's primary back that is idle and has the session's settings;
    /// gives it on when it belongs to its pool.
    pub(super) fn keep(&mut self, shard: &ShardId, lease: Lease) -> Option<Lease> {
        let bound = self.bound.as_deref_mut();
        match bound.filter(|bound| bound.temporary.shard() == shard) {
            Some(bound) if bound.lease.is_none() => {
                bound.lease = Some(lease);
                None
            }
            Some(_) | None => Some(lease),
        }
    }

    /// The lock is gone by which the shard knows whose the backend is: it is taken again before
    /// anything else is done, or the backend is not used any more.
    pub(super) async fn renew_presence(&mut self) {
        let Some(attachment) = &mut self.attachment else {
            return;
        };
        let lease = &mut attachment.lease;
        let presence = lease.pool().presence().clone();
        let limit = self.front.core.config.sharding.connect_timeout;
        let asked = tokio::time::timeout(limit, ask(lease, &presence.question())).await;
        let is_known = match asked {
            Ok(Ok(reply)) => {
                let values: Vec<_> = reply.rows.into_iter().flatten().collect();
                presence.admit(&values).is_ok()
            }
            Ok(Err(_)) | Err(_) => false,
        };
        if !is_known {
            self.close_backend();
        }
    }

    /// Closes the connection, and forgets what was left with it.
    pub(super) fn unbind(&mut self) {
        self.bound = None;
        self.expected.listen(None);
    }

    /// Tells the client that what it left with its connection is gone.
    pub(super) fn say_lost(&mut self) {
        if let Some(shard) = self.kept_shard().cloned() {
            local::fatal(&mut self.client.outbound, &Error::BoundLost { shard });
        }
    }
}
