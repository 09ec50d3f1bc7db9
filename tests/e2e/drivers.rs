//! Programs and drivers that people use against PostgreSQL, unchanged, against the router.

use std::sync::Arc;

use libtest_mimic::Trial;

use crate::suite::Suite;

mod client;
mod languages;
mod pgbench;
mod psql;
mod python;
mod rust;
mod tpcc;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let trials = [
        psql::trials(suite),
        pgbench::trials(suite),
        python::trials(suite),
        languages::trials(suite),
        rust::trials(suite),
        tpcc::trials(suite),
    ];
    trials.into_iter().flatten().collect()
}
