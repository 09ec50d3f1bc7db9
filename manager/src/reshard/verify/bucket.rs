//! Sums of rows' hashes by their tokens, pure.

use std::collections::BTreeSet;

use topology::Token;
use topology::hash::hash_bytes;

/// Tokens with the same leading bits share a bucket.
const TOKEN_SHIFT: u32 = 20;
const COUNT: usize = 1 << (32 - TOKEN_SHIFT);

/// What is known of the rows of a bucket. Parity alone would miss a row that is there twice more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bucket {
    count: u64,
    parity: u64,
    sum: u64,
}

/// All buckets of one table on one side.
#[derive(Debug, Clone)]
pub(super) struct Buckets(Vec<Bucket>);

/// The bucket of a token.
pub(super) fn number(token: Token) -> usize {
    usize::try_from(token.0 >> TOKEN_SHIFT).unwrap_or(usize::MAX)
}

impl Buckets {
    pub(super) fn new() -> Self {
        Self(vec![Bucket::default(); COUNT])
    }

    /// Takes in a row.
    pub(super) fn put(&mut self, token: Token, hash: u64) {
        if let Some(bucket) = self.0.get_mut(number(token)) {
            bucket.count += 1;
            bucket.parity ^= hash;
            bucket.sum = bucket.sum.wrapping_add(hash);
        }
    }

    /// Takes in all rows of others.
    pub(super) fn add(&mut self, others: &Self) {
        for (bucket, other) in self.0.iter_mut().zip(&others.0) {
            bucket.count += other.count;
            bucket.parity ^= other.parity;
            bucket.sum = bucket.sum.wrapping_add(other.sum);
        }
    }

    /// The buckets with other rows than the other side's.
    pub(super) fn differing(&self, other: &Self) -> BTreeSet<usize> {
        let pairs = self.0.iter().zip(&other.0).enumerate();
        pairs
            .filter_map(|(number, (a, b))| (a != b).then_some(number))
            .collect()
    }

    pub(super) fn rows(&self) -> u64 {
        self.0.iter().map(|bucket| bucket.count).sum()
    }

    /// A checksum of all.
    pub(super) fn digest(&self) -> String {
        let mut bytes = Vec::with_capacity(COUNT * 24);
        for Bucket { count, parity, sum } in &self.0 {
            for value in [count, parity, sum] {
                bytes.extend(value.to_le_bytes());
            }
        }
        let all = self
            .0
            .iter()
            .fold(0_u64, |all, bucket| all.wrapping_add(bucket.sum));
        format!("{all:016x}{}", hash_bytes(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[(u32, u64)]) -> Buckets {
        let mut buckets = Buckets::new();
        for (token, hash) in rows {
            buckets.put(Token(*token), *hash);
        }
        buckets
    }

    #[test]
    fn the_order_of_rows_and_their_distribution_to_workers_do_not_matter() {
        let all = of(&[(1, 10), (2, 20), (u32::MAX, 30), (1 << 20, 40)]);
        let mut parts = of(&[(1 << 20, 40), (2, 20)]);
        parts.add(&of(&[(u32::MAX, 30), (1, 10)]));
        assert!(all.differing(&parts).is_empty());
        assert_eq!(all.digest(), parts.digest());
        assert_eq!(all.rows(), 4);
    }

    #[test]
    fn a_row_missing_doubled_or_changed_shows_in_its_bucket() {
        let whole = of(&[(5, 10), (7 << 20, 20), (7 << 20, 21)]);
        for (rows, bucket) in [
            (vec![(5, 10), (7 << 20, 20)], 7),
            (vec![(5, 11), (7 << 20, 20), (7 << 20, 21)], 0),
            // The parity is the same in these.
            (
                vec![(5, 10), (5, 9), (5, 9), (7 << 20, 20), (7 << 20, 21)],
                0,
            ),
            (vec![(5, 10), (7 << 20, 21), (7 << 20, 20), (7 << 20, 0)], 7),
        ] {
            let found = whole.differing(&of(&rows));
            assert_eq!(found, BTreeSet::from([bucket]), "{rows:?}");
            assert_ne!(whole.digest(), of(&rows).digest());
        }
    }
}
