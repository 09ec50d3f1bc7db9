//! What operators see of a running system: metrics and their page, dashboards, alerts, traces, logs.

use std::sync::Arc;

use libtest_mimic::Trial;

use crate::suite::Suite;

mod expression;
mod ground;
mod logs;
mod provoked;
pub(crate) mod receiver;
mod rules;
mod shown;
mod traces;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = shown::trials(suite);
    trials.extend(traces::trials(suite));
    trials.extend(provoked::trials(suite));
    trials.extend(logs::trials(suite));
    trials.extend(rules::trials(suite));
    trials
}
