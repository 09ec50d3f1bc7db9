//! The picture of a job that operators see, from what is stored of it. Pure.

use std::time::Duration;

use super::api::{JobView, LegView, Status};
use super::leg::{Cutover, JobProgress, Leg};
use super::machine::{Goal, Phase, Side, Step};
use super::progress::Reading;
use super::record::Job;

/// What part of a leg is done when its rows are copied.
const COPIED: f64 = 0.8;
/// What part is done when the mirror has caught up.
const FOLLOWING: f64 = 0.9;

/// The word for a phase.
#[must_use]
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Planned => "planned",
        Phase::Copying => "copying",
        Phase::Following(Side::From) => "following",
        Phase::Following(Side::To) => "mirroring",
        Phase::Holding(_) => "holding",
        Phase::Aborting(_) => "aborting",
        Phase::Opening(_) => "opening",
        Phase::Severed => "severed",
        Phase::Cleaning(_) => "cleaning",
        Phase::Done(Side::From) => "undone",
        Phase::Done(Side::To) => "done",
    }
}

/// The word for a step.
#[must_use]
pub fn step_name(step: Step) -> String {
    let name = match step {
        Step::Record(phase) => return format!("record_{}", phase_name(phase)),
        Step::RaiseTerm => "raise_term",
        Step::Preflight => "preflight",
        Step::Prepare => "prepare",
        Step::Discard => "discard",
        Step::Copy => "copy",
        Step::Follow => "follow",
        Step::Verify => "verify",
        Step::Stay => "stay",
        Step::AwaitAcks => "await_acks",
        Step::Fence => "fence",
        Step::Drain => "drain",
        Step::Open => "open",
        Step::Close | Step::CloseUnrecorded => "close",
        Step::Unfence | Step::UnfenceUnrecorded => "unfence",
        Step::StopStreams => "stop_streams",
        Step::Halt => "halt",
        Step::Remove => "remove",
        Step::AwaitRouters => "await_routers",
        Step::DropGuards => "drop_guards",
        Step::Rest => "rest",
        Step::End => "end",
    };
    name.to_owned()
}

/// Whether a leg's rows can still go back without being copied.
#[must_use]
pub fn is_reversible(leg: &Leg) -> bool {
    matches!(
        leg.phase,
        Phase::Following(Side::To) | Phase::Holding(Side::To) | Phase::Aborting(Side::To)
    )
}

/// Whether nothing is done for a leg until somebody asks.
fn is_at_rest(job: &Job, leg: &Leg) -> bool {
    match leg.phase {
        Phase::Done(_) => true,
        Phase::Planned => job.outcome == Some(Status::Failed),
        Phase::Following(Side::To) => job.goal == Goal::Move,
        Phase::Severed => leg.is_unequal(),
        Phase::Copying
        | Phase::Following(Side::From)
        | Phase::Holding(_)
        | Phase::Aborting(_)
        | Phase::Opening(_)
        | Phase::Cleaning(_) => false,
    }
}

/// The public word for where a job is.
#[must_use]
pub fn status(job: &Job, legs: &[Leg]) -> Status {
    if let Some(outcome) = job.outcome {
        return outcome;
    }
    if job.is_paused {
        return Status::Paused;
    }
    let is_at_work = |leg: &&Leg| match job.goal {
        Goal::Move => leg.phase.owner() == Side::From,
        Goal::Back | Goal::Finish => !leg.phase.is_done(),
    };
    let Some(leg) = legs.iter().find(is_at_work) else {
        // What it has come to is about to be recorded; until then nobody can ask for more.
        return match job.goal {
            Goal::Move => Status::Cutover,
            Goal::Back | Goal::Finish => Status::Deltasync,
        };
    };
    match leg.phase {
        Phase::Planned if leg.id.number == 0 => Status::Pending,
        Phase::Planned | Phase::Copying => Status::Precopy,
        Phase::Following(_) | Phase::Severed | Phase::Cleaning(_) | Phase::Done(_) => {
            Status::Deltasync
        }
        Phase::Holding(_) | Phase::Aborting(_) | Phase::Opening(_) => Status::Cutover,
    }
}

