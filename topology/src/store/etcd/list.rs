//! Lists a prefix in pages that are all read at the first page's revision.

use etcd_client::{Client, GetOptions};

use super::endpoints::{Endpoints, Retry};
use super::{MAX_ANSWER_BYTES, entry, header_revision, prefix_end, prefix_start, signed};
use crate::store::{Entry, Error, Listing, Revision};

/// Keys a page. Our largest record is well below half a mebibyte, so a page of them fits.
const PAGE_KEYS: i64 = 500;

/// How often a listing begins anew because its revision was compacted between two pages.
const MAX_RESTARTS: usize = 3;

pub(super) async fn list(endpoints: &Endpoints, prefix: &str) -> Result<Listing, Error> {
    let mut restarts = 0;
    loop {
        match list_at_one_revision(endpoints, prefix).await {
            Err(Error::Compacted { .. }) if restarts < MAX_RESTARTS => restarts += 1,
            answer => return answer,
        }
    }
}

async fn list_at_one_revision(endpoints: &Endpoints, prefix: &str) -> Result<Listing, Error> {
    let mut listing = Listing {
        entries: Vec::new(),
        revision: Revision(0),
    };
    let mut bytes = 0;
    let mut from = prefix_start(prefix);
    loop {
        let options = GetOptions::new()
            .with_range(prefix_end(prefix))
            .with_limit(PAGE_KEYS)
            // 0 is "now": the first page sets the revision of the others.
            .with_revision(signed(listing.revision));
        let request = |client: Client| {
            let mut kv = client
                .kv_client()
                .max_decoding_message_size(MAX_ANSWER_BYTES);
            let (from, options) = (from.clone(), options.clone());
            async move { kv.get(from, Some(options)).await }
        };
        let mut page = endpoints.call(Retry::Always, request).await?;
        if listing.revision == Revision(0) {
            listing.revision = header_revision(page.header());
        }
        let entries = page
            .take_kvs()
            .into_iter()
            .map(entry)
            .collect::<Result<Vec<_>, _>>()?;
        bytes += entries.iter().map(size).sum::<usize>();
        if bytes > MAX_ANSWER_BYTES {
            let text = format!("what lies under {prefix} is larger than {MAX_ANSWER_BYTES} bytes");
            return Err(Error::Denied(text));
        }
        listing.entries.extend(entries);
        match listing.entries.last() {
            Some(last) if page.more() => from = [last.key.as_bytes(), &[0]].concat(),
            _ => return Ok(listing),
        }
    }
}

fn size(entry: &Entry) -> usize {
    entry.key.len() + entry.value.len()
}
