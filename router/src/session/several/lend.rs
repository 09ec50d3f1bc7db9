//! All backends of a transaction at once, for a statement that works with several side by side.
//!
//! They are lent out while no statement of the session runs on any of them, and come back before
//! the next one does. One that does not come back is lost, and the transaction with it.

use topology::{ShardId, ShardIndex};

use super::{Parked, Ties};
use crate::error::Error;
use crate::pool::Lease;
use crate::route::Target;
use crate::scatter::exec::Leases;
use crate::session::attach::{Attachment, Stopped};
use crate::session::expect::Answer;
use crate::session::extended::Portals;
use crate::session::state::{Preamble, Transaction};
use crate::session::{Session, poison};
use crate::view::Serving;

/// What stays of a backend that is lent out.
#[derive(Debug)]
pub(super) struct Shell {
    shard: ShardId,
    ties: Ties,
    portals: Portals,
    caught_up: usize,
    undo: Option<Box<str>>,
}

/// A backend that is lent out, in the transaction.
#[derive(Debug)]
pub(in crate::session) struct Lent {
    pub(in crate::session) shard: ShardId,
    pub(in crate::session) index: ShardIndex,
    pub(in crate::session) lease: Lease,
}

impl Session {
    /// Begins the transaction on all of these shards, in their order, and has them answer all that
    /// they were sent.
    pub(in crate::session) async fn gather(
        &mut self,
        serving: &Serving,
        shards: &[ShardIndex],
        writes: bool,
    ) -> Result<(), Stopped> {
        self.must_not_have_failed()?;
        self.begin_implicitly().await?;
        for index in shards {
            self.flight.note_writes(writes);
            let target = Target::Shard {
                index: *index,
                token: None,
            };
            self.attach(serving, target).await?;
            self.settle_current(false).await?;
        }
        Ok(())
    }

    /// Lends out the backends of these shards, on all of which the transaction was begun.
    pub(in crate::session) async fn lend(
        &mut self,
        serving: &Serving,
        shards: &[ShardIndex],
    ) -> Result<Vec<Lent>, Stopped> {
        let script = self.park().await?;
        let mut lent = Vec::with_capacity(shards.len());
        let Some(company) = &mut self.company else {
            return Ok(lent);
        };
        company.script = Some(script);
        for index in shards {
            let id = serving.snapshot.shard(*index).map(|shard| &shard.id);
            let found = company.place_of(|it| Some(&it.attachment.shard) == id);
            let Some(at) = found else { continue };
            let Parked {
                attachment,
                portals,
                caught_up,
                undo,
            } = company.others.swap_remove(at);
            let Attachment {
                mut lease,
                shard,
                ties,
                ..
            } = attachment;
            lease.unnamed = None;
            company.lent.push(Shell {
                shard: shard.clone(),
                ties,
                portals,
                caught_up,
                undo,
            });
            lent.push(Lent {
                shard,
                index: *index,
                lease,
            });
        }
        Ok(lent)
    }

    /// As [`Self::lend`], for a query over all shards, on all of which the transaction is begun.
    pub(in crate::session) async fn lend_all(
        &mut self,
        serving: &Serving,
    ) -> Result<Leases, Stopped> {
        let shards: Vec<ShardIndex> = serving.active().map(|(index, _)| index).collect();
        self.gather(serving, &shards, false).await?;
        let lent = self.lend(serving, &shards).await?;
        let lent = lent.into_iter().map(|it| (it.shard, it.index, it.lease));
        let grace = self.front.core.config.sharding.connect_timeout;
        let (leases, returns) = Leases::lent(lent, grace);
        if let Some(company) = &mut self.company {
            company.returns = Some(returns);
        }
        Ok(leases)
    }

    /// Takes back what [`Self::lend_all`] has lent, once that is over.
    pub(in crate::session) async fn reclaim_returned(
        &mut self,
        failed: bool,
    ) -> Result<(), Stopped> {
        let company = self.company.as_mut();
        match company.and_then(|company| company.returns.take()) {
            Some(returns) => self.reclaim(returns.take(), failed).await,
            None => Ok(()),
        }
    }

