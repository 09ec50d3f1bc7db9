//! How many instructions the steps of a query take, counted by valgrind's callgrind: the same on
//! every run and every machine of a kind, and so a guard that a busy machine cannot fool.
//!
//! Without arguments it runs itself under callgrind, a case at a time, with few and with many
//! rounds; the difference is what the rounds cost. It fails when a case takes more than the
//! baseline beside this file allows. `--write` writes the baseline instead.

#![expect(clippy::print_stdout, reason = "what a benchmark has to say")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod cases;

/// How much more than the baseline is still no regression, in percent.
const TOLERANCE_PERCENT: u64 = 10;

const FEW: u64 = 100;
const MANY: u64 = 600;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["run", case, rounds] = words.as_slice() {
        let rounds = rounds.parse().expect("rounds are a number");
        let run = cases::ALL.iter().find(|(name, _)| name == case);
        let (_, run) = run.expect("the case is one of those listed");
        run(rounds);
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("instructions: skipped, valgrind is not installed");
        return ExitCode::SUCCESS;
    }
    let counted: BTreeMap<&str, u64> = cases::ALL
        .iter()
        .map(|(case, _)| (*case, per_round(case)))
        .collect();
    if words.contains(&"--write") {
        let text = counted
            .iter()
            .fold(String::new(), |mut text, (case, count)| {
                writeln!(text, "{case} {count}").expect("writing to a String cannot fail");
                text
            });
        std::fs::write(baseline_file(), text).expect("the baseline can be written");
    }
    compare(&counted)
}

/// Prints each case beside its baseline; fails when one takes too many.
fn compare(counted: &BTreeMap<&str, u64>) -> ExitCode {
    let baseline = std::fs::read_to_string(baseline_file()).expect("the baseline can be read");
    let known: BTreeMap<&str, u64> = baseline
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(case, count)| Some((case, count.parse().ok()?)))
        .collect();
    let mut failed = 0;
    for (case, count) in counted {
        let Some(before) = known.get(case) else {
            println!("{case:24} {count:>9} instructions, not in the baseline");
            failed += 1;
            continue;
        };
        let allowed = before + before * TOLERANCE_PERCENT / 100;
        let verdict = if *count > allowed {
            failed += 1;
            "TOO MANY"
        } else {
            "ok"
        };
        println!("{case:24} {count:>9} instructions, baseline {before:>9}: {verdict}");
    }
    let passed = counted.len() - failed;
    println!("instructions: {passed} passed, {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn baseline_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/baseline.txt")
}

fn per_round(case: &str) -> u64 {
    (instructions(case, MANY) - instructions(case, FEW)) / (MANY - FEW)
}

/// Runs a case under callgrind and gives the instructions of the whole process.
fn instructions(case: &str, rounds: u64) -> u64 {
    let this = std::env::current_exe().expect("a program knows where it is");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args(["run", case, &rounds.to_string()])
        .output()
        .expect("valgrind starts");
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text
        .lines()
        .find_map(|line| line.split_once("Collected : ").map(|(_, count)| count));
    let count = line.and_then(|line| line.trim().parse().ok());
    count.expect("callgrind says how many instructions it counted")
}
