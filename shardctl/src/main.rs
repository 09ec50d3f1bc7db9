//! Parses the arguments, runs the command, prints what came of it and ends with its exit code.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use shardctl::args::Args;
use shardctl::error::Error;
use shardctl::grid::printable;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let failure = match shardctl::run::run(Args::parse()).await {
        Ok(outcome) => {
            // Nobody is left to tell when the reader of a pipe has gone, as `head` does.
            if std::io::stdout()
                .write_all(outcome.text.as_bytes())
                .is_err()
            {
                return ExitCode::FAILURE;
            }
            outcome.failure
        }
        Err(error) => Some(error),
    };
    failure.map_or(ExitCode::SUCCESS, |error| {
        explain(&error);
        ExitCode::from(error.exit_code())
    })
}

fn explain(error: &Error) {
    let mut stderr = std::io::stderr().lock();
    let mut text = format!("error: {}\n", printable(&error.to_string()));
    if let Some(hint) = error.hint() {
        text.push_str(&format!("hint: {hint}\n"));
    }
    // A closed stderr changes nothing: the exit code says it too.
    drop(stderr.write_all(text.as_bytes()));
}