    /// A shard whose backend is lent out was written to.
    pub(in crate::session) fn note_lent_writer(&mut self, shard: &ShardId) {
        if let Some(company) = &mut self.company {
            let mut lent = company.lent.iter_mut();
            if let Some(shell) = lent.find(|shell| shell.shard == *shard) {
                shell.ties.wrote = true;
            }
        }
    }

    /// The shards that the transaction has written to, while its backends are lent out.
    pub(in crate::session) fn writers_lent(&self) -> Vec<ShardId> {
        let Some(company) = &self.company else {
            return Vec::new();
        };
        let lent = company.lent.iter().map(|it| (&it.shard, &it.ties));
        let others = company.others.iter().map(|it| &it.attachment);
        let others = others.map(|it| (&it.shard, &it.ties));
        let all = lent.chain(others).filter(|(_, ties)| ties.wrote);
        all.map(|(shard, _)| shard.clone()).collect()
    }

    /// Whether backends are lent out.
    pub(in crate::session) fn has_lent(&self) -> bool {
        let company = self.company.as_ref();
        company.is_some_and(|company| !company.lent.is_empty())
    }

    /// Takes backends back that owe no answer; goes on with one of them. After a failure the
    /// transaction has failed, whatever the backend says that it goes on with.
    pub(in crate::session) async fn reclaim(
        &mut self,
        back: Vec<(ShardId, Lease)>,
        failed: bool,
    ) -> Result<(), Stopped> {
        let Some(company) = &mut self.company else {
            return Ok(());
        };
        let shells = std::mem::take(&mut company.lent);
        if shells.is_empty() {
            return Ok(());
        }
        let wanted = shells.len();
        let mut back = back;
        let mut missing = None;
        for shell in shells {
            let Some(at) = back.iter().position(|(shard, _)| *shard == shell.shard) else {
                missing = Some(shell.shard);
                continue;
            };
            let (shard, lease) = back.swap_remove(at);
            company.others.push(parked(shard, lease, shell));
            company.returned += 1;
        }
        let all = std::mem::take(&mut company.returned) == wanted;
        let script = company.script.take();
        let last = company.others.len().checked_sub(1);
        let (true, Some(script), Some(last)) = (all, script, last) else {
            self.lose_transaction();
            // After a failure it is told why.
            return match missing.filter(|_| !failed) {
                Some(shard) => Err(Error::BackendLost { shard }.into()),
                None => Ok(()),
            };
        };
        self.take_up(last, script).await?;
        if failed {
            self.fail_current().await?;
        }
        Ok(())
    }

    /// Nothing of the transaction is left on any shard.
    fn lose_transaction(&mut self) {
        let implicit = self.is_implicit();
        self.close_backend();
        self.settings.end_transaction(false);
        self.transaction = if implicit {
            Transaction::Idle
        } else {
            Transaction::FailedPending(Preamble::new("BEGIN"))
        };
    }

    /// Has the backend that the session works with fail as another one has.
    async fn fail_current(&mut self) -> Result<(), Stopped> {
        poison(&mut self.outbound)?;
        wire::frontend::encode::sync(&mut self.outbound);
        self.expected.replace_error(bytes::Bytes::new());
        self.expected.drop_answer(Answer::Ready);
        self.exchange().await?;
        self.transaction = Transaction::Failed;
        Ok(())
    }
}

fn parked(shard: ShardId, lease: Lease, shell: Shell) -> Parked {
    let attachment = Attachment {
        lease,
        shard,
        movable: None,
        rewind: None,
        ties: shell.ties,
        unsynced: false,
        on_replica: false,
        idle: false,
        baton: None,
    };
    Parked {
        attachment,
        portals: shell.portals,
        caught_up: shell.caught_up,
        undo: shell.undo,
    }
}
