//! Point reads by key: each round runs every subject once, so that what else the machine does
//! meets all of them alike; medians are reported.

use crate::arguments::Arguments;
use crate::pgbench::{self, Mode};
use crate::subject::{Subject, Subjects};
use crate::{Progress, usage};

/// One run.
#[derive(Debug, Clone, Copy)]
struct Run {
    queries_per_second: f64,
    latency_ms: f64,
    cpu_us: Option<f64>,
}

/// The medians of a cell of the table.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) mode: Mode,
    pub(crate) clients: usize,
    pub(crate) subject: Subject,
    pub(crate) queries_per_second: f64,
    pub(crate) latency_ms: f64,
    /// The proxy's own CPU time for each query.
    pub(crate) cpu_us: Option<f64>,
}

/// Measures every mode, number of clients and subject.
pub(crate) async fn measure(
    subjects: &Subjects,
    arguments: &Arguments,
    progress: &Progress,
) -> anyhow::Result<Vec<Point>> {
    let script = pgbench::write_script()?;
    let mut points = Vec::new();
    for &mode in &arguments.modes {
        for &clients in &arguments.clients {
            let mut runs: Vec<(Subject, Vec<Run>)> =
                Subject::ALL.map(|subject| (subject, Vec::new())).into();
            for _ in 0..arguments.rounds {
                for (subject, runs) in &mut runs {
                    let address = subjects.address(*subject)?;
                    let proxy = subjects.proxy(*subject)?;
                    let before = proxy.map(usage::cpu).transpose()?;
                    let seconds = arguments.seconds;
                    let outcome = pgbench::run(&address, &script, mode, clients, seconds).await?;
                    let after = proxy.map(usage::cpu).transpose()?;
                    let used = before.zip(after).map(|(before, after)| after - before);
                    runs.push(Run {
                        queries_per_second: outcome.queries_per_second,
                        latency_ms: outcome.latency_ms,
                        cpu_us: used.map(|used| used.as_secs_f64() * 1e6 / outcome.queries),
                    });
                }
            }
            points.extend(runs.iter().map(|(subject, runs)| {
                Point {
                    mode,
                    clients,
                    subject: *subject,
                    queries_per_second: median(runs.iter().map(|run| run.queries_per_second)),
                    latency_ms: median(runs.iter().map(|run| run.latency_ms)),
                    cpu_us: runs
                        .iter()
                        .map(|run| run.cpu_us)
                        .collect::<Option<Vec<_>>>()
                        .map(median),
                }
            }));
            progress.done(&format!("{} with {clients} clients", mode.name()));
        }
    }
    Ok(points)
}

/// The value in the middle; with an even number of values, the mean of the two there.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 {
        return upper;
    }
    let lower = (values.len() / 2).checked_sub(1);
    let lower = lower.and_then(|at| values.get(at)).copied();
    lower.unwrap_or(f64::NAN).midpoint(upper)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_value_or_between_two() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }
}
