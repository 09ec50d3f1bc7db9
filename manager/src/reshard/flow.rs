//! What moves: token ranges from one shard to another, and the tables whose rows have keys there.

use serde::{Deserialize, Serialize};
use topology::records::TokenRange;
use topology::{KeyType, ShardId, TableName, Token};

/// Token ranges that move together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(Vec<TokenRange>);

impl Ranges {
    /// The ranges; they do not overlap.
    #[must_use]
    pub fn new(ranges: Vec<TokenRange>) -> Self {
        Self(ranges)
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = &TokenRange> {
        self.0.iter()
    }

    /// Whether a token is in one of them. For many tokens use [`Bounds`].
    #[must_use]
    pub fn contains(&self, token: Token) -> bool {
        self.0.iter().any(|range| range.contains(token))
    }

    /// The same ranges, as sorted bounds.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds::of(&self.0)
    }
}

/// Sorted, disjoint half-open intervals of tokens: a token is inside when an odd number of bounds
/// is at or below it, which is also how SQL's `width_bucket(token, bounds) % 2 = 1` asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds(Vec<i64>);

impl Bounds {
    /// One more than the greatest token.
    const END: i64 = 1 << 32;

    fn of(ranges: &[TokenRange]) -> Self {
        let mut intervals: Vec<(i64, i64)> = Vec::with_capacity(ranges.len() + 1);
        for range in ranges {
            let (start, end) = (i64::from(range.after.0) + 1, i64::from(range.last.0) + 1);
            if range.after < range.last {
                intervals.push((start, end));
            } else {
                intervals.push((0, end));
                intervals.push((start, Self::END));
            }
        }
        intervals.retain(|(start, end)| start < end);
        intervals.sort_unstable();
        let mut bounds: Vec<i64> = Vec::with_capacity(intervals.len() * 2);
        for (start, end) in intervals {
            match bounds.last_mut() {
                // Neighbours become one interval.
                Some(last) if *last >= start => *last = end.max(*last),
                Some(_) | None => bounds.extend([start, end]),
            }
        }
        Self(bounds)
    }

    /// Whether a token is inside.
    #[must_use]
    pub fn contains(&self, token: Token) -> bool {
        let below = self.0.partition_point(|bound| *bound <= i64::from(token.0));
        below % 2 == 1
    }

    /// The bounds, ascending: start, end, start, end...
    #[must_use]
    pub fn as_slice(&self) -> &[i64] {
        &self.0
    }
}

/// Ranges that go from one shard to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The shard that owns them before.
    pub from: ShardId,
    /// The shard that is to own them.
    pub to: ShardId,
    /// The ranges; each ends at a vnode of `from`.
    pub ranges: Ranges,
    /// The vnodes that change their owner.
    pub vnodes: Vec<Token>,
}

impl Flow {
    /// The same rows, the other way.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            from: self.to.clone(),
            to: self.from.clone(),
            ranges: self.ranges.clone(),
            vnodes: self.vnodes.clone(),
        }
    }
}

/// A sharded table whose rows move with their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedTable {
    /// Schema and name.
    pub name: TableName,
    /// The key column, as PostgreSQL stores its name.
    pub key_column: String,
    /// How its values are hashed.
    pub key_type: KeyType,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(after: u32, last: u32) -> TokenRange {
        TokenRange {
            after: Token(after),
            last: Token(last),
        }
    }

    #[test]
    fn bounds_hold_what_the_ranges_hold() {
        let cases = [
            vec![range(10, 20)],
            vec![range(10, 20), range(20, 30), range(40, 50)],
            vec![range(u32::MAX - 5, 7)],
            vec![range(u32::MAX, 7)],
            vec![range(5, 0)],
            vec![range(3, 3)],
            vec![range(0, u32::MAX)],
            vec![],
        ];
        let tokens = (0..60).chain(u32::MAX - 20..=u32::MAX).map(Token);
        for ranges in cases {
            let ranges = Ranges::new(ranges);
            let bounds = ranges.bounds();
            assert!(bounds.as_slice().is_sorted(), "{bounds:?}");
            for token in tokens.clone() {
                assert_eq!(
                    bounds.contains(token),
                    ranges.contains(token),
                    "{ranges:?} {token:?}"
                );
            }
        }
    }
}
