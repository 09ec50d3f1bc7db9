//! The ring's laws: each token has one owner, a lookup finds it, load is even, and a new shard
//! takes only what it must.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{InvalidRing, MAX_LOAD, Ring, Vnode, tokens_for};
use crate::snapshot::ShardIndex;
use crate::{ShardId, Token};

/// What the documents promise for `sharding.vnode_count` when it is not set.
const VNODES: u32 = 256;

fn ring_of(tokens: &BTreeMap<u32, u32>) -> Ring {
    let vnodes = tokens.iter().map(|(&token, &owner)| Vnode {
        token: Token(token),
        owner: ShardIndex(owner),
    });
    Ring::try_new(vnodes.collect()).unwrap()
}

/// The definition, word by word: the first vnode at or after the token, wrapping.
fn naive(tokens: &BTreeMap<u32, u32>, token: u32) -> Option<(u32, u32)> {
    let at_or_after = tokens.range(token..).next();
    let (token, owner) = at_or_after.or_else(|| tokens.first_key_value())?;
    Some((*token, *owner))
}

fn found(ring: &Ring, token: u32) -> Option<(u32, u32)> {
    let vnode = ring.lookup(Token(token))?;
    Some((vnode.token.0, vnode.owner.0))
}

/// Tokens that are spread, crowded, and at the ends.
fn token() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => any::<u32>(),
        2 => 0_u32..300,
        1 => (u32::MAX - 300)..=u32::MAX,
        1 => (0_u32..32).prop_map(|bit| 1 << bit),
    ]
}

fn tokens() -> impl Strategy<Value = BTreeMap<u32, u32>> {
    proptest::collection::btree_map(token(), 0_u32..20, 0..400)
}

fn shard(number: u32) -> ShardId {
    ShardId::try_new(&format!("shard-{number}")).unwrap()
}

proptest! {
    #[test]
    fn lookup_equals_a_naive_search(
        tokens in tokens(),
        asked in proptest::collection::vec(token(), 1..200),
    ) {
        let ring = ring_of(&tokens);
        // Each vnode's own token and its neighbours are where a search goes wrong by one.
        let near = tokens.keys().flat_map(|&t| [t.wrapping_sub(1), t, t.wrapping_add(1)]);
        for token in near.chain(asked).chain([0, u32::MAX]) {
            prop_assert_eq!(found(&ring, token), naive(&tokens, token), "token {}", token);
        }
    }

    #[test]
    fn every_token_has_exactly_one_owner(tokens in tokens(), asked in token()) {
        let ring = ring_of(&tokens);
        let vnodes = ring.vnodes();
        // The ranges between neighbours: after the predecessor, up to and including the token.
        let mut before = vnodes.last().map(|vnode| vnode.token);
        let mut owners = Vec::new();
        for vnode in vnodes {
            let range = crate::records::TokenRange {
                after: before.unwrap(),
                last: vnode.token,
            };
            if range.contains(Token(asked)) {
                owners.push(*vnode);
            }
            before = Some(vnode.token);
        }
        let found = ring.lookup(Token(asked));
        prop_assert_eq!(owners, Vec::from_iter(found));
        prop_assert_eq!(found.is_none(), tokens.is_empty());
    }

    #[test]
    fn the_shares_of_all_owners_are_the_whole_ring(tokens in tokens()) {
        let ring = ring_of(&tokens);
        let owners: BTreeSet<_> = tokens.values().copied().collect();
        let total: f64 = owners.iter().map(|&owner| ring.share(ShardIndex(owner))).sum();
        let whole = if tokens.is_empty() { 0.0 } else { 1.0 };
        prop_assert!((total - whole).abs() < 1e-6, "shares add up to {}", total);
        prop_assert_eq!(ring.share(ShardIndex(99)), 0.0);
    }

    #[test]
    fn the_order_of_vnodes_does_not_matter(tokens in tokens(), seed in any::<u64>()) {
        let ring = ring_of(&tokens);
        let mut vnodes = ring.vnodes().to_vec();
        vnodes.sort_by_key(|vnode| u64::from(vnode.token.0).wrapping_mul(seed | 1));
        prop_assert_eq!(Ring::try_new(vnodes).unwrap(), ring);
    }

    #[test]
    fn tokens_are_sorted_unique_free_and_the_same_each_time(
        id in "[a-z0-9]{1,20}",
        count in 0_u32..300,
        taken in any::<u8>(),
    ) {
        let id = ShardId::try_new(&id).unwrap();
        // Every second token or so is in use.
        let taken = |token: Token| token.0.to_le_bytes()[0] < taken;
        let tokens = tokens_for(&id, count, taken);
        prop_assert_eq!(tokens.len(), count as usize);
        prop_assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(!tokens.iter().any(|&token| taken(token)));
        prop_assert_eq!(tokens_for(&id, count, taken), tokens);
    }

    #[test]
    fn no_names_load_a_shard_beyond_the_bound(
        prefix in "[a-z][a-z0-9-]{0,12}",
        count in 2_u32..40,
    ) {
        let mut load = Load::default();
        for number in 0..count {
            load.add(&ShardId::try_new(&format!("{prefix}{number}")).unwrap());
        }
        prop_assert!(load.largest() < MAX_LOAD, "{}", load.largest());
    }
}

