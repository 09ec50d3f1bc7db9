//! The demo: a whole system on this machine, to which a third shard is added while writers write;
//! afterwards every row is looked for on the shards themselves.
//!
//! It says what it does, line by line, and stays up until Ctrl-C; with `--ci` it does less and ends
//! by itself. The exit code is other than 0 when anything is not as it should be.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

mod check;
mod grow;
mod load;
mod read;
mod system;
mod writers;

use system::System;

const USAGE: &str = "usage: demo [--ci]

Starts etcd, three PostgreSQL servers, two managers and two routers, loads data into two shards
through the routers and reads it back. Then adds the third shard while writers write, finishes that,
and looks on all shards whether every acknowledged write is there, once. Ends on Ctrl-C.

  --ci    writes for a shorter time, and ends by itself once all of that is done";

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let stay = match words.as_slice() {
        [] => true,
        ["--ci"] => false,
        ["--help" | "-h"] => {
            say(USAGE);
            return ExitCode::SUCCESS;
        }
        _ => {
            complain(USAGE);
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("demo: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            // First, since it also waits for Ctrl-C once it is done, which is an end in good order.
            biased;
            outcome = run(stay) => match outcome {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    complain(&format!("demo: {error:#}"));
                    ExitCode::FAILURE
                }
            },
            outcome = told_to_end() => match outcome {
                Ok(()) => ExitCode::from(INTERRUPTED),
                Err(error) => {
                    complain(&format!("demo: {error:#}"));
                    ExitCode::FAILURE
                }
            },
        }
    })
}

async fn run(stay: bool) -> anyhow::Result<()> {
    let progress = Progress {
        begin: Instant::now(),
    };
    let system = System::start(&progress).await?;
    load::create_tables(&system, &progress).await?;
    load::fill(&system, &progress).await?;
    read::by_key(&system, &progress).await?;
    check::rows_lie_where_they_hash_to(&system, &progress).await?;
    let (quiet, reads) = if stay { (3, 10) } else { (1, 2) };
    grow::add_a_shard(&system, &progress, Duration::from_secs(quiet)).await?;
    read::point_reads(&system, &progress, reads).await?;
    say(&system.addresses());
    if stay {
        say("Press Ctrl-C to end all of it.");
        told_to_end().await?;
        say("\nEnding.");
    }
    Ok(())
}

/// Returns when a person or a service manager wants the demo to end.
async fn told_to_end() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

/// One line for each thing that is done.
struct Progress {
    begin: Instant,
}

impl Progress {
    fn done(&self, what: &str) {
        say(&format!(
            "[{:5.1} s] {what}",
            self.begin.elapsed().as_secs_f64()
        ));
    }
}

/// Nobody may be reading: a closed pipe is no reason to end.
fn say(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
