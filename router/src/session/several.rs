//! A transaction that has gone on on another shard: its other backends, each idle within the
//! transaction, while the session works with one of them as always.
//!
//! What opens and shapes the transaction (its BEGIN, settings, savepoints) is recorded, and done on
//! each further shard when the transaction comes there. How it ends is in `commit`.

use bytes::Bytes;
use futures_util::future::join_all;
use topology::{ShardId, ShardIndex};

use super::attach::{Attachment, Stopped};
use super::effects::Effect;
use super::expect::Answer;
use super::extended::{Portal, Portals};
use super::prepared::Prepared;
use super::state::{Preamble, Transaction};
use super::{Session, control};
use crate::error::Error;
use crate::exec::ask::ask;
use crate::exec::everywhere::Views;
use crate::pool::Lease;
use crate::query::{Class, CursorUse};
use crate::route::Refusal;
use crate::scatter::exec::Returns;
use crate::twopc::Ability;
use crate::view::Serving;

mod changes;
mod commit;
mod copies;
mod cursors;
mod lend;
mod split;
mod writers;

pub(super) use changes::changes_views;
pub(super) use commit::End;
pub(super) use copies::check_text;
pub(super) use lend::Lent;
pub(super) use split::{Split, without_tag};

/// What ties a backend's transaction to those of other shards.
#[derive(Debug, Default)]
pub(super) struct Ties {
    /// What opened and shaped the transaction, to be done on further shards; with the backend that
    /// the session works with. None where that is not known.
    pub(super) script: Option<Preamble>,
    /// Whether a statement that may write was sent to it.
    pub(super) wrote: bool,
    /// Cursors that were declared on it.
    pub(super) cursors: Vec<Box<str>>,
}

impl Ties {
    /// Records a completed statement; gives the number of statements in the script then.
    pub(super) fn record(&mut self, effect: &Effect) -> Option<usize> {
        let script = self.script.as_mut()?;
        match effect {
            // AND CHAIN: another transaction has begun.
            Effect::Commit | Effect::Rollback => {
                *script = script.chained();
                self.cursors.clear();
                self.wrote = false;
            }
            Effect::Discard | Effect::Pins | Effect::CopyIn | Effect::Binds(_) => {}
            effect => {
                if !effect.record(script) {
                    self.script = None;
                    return None;
                }
            }
        }
        self.script.as_ref().map(Preamble::len)
    }
}

/// The other backends of a transaction.
#[derive(Debug)]
pub(super) struct Company {
    others: Vec<Parked>,
    /// Whether the transaction is the router's own: it ends with the batch, or the statement, that
    /// it was begun for.
    implicit: bool,
    /// What stays of backends that are lent out.
    lent: Vec<lend::Shell>,
    /// How many of them have come back.
    returned: usize,
    /// What opened and shaped the transaction, while no backend has it.
    script: Option<Preamble>,
    /// Whether it has changed the schema, which others do not see yet.
    changed: bool,
    /// What that makes of views.
    views: Option<Views>,
    /// Where backends come back to that are lent out for a query.
    returns: Option<Returns>,
}

/// A backend that the session does not work with now.
#[derive(Debug)]
struct Parked {
    attachment: Attachment,
    /// The client's portals on it.
    portals: Portals,
    /// How many statements of the script it has run.
    caught_up: usize,
    /// The savepoint to which it has to go back first.
    undo: Option<Box<str>>,
}

impl Company {
    fn new(implicit: bool) -> Self {
        Self {
            others: Vec::new(),
            implicit,
            lent: Vec::new(),
            returned: 0,
            script: None,
            changed: false,
            views: None,
            returns: None,
        }
    }

    /// A statement was completed on the backend that the session works with; the script has so
    /// many statements now.
    pub(super) fn follow(&mut self, effect: &Effect, count: Option<usize>) {
        let Some(count) = count else { return };
        match effect {
            Effect::RollbackTo(name) => {
                for parked in &mut self.others {
                    // It has the savepoint, and perhaps did something after it.
                    if parked.caught_up >= count {
                        parked.caught_up = count;
                        parked.undo = Some(name.as_str().into());
                    }
                }
            }
            Effect::Release(..) => {
                for parked in &mut self.others {
                    parked.caught_up = parked.caught_up.min(count);
                }
            }
            Effect::None
            | Effect::Set(..)
            | Effect::Reset(..)
            | Effect::Commit
            | Effect::Rollback
            | Effect::Savepoint(..)
            | Effect::Discard
            | Effect::Pins
            | Effect::Constraints(_)
            | Effect::CopyIn
            | Effect::Binds(_)
            | Effect::Reshapes => {}
        }
    }

