//! A promotion while rows move, and while a transaction on several shards is in doubt.

use std::sync::Arc;

use libtest_mimic::Trial;

use crate::suite::Suite;

pub(super) fn trials(_suite: &Arc<Suite>) -> Vec<Trial> {
    Vec::new()
}