/// Each shard's part of the token space, kept up to date while shards join one by one: a ring a
/// step would make the test of a thousand shards take minutes.
#[derive(Default)]
struct Load {
    tokens: BTreeMap<u32, u32>,
    owned: Vec<u64>,
}

impl Load {
    fn add(&mut self, id: &ShardId) {
        let joining = u32::try_from(self.owned.len()).unwrap();
        self.owned.push(0);
        for Token(token) in tokens_for(id, VNODES, |token| self.tokens.contains_key(&token.0)) {
            if let Some((_, loser)) = naive(&self.tokens, token) {
                let gap = u64::from(token.wrapping_sub(self.before(token)));
                self.owned[loser as usize] -= gap;
                self.owned[joining as usize] += gap;
            } else {
                self.owned[joining as usize] = 1 << 32;
            }
            self.tokens.insert(token, joining);
        }
    }

    fn before(&self, token: u32) -> u32 {
        let below = self.tokens.range(..token).next_back();
        *below.or_else(|| self.tokens.last_key_value()).unwrap().0
    }

    /// The largest shard's part, as a multiple of the fair part.
    fn largest(&self) -> f64 {
        let largest = self.owned.iter().max().copied().unwrap();
        self.of_fair(largest)
    }

    fn of_fair(&self, owned: u64) -> f64 {
        let count = u32::try_from(self.owned.len()).unwrap();
        // Thousandths fit the conversion to a float without loss.
        let per_mille = (owned * 1000 * u64::from(count)) >> 32;
        f64::from(u32::try_from(per_mille).unwrap()) / 1000.0
    }
}

#[test]
fn from_2_to_1000_shards_the_largest_is_within_the_bound() {
    let mut load = Load::default();
    load.add(&shard(1));
    for count in 2..=1000_u32 {
        load.add(&shard(count));
        let largest = load.largest();
        assert!(
            largest < MAX_LOAD,
            "{count} shards: {largest} times the fair share"
        );
        // The ring's own arithmetic agrees with the running sums.
        if [2, 3, 10, 100].contains(&count) {
            let ring = ring_of(&load.tokens);
            for (owner, &owned) in (0_u32..).zip(&load.owned) {
                let share = ring.share(ShardIndex(owner)) * f64::from(count);
                assert!((share - load.of_fair(owned)).abs() < 0.002);
            }
        }
    }
}

#[test]
fn a_new_shard_takes_its_part_and_nothing_else_moves() {
    let mut load = Load::default();
    for number in 1..=50 {
        load.add(&shard(number));
        let before = ring_of(&load.tokens);
        let mut grown = Load {
            tokens: load.tokens.clone(),
            owned: load.owned.clone(),
        };
        grown.add(&shard(number + 1));
        let after = ring_of(&grown.tokens);
        let (mut moved, mut asked) = (0_u32, 0_u32);
        // Steps of a prime visit the whole ring evenly.
        for token in (0..u32::MAX).step_by(429_497) {
            let (old, new) = (before.lookup(Token(token)), after.lookup(Token(token)));
            let (old, new) = (old.unwrap().owner, new.unwrap().owner);
            asked += 1;
            if old != new {
                moved += 1;
                assert_eq!(new, ShardIndex(number), "a key moved between old shards");
            }
        }
        let of_fair = f64::from(moved) * f64::from(number + 1) / f64::from(asked);
        assert!(
            (0.7..1.3).contains(&of_fair),
            "{number} shards: {of_fair} of 1/n moved"
        );
    }
}

#[test]
fn an_empty_ring_owns_nothing() {
    let ring = Ring::try_new(Vec::new()).unwrap();
    assert_eq!(ring.lookup(Token(7)), None);
    assert_eq!(ring, Ring::default());
    assert_eq!(ring.share(ShardIndex(0)), 0.0);
}

#[test]
fn one_vnode_owns_everything() {
    let ring = ring_of(&BTreeMap::from([(1000, 3)]));
    for token in [0, 1000, 1001, u32::MAX] {
        assert_eq!(found(&ring, token), Some((1000, 3)));
    }
    assert_eq!(ring.share(ShardIndex(3)), 1.0);
    assert_eq!(ring.share(ShardIndex(0)), 0.0);
}

#[test]
fn a_token_with_two_vnodes_is_refused() {
    let vnode = |owner| Vnode {
        token: Token(5),
        owner: ShardIndex(owner),
    };
    let refused = Ring::try_new(vec![vnode(0), vnode(1)]);
    assert_eq!(
        refused,
        Err(InvalidRing::DuplicateToken { token: Token(5) })
    );
}

#[test]
fn more_vnodes_than_the_limit_are_refused() {
    let vnode = Vnode {
        token: Token(0),
        owner: ShardIndex(0),
    };
    let count = Ring::MAX_VNODES + 1;
    let refused = Ring::try_new(vec![vnode; count]);
    assert_eq!(refused, Err(InvalidRing::TooManyVnodes { count }));
}
