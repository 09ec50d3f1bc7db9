//! `make bench-copy`: how fast rows are copied through the manager, beside two psql with a pipe
//! between them, which is as fast as it can be done by PostgreSQL's own tools. Same rows, same
//! format, as many at a time; the two take turns, and the best of some rounds counts.
//!
//! Arguments: rows (2000000), rounds (3), workers (2).

#![expect(clippy::print_stdout, reason = "what a benchmark has to say")]
#![expect(
    clippy::unwrap_used,
    reason = "what a benchmark cannot do without ends it"
)]

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use servers::{Servers, TABLES};
use tokio::time::Instant;

mod servers;

/// Of the ceiling; less is a failure.
const GOAL_PERCENT: f64 = 80.0;

/// Who copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// psql | psql.
    Psql,
    /// The manager, into tables without a guard.
    Manager,
    /// The manager, into tables whose guard it has to pass.
    Guarded,
    /// The manager, of whose rows half move.
    Half,
}

const WAYS: [(Way, &str); 4] = [
    (Way::Psql, "psql | psql"),
    (Way::Manager, "manager"),
    (Way::Guarded, "manager, guarded mirror"),
    (Way::Half, "manager, half of the rows move"),
];

fn main() -> ExitCode {
    let numbers = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse().ok());
    let numbers: Vec<usize> = numbers.collect();
    let number = |index: usize, default| numbers.get(index).copied().unwrap_or(default);
    let (rows, rounds) = (number(0, 2_000_000), number(1, 3));
    let workers = NonZeroUsize::new(number(2, 2)).unwrap_or(NonZeroUsize::MIN);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    if runtime.unwrap().block_on(run(rows, rounds, workers)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn run(rows: usize, rounds: usize, workers: NonZeroUsize) -> bool {
    let servers = Servers::start(rows).await;
    let mut is_reached = true;
    println!("{rows} rows, {workers} at a time, best of {rounds}");
    for table in TABLES {
        let bytes = servers.bytes(table.name).await;
        let mut best = [Duration::MAX; WAYS.len()];
        for _ in 0..rounds {
            for ((way, _), best) in WAYS.iter().zip(&mut best) {
                servers.prepare(table, *way).await;
                let start = Instant::now();
                let copied = match way {
                    Way::Psql => servers.by_psql(table, workers).await,
                    Way::Manager | Way::Guarded | Way::Half => {
                        servers.by_manager(table, workers, *way).await
                    }
                };
                *best = start.elapsed().min(*best);
                servers.check(table, copied).await;
            }
        }
        let ceiling = best[0].as_secs_f64();
        for ((way, name), time) in WAYS.iter().zip(best) {
            let seconds = time.as_secs_f64();
            let share = ceiling / seconds * 100.0;
            println!(
                "{:8} {name:32} {seconds:6.2} s {:8.0} rows/s {:7.1} MB/s {share:5.0} %",
                table.name,
                as_float(rows) / seconds,
                as_float(bytes) / seconds / 1e6,
            );
            is_reached &= *way != Way::Manager || share >= GOAL_PERCENT;
        }
    }
    is_reached
}

fn as_float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
