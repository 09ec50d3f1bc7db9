//! What a plan does to each shard: vnodes and shares before and after.

use std::collections::BTreeMap;

use topology::records::TokenRange;
use topology::{ShardId, Snapshot, Token};

use super::Plan;
use super::picture::width;
use crate::reshard::flow::Flow;

/// The tokens there are.
const ALL_TOKENS: u64 = 1 << 32;

/// What a shard owns.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Part {
    /// Vnodes.
    pub vnodes: usize,
    /// Tokens.
    pub tokens: u64,
}

impl Part {
    /// Its part of the token space, 0.0 to 1.0.
    #[must_use]
    pub fn share(self) -> f64 {
        share_of(self.tokens, ALL_TOKENS)
    }
}

/// One shard before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The shard.
    pub shard: ShardId,
    /// What it owns.
    pub before: Part,
    /// What it will own.
    pub after: Part,
}

/// Each shard's vnodes with what they cover, of one ring.
#[derive(Debug)]
pub struct Widths<'a> {
    snapshot: &'a Snapshot,
    by_token: BTreeMap<Token, u64>,
    parts: BTreeMap<ShardId, Part>,
}

impl<'a> Widths<'a> {
    /// Measures a ring.
    #[must_use]
    pub fn of(snapshot: &'a Snapshot) -> Self {
        let vnodes = snapshot.ring().vnodes();
        let mut before = vnodes.last().map(|vnode| vnode.token);
        let mut by_token = BTreeMap::new();
        let shards = snapshot.shards().iter();
        let mut parts: BTreeMap<_, _> = shards
            .map(|shard| (shard.id.clone(), Part::default()))
            .collect();
        for vnode in vnodes {
            let range = TokenRange {
                after: before.unwrap_or(vnode.token),
                last: vnode.token,
            };
            before = Some(vnode.token);
            by_token.insert(vnode.token, width(range));
            let owner = snapshot.shard(vnode.owner);
            if let Some(part) = owner.and_then(|owner| parts.get_mut(&owner.id)) {
                part.vnodes += 1;
                part.tokens += width(range);
            }
        }
        Self {
            snapshot,
            by_token,
            parts,
        }
    }

    /// The tokens that a flow moves.
    #[must_use]
    pub fn of_flow(&self, flow: &Flow) -> u64 {
        let widths = flow.vnodes.iter();
        widths.filter_map(|token| self.by_token.get(token)).sum()
    }

    /// The tokens that a flow moves, and those that its source has.
    #[must_use]
    pub fn part_of_source(&self, flow: &Flow) -> (u64, u64) {
        let whole = self.parts.get(&flow.from).map_or(0, |part| part.tokens);
        (self.of_flow(flow), whole)
    }

    /// The part of the token space that a flow moves, 0.0 to 1.0.
    #[must_use]
    pub fn share(&self, flow: &Flow) -> f64 {
        share_of(self.of_flow(flow), ALL_TOKENS)
    }

    /// Every shard before and after a plan, by id.
    #[must_use]
    pub fn changes(&self, plan: &Plan) -> Vec<Change> {
        let mut after = self.parts.clone();
        for flow in plan.flows() {
            let tokens = self.of_flow(flow);
            if let Some(part) = after.get_mut(&flow.from) {
                part.vnodes = part.vnodes.saturating_sub(flow.vnodes.len());
                part.tokens = part.tokens.saturating_sub(tokens);
            }
            if let Some(part) = after.get_mut(&flow.to) {
                part.vnodes += flow.vnodes.len();
                part.tokens += tokens;
            }
        }
        let of = |id: &ShardId, parts: &BTreeMap<ShardId, Part>| {
            parts.get(id).copied().unwrap_or_default()
        };
        let shards = self.snapshot.shards().iter();
        shards
            .map(|shard| Change {
                shard: shard.id.clone(),
                before: of(&shard.id, &self.parts),
                after: of(&shard.id, &after),
            })
            .collect()
    }
}

fn share_of(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    to_float(part) / to_float(whole)
}

/// A number as a float, by its two halves, each of which a float holds exactly.
pub(crate) fn to_float(number: u64) -> f64 {
    let (high, low) = (number >> 32, number & u64::from(u32::MAX));
    let half = |half: u64| f64::from(u32::try_from(half).unwrap_or(u32::MAX));
    half(high) * (f64::from(u32::MAX) + 1.0) + half(low)
}