/// The picture of a job.
#[must_use]
pub fn view(job: &Job, legs: &[Leg], progress: &JobProgress) -> JobView {
    let views: Vec<LegView> = legs.iter().map(|leg| leg_view(leg, progress)).collect();
    let sum = |of: fn(&LegView) -> u64| views.iter().map(of).sum::<u64>();
    let readings = progress.legs.iter().map(|leg| leg.reading);
    let cutovers = || legs.iter().flat_map(|leg| &leg.cutovers);
    let status = status(job, legs);
    let done = views.iter().map(|leg| leg.progress).sum::<f64>() / at_least_one(views.len());
    let (keys_migrated, total_keys) = (sum(|leg| leg.keys_migrated), sum(|leg| leg.total_keys));
    let left = total_keys.saturating_sub(keys_migrated);
    let eta = (status == Status::Precopy && progress.rate >= 1.0)
        .then(|| Duration::try_from_secs_f64(as_f64(left) / progress.rate).ok())
        .flatten();
    JobView {
        id: job.id.clone(),
        kind: job.plan.kind,
        plan: job.plan.id.clone(),
        source_shards: job.plan.sources(),
        target_shards: job.plan.targets(),
        status,
        state: state(job, legs),
        is_reversible: job.goal == Goal::Move && legs.iter().any(is_reversible),
        is_settled: legs.iter().all(|leg| is_at_rest(job, leg)),
        progress: if status == Status::Completed {
            1.0
        } else {
            done
        },
        keys_migrated,
        total_keys,
        bytes_migrated: readings.clone().map(|reading| reading.bytes_copied).sum(),
        total_bytes: readings.clone().map(expected_bytes).sum(),
        lag_bytes: readings.clone().map(|r| r.lag_bytes).max().unwrap_or(0),
        lag: Duration::from_millis(readings.map(|r| r.lag_ms).max().unwrap_or(0)),
        rate: progress.rate,
        eta,
        pause: cutovers().map(Cutover::pause).sum(),
        max_pause: cutovers().map(Cutover::pause).max().unwrap_or_default(),
        attempts: legs.iter().map(|leg| leg.attempts).sum(),
        error_message: error_message(job, legs, progress),
        created_by: job.requested_by.clone(),
        created_at: job.created_at,
        started_at: job.started_at,
        completed_at: job.completed_at,
        options: job.options.clone(),
        legs: views,
    }
}

/// Why it stopped; what was found wrong with a leg; what is tried again.
fn error_message(job: &Job, legs: &[Leg], progress: &JobProgress) -> Option<String> {
    let failure = || legs.iter().find_map(|leg| leg.failure.clone());
    let trouble = || progress.legs.iter().find_map(|leg| leg.trouble.clone());
    job.error.clone().or_else(failure).or_else(trouble)
}

fn state(job: &Job, legs: &[Leg]) -> String {
    let all_done = legs.iter().all(|leg| leg.phase.is_done());
    let leg = legs.iter().find(|leg| match job.goal {
        Goal::Move => leg.phase.owner() == Side::From,
        Goal::Back | Goal::Finish => !leg.phase.is_done(),
    });
    match leg {
        None if all_done => "done".to_owned(),
        None => "mirroring".to_owned(),
        Some(leg) => {
            let (number, count) = (usize::from(leg.id.number) + 1, legs.len());
            format!("leg {number} of {count}: {}", phase_name(leg.phase))
        }
    }
}

fn leg_view(leg: &Leg, progress: &JobProgress) -> LegView {
    let now = progress.of(leg.id.number);
    let reading = now.map(|now| now.reading).unwrap_or_default();
    let copied = as_f64(reading.blocks_copied) / as_f64(reading.blocks_total.max(1));
    let part = match leg.phase {
        Phase::Planned => 0.0,
        Phase::Copying => COPIED * copied.min(1.0),
        Phase::Following(Side::From) => FOLLOWING,
        Phase::Holding(Side::From) | Phase::Aborting(Side::From) => FOLLOWING,
        Phase::Cleaning(Side::From) | Phase::Done(Side::From) | Phase::Opening(_) => 0.0,
        Phase::Following(Side::To)
        | Phase::Holding(Side::To)
        | Phase::Aborting(Side::To)
        | Phase::Severed
        | Phase::Cleaning(Side::To)
        | Phase::Done(Side::To) => 1.0,
    };
    let last_error = leg
        .cutovers
        .last()
        .and_then(|cutover| cutover.error.clone());
    LegView {
        number: leg.id.number,
        flows: leg.flows.clone(),
        phase: phase_name(leg.phase).to_owned(),
        step: now.map(|now| now.step.clone()).unwrap_or_default(),
        progress: part,
        keys_migrated: reading.rows_copied,
        total_keys: reading.rows_total.max(reading.rows_copied),
        pause: leg.pause(),
        attempts: leg.attempts,
        certificates: leg.certificates.clone(),
        error: leg.failure.clone().or(last_error),
    }
}

/// The bytes of all rows that are to be copied, if they are like those that were.
fn expected_bytes(reading: Reading) -> u64 {
    let rows = u128::from(reading.rows_copied.max(1));
    let total = u128::from(reading.rows_total.max(reading.rows_copied));
    u64::try_from(u128::from(reading.bytes_copied) * total / rows).unwrap_or(u64::MAX)
}

fn at_least_one(count: usize) -> f64 {
    as_f64(u64::try_from(count.max(1)).unwrap_or(u64::MAX))
}

/// For shares and rates only, which are rounded anyway.
#[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
#[test]
fn bytes_are_expected_by_those_of_the_rows_so_far() {
    let reading = |rows_copied, rows_total, bytes_copied| Reading {
        rows_copied,
        rows_total,
        bytes_copied,
        ..Reading::default()
    };
    assert_eq!(expected_bytes(reading(0, 100, 0)), 0);
    assert_eq!(expected_bytes(reading(50, 100, 4_000)), 8_000);
    assert_eq!(expected_bytes(reading(120, 100, 9_600)), 9_600);
}
