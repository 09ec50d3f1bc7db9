//! Pure: how far a job is, in one line.

use std::time::Duration;

use proto::manager::v1 as pb;

use super::amount::{bytes, count, percent};
use crate::grid::printable;

/// Characters of a bar.
const WIDTH: usize = 24;

/// A line with a bar, for a terminal.
#[must_use]
pub fn bar(job: &pb::Job) -> String {
    let done = job.progress.clamp(0.0, 1.0);
    let filled = (0..WIDTH).filter(|at| {
        let at = f64::from(u32::try_from(*at).unwrap_or(0));
        at + 0.5 < done * 24.0
    });
    let filled = filled.count();
    format!(
        "[{}{}] {}",
        "#".repeat(filled),
        "-".repeat(WIDTH - filled),
        line(job)
    )
}

/// A line without one.
#[must_use]
pub fn line(job: &pb::Job) -> String {
    let mut parts = vec![format!("{:>4}", percent(job.progress)), job.status.clone()];
    if !job.state.is_empty() && job.state != job.status {
        parts.push(format!("({})", printable(&job.state)));
    }
    parts.push(format!(
        "{}/{} rows",
        count(job.keys_migrated),
        count(job.total_keys)
    ));
    if job.rate >= 1.0 {
        parts.push(format!("{:.0} rows/s", job.rate));
    }
    if job.lag_bytes > 0 {
        parts.push(format!("lag {}", bytes(job.lag_bytes)));
    }
    if let Some(eta) = job.eta_seconds.filter(|eta| *eta >= 1.0) {
        let eta = Duration::try_from_secs_f64(eta.round()).unwrap_or_default();
        parts.push(format!("{} left", humantime::format_duration(eta)));
    }
    if job.pause_ms > 0.0 {
        parts.push(format!("pause {:.1} ms", job.longest_pause_ms));
    }
    if job.attempts > 1 {
        parts.push(format!("{} attempts", job.attempts));
    }
    parts.join("  ")
}

/// What is the same while a line in a log would say nothing new: every tenth counts.
#[must_use]
pub fn change(job: &pb::Job) -> String {
    let tenths = (job.progress.clamp(0.0, 1.0) * 10.0).floor();
    format!("{} {} {tenths} {}", job.status, job.state, job.attempts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_what_is_done_and_what_is_left() {
        let job = pb::Job {
            status: "precopy".to_owned(),
            state: "leg 1 of 2: copying".to_owned(),
            progress: 0.5,
            keys_migrated: 1_200_000,
            total_keys: 2_400_000,
            rate: 85_000.4,
            lag_bytes: 12_288,
            eta_seconds: Some(14.2),
            ..pb::Job::default()
        };
        assert_eq!(
            bar(&job),
            "[############------------]  50%  precopy  (leg 1 of 2: copying)  \
             1,200,000/2,400,000 rows  85000 rows/s  lag 12.0 KiB  14s left"
        );
        let done = pb::Job {
            status: "completed".to_owned(),
            progress: 1.0,
            pause_ms: 9.44,
            longest_pause_ms: 9.44,
            attempts: 2,
            ..pb::Job::default()
        };
        assert_eq!(
            bar(&done),
            "[########################] 100%  completed  0/0 rows  pause 9.4 ms  2 attempts"
        );
    }

    #[test]
    fn a_log_gets_a_line_for_each_tenth_and_each_state() {
        let at = |progress, state: &str| {
            change(&pb::Job {
                progress,
                state: state.to_owned(),
                ..pb::Job::default()
            })
        };
        assert_eq!(at(0.11, "copying"), at(0.19, "copying"));
        assert_ne!(at(0.11, "copying"), at(0.21, "copying"));
        assert_ne!(at(0.11, "copying"), at(0.11, "verifying"));
    }
}
