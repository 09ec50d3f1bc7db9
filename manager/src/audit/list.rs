//! Pages of the log, newest first.

use serde::Serialize;
use topology::records::{Digest, decode};
use topology::store::Store;

use super::{BLOCK, Entry, ReadError, Verdict, anchor, block_prefix, head};

/// Most entries of one page.
pub const MAX_LISTED: usize = 1_000;

/// Most entries that are read for one page; a filter that lets few pass takes several pages.
const MAX_READ: u64 = 20_000;

/// Which entries are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// By whom.
    pub actor: Option<String>,
    /// Of which action.
    pub action: Option<String>,
    /// On what.
    pub target: Option<String>,
    /// From which address.
    pub from: Option<String>,
    /// Of which request.
    pub request_id: Option<String>,
    /// With which result.
    pub result: Option<Verdict>,
    /// At this time or later, in RFC 3339 with milliseconds, in UTC.
    pub since: Option<String>,
    /// Before this time, as well.
    pub until: Option<String>,
    /// With a lower number.
    pub before: Option<u64>,
}

impl Filter {
    /// Times are compared as texts, since all of them have the same form.
    fn admits(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let of = |found: &Option<String>| found.clone().unwrap_or_default();
        is(&self.actor, &entry.actor)
            && is(&self.action, &entry.action)
            && is(&self.target, &entry.target)
            && is(&self.from, &of(&entry.from))
            && is(&self.request_id, &of(&entry.request_id))
            && self.result.is_none_or(|wanted| wanted == entry.result)
            && self.since.as_ref().is_none_or(|since| entry.at >= *since)
            && self.until.as_ref().is_none_or(|until| entry.at < *until)
            && self.before.is_none_or(|before| entry.sequence < before)
    }

    /// Whether everything older than an entry is too old.
    fn ends_at(&self, entry: &Entry) -> bool {
        self.since.as_ref().is_some_and(|since| entry.at < *since)
    }
}

/// An entry with its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
    /// The digest of its stored bytes, which the next entry holds as `previous`.
    pub hash: Digest,
}

/// Some entries, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Listed>,
    /// What `before` is for the next page; none after the last one.
    pub next: Option<u64>,
}

/// A page of the entries that a filter admits.
///
/// # Errors
/// [`ReadError`] when the store or an entry cannot be read.
pub async fn page(store: &dyn Store, filter: &Filter, limit: usize) -> Result<Page, ReadError> {
    let limit = limit.min(MAX_LISTED);
    let cut = anchor(store).await?.0.map_or(0, |anchor| anchor.sequence);
    let newest = head(store).await?.0.sequence;
    let newest = filter
        .before
        .map_or(newest, |before| newest.min(before.saturating_sub(1)));
    let mut entries = Vec::new();
    let mut read = 0;
    let mut block = Some(newest / BLOCK).filter(|_| newest > cut);
    while let Some(number) = block {
        let listing = store.list(&block_prefix(number)).await?;
        for stored in listing.entries.iter().rev() {
            let entry: Entry = decode(&stored.key, &stored.value)?;
            if filter.ends_at(&entry) {
                return Ok(Page {
                    entries,
                    next: None,
                });
            }
            if !filter.admits(&entry) {
                continue;
            }
            if entries.len() == limit {
                let next = Some(entry.sequence + 1);
                return Ok(Page { entries, next });
            }
            let hash = Digest::of(&stored.value);
            entries.push(Listed { entry, hash });
        }
        read += BLOCK;
        let first = number * BLOCK;
        if read >= MAX_READ && first > cut + 1 {
            let next = Some(first);
            return Ok(Page { entries, next });
        }
        block = number.checked_sub(1).filter(|_| first > cut + 1);
    }
    Ok(Page {
        entries,
        next: None,
    })
}