    /// The client's own block from here on.
    pub(super) fn become_block(&mut self) {
        self.implicit = false;
    }

    fn place_of(&self, is_it: impl Fn(&Parked) -> bool) -> Option<usize> {
        self.others.iter().position(is_it)
    }
}

impl Parked {
    /// What it has to run before anything else.
    fn arrears(&self, script: &Preamble) -> Option<String> {
        let back = self.undo.as_deref().map(rollback_to);
        let statements: Vec<String> = back
            .into_iter()
            .chain(script.since(self.caught_up))
            .collect();
        (!statements.is_empty()).then(|| statements.join("\n;"))
    }
}

fn rollback_to(savepoint: &str) -> String {
    format!("ROLLBACK TO SAVEPOINT {}", wire::quote::ident(savepoint))
}

impl Session {
    /// Whether the open transaction is the router's own.
    pub(super) fn is_implicit(&self) -> bool {
        self.company.as_ref().is_some_and(|it| it.implicit)
    }

    /// Goes on on another shard within the transaction.
    pub(super) async fn go_to(
        &mut self,
        serving: &Serving,
        index: ShardIndex,
    ) -> Result<(), Stopped> {
        let pool = serving.primary(index).ok_or(Error::NoShard)?;
        let wanted = pool.shard().clone();
        let known = self.parked(|parked| parked.attachment.shard == wanted);
        if let Some(attachment) = &mut self.attachment {
            attachment.pin();
            attachment.keep();
        }
        if known.is_none() {
            self.may_spread(serving, &wanted).await?;
        }
        let lease = match known {
            Some(_) => None,
            // Before anything is changed: there may be none.
            None => Some(self.checkout(pool).await?),
        };
        let script = self.park().await?;
        match (known, lease) {
            (Some(at), _) => self.take_up(at, script).await,
            (None, Some(lease)) => self.join(lease, wanted, script).await,
            (None, None) => Err(Error::NoShard.into()),
        }
    }

    /// The shard whose catalogs are read, where a parked backend is of it: what the transaction has
    /// made there is as it will be found there later.
    pub(super) fn parked_catalogs(&self, serving: &Serving) -> Option<ShardIndex> {
        if self.transaction == Transaction::Failed {
            return None;
        }
        let common = crate::route::common_shard(&serving.snapshot).ok()?;
        let shard = &serving.snapshot.shard(common)?.id;
        self.parked(|parked| parked.attachment.shard == *shard)?;
        Some(common)
    }

    fn parked(&self, is_it: impl Fn(&Parked) -> bool) -> Option<usize> {
        self.company.as_ref()?.place_of(is_it)
    }

    /// Refuses what would not be one transaction.
    async fn may_spread(&self, serving: &Serving, wanted: &ShardId) -> Result<(), Stopped> {
        let Some(current) = &self.attachment else {
            return Ok(());
        };
        match &self.transaction {
            Transaction::Failed | Transaction::FailedPending(_) => {
                return Err(control::in_failed_transaction().into());
            }
            Transaction::Idle | Transaction::Pending(_) => {}
            Transaction::Open if current.ties.script.is_some() => {}
            Transaction::Open => return Err(unrepeatable(&current.shard, wanted).into()),
        }
        let script = current.ties.script.as_ref();
        let mentions = |word: &str| {
            let settings = self.settings.in_force().of_reading();
            let mut settings = settings.filter(|(name, _)| name.contains("transaction"));
            script.is_some_and(|script| script.mentions(word))
                || settings.any(|(_, sql)| sql.to_ascii_lowercase().contains(word))
        };
        if mentions("repeatable") || mentions("serializable") {
            return Err(one_snapshot(&current.shard, wanted).into());
        }
        if mentions("read committed") || mentions("read uncommitted") {
            return Ok(());
        }
        for shard in [&current.shard, wanted] {
            let ability = self.ability(serving, shard).await?;
            if !ability.isolation.starts_with("read") {
                return Err(one_snapshot(&current.shard, wanted).into());
            }
        }
        Ok(())
    }

    /// Puts the backend aside that the session works with; gives the transaction's script.
    async fn park(&mut self) -> Result<Preamble, Stopped> {
        let implicit = self.transaction == Transaction::Idle;
        self.settle_current(implicit).await?;
        let unaimed = self.cancel.detach();
        let Some(mut attachment) = self.attachment.take() else {
            return Err(Error::NoShard.into());
        };
        if !unaimed {
            // A cancel request may still be on its way to it.
            attachment.lease.forbid_reuse();
        }
        attachment.movable = None;
        attachment.rewind = None;
        let script = attachment.ties.script.take();
        let script = script.unwrap_or_else(|| Preamble::new("BEGIN"));
        let company = self
            .company
            .get_or_insert_with(|| Company::new(implicit).into());
        // The unnamed portal ends with the next Bind or query, wherever that goes.
        if let Some(Portal::Remote(_)) = self.portals.get(&b""[..]) {
            self.portals.remove(&b""[..]);
        }
        let (portals, kept) = std::mem::take(&mut self.portals)
            .into_iter()
            .partition(|(_, portal)| matches!(portal, Portal::Remote(_)));
        self.portals = kept;
        company.others.push(Parked {
            attachment,
            portals,
            caught_up: script.len(),
            undo: None,
        });
        if implicit {
            self.transaction = Transaction::Open;
        }
        Ok(script)
    }

