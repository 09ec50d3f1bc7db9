//! Walks through the whole log and has it checked.

use topology::keys;
use topology::store::Store;

use super::chain::{Checker, Fault, Findings};
use super::{BLOCK, ReadError, anchor, block_prefix, head, number_of};

/// How often the walk begins again because the log was cut off meanwhile.
const MAX_WALKS: u32 = 5;

/// Checks every entry. Entries that are added meanwhile are left to the next time.
///
/// # Errors
/// [`ReadError`] when the store, the head or the anchor cannot be read; an entry that cannot be is
/// a finding.
pub async fn verify(store: &dyn Store) -> Result<Findings, ReadError> {
    for _ in 0..MAX_WALKS {
        let (cut, seen) = anchor(store).await?;
        let (newest, head_seen) = head(store).await?;
        let mut checker = Checker::new(cut);
        let first = cut.map_or(1, |cut| cut.sequence + 1);
        for block in first / BLOCK..=newest.sequence / BLOCK {
            for stored in store.list(&block_prefix(block)).await?.entries {
                match number_of(&stored.key) {
                    Some(number) if number <= newest.sequence => {
                        checker.entry(number, &stored.value);
                    }
                    Some(_) | None => {}
                }
            }
        }
        let sequence = newest.sequence + 1;
        let beyond = store.read(&keys::audit(sequence)).await?.is_some();
        if anchor(store).await?.1 != seen {
            continue;
        }
        let is_unwritten = beyond && head(store).await?.1 == head_seen;
        let mut findings = checker.finish(newest);
        if is_unwritten {
            findings.faults.push(Fault::Beyond { sequence });
        }
        return Ok(findings);
    }
    Err(ReadError::Restless)
}
