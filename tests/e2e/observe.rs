//! What operators see of a running system: metrics and their page, dashboards, alerts.

use std::sync::Arc;

use libtest_mimic::Trial;

use crate::suite::Suite;

mod expression;
mod ground;
mod rules;
mod shown;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = shown::trials(suite);
    trials.extend(rules::trials(suite));
    trials
}
