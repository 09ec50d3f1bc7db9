//! Counters that the threads of the router raise without meeting: each thread has its own, and a
//! scrape adds them up.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::threads;

/// `N` counters for each thread, in lines of memory that no other thread writes.
#[derive(Debug)]
#[repr(align(128))]
struct Lane<const N: usize>([AtomicU64; N]);

/// `N` counters.
#[derive(Debug)]
pub(super) struct Tally<const N: usize>(Box<[Lane<N>]>);

impl<const N: usize> Default for Tally<N> {
    fn default() -> Self {
        let lane = || Lane(std::array::from_fn(|_| AtomicU64::new(0)));
        let lanes = std::iter::repeat_with(lane).take(threads::numbers());
        Self(lanes.collect())
    }
}

impl<const N: usize> Tally<N> {
    /// Raises a counter by one.
    pub(super) fn raise(&self, number: usize) {
        let lane = self.0.get(threads::present());
        if let Some(counter) = lane.and_then(|lane| lane.0.get(number)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What each counter has come to.
    pub(super) fn sums(&self) -> [u64; N] {
        std::array::from_fn(|number| {
            let counters = self.0.iter().filter_map(|lane| lane.0.get(number));
            counters.map(|it| it.load(Ordering::Relaxed)).sum()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_threads_counted_is_added_up() {
        let tally = Tally::<2>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| tally.raise(1)));
            }
        });
        tally.raise(0);
        tally.raise(7);
        assert_eq!(tally.sums(), [1, 4000]);
    }
}
