//! A session on a shard, held by a `psql` of its own: what has to stay open while others work.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::timeout;
use topology::ShardId;

use super::Error;
use super::server::Server;

/// Printed behind each answer; nothing that is asked for looks like it.
const END: &str = "-- end of answer --";

/// The most of PostgreSQL's complaints that is told.
const MAX_REASON: u64 = 2000;

/// The session; ends with its value, and what it has open is rolled back.
#[derive(Debug)]
pub(super) struct Psql {
    shard: ShardId,
    /// Killed when it is dropped.
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    errors: ChildStderr,
}

impl Psql {
    /// Starts the session; that it cannot log in is told by the first answer.
    pub(super) fn open(server: &Server) -> Result<Self, Error> {
        let mut command = server.command("psql");
        command
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let failed = |source| Error::Program {
            program: "psql".to_owned(),
            source,
        };
        let mut child = command.spawn().map_err(failed)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Self {
            shard: server.shard.clone(),
            _child: child,
            input,
            output: BufReader::new(output).lines(),
            errors,
        })
    }

    /// Sends SQL, without waiting for what comes of it.
    pub(super) async fn send(&mut self, sql: &str) {
        let text = format!("{sql};\n\\echo '{END}'\n");
        // Where it has ended, the answer says why.
        let _sent = self.input.write_all(text.as_bytes()).await;
        let _flushed = self.input.flush().await;
    }

    /// The lines of the next answer.
    pub(super) async fn answer(
        &mut self,
        what: &'static str,
        limit: Duration,
    ) -> Result<Vec<String>, Error> {
        let read = timeout(limit, self.read()).await;
        match read {
            Err(_) => Err(Error::Late {
                shard: self.shard.clone(),
                what,
                limit,
            }),
            Ok(Some(lines)) => Ok(lines),
            Ok(None) => {
                let mut reason = Vec::new();
                let mut errors = (&mut self.errors).take(MAX_REASON);
                let _read = errors.read_to_end(&mut reason).await;
                Err(Error::Shard {
                    shard: self.shard.clone(),
                    what,
                    reason: String::from_utf8_lossy(&reason).trim().replace('\n', "; "),
                })
            }
        }
    }

    /// Sends SQL and waits for the answer.
    pub(super) async fn ask(
        &mut self,
        what: &'static str,
        sql: &str,
        limit: Duration,
    ) -> Result<Vec<String>, Error> {
        self.send(sql).await;
        self.answer(what, limit).await
    }

    async fn read(&mut self) -> Option<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let line = self.output.next_line().await.ok().flatten()?;
            if line == END {
                return Some(lines);
            }
            if !line.is_empty() {
                lines.push(line);
            }
        }
    }
}
