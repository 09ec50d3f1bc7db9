//! A write of a user: under the leader's term and with its audit entry, like every control write,
//! but without an epoch.

use std::time::SystemTime;

use topology::records::{User, decode};
use topology::store::{Compare, Revision, Txn};
use topology::{Term, keys};

use super::{Attempt, Draft, Error, Writer, blank_entry, change_of, leads};
use crate::audit::{self, Author, Position};
use crate::control::user::{self, Action, Command};

/// A change of a user to be made.
#[derive(Debug, Clone)]
pub struct UserRequest {
    /// The term in which the writer leads.
    pub term: Term,
    /// The change.
    pub command: Command,
    /// Who asks for it.
    pub author: Author,
}

impl Writer {
    /// Changes a user; gives it as it is afterwards, none when it is gone. Not cancel-safe, as
    /// [`Self::write`].
    ///
    /// # Errors
    /// Nothing was written, but for [`Error::OutcomeUnknown`].
    pub async fn write_user(&self, request: &UserRequest) -> Result<Option<User>, Error> {
        let attempt = || self.attempt_user(request);
        let (user, _) = self.until_settled(request.term, attempt).await?;
        Ok(user)
    }

    async fn attempt_user(&self, request: &UserRequest) -> Result<Attempt<Option<User>>, Error> {
        let now = SystemTime::now();
        let (command, term) = (&request.command, request.term);
        let key = keys::user(&command.name);
        let found = self.store.read(&key).await.map_err(Error::Store)?;
        let seen = found
            .as_ref()
            .map_or(Revision(0), |entry| entry.mod_revision);
        let stored = found.as_ref().map(|entry| entry.value.clone());
        let present = found.map(|entry| decode::<User>(&entry.key, &entry.value));
        let count = self.users(&command.action).await?;
        let change = user::decide(present.transpose()?, count, command, now)?;
        let position = Position::of(self.store.as_ref()).await?;
        let epoch = self.epoch().await?;
        let entry = audit::Entry {
            action: change.action.to_owned(),
            target: command.name.to_string(),
            detail: change.detail,
            changes: vec![change_of(&change.op, stored.as_deref())],
            ..blank_entry((term, &request.author), (epoch, position), now)
        };
        let compares = vec![
            leads(term),
            Compare::ModRevision(key, seen),
            position.unchanged(),
        ];
        let mut ops = vec![change.op];
        ops.extend(position.added(&entry));
        let txn = Txn { compares, ops };
        Ok(Attempt::Send(Box::new(Draft::new(txn, entry)), change.user))
    }

    /// How many users there are, where that matters. Two that are created at once are still
    /// counted one after the other, since each adds an audit entry.
    async fn users(&self, action: &Action) -> Result<usize, Error> {
        match action {
            Action::Create { .. } => {
                let listing = self.store.list(keys::USERS).await.map_err(Error::Store)?;
                Ok(listing.entries.len())
            }
            Action::Alter { .. } | Action::Delete => Ok(0),
        }
    }
}