    /// Has the backend answer all that it was sent, and stay within the transaction. What a batch
    /// has done outside of a transaction block becomes the beginning of one: PostgreSQL takes a
    /// BEGIN within a batch for all of it.
    async fn settle_current(&mut self, implicit: bool) -> Result<(), Stopped> {
        let Some(attachment) = &mut self.attachment else {
            return Ok(());
        };
        if implicit {
            self.client.withhold();
            let out = &mut self.outbound;
            wire::frontend::encode::parse(out, b"", b"BEGIN", &[])?;
            put_bind_and_execute(out)?;
            attachment.lease.unnamed = None;
            self.expected.drop_answer(Answer::Parse(0));
            self.expected.drop_answer(Answer::Bind);
            self.expected.drop_answer(Answer::Execute);
            attachment.unsynced = true;
        }
        let waits = attachment.unsynced || !self.outbound.is_empty() || !self.expected.is_empty();
        if !waits {
            self.flight.routed = None;
            return Ok(());
        }
        attachment.unsynced = false;
        wire::frontend::encode::sync(&mut self.outbound);
        self.expected.drop_answer(Answer::Ready);
        let seen = self.exchange().await?;
        self.apply_effects(&seen);
        self.flight.effects.clear();
        self.flight.routed = None;
        if seen.error {
            if seen.status == Some(b'E') {
                self.transaction = Transaction::Failed;
            }
            return Err(Stopped::Answered);
        }
        Ok(())
    }

    /// Works with a parked backend from now on.
    async fn take_up(&mut self, at: usize, script: Preamble) -> Result<(), Stopped> {
        let Some(company) = &mut self.company else {
            return Err(Error::NoShard.into());
        };
        let parked = company.others.swap_remove(at);
        let arrears = parked.arrears(&script);
        let Parked {
            mut attachment,
            portals,
            ..
        } = parked;
        attachment.ties.script = Some(script);
        self.cancel
            .attach(std::sync::Arc::clone(&attachment.lease.cancel));
        self.attachment = Some(attachment);
        self.portals.extend(portals);
        let Some(arrears) = arrears else {
            return Ok(());
        };
        if let Some(attachment) = &mut self.attachment {
            // A simple query drops it.
            attachment.lease.unnamed = None;
        }
        wire::frontend::encode::query(&mut self.outbound, arrears.as_bytes())?;
        self.expected.drop_answer(Answer::Ready);
        let seen = self.exchange().await?;
        if seen.own_error {
            self.transaction = Transaction::Failed;
            return Err(Stopped::Answered);
        }
        Ok(())
    }

    /// Begins the transaction on a further shard.
    async fn join(
        &mut self,
        lease: Lease,
        shard: ShardId,
        script: Preamble,
    ) -> Result<(), Stopped> {
        let implicit = self.is_implicit();
        self.transaction = Transaction::Pending(script.clone());
        let begun = self.begin_on(lease, shard, None).await;
        if begun.is_err() {
            // All of it is rolled back: its backends are closed.
            self.close_backend();
            self.settings.end_transaction(false);
            self.transaction = if implicit {
                Transaction::Idle
            } else {
                Transaction::FailedPending(Preamble::new("BEGIN"))
            };
            return begun;
        }
        if let Some(attachment) = &mut self.attachment {
            // It began elsewhere: nothing of it is taken back by itself.
            attachment.rewind = None;
            attachment.ties.script = Some(script);
        }
        Ok(())
    }

