//! The files that the system is deployed by, run or checked for real.

use std::sync::Arc;

use libtest_mimic::Trial;

use crate::suite::Suite;

mod backup;
mod balancers;
mod manifests;
mod units;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    [
        backup::trials(suite),
        balancers::trials(suite),
        manifests::trials(suite),
        units::trials(suite),
    ]
    .into_iter()
    .flatten()
    .collect()
}
