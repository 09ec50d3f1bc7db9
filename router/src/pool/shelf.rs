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

/// The backends of one pool that are at hand.
#[derive(Debug)]
pub(super) struct Shelf {
    /// By thread; on each the one that was used last is on top.
    boards: Box<[Mutex<Vec<Kept>>]>,
    count: AtomicU32,
    /// Those who wait for bb8, which must see what is given back.
    seekers: AtomicUsize,
    loans: AtomicU64,
}

/// Somebody who waits for bb8, while it lives.
#[derive(Debug)]
pub(super) struct Seeker<'a>(&'a Shelf);

impl Drop for Seeker<'_> {
    fn drop(&mut self) {
        self.0.seekers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            boards: (0..threads::numbers()).map(|_| Mutex::default()).collect(),
            count: AtomicU32::default(),
            seekers: AtomicUsize::default(),
            loans: AtomicU64::default(),
        }
    }
}

impl Shelf {
    /// The present thread's backend on top, or else one of another thread.
    pub(super) fn take(&self) -> Option<Kept> {
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
    pub(super) fn put(&self, backend: Kept) -> Option<Kept> {
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
        Seeker(self)
    }

    /// All that lies here.
    pub(super) fn clear(&self) -> Vec<Kept> {
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

fn open(board: &Mutex<Vec<Kept>>) -> MutexGuard<'_, Vec<Kept>> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}
