//! A child process: started by one thread that lives as long as the test program, ended by its
//! process id, its output in a file.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::Context as _;

use crate::wait;

/// A signal, as `kill -s` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Ends in good order.
    Term,
    /// What a terminal that is gone sends; programs take it as "look at your files".
    Hangup,
    /// PostgreSQL's immediate shutdown.
    Quit,
    /// Ends at once; cannot be caught.
    Kill,
    /// Pauses; cannot be caught.
    Stop,
    /// Goes on after a pause.
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Hangup => "HUP",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

/// Who runs a process, and what the kernel sends it should the test program die.
#[derive(Debug, Clone, Copy)]
pub struct Custody {
    /// The user, when the test program is root and the process must not be.
    pub user: Option<&'static str>,
    /// Sent when the test program is gone.
    pub farewell: Signal,
}

impl Custody {
    /// The test program's own user, killed with it.
    pub const SELF: Self = Self {
        user: None,
        farewell: Signal::Kill,
    };
}

/// A running or ended child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// What ends it on drop.
    end: Signal,
}

impl Process {
    /// Starts `program` with its output appended to the file `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(mut command: Command, custody: Custody, log: &Path) -> anyhow::Result<Self> {
        let name = Path::new(command.get_program())
            .file_name()
            .unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let output = File::options().create(true).append(true).open(log)?;
        let mut guarded = guard(&command, custody);
        guarded
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        // A group of its own: Ctrl-C in a terminal reaches the test program alone.
        guarded.process_group(0);
        std::mem::swap(&mut command, &mut guarded);
        let child = spawn(command).with_context(|| format!("start {name}"))?;
        Ok(Self {
            name,
            child,
            log: log.to_owned(),
            end: custody.farewell,
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal to it and to its direct children, which for PostgreSQL are its backends.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal_all(&self, signal: Signal) -> anyhow::Result<()> {
        // The parent first: once it is stopped or gone it starts no more children.
        let children = children_of(self.id());
        self.signal(signal)?;
        for child in children {
            drop(send(child, signal));
        }
        Ok(())
    }

    /// Sends a signal to it alone.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        send(self.id(), signal).with_context(|| format!("signal {}", self.name))
    }

    /// Fails, with the end of its log, once it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check_running(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let log = self.log();
                let tail: Vec<&str> = log.lines().rev().take(20).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                anyhow::bail!(
                    "{} ended with {status}; its log:\n{}",
                    self.name,
                    tail.join("\n")
                )
            }
        }
    }

    /// Asks `probe` until it succeeds; gives up as soon as the process has ended.
    ///
    /// # Errors
    /// The end of its log when it has ended, else the last answer of `probe` at the deadline.
    pub async fn ready<F, Probe>(&mut self, deadline: Duration, mut probe: F) -> anyhow::Result<()>
    where
        F: FnMut() -> Probe,
        Probe: Future<Output = anyhow::Result<()>>,
    {
        let what = format!("{} ready", self.name);
        let ended = wait::until(&what, deadline, || {
            let ended = self.check_running().err();
            let answer = ended.is_none().then(&mut probe);
            async move {
                match answer {
                    Some(answer) => answer.await.map(|()| None),
                    None => Ok(ended),
                }
            }
        });
        ended.await?.map_or(Ok(()), Err)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it is still running at the deadline.
    pub async fn ended(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let what = format!("end of {}", self.name);
        let child = &mut self.child;
        wait::until(&what, deadline, || {
            let status = child
                .try_wait()
                .map(|status| status.context("it is still running"));
            std::future::ready(status.map_err(anyhow::Error::from).flatten())
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            drop(self.signal_all(Signal::Continue));
            drop(self.signal(self.end));
            drop(self.child.wait());
        }
    }
}

/// Wraps a command in `setpriv`, which changes the user and asks the kernel for the farewell.
pub(crate) fn guard(command: &Command, custody: Custody) -> Command {
    let mut guarded = Command::new("setpriv");
    guarded.args(["--pdeathsig", custody.farewell.name()]);
    if let Some(user) = custody.user {
        guarded.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    }
    guarded.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => guarded.env(name, value),
            None => guarded.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        guarded.current_dir(folder);
    }
    guarded
}

/// The kernel sends the farewell when the *thread* that started the child ends; a test's own
/// thread ends with the test, so one thread that never ends starts all of them.
fn spawn(command: Command) -> io::Result<Child> {
    type Job = (Command, Sender<io::Result<Child>>);
    static STARTER: OnceLock<Sender<Job>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in jobs {
                drop(answer.send(command.spawn()));
            }
        });
        sender
    });
    let (answer, answered) = channel();
    starter.send((command, answer)).map_err(io::Error::other)?;
    answered.recv().map_err(io::Error::other)?
}

/// `kill` of the shell: it is everywhere, and sending a signal otherwise takes unsafe code.
fn send(id: u32, signal: Signal) -> anyhow::Result<()> {
    let line = format!("kill -s {} {id}", signal.name());
    let status = Command::new("sh")
        .args(["-c", &line])
        .stderr(Stdio::null())
        .status()?;
    anyhow::ensure!(status.success(), "no process {id}");
    Ok(())
}

/// The processes whose parent is `id`.
#[must_use]
pub fn children_of(id: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|&child| parent_of(child) == Some(id)).collect()
}

fn parent_of(id: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in parentheses may hold anything; the state and the parent follow its last one.
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(1)?.parse().ok()
}
