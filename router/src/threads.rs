//! The threads of the Postgres front. Each runs sessions and the sockets of the backends that it
//! connected on a runtime of its own, so that a query wakes no other thread (docs/decisions/0008).

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use platform::Shutdown;
use tokio::runtime::{Builder, Handle};

use crate::pool;

thread_local! {
    /// Which of them this thread is, from 1 on; whatever else runs in the process has 0.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// The most of them.
pub const MOST: usize = 64;

/// How many tasks a thread runs before it looks for what has arrived meanwhile. A high number lets
/// one look find much; what has arrived waits no longer than these tasks take.
const TASKS_A_LOOK: u32 = 61;

/// Running threads.
#[derive(Debug)]
pub struct Threads {
    running: Arc<[Thread]>,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    sessions: Arc<AtomicUsize>,
}

/// A session's place on a thread, taken while it lives.
#[derive(Debug)]
pub struct Place {
    sessions: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Threads {
    /// Starts so many threads. They end, and what still runs on them with them, once `shutdown` is
    /// requested.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(count: u32, shutdown: &Shutdown) -> std::io::Result<Self> {
        let start = |number: usize| {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .event_interval(TASKS_A_LOOK)
                .build()?;
            let handle = runtime.handle().clone();
            let shutdown = shutdown.clone();
            std::thread::Builder::new()
                .name(format!("pgwire-{number}"))
                .spawn(move || {
                    NUMBER.set(number);
                    runtime.block_on(async {
                        tokio::select! {
                            () = shutdown.requested() => {}
                            () = pool::watch() => {}
                        }
                    });
                })?;
            Ok(Thread {
                runtime: handle,
                sessions: Arc::default(),
            })
        };
        let count = usize::try_from(count).map_or(1, |count| count.clamp(1, MOST));
        let running = (1..=count).map(start).collect::<std::io::Result<_>>()?;
        Ok(Self { running })
    }

    /// The runtime of the thread with the fewest sessions, and a place on it.
    #[must_use]
    pub fn place(&self) -> Option<(&Handle, Place)> {
        let sessions = |thread: &&Thread| thread.sessions.load(Ordering::Relaxed);
        let thread = self.running.iter().min_by_key(sessions)?;
        thread.sessions.fetch_add(1, Ordering::Relaxed);
        let sessions = Arc::clone(&thread.sessions);
        Some((&thread.runtime, Place { sessions }))
    }
}

/// The number of the present thread.
#[must_use]
pub fn present() -> usize {
    NUMBER.get()
}

/// How many numbers there may be.
#[must_use]
pub fn numbers() -> usize {
    MOST + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_spread_over_the_threads_and_leave_their_places() {
        let shutdown = Shutdown::new();
        let threads = Threads::start(2, &shutdown).unwrap();
        let counts = || -> Vec<usize> {
            let running = threads.running.iter();
            running
                .map(|thread| thread.sessions.load(Ordering::Relaxed))
                .collect()
        };
        let places: Vec<Place> = (0..4).map(|_| threads.place().unwrap().1).collect();
        assert_eq!(counts(), [2, 2]);
        drop(places);
        assert_eq!(counts(), [0, 0]);
        shutdown.request();
    }

    #[test]
    fn a_task_knows_the_thread_that_it_runs_on() {
        let shutdown = Shutdown::new();
        let threads = Threads::start(3, &shutdown).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        for thread in &*threads.running {
            let sender = sender.clone();
            let group = platform::TaskGroup::new();
            drop(group.spawn_on(
                "number",
                async move { sender.send(present()) },
                &thread.runtime,
            ));
        }
        let mut numbers: Vec<usize> = receiver.iter().take(3).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(present(), 0);
        shutdown.request();
    }
}
