//! Backends that were given back and are lent again at once, without asking bb8: taking one costs a
//! lock and nothing else, while bb8 keeps a clock and a timer for each loan.
//!
//! Each thread has a board of its own, so that a session gets a backend whose socket its own thread
//! listens to as long as there is one. The shelf holds nothing for long: from time to time what
//! lies on it goes back to bb8, which alone closes what is too old or has been idle for too long.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bb8::PooledConnection;

use super::manager::Connector;
use crate::threads;

/// A backend that bb8 counts as lent.
pub(super) type Kept = PooledConnection<'static, Connector>;

/// What lies on a board.
pub(super) trait Homed {
    /// The thread whose board it is.
    fn home(&self) -> usize;
}

impl Homed for Kept {
    fn home(&self) -> usize {
        (**self).home()
    }
}

/// The backends of one pool that are at hand.
#[derive(Debug)]
pub(super) struct Shelf<K = Kept> {
    /// By thread; on each the one that was used last is on top.
    boards: Box<[Mutex<Vec<K>>]>,
    count: AtomicU32,
    /// Those who wait for bb8, which must see what is given back.
    seekers: AtomicUsize,
    loans: AtomicU64,
}

/// Somebody who waits for bb8, while it lives.
#[derive(Debug)]
pub(super) struct Seeker<'a>(&'a AtomicUsize);

impl Drop for Seeker<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<K> Default for Shelf<K> {
    fn default() -> Self {
        Self {
            boards: (0..threads::numbers()).map(|_| Mutex::default()).collect(),
            count: AtomicU32::default(),
            seekers: AtomicUsize::default(),
            loans: AtomicU64::default(),
        }
    }
}

impl<K: Homed> Shelf<K> {
    /// The present thread's backend on top, or else one of another thread.
    pub(super) fn take(&self) -> Option<K> {
        if self.len() == 0 {
            return None;
        }
        let (before, own) = self.boards.split_at_checked(threads::present())?;
        let taken = own.iter().chain(before).find_map(|board| open(board).pop());
        taken.inspect(|_| {
            self.count.fetch_sub(1, Ordering::SeqCst);
            self.loans.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Keeps a backend that is fit to be lent again; gives it back when somebody waits for bb8.
    pub(super) fn put(&self, backend: K) -> Option<K> {
        let Some(board) = self.boards.get(backend.home()) else {
            return Some(backend);
        };
        let mut board = open(board);
        // Counted before it is seen whether somebody seeks, who is counted before looking here.
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.seekers.load(Ordering::SeqCst) > 0 {
            self.count.fetch_sub(1, Ordering::SeqCst);
            return Some(backend);
        }
        board.push(backend);
        None
    }

    /// From now on whatever is given back goes to bb8. What lies here must be looked at once more.
    pub(super) fn seek(&self) -> Seeker<'_> {
        self.seekers.fetch_add(1, Ordering::SeqCst);
        Seeker(&self.seekers)
    }

    /// All that lies here.
    pub(super) fn clear(&self) -> Vec<K> {
        let mut all = Vec::new();
        for board in &self.boards {
            let mut taken = std::mem::take(&mut *open(board));
            let count = u32::try_from(taken.len()).unwrap_or(u32::MAX);
            self.count.fetch_sub(count, Ordering::SeqCst);
            all.append(&mut taken);
        }
        all
    }

    /// How many lie here.
    pub(super) fn len(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// How often one was taken.
    pub(super) fn loans(&self) -> u64 {
        self.loans.load(Ordering::Relaxed)
    }
}

fn open<K>(board: &Mutex<Vec<K>>) -> MutexGuard<'_, Vec<K>> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use platform::{Shutdown, TaskGroup};

    use super::*;
    use crate::threads::Threads;

    /// A backend of a thread.
    #[derive(Debug, PartialEq, Eq)]
    struct Fake {
        home: usize,
        name: &'static str,
    }

    impl Homed for Fake {
        fn home(&self) -> usize {
            self.home
        }
    }

    fn put(shelf: &Shelf<Fake>, home: usize, name: &'static str) -> Option<Fake> {
        shelf.put(Fake { home, name })
    }

    fn taken(shelf: &Shelf<Fake>) -> Option<&'static str> {
        shelf.take().map(|fake| fake.name)
    }

    #[test]
    fn what_was_given_back_last_is_lent_first() {
        let shelf = Shelf::default();
        for name in ["first", "second"] {
            assert_eq!(put(&shelf, 1, name), None);
        }
        assert_eq!(shelf.len(), 2);
        assert_eq!(taken(&shelf), Some("second"));
        assert_eq!(taken(&shelf), Some("first"));
        assert_eq!((taken(&shelf), shelf.len(), shelf.loans()), (None, 0, 2));
    }

    #[test]
    fn a_thread_takes_from_its_own_board_first_and_then_from_any() {
        let shutdown = Shutdown::new();
        let threads = Threads::start(3, &shutdown).unwrap();
        let places: Vec<_> = (0..3).map(|_| threads.place().unwrap()).collect();
        for (runtime, _) in &places {
            let (sender, receiver) = std::sync::mpsc::channel();
            let group = TaskGroup::new();
            let task = async move {
                let shelf = Shelf::default();
                for (home, name) in [(1, "one"), (2, "two"), (3, "three")] {
                    assert_eq!(put(&shelf, home, name), None);
                }
                let own = ["", "one", "two", "three"][threads::present()];
                let mut all: Vec<_> = std::iter::from_fn(|| taken(&shelf)).collect();
                assert_eq!(all.remove(0), own);
                all.push(own);
                all.sort_unstable();
                assert_eq!(all, ["one", "three", "two"]);
                sender.send(()).unwrap();
            };
            drop(group.spawn_on("board", task, runtime));
            receiver.recv().unwrap();
        }
        shutdown.request();
    }

    #[test]
    fn while_somebody_seeks_nothing_is_kept() {
        let shelf = Shelf::default();
        assert_eq!(put(&shelf, 1, "before"), None);
        let (one, other) = (shelf.seek(), shelf.seek());
        assert!(put(&shelf, 1, "during").is_some());
        drop(one);
        assert!(put(&shelf, 1, "during").is_some());
        assert_eq!(shelf.len(), 1);
        drop(other);
        assert_eq!(put(&shelf, 1, "after"), None);
        assert_eq!(shelf.len(), 2);
    }

    #[test]
    fn a_cleared_shelf_is_empty_and_goes_on() {
        let shelf = Shelf::default();
        for home in [0, 5, threads::MOST] {
            assert_eq!(put(&shelf, home, "a"), None);
        }
        assert!(put(&shelf, threads::numbers(), "of no thread").is_some());
        assert_eq!((shelf.clear().len(), shelf.len()), (3, 0));
        assert_eq!(put(&shelf, 5, "b"), None);
        assert_eq!(taken(&shelf), Some("b"));
    }

    #[test]
    fn nothing_is_lost_or_lent_twice_by_threads_at_once() {
        let shelf: Shelf<Fake> = Shelf::default();
        for home in 0..8 {
            assert_eq!(put(&shelf, home, "a"), None);
        }
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..2_000 {
                        let seeker = (round % 97 == 0).then(|| shelf.seek());
                        let mut held: Vec<_> = (0..3).filter_map(|_| shelf.take()).collect();
                        drop(seeker);
                        while let Some(fake) = held.pop() {
                            held.extend(shelf.put(fake));
                        }
                    }
                });
            }
        });
        assert_eq!((shelf.len(), shelf.clear().len()), (8, 8));
    }
}
