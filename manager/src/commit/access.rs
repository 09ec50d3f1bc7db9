//! A write of an account, an API key or a revocation: with its audit entry and under the leader's
//! term, like every control write, but without an epoch.
//!
//! Any manager does it, not only the one that leads: everything that it rests on is compared in
//! the transaction, and nothing waits in the leader's memory.

use std::time::{Duration, SystemTime};

use topology::access::Account;
use topology::records::decode;
use topology::store::{Compare, Op, Revision, Txn};
use topology::{Term, keys};

use super::{Attempt, Draft, Error, Writer, blank_entry, change_of, leads};
use crate::audit::{self, Author, Position};
use crate::control::access::{self, Command, State, Write};

/// etcd's leases are of whole seconds, and none is shorter.
const SHORTEST: Duration = Duration::from_secs(2);

/// A change of who may do what.
#[derive(Debug, Clone)]
pub struct AccessRequest {
    /// The term of the leader, be it this manager or another one.
    pub term: Term,
    /// The change.
    pub command: Command,
    /// Who asks for it.
    pub author: Author,
}

impl Writer {
    /// Changes who may do what; gives the account that it was about. Not cancel-safe, as
    /// [`Self::write`].
    ///
    /// # Errors
    /// Nothing was written, but for [`Error::OutcomeUnknown`].
    pub async fn write_access(&self, request: &AccessRequest) -> Result<Option<Account>, Error> {
        let attempt = || self.attempt_access(request);
        let (account, _) = self.until_settled(request.term, attempt).await?;
        Ok(account)
    }

    async fn attempt_access(
        &self,
        request: &AccessRequest,
    ) -> Result<Attempt<Option<Account>>, Error> {
        let (now, term) = (SystemTime::now(), request.term);
        // Read first: whatever is written after it adds an entry, and then this is decided anew.
        let position = Position::of(self.store.as_ref()).await?;
        let state = self.access_state(&request.command).await?;
        let change = access::decide(&state, &request.command, now)?;
        let epoch = self.epoch().await?;
        let mut changes = Vec::new();
        let mut ops = Vec::with_capacity(change.writes.len());
        for write in change.writes {
            let is_record = !matches!(write, Write::PutFor(..));
            let op = self.op(write).await?;
            // A revocation says no more than the entry's detail.
            if is_record {
                let found = self.store.read(op.key()).await.map_err(Error::Store)?;
                let before = found.as_ref().map(|entry| entry.value.as_ref());
                changes.push(change_of(&op, before));
            }
            ops.push(op);
        }
        let entry = audit::Entry {
            action: change.action.to_owned(),
            target: change.target,
            detail: change.detail,
            changes,
            ..blank_entry((term, &request.author), (epoch, position), now)
        };
        let mut compares = vec![leads(term), position.unchanged()];
        let absent = change.absent.into_iter();
        compares.extend(absent.map(|key| Compare::CreateRevision(key, Revision(0))));
        ops.extend(position.added(&entry));
        let txn = Txn { compares, ops };
        Ok(Attempt::Send(
            Box::new(Draft::new(txn, entry)),
            change.account,
        ))
    }

    async fn op(&self, write: Write) -> Result<Op, Error> {
        Ok(match write {
            Write::Put(key, record) => Op::put(key, record),
            Write::Delete(key) => Op::delete(key),
            Write::PutFor(key, record, time) => {
                let lease = self.store.grant(time.max(SHORTEST)).await;
                Op::put_leased(key, record, lease.map_err(Error::Store)?)
            }
        })
    }

    async fn access_state(&self, command: &Command) -> Result<State, Error> {
        let store = self.store.as_ref();
        let mut state = State::default();
        match command {
            Command::Setup { .. }
            | Command::Create { .. }
            | Command::Alter { .. }
            | Command::Delete { .. } => {
                let marker = store.read(keys::AUTH_SETUP).await.map_err(Error::Store)?;
                state.is_set_up = marker.is_some();
                let listing = store.list(keys::ACCOUNTS).await.map_err(Error::Store)?;
                let entries = listing.entries.iter();
                let accounts = entries.map(|entry| decode(&entry.key, &entry.value));
                state.accounts = accounts.collect::<Result<_, _>>()?;
            }
            Command::CreateKey(_) | Command::RevokeKey { .. } => {
                let listing = store.list(keys::API_KEYS).await.map_err(Error::Store)?;
                let ids = listing.entries.iter();
                let ids = ids.filter_map(|entry| entry.key.strip_prefix(keys::API_KEYS));
                state.keys = ids.map(str::to_owned).collect();
            }
            Command::Refresh { id, .. } => {
                let found = store.read(&keys::revoked_token(id)).await;
                state.is_revoked = found.map_err(Error::Store)?.is_some();
            }
            Command::LogIn { .. } | Command::Reused { .. } | Command::LogOut { .. } => {}
        }
        Ok(state)
    }
}
