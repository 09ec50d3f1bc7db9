//! `make bench`: what a router costs beside PgBouncer and beside no proxy at all, measured
//! interleaved in one run on one machine, and written down as a Markdown table.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use tests::program::target_folder;
use tokio::time::Instant;

mod arguments;
mod bouncer;
mod bulk;
mod idle;
mod load;
mod machine;
mod many;
mod pauses;
mod pgbench;
mod points;
mod report;
mod subject;
mod usage;

use arguments::{Arguments, Part};
use report::Report;
use subject::Subjects;

/// What a shell reports for a program that was called wrongly.
const BAD_USAGE: u8 = 64;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let arguments = match Arguments::read(&words) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            say(arguments::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            complain(&format!("bench: {error:#}\n\n{}", arguments::USAGE));
            return ExitCode::from(BAD_USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = runtime
        .context("start a runtime")
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let progress = Progress {
        begin: Instant::now(),
    };
    machine::raise_file_limit()?;
    let machine = machine::Machine::look()?;
    progress.done(&format!(
        "load average before the start: {}",
        machine.load_before
    ));
    let mut report = Report::new(arguments, machine);
    if [Part::Memory, Part::Points, Part::Bulk]
        .into_iter()
        .any(|part| arguments.wants(part))
    {
        measure_proxies(arguments, &mut report, &progress).await?;
    }
    if arguments.wants(Part::Pauses) {
        report.pauses = Some(pauses::measure(arguments, &progress).await?);
    }
    if arguments.wants(Part::Many) {
        report.many = Some(many::measure(arguments, &progress).await?);
    }
    let text = report.markdown();
    let folder = target_folder()?.join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let file = folder.join("report.md");
    std::fs::write(&file, &text).with_context(|| format!("write {}", file.display()))?;
    say(&text);
    progress.done(&format!("written to {}", file.display()));
    Ok(())
}

async fn measure_proxies(
    arguments: &Arguments,
    report: &mut Report<'_>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let subjects = Subjects::start(progress).await?;
    // Before any other client has left something behind.
    if arguments.wants(Part::Memory) {
        report.idle = idle::measure(&subjects, arguments, progress).await?;
    }
    if arguments.wants(Part::Points) {
        report.points = points::measure(&subjects, arguments, progress).await?;
    }
    if arguments.wants(Part::Bulk) {
        report.bulk = bulk::measure(&subjects, arguments, progress).await?;
    }
    Ok(())
}

/// One line for each thing that is done.
struct Progress {
    begin: Instant,
}

impl Progress {
    fn done(&self, what: &str) {
        complain(&format!(
            "[{:6.1} s] {what}",
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
