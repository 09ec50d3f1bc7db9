//! The number of each shard, by which its sequences differ from those of the others. A number is
//! given out once and never again, whatever becomes of its shard: rows that were numbered there may
//! be anywhere by now.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::records::{DecodeError, decode, encode};
use crate::store::{self, Committed, Compare, Op, Outcome, Revision, Store, Txn};
use crate::{Shard, keys};

/// How many numbers there are, from 0.
pub const MAX_NUMBERS: u16 = 1024;

/// How often a write is tried again since somebody else was faster.
const MAX_ATTEMPTS: usize = 16;

/// Why a shard has no number.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store gave no answer.
    #[error("the numbers of shards are not readable")]
    Store(#[from] store::Error),
    /// What is stored is not readable.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// All are given out.
    #[error("all {MAX_NUMBERS} numbers of shards are given out")]
    Exhausted,
    /// Others were faster each time.
    #[error("the numbers of shards change all the time")]
    Busy,
}

/// The record: all numbers that were ever given out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    numbers: BTreeMap<String, u16>,
}

impl Record {
    /// The numbers of some shards; those that have none get the next ones.
    fn of(&mut self, shards: &[String]) -> Result<Vec<u16>, Error> {
        let mut numbers = Vec::with_capacity(shards.len());
        for shard in shards {
            if let Some(known) = self.numbers.get(shard) {
                numbers.push(*known);
                continue;
            }
            // None is ever taken out of the record.
            let next = u16::try_from(self.numbers.len()).map_err(|_| Error::Exhausted)?;
            if next >= MAX_NUMBERS {
                return Err(Error::Exhausted);
            }
            self.numbers.insert(shard.clone(), next);
            numbers.push(next);
        }
        Ok(numbers)
    }
}

/// A shard that is registered anew under an old id is another one.
fn name_of(shard: &Shard) -> String {
    let since = shard.created_at.duration_since(SystemTime::UNIX_EPOCH);
    format!("{}@{}", shard.id, since.unwrap_or_default().as_millis())
}

/// The numbers of some shards, in their order; what has none is given one.
///
/// # Errors
/// [`Error`]; some of them may have been given a number.
pub async fn of(store: &dyn Store, shards: &[&Shard]) -> Result<Vec<u16>, Error> {
    let names: Vec<String> = shards.iter().map(|shard| name_of(shard)).collect();
    for _ in 0..MAX_ATTEMPTS {
        let entry = store.read(keys::NUMBERS).await?;
        let (mut record, seen) = match &entry {
            Some(entry) => (
                decode::<Record>(&entry.key, &entry.value)?,
                entry.mod_revision,
            ),
            None => (Record::default(), Revision(0)),
        };
        let before = record.numbers.len();
        let numbers = record.of(&names)?;
        if record.numbers.len() == before {
            return Ok(numbers);
        }
        let txn = Txn {
            compares: vec![Compare::ModRevision(keys::NUMBERS.to_owned(), seen)],
            ops: vec![Op::put(keys::NUMBERS, encode(&record))],
        };
        match store.commit(txn).await {
            Ok(Committed::Applied(_)) => return Ok(numbers),
            Ok(Committed::Refused) => {}
            // Whether it was done is seen in the next round.
            Err(error) if error.outcome() == Outcome::MaybeApplied => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Busy)
}
