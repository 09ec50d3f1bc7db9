//! How far a leg is: counters that its hands add to while they work and that the driver reads once
//! a second. They are for people and for pacing; no decision about correctness reads them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// A number that many add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes back what was added for nothing.
    pub fn take_back(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Says what it is.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it is.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters of a leg.
        #[derive(Debug, Default)]
        pub struct Progress {
            $($(#[doc = $doc])+ pub $name: Counter,)+
        }

        /// The counters of a leg at one time.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Reading {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Progress {
            /// All counters, each read once.
            #[must_use]
            pub fn read(&self) -> Reading {
                Reading { $($name: self.$name.value(),)+ }
            }

            /// Sets all counters to what they were, for a leader that goes on.
            pub fn restore(&self, reading: &Reading) {
                $(self.$name.set(reading.$name);)+
            }
        }
    };
}

counters! {
    /// Rows that were copied.
    rows_copied,
    /// Their bytes, as they travelled.
    bytes_copied,
    /// Rows that the copy is expected to move, estimated from the statistics.
    rows_total,
    /// Rows that the copy read on the source, moved or not.
    rows_scanned,
    /// Blocks of the source's tables that the copy is through with.
    blocks_copied,
    /// All blocks that it has to read.
    blocks_total,
    /// Indexes and constraints that were added after the copy.
    indexes_built,
    /// All that are to be added.
    indexes_total,
    /// Changes of rows that were applied.
    rows_applied,
    /// Transactions that were applied, or passed over because they concern others.
    txns_applied,
    /// How far the stream is behind the source's log, in bytes of that log.
    lag_bytes,
    /// How old the last change was when it was applied, in milliseconds.
    lag_ms,
    /// Rows that were compared, both sides together.
    rows_compared,
    /// Rows that were removed after the move.
    rows_removed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_can_be_stored_and_restored() {
        let progress = Progress::default();
        progress.rows_copied.add(5);
        progress.rows_copied.take_back(2);
        progress.lag_ms.set(7);
        let json = serde_json::to_string(&progress.read()).unwrap();
        let later = Progress::default();
        later.restore(&serde_json::from_str(&json).unwrap());
        assert_eq!(later.read(), progress.read());
        assert_eq!((later.rows_copied.value(), later.lag_ms.value()), (3, 7));
    }
}
