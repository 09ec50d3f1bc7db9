//! Rows move between shards while writers write: every acknowledged write is there exactly once.

use std::sync::Arc;

use libtest_mimic::Trial;

use crate::suite::Suite;

mod crash;
mod ground;
pub(crate) mod job;
mod kinds;
mod ledger;
mod load;
mod neighbours;
mod nemesis;
mod reads;
mod refusals;
mod remains;
mod resume;
mod several;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    [
        crash::trials(suite),
        kinds::trials(suite),
        neighbours::trials(suite),
        nemesis::trials(suite),
        reads::trials(suite),
        resume::trials(suite),
        several::trials(suite),
        refusals::trials(suite),
    ]
    .into_iter()
    .flatten()
    .collect()
}
