//! Which vnodes a shard gives, and who is given which.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use topology::ShardIndex;

use super::picture::{Piece, sum};

/// A vnode that changes its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) piece: Piece,
    pub(super) to: ShardIndex,
}

/// A shard above its fair share.
#[derive(Debug, Clone)]
pub(super) struct Donor {
    /// By how much; below 0 once it gave more.
    surplus: i128,
    /// The vnodes that it keeps so far.
    kept: Vec<Piece>,
}

impl Donor {
    pub(super) fn new(surplus: u64, owned: Vec<Piece>) -> Self {
        Self {
            surplus: surplus.into(),
            kept: owned,
        }
    }

    /// How far it is above its fair share.
    pub(super) fn surplus(&self) -> u64 {
        u64::try_from(self.surplus).unwrap_or(0)
    }

    /// Gives vnodes that hold `quota` together, and never more than that or its surplus. What is
    /// missing is then less than any vnode holds that it keeps.
    ///
    /// They are chosen as they come and not by what they hold: the tokens of a ring come from a
    /// hash, so that number and size of those chosen are about in proportion.
    pub(super) fn give(&mut self, quota: u64) -> Vec<Piece> {
        let mut left = quota.min(self.surplus());
        let (given, kept) = self.kept.iter().partition(|piece: &&Piece| {
            let fits = piece.load > 0 && piece.load <= left;
            left -= if fits { piece.load } else { 0 };
            fits
        });
        self.kept = kept;
        self.surplus -= i128::from(sum(&given));
        given
    }

    /// Gives one more vnode to a receiver that lacks so much, if that brings both nearer to their
    /// fair shares taken together.
    fn round_up(&mut self, lack: i128) -> Option<Piece> {
        let helps = |piece: &Piece| {
            let load = i128::from(piece.load);
            load > 0 && load < self.surplus + lack && load < 2 * lack
        };
        let at = self.kept.iter().position(helps)?;
        let piece = self.kept.remove(at);
        self.surplus -= i128::from(piece.load);
        Some(piece)
    }
}

/// A shard that is given vnodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Receiver {
    pub(super) index: ShardIndex,
    /// How far it is below its fair share; below 0 when it is above.
    pub(super) lack: i128,
}

/// Deals vnodes: the largest first, each to whoever lacks most then. At the end those that were
/// given any differ in what they lack by at most one vnode.
pub(super) fn deal(mut pieces: Vec<Piece>, receivers: &mut [Receiver]) -> Vec<Move> {
    pieces.sort_by_key(|piece| (Reverse(piece.load), piece.at));
    let mut lacking: BinaryHeap<(i128, Reverse<usize>)> = receivers
        .iter()
        .enumerate()
        .map(|(place, receiver)| (receiver.lack, Reverse(place)))
        .collect();
    let mut moves = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let next = lacking.pop();
        let Some((lack, Reverse(place))) = next else {
            break;
        };
        let lack = lack - i128::from(piece.load);
        lacking.push((lack, Reverse(place)));
        if let Some(receiver) = receivers.get_mut(place) {
            receiver.lack = lack;
            let to = receiver.index;
            moves.push(Move { piece, to });
        }
    }
    moves
}

/// Donors have given no more than their surplus, so that receivers may still lack some vnodes'
/// fractions of each: moves single vnodes until the shard farthest above and the one farthest
/// below its fair share are within `within` of each other.
pub(super) fn round(donors: &mut [Donor], receivers: &mut [Receiver], within: u64) -> Vec<Move> {
    let mut moves = Vec::new();
    loop {
        let donor = donors.iter_mut().max_by_key(|donor| donor.surplus);
        let receiver = receivers.iter_mut().max_by_key(|receiver| receiver.lack);
        let (Some(donor), Some(receiver)) = (donor, receiver) else {
            return moves;
        };
        if donor.surplus + receiver.lack <= i128::from(within) {
            return moves;
        }
        let Some(piece) = donor.round_up(receiver.lack) else {
            return moves;
        };
        receiver.lack -= i128::from(piece.load);
        let to = receiver.index;
        moves.push(Move { piece, to });
    }
}
