//! Random input for what reads bytes and statements: it must not panic, and must agree with a
//! naive reading.
//!
//! `cargo test -p router --test fuzz` runs a fixed number of cases. With FUZZ_SECONDS each target
//! runs for so long, from a seed of its own each time; FUZZ_SEED=<seed> runs one case again, and
//! an argument names the targets to run.

use std::io::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tests::random::Random;

mod codec;
mod mutation;
mod routing;
mod texts;

/// What a case comes to: the reason for which it has failed.
type Outcome = Result<(), String>;

/// A target: its name, a case of it, and how many cases a short run has.
type Target = (&'static str, fn(&mut Random) -> Outcome, u64);

const TARGETS: &[Target] = &[
    ("frames", codec::frames, 4_000),
    ("messages", codec::messages, 20_000),
    ("startup", codec::startup, 20_000),
    ("renaming", codec::renaming, 20_000),
    ("texts", texts::case, 1_500),
    ("routing", routing::case, 3_000),
];

fn main() -> ExitCode {
    // A panic is reported with its seed, below.
    panic::set_hook(Box::new(|_| {}));
    let seconds = number("FUZZ_SECONDS").map(Duration::from_secs);
    let seed = number("FUZZ_SEED");
    // The test runner's own options are none of ours.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let mut failed = false;
    for (name, case, cases) in TARGETS {
        let is_wanted = wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
        if !is_wanted {
            continue;
        }
        let ran = match (seed, seconds) {
            (Some(seed), _) => run(*case, seed, |ran| ran < 1),
            (None, None) => run(*case, 1, |ran| ran < *cases),
            (None, Some(limit)) => run_for(*case, limit),
        };
        let told = match ran {
            Ok(ran) => format!("fuzz {name}: {ran} cases"),
            Err((seed, reason)) => {
                failed = true;
                format!("fuzz {name}: FUZZ_SEED={seed} fails: {reason}")
            }
        };
        drop(writeln!(std::io::stderr(), "{told}"));
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn run_for(case: fn(&mut Random) -> Outcome, limit: Duration) -> Result<u64, (u64, String)> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH);
    let first = now().map_or(1, |time| time.as_secs()) << 32;
    let end = now().map_or(Duration::ZERO, |time| time + limit);
    run(case, first, |_| now().is_ok_and(|time| time < end))
}

/// Runs cases from one seed on; gives how many, or the one that failed.
fn run(
    case: fn(&mut Random) -> Outcome,
    first: u64,
    goes_on: impl Fn(u64) -> bool,
) -> Result<u64, (u64, String)> {
    let mut ran = 0;
    while goes_on(ran) {
        let seed = first.wrapping_add(ran);
        let mut random = Random::new(seed);
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| case(&mut random)));
        match outcome {
            Ok(Ok(())) => ran += 1,
            Ok(Err(reason)) => return Err((seed, reason)),
            Err(payload) => {
                let text = payload.downcast_ref::<String>().cloned().or_else(|| {
                    payload
                        .downcast_ref::<&str>()
                        .map(|text| (*text).to_owned())
                });
                return Err((seed, format!("panic: {}", text.unwrap_or_default())));
            }
        }
    }
    Ok(ran)
}

/// Fails a case unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err(format!($($reason)+));
        }
    };
}

use ensure;
