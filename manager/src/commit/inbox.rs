//! What routers have handed over for the audit log becomes entries: in the same transaction their
//! inbox is emptied, so that each event is in the log once, whoever dies when.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use topology::Term;
use topology::records::{AuditInbox, RouterEvent, decode, encode};
use topology::store::{Committed, Compare, Entry, Op, Txn};

use super::{Attempt, Draft, Error, Writer, blank_entry, leads};
use crate::audit::{self, Author, Position, Verdict};

impl Writer {
    /// Moves what a router's inbox holds to the log, at most as much as one transaction can; gives
    /// how many entries that made.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn take_inbox(&self, term: Term, key: &str) -> Result<usize, Error> {
        let attempt = || self.attempt_inbox(term, key);
        Ok(self.until_settled(term, attempt).await?.0)
    }

    /// Removes an inbox, as it was read, that is empty and that no router writes to any more.
    ///
    /// # Errors
    /// When the store does not say that it is done, or that it is not.
    pub async fn remove_inbox(&self, term: Term, inbox: &Entry) -> Result<bool, Error> {
        let seen = Compare::ModRevision(inbox.key.clone(), inbox.mod_revision);
        let txn = Txn {
            compares: vec![leads(term), seen],
            ops: vec![Op::delete(&inbox.key)],
        };
        let committed = self.store.commit(txn).await.map_err(Error::Store)?;
        Ok(matches!(committed, Committed::Applied(_)))
    }

    async fn attempt_inbox(&self, term: Term, key: &str) -> Result<Attempt<usize>, Error> {
        let Some(found) = self.store.read(key).await.map_err(Error::Store)? else {
            return Ok(Attempt::Done(0));
        };
        let mut inbox: AuditInbox = decode(key, &found.value)?;
        let taken = inbox.events.len().min(AuditInbox::MAX_AT_ONCE);
        let events: Vec<_> = inbox.events.drain(..taken).collect();
        if events.is_empty() {
            return Ok(Attempt::Done(0));
        }
        let position = Position::of(self.store.as_ref()).await?;
        let epoch = self.epoch().await?;
        let now = SystemTime::now();
        let (mut entries, mut next) = (Vec::with_capacity(taken), position);
        for event in events {
            let author = author(&event);
            let blank = blank_entry((term, &author), (epoch, next), now);
            let entry = entry_of(event, &inbox.router, blank);
            next = next.behind(&entry);
            entries.push(entry);
        }
        let seen = Compare::ModRevision(key.to_owned(), found.mod_revision);
        let compares = vec![leads(term), seen, position.unchanged()];
        let mut ops = vec![Op::put(key, encode(&inbox))];
        ops.extend(position.added_all(&entries));
        let txn = Txn { compares, ops };
        let draft = Draft::of_several(txn, entries);
        Ok(draft.map_or(Attempt::Done(0), |draft| {
            Attempt::Send(Box::new(draft), taken)
        }))
    }
}

fn author(event: &RouterEvent) -> Author {
    Author {
        actor: event.occasion.actor.clone(),
        request_id: event.request_id.clone(),
        from: event.occasion.from.clone(),
    }
}

fn entry_of(event: RouterEvent, router: &str, blank: audit::Entry) -> audit::Entry {
    let detail = detail(&event, router);
    audit::Entry {
        action: event.occasion.action,
        target: event.occasion.target,
        result: if event.occasion.refused {
            Verdict::Refused
        } else {
            Verdict::Done
        },
        detail,
        ..blank
    }
}

fn detail(event: &RouterEvent, router: &str) -> Value {
    let time = |at: SystemTime| {
        let since = at.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default().min(LAST);
        humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since).to_string()
    };
    let mut detail = json!({
        "router": router,
        "count": event.count,
        "first_at": time(event.first_at),
        "last_at": time(event.last_at),
    });
    if let Value::Object(fields) = &mut detail {
        if let Some(surface) = event.occasion.surface {
            fields.insert("surface".to_owned(), json!(surface));
        }
        if let Some(reason) = &event.occasion.reason {
            fields.insert("reason".to_owned(), json!(reason));
        }
    }
    detail
}

/// The last second of the year 9999, after which RFC 3339 has no times.
const LAST: Duration = Duration::from_secs(253_402_300_799);
