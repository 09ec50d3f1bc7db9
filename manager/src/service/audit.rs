//! The audit log, in the messages of the API.

use std::time::SystemTime;

use proto::manager::v1;

use super::Service;
use crate::audit::{self, Filter, Listed, Verdict};
use crate::error::Error;

/// Entries of a listing that names no limit.
const DEFAULT_LIMIT: usize = 100;

impl Service {
    /// A page of the audit log, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn audit(&self, filter: &Filter, limit: usize) -> Result<audit::Page, Error> {
        if !(1..=audit::MAX_LISTED).contains(&limit) {
            let rule = format!("must be from 1 to {}", audit::MAX_LISTED);
            return Err(Error::invalid("limit", rule));
        }
        Ok(audit::page(self.0.store.as_ref(), filter, limit).await?)
    }

    /// Whether the audit log is what was written.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn verify_audit(&self) -> Result<audit::chain::Findings, Error> {
        Ok(audit::verify(self.0.store.as_ref()).await?)
    }

    /// As [`Self::audit`].
    ///
    /// # Errors
    /// When a field is wrong, or the store cannot be read.
    pub async fn list_entries(
        &self,
        request: v1::ListEntriesRequest,
    ) -> Result<v1::ListEntriesResponse, Error> {
        let result = match request.result.as_deref() {
            None => None,
            Some("done") => Some(Verdict::Done),
            Some("refused") => Some(Verdict::Refused),
            Some(_) => return Err(Error::invalid("result", "must be done or refused")),
        };
        let filter = Filter {
            result,
            since: Filter::time("since", request.since.as_deref())?,
            until: Filter::time("until", request.until.as_deref())?,
            actor: request.actor,
            action: request.action,
            target: request.target,
            from: request.from,
            request_id: request.request_id,
            before: request.before,
        };
        let limit = request.limit.map_or(DEFAULT_LIMIT, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        let page = self.audit(&filter, limit).await?;
        Ok(v1::ListEntriesResponse {
            entries: page.entries.into_iter().map(entry).collect(),
            next: page.next,
        })
    }

    /// As [`Self::verify_audit`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn verify_entries(&self) -> Result<v1::VerifyResponse, Error> {
        let found = self.verify_audit().await?;
        let fault = |fault: &audit::chain::Fault| v1::AuditFault {
            sequence: fault.sequence(),
            kind: fault.kind().to_owned(),
            message: fault.to_string(),
        };
        Ok(v1::VerifyResponse {
            entries: found.entries,
            chained: found.chained,
            head_sequence: found.head.sequence,
            head_hash: found.head.hash.map(|hash| hash.to_string()),
            cut_through: found.anchor.map(|anchor| anchor.sequence),
            faults: found.faults.iter().map(fault).collect(),
        })
    }
}

impl Filter {
    /// A time in the form that entries have it in.
    ///
    /// # Errors
    /// When it is no RFC 3339.
    pub fn time(field: &'static str, text: Option<&str>) -> Result<Option<String>, Error> {
        let parse = |text| {
            let time = humantime::parse_rfc3339_weak(text).ok();
            let time = time.filter(|time| *time >= SystemTime::UNIX_EPOCH);
            let wrong = || Error::invalid(field, "must be a time such as 2026-01-31T12:00:00Z");
            let time = time.ok_or_else(wrong)?;
            Ok(humantime::format_rfc3339_millis(time).to_string())
        };
        text.map(parse).transpose()
    }
}

fn entry(Listed { entry, hash }: Listed) -> v1::AuditEntry {
    let change = |change: audit::Change| v1::AuditChange {
        key: change.key,
        before: change.before.to_string(),
        after: change.after.to_string(),
    };
    v1::AuditEntry {
        sequence: entry.sequence,
        epoch: entry.epoch.0,
        term: entry.term.0,
        at: entry.at,
        actor: entry.actor,
        request_id: entry.request_id,
        from: entry.from,
        action: entry.action,
        target: entry.target,
        result: entry.result.as_str().to_owned(),
        detail: entry.detail.to_string(),
        changes: entry.changes.into_iter().map(change).collect(),
        previous: entry.previous.map(|hash| hash.to_string()),
        hash: hash.to_string(),
    }
}
