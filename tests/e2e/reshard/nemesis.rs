//! Faults of all parts while rows move: nothing is lost, and the job ends by itself.

use std::sync::Arc;

use libtest_mimic::Trial;

use crate::suite::Suite;

pub(crate) fn trials(_suite: &Arc<Suite>) -> Vec<Trial> {
    Vec::new()
}
