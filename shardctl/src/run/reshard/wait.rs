//! Waiting for a job: asks for it again and again, of whichever manager answers, and shows on
//! standard error how far it is. Standard output is for the job as it ended.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use proto::manager::v1 as pb;
use tokio::time::{Instant, sleep};

use super::super::{Outcome, Session};
use crate::error::Error;
use crate::report;
use crate::report::progress;

/// How often a job is asked for.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long no manager may answer; a change of leader takes seconds.
const PATIENCE: Duration = Duration::from_mins(1);

impl Session {
    /// Waits until a job is over; anything but `end` is a failure.
    pub(super) async fn wait(&self, id: &str, end: &str) -> Result<Outcome, Error> {
        let mut screen = Screen::new();
        let mut answered = Instant::now();
        loop {
            match self.job(id).await {
                Ok(job) if is_over(&job) => {
                    screen.end(&job);
                    return Ok(self.ended(job, end));
                }
                Ok(job) => {
                    answered = Instant::now();
                    screen.show(&job);
                }
                Err(Error::Unavailable { .. }) if answered.elapsed() < PATIENCE => {}
                Err(error) => return Err(error),
            }
            sleep(INTERVAL).await;
        }
    }

    fn ended(&self, job: pb::Job, end: &str) -> Outcome {
        let failure = (job.status != end).then(|| Error::JobEnded {
            id: job.id.clone(),
            status: job.status.clone(),
            reason: job.error_message.clone(),
        });
        let text = report::render(&report::job::Job::from(job), self.output);
        Outcome { text, failure }
    }
}

fn is_over(job: &pb::Job) -> bool {
    let is_final = matches!(
        job.status.as_str(),
        "completed" | "failed" | "cancelled" | "rolled_back"
    );
    is_final && job.settled
}

/// A line that is written over on a terminal; else a line for each change of state.
struct Screen {
    is_terminal: bool,
    last: String,
}

impl Screen {
    fn new() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            last: String::new(),
        }
    }

    fn show(&mut self, job: &pb::Job) {
        if self.is_terminal {
            write(&format!("\r\x1b[K{}", progress::bar(job)));
            return;
        }
        let change = progress::change(job);
        if change != self.last {
            write(&format!("{}\n", progress::line(job)));
            self.last = change;
        }
    }

    fn end(&mut self, job: &pb::Job) {
        self.show(job);
        if self.is_terminal {
            write("\n");
        }
    }
}

/// A closed stderr changes nothing: the job goes on, and the exit code says how it ended.
fn write(text: &str) {
    let mut stderr = std::io::stderr().lock();
    drop(stderr.write_all(text.as_bytes()));
    drop(stderr.flush());
}
