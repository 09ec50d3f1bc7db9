//! The leading manager dies before and after every step of a job: the job goes on by itself, and
//! nothing is lost. The programs need the feature `manager/failpoints`.

use std::sync::Arc;

use libtest_mimic::Trial;

use super::ground::{Case, End, Ground};
use crate::suite::{Outcome, Suite, alone, long};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = Vec::from(alone!(suite:
        the_leader_dies_in_each_phase_of_a_job,
        the_only_manager_dies_in_a_job_and_goes_on_with_it,
    ));
    trials.extend(long!(suite:
        torture_by_deaths_with_another_manager_at_hand,
        torture_by_deaths_of_the_only_manager,
    ));
    trials
}

/// From the start of a job to its cutover.
const FORWARD: [&str; 15] = [
    "raise_term",
    "preflight",
    "prepare",
    "record_copying",
    "discard",
    "copy",
    "record_following",
    "follow",
    "verify",
    "record_holding",
    "await_acks",
    "fence",
    "drain",
    "open",
    "record_mirroring",
];
/// From the operator's word that it may stay so, to the end.
const FINISH: [&str; 6] = [
    "record_cleaning",
    "stop_streams",
    "remove",
    "await_routers",
    "drop_guards",
    "record_done",
];
/// From the operator's word to go back, to the end.
const ROLLBACK: [&str; 15] = [
    "follow",
    "verify",
    "record_holding",
    "await_acks",
    "fence",
    "drain",
    "record_opening",
    "unfence",
    "record_following",
    "record_cleaning",
    "stop_streams",
    "remove",
    "await_routers",
    "drop_guards",
    "record_undone",
];
/// What a leader does that finds a cutover under way.
const ABORT: [&str; 4] = ["record_aborting", "close", "unfence", "rest"];

/// Every point, each in a job of its own.
fn all() -> Vec<Case> {
    // In the middle of the copy, twice.
    let mut cases = vec![Case::early(&["after:copy_range", "after:copy_range"])];
    for moment in ["before", "after"] {
        let point = |step: &str| format!("{moment}:{step}");
        cases.extend(FORWARD.map(|step| Case::early(&[&point(step)])));
        cases.extend(FINISH.map(|step| Case::new(End::Finish, true, &[&point(step)])));
        cases.extend(ROLLBACK.map(|step| Case::new(End::Rollback, true, &[&point(step)])));
        // The second leader dies while it takes back what the first one has fenced and opened.
        cases.extend(ABORT.map(|step| Case::early(&["after:open", &point(step)])));
        let late = |step: &str| Case::new(End::Rollback, true, &["after:drain", &point(step)]);
        cases.extend(ABORT.map(late));
        cases.push(Case::early(&["after:open", &point("record_following")]));
        cases.push(late("record_mirroring"));
    }
    cases
}

async fn the_leader_dies_in_each_phase_of_a_job() -> Outcome {
    let cases = [
        Case::early(&[
            "after:prepare",
            "after:copy_range",
            "after:copy",
            "after:verify",
            "after:fence",
            "after:close",
            "before:record_mirroring",
        ]),
        Case::new(
            End::Rollback,
            true,
            &["after:drain", "before:unfence", "after:record_opening"],
        ),
        Case::new(
            End::Finish,
            true,
            &["after:stop_streams", "before:drop_guards"],
        ),
    ];
    Ground::start(2).await?.run_all(&cases).await
}

async fn the_only_manager_dies_in_a_job_and_goes_on_with_it() -> Outcome {
    let cases = [
        Case::early(&[
            "after:copy_range",
            "after:fence",
            "before:unfence",
            "after:open",
        ]),
        Case::new(End::Finish, true, &["before:remove"]),
    ];
    Ground::start(1).await?.run_all(&cases).await
}

async fn torture_by_deaths_with_another_manager_at_hand() -> Outcome {
    Ground::start(2).await?.run_all(&all()).await
}

async fn torture_by_deaths_of_the_only_manager() -> Outcome {
    Ground::start(1).await?.run_all(&all()).await
}
