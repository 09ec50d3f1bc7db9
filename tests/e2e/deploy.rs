//! The files that the system is deployed by, run or checked for real.

use std::sync::Arc;

use libtest_mimic::Trial;

use crate::suite::{Suite, alone};
use reference::the_reference_of_the_configuration_is_what_the_programs_read;

mod backup;
mod balancers;
mod manifests;
mod reference;
mod units;
mod upgrade;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    [
        backup::trials(suite),
        balancers::trials(suite),
        manifests::trials(suite),
        alone!(suite: the_reference_of_the_configuration_is_what_the_programs_read).into(),
        units::trials(suite),
        upgrade::trials(suite),
    ]
    .into_iter()
    .flatten()
    .collect()
}
