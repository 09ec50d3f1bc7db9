//! Starting and stopping: a shutdown signal that is awaited, and a group that every task belongs to.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Tells tasks that the process is going to end. Clones share one signal.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A signal that nobody has given yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A signal that fires with this one, or alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Gives the signal.
    pub fn request(&self) {
        self.0.cancel();
    }

    /// Whether the signal was given.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns once the signal is given. Cancel-safe.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }
}

/// Tasks that had not ended at the deadline, with how many of each name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tasks still running at the deadline: {0:?}")]
pub struct Unfinished(pub BTreeMap<&'static str, usize>);

/// The only door to spawned tasks: shutdown waits for all of them, and names those that hang.
#[derive(Debug, Clone, Default)]
pub struct TaskGroup {
    tracker: TaskTracker,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl TaskGroup {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs a future on the present runtime, in the caller's tracing span. A panic is logged with
    /// the task's name, since most callers drop the handle that would tell of it.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_on(name, future, &Handle::current())
    }

    /// As [`Self::spawn`], on another runtime.
    pub fn spawn_on<F>(
        &self,
        name: &'static str,
        future: F,
        runtime: &Handle,
    ) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let entry = Running::enter(Arc::clone(&self.running), name);
        // What the panic leaves behind is dropped with the task; nobody sees it again. An async
        // block around the future would take twice its memory.
        let task = AssertUnwindSafe(future).catch_unwind().map(move |ended| {
            drop(entry);
            ended.unwrap_or_else(|panic| {
                tracing::error!(task = name, "task panicked");
                std::panic::resume_unwind(panic)
            })
        });
        self.tracker.spawn_on(task.in_current_span(), runtime)
    }

    /// How many tasks of a name are running.
    #[must_use]
    pub fn running(&self, name: &'static str) -> usize {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(name).copied().unwrap_or(0)
    }

    /// Waits until all tasks have ended.
    ///
    /// # Errors
    /// [`Unfinished`] when `deadline` passes first.
    pub async fn wait(&self, deadline: Duration) -> Result<(), Unfinished> {
        self.tracker.close();
        let ended = tokio::time::timeout(deadline, self.tracker.wait()).await;
        ended.map_err(|_| {
            Unfinished(
                self.running
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone(),
            )
        })
    }
}

struct Running {
    counts: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    name: &'static str,
}

impl Running {
    fn enter(counts: Arc<Mutex<BTreeMap<&'static str, usize>>>, name: &'static str) -> Self {
        *counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name)
            .or_default() += 1;
        Self { counts, name }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                counts.remove(self.name);
            }
        }
    }
}

/// Returns on SIGTERM or SIGINT.
///
/// # Errors
/// When the handlers cannot be installed.
pub async fn terminated() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Takes SIGHUP from now on, as long as the value lives; without it the signal ends the process.
///
/// # Errors
/// When the signal cannot be handled.
pub fn hangup() -> std::io::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
}

/// Waits for the next SIGHUP; false when there is nothing more to wait for, since the process ends.
pub async fn hung_up(hangup: &mut tokio::signal::unix::Signal, shutdown: &Shutdown) -> bool {
    tokio::select! {
        biased; // A process that ends reads nothing more.
        () = shutdown.requested() => false,
        received = hangup.recv() => received.is_some(),
    }
}

#[cfg(test)]
mod tests;
