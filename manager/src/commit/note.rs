//! Writes of the audit log alone: a refusal, and the cutting off of what is too old.

use std::sync::PoisonError;
use std::time::SystemTime;

use serde_json::Value;
use topology::records::encode;
use topology::store::{Compare, Op, Txn};
use topology::{Term, keys};

use super::{Attempt, Draft, Error, Known, Writer, blank_entry, leads};
use crate::audit::{self, Author, Position, Retention, Verdict, chain};

/// Who cuts the log off, as its entries name it.
const KEEPER: &str = "retention";

/// What was refused.
#[derive(Debug, Clone)]
pub struct Note {
    /// The term of the leader, be it this manager or another one.
    pub term: Term,
    /// Who asked.
    pub author: Author,
    /// For what.
    pub action: String,
    /// On what.
    pub target: String,
    /// Why not.
    pub detail: Value,
}

impl Writer {
    /// Notes that something was refused; changes nothing else. A manager that does not lead may
    /// note what it refuses itself.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn note_refusal(&self, note: &Note) -> Result<(), Error> {
        let attempt = || self.attempt_note(note);
        self.until_settled(note.term, attempt).await?;
        Ok(())
    }

    /// Removes what a retention does not keep, at most as much as one transaction can; gives how
    /// many entries that was.
    ///
    /// # Errors
    /// As [`Self::write`]; and when what would be removed is not what was written.
    pub async fn cut_audit(&self, term: Term, retention: &Retention) -> Result<usize, Error> {
        let attempt = || self.attempt_cut(term, retention);
        Ok(self.until_settled(term, attempt).await?.0)
    }

    async fn attempt_note(&self, note: &Note) -> Result<Attempt<()>, Error> {
        let known = self.take_known();
        let (position, epoch) = match &known {
            Some(known) => (known.position, known.loaded.epoch()),
            None => (
                Position::of(self.store.as_ref()).await?,
                self.epoch().await?,
            ),
        };
        let now = SystemTime::now();
        let entry = audit::Entry {
            action: note.action.clone(),
            target: note.target.clone(),
            result: Verdict::Refused,
            detail: note.detail.clone(),
            ..blank_entry((note.term, &note.author), (epoch, position), now)
        };
        let compares = vec![leads(note.term), position.unchanged()];
        let ops = position.added(&entry).to_vec();
        let txn = Txn { compares, ops };
        let draft = Draft {
            known,
            ..Draft::new(txn, entry)
        };
        Ok(Attempt::Send(Box::new(draft), ()))
    }

    async fn attempt_cut(
        &self,
        term: Term,
        retention: &Retention,
    ) -> Result<Attempt<usize>, Error> {
        let now = SystemTime::now();
        let Some(cut) = retention.cut(self.store.as_ref(), now).await? else {
            return Ok(Attempt::Done(0));
        };
        let position = Position::of(self.store.as_ref()).await?;
        let keeper = Author {
            actor: KEEPER.to_owned(),
            ..Author::default()
        };
        let entry = audit::Entry {
            action: chain::CUT.to_owned(),
            target: "audit".to_owned(),
            detail: chain::cut_detail(&cut.anchor),
            ..blank_entry((term, &keeper), (self.epoch().await?, position), now)
        };
        let anchor_is_as_seen = Compare::ModRevision(keys::AUDIT_ANCHOR.to_owned(), cut.seen);
        let compares = vec![leads(term), anchor_is_as_seen, position.unchanged()];
        let removed = cut.keys.len();
        let mut ops: Vec<_> = cut.keys.into_iter().map(Op::delete).collect();
        ops.push(Op::put(keys::AUDIT_ANCHOR, encode(&cut.anchor)));
        ops.extend(position.added(&entry));
        let draft = Draft::new(Txn { compares, ops }, entry);
        Ok(Attempt::Send(Box::new(draft), removed))
    }

    fn take_known(&self) -> Option<Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.take()
    }
}
