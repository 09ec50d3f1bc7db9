//! What a plan will move, and how long that takes: rows and bytes of its sources by the part of
//! their tokens that goes. Pure; the sizes are looked up by [`crate::shards`].

use std::collections::BTreeMap;
use std::time::Duration;

use topology::ShardId;

use super::flow::Flow;
use super::plan::diff::{Widths, to_float};
use super::record::Throttle;

/// The rate that times are reckoned with where no throttle is slower, bytes a second. A copy is
/// faster where disks and network are; what slows it down is mostly what clients do meanwhile.
pub const ASSUMED_RATE: u64 = 40 << 20;

/// What the sharded tables of a shard hold, by the server's own statistics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: u64,
    /// Bytes, with indexes.
    pub bytes: u64,
}

/// What a flow moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Rows.
    pub rows: u64,
    /// Bytes, with indexes.
    pub bytes: u64,
    /// How long it takes.
    pub time: Duration,
}

impl Estimate {
    /// Of both, one after the other.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_add(other.rows),
            bytes: self.bytes.saturating_add(other.bytes),
            time: self.time.saturating_add(other.time),
        }
    }
}

/// The sizes of a plan's sources, and the rate.
#[derive(Debug, Clone)]
pub struct Estimator {
    /// Of each source that could be asked.
    pub sizes: BTreeMap<ShardId, Size>,
    /// Bounds of the copy.
    pub throttle: Throttle,
}

impl Estimator {
    /// The rate that times are reckoned with, bytes a second.
    #[must_use]
    pub fn rate(&self) -> u64 {
        let limit = self.throttle.bytes_per_second.unwrap_or(ASSUMED_RATE);
        limit.min(ASSUMED_RATE)
    }

    /// What a flow moves; none when its source could not be asked.
    #[must_use]
    pub fn of(&self, widths: &Widths<'_>, flow: &Flow) -> Option<Estimate> {
        let size = self.sizes.get(&flow.from)?;
        let (part, whole) = widths.part_of_source(flow);
        let of = |amount: u64| {
            let part = u128::from(amount) * u128::from(part) / u128::from(whole.max(1));
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        let (rows, bytes) = (of(size.rows), of(size.bytes));
        let seconds = |amount: u64, rate: u64| to_float(amount) / to_float(rate.max(1));
        let by_rows = self.throttle.rows_per_second;
        let by_rows = by_rows.map_or(0.0, |rate| seconds(rows, rate));
        let time = seconds(bytes, self.rate()).max(by_rows);
        Some(Estimate {
            rows,
            bytes,
            time: Duration::try_from_secs_f64(time).unwrap_or(Duration::MAX),
        })
    }
}