    /// What ends a transaction on several shards, or is about a cursor on another of them: its
    /// answer, where there is nothing else to do.
    pub(super) async fn run_together(&mut self, class: &Class) -> Result<Option<Bytes>, Stopped> {
        let (commits, chain) = match class {
            Class::Commit { chain } => (self.transaction == Transaction::Open, *chain),
            Class::Rollback { chain } => (false, *chain),
            Class::Cursor(CursorUse {
                cursor: Some(name), ..
            }) => {
                self.seek_cursor(name).await?;
                return Ok(None);
            }
            Class::Cursor(CursorUse { cursor: None, .. }) => {
                Box::pin(self.close_parked_cursors()).await;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        let end = if commits { End::Commit } else { End::RollBack };
        self.end_together(end, chain).await.map(Some)
    }

    /// Works with the backend that has a cursor, if that is another one.
    pub(super) async fn seek_cursor(&mut self, name: &str) -> Result<(), Stopped> {
        let has = |attachment: &Attachment| {
            let mut cursors = attachment.ties.cursors.iter();
            cursors.any(|cursor| **cursor == *name)
        };
        let is_here =
            self.attachment.as_ref().is_some_and(has) || self.portals.contains_key(name.as_bytes());
        if self.company.is_none() || is_here {
            return Ok(());
        }
        let is_there = |parked: &Parked| {
            has(&parked.attachment) || parked.portals.contains_key(name.as_bytes())
        };
        match self.parked(is_there) {
            Some(at) => self.change_over(at).await,
            None => Ok(()),
        }
    }

    /// As [`Self::seek_cursor`], for a statement that may be about one.
    pub(super) async fn seek_cursor_of(&mut self, prepared: &Prepared) -> Result<(), Stopped> {
        let class = prepared.statement().map(|statement| &statement.class);
        if let Some(Class::Cursor(CursorUse {
            cursor: Some(name), ..
        })) = class
        {
            self.seek_cursor(name).await?;
        }
        Ok(())
    }

    /// Works with the backend that has a portal, if that is another one.
    pub(super) async fn seek_portal(&mut self, name: &[u8]) -> Result<(), Stopped> {
        if self.company.is_none() || self.portals.contains_key(name) {
            return Ok(());
        }
        match self.parked(|parked| parked.portals.contains_key(name)) {
            Some(at) => self.change_over(at).await,
            None => Ok(()),
        }
    }

    async fn change_over(&mut self, at: usize) -> Result<(), Stopped> {
        if self.transaction != Transaction::Open {
            return Ok(());
        }
        // The present one is appended, so that the other one keeps its place.
        let script = self.park().await?;
        self.take_up(at, script).await
    }

    /// A cursor is about to be declared on the backend that the session works with.
    pub(super) fn note_cursor(&mut self, name: &str) {
        if let Some(attachment) = &mut self.attachment {
            attachment.ties.cursors.push(name.into());
        }
    }

    /// Has the parked backends go back to a savepoint at once, so that nobody waits for what they
    /// hold since. One that does not ends the transaction.
    pub(super) async fn undo_parked(&mut self) {
        let Some(company) = &mut self.company else {
            return;
        };
        let parked = company.others.iter_mut();
        let undone = parked
            .filter(|parked| parked.undo.is_some())
            .map(async |parked| {
                let savepoint = parked.undo.take().unwrap_or_default();
                let done = ask(&mut parked.attachment.lease, &rollback_to(&savepoint)).await;
                done.is_ok_and(|reply| reply.is(b"ROLLBACK"))
            });
        if join_all(undone).await.into_iter().all(|done| done) {
            return;
        }
        let implicit = self.is_implicit();
        self.close_backend();
        self.settings.end_transaction(false);
        self.transaction = if implicit {
            Transaction::Idle
        } else {
            Transaction::FailedPending(Preamble::new("BEGIN"))
        };
    }

    /// What a shard can do, asked on a backend of its own.
    async fn ability(&self, serving: &Serving, shard: &ShardId) -> Result<Ability, Stopped> {
        let core = &self.front.core;
        if let Some(ability) = core.twopc.ability(shard) {
            return Ok(ability);
        }
        let pool = serving.pools().find(|pool| pool.shard() == shard);
        let pool = pool.ok_or(Error::NoShard)?;
        Ok(writers::ask_ability(core, pool).await?)
    }
}

fn put_bind_and_execute(out: &mut bytes::BytesMut) -> Result<(), wire::EncodeError> {
    wire::frontend::encode::bind(out, b"", b"", &[], &[], &[])?;
    wire::frontend::encode::execute(out, b"", 0)
}

fn unrepeatable(held: &ShardId, wanted: &ShardId) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: format!(
            "the transaction is on shard {held} and cannot go on on shard {wanted}: it was not \
             begun by a BEGIN of its own, or has too many savepoints and settings"
        ),
        hint: Some("send BEGIN as a query of its own".to_owned()),
    }
}

fn one_snapshot(held: &ShardId, wanted: &ShardId) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: format!(
            "the transaction is on shard {held} and cannot go on on shard {wanted}: shards have no \
             common snapshot, which its isolation level promises"
        ),
        hint: Some(
            "use READ COMMITTED for transactions on several shards, or keep it to the keys of one"
                .to_owned(),
        ),
    }
}
