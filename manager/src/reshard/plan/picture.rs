//! The ring as a planner sees it: each vnode with its range, its owner and what it holds.

use std::collections::BTreeMap;

use topology::records::TokenRange;
use topology::{Shard, ShardId, ShardIndex, ShardState, Snapshot};

use super::{Balance, Error, Intent, capacity};

/// A vnode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its place in the ring, in token order.
    pub(super) at: usize,
    /// Its range; `last` is its token.
    pub(super) range: TokenRange,
    /// Its owner.
    pub(super) owner: ShardIndex,
    /// What it holds: tokens, or bytes as far as they are known.
    pub(super) load: u64,
}

/// The ring.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// In token order.
    pub(super) pieces: Vec<Piece>,
}

impl<'a> Picture<'a> {
    /// Reads a topology.
    ///
    /// # Errors
    /// When its ring is empty, or sizes are given for a shard that does not exist.
    pub(super) fn of(snapshot: &'a Snapshot, intent: &Intent) -> Result<Self, Error> {
        let vnodes = snapshot.ring().vnodes();
        let mut before = vnodes.last().ok_or(Error::RingEmpty)?.token;
        let mut pieces = Vec::with_capacity(vnodes.len());
        for (at, vnode) in vnodes.iter().enumerate() {
            let range = TokenRange {
                after: before,
                last: vnode.token,
            };
            before = vnode.token;
            pieces.push(Piece {
                at,
                range,
                owner: vnode.owner,
                load: width(range),
            });
        }
        let mut picture = Self { snapshot, pieces };
        if let Intent::Rebalance {
            by: Balance::Size(sizes),
        } = intent
        {
            picture.weigh(sizes)?;
        }
        Ok(picture)
    }

    /// Sets what each vnode holds to its part of its shard's size.
    fn weigh(&mut self, sizes: &[(ShardId, u64)]) -> Result<(), Error> {
        let mut by_owner = BTreeMap::new();
        for (id, bytes) in sizes {
            let owner = self.index(id)?;
            by_owner.insert(owner, (*bytes, u128::from(self.load(owner))));
        }
        for piece in &mut self.pieces {
            let (bytes, widths) = by_owner.get(&piece.owner).copied().unwrap_or((0, 1));
            let part = u128::from(piece.load) * u128::from(bytes) / widths.max(1);
            piece.load = u64::try_from(part).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// A shard by id.
    ///
    /// # Errors
    /// [`Error::UnknownShard`].
    pub(super) fn index(&self, id: &ShardId) -> Result<ShardIndex, Error> {
        let unknown = || Error::UnknownShard { shard: id.clone() };
        self.snapshot.index_of(id).ok_or_else(unknown)
    }

    /// A shard that may be given vnodes. One that was drained may, by whoever names it.
    ///
    /// # Errors
    /// [`Error::UnknownShard`] and [`Error::NotActive`].
    pub(super) fn receiver(&self, id: &ShardId) -> Result<ShardIndex, Error> {
        let index = self.index(id)?;
        match self.snapshot.shard(index).map(|shard| shard.state) {
            Some(ShardState::Active | ShardState::Inactive) | None => Ok(index),
            Some(state @ ShardState::Draining) => Err(Error::NotActive {
                shard: id.clone(),
                state,
            }),
        }
    }

    /// The vnodes of a shard, in token order.
    ///
    /// # Errors
    /// [`Error::UnknownShard`] and [`Error::OwnsNothing`].
    pub(super) fn donor(&self, id: &ShardId) -> Result<Vec<Piece>, Error> {
        let owned = self.owned(self.index(id)?);
        if owned.is_empty() {
            return Err(Error::OwnsNothing { shard: id.clone() });
        }
        Ok(owned)
    }

    /// The vnodes of a shard, in token order.
    pub(super) fn owned(&self, owner: ShardIndex) -> Vec<Piece> {
        let pieces = self.pieces.iter().filter(|piece| piece.owner == owner);
        pieces.copied().collect()
    }

    /// What a shard holds.
    pub(super) fn load(&self, owner: ShardIndex) -> u64 {
        sum(self.pieces.iter().filter(|piece| piece.owner == owner))
    }

    /// What the largest vnode holds.
    pub(super) fn largest(&self) -> u64 {
        let loads = self.pieces.iter().map(|piece| piece.load);
        loads.max().unwrap_or(0)
    }

    /// The active shards, each with what it holds and its capacity.
    pub(super) fn members(&self) -> Vec<Member> {
        let mut loads = BTreeMap::new();
        for piece in &self.pieces {
            let load = loads.entry(piece.owner).or_insert(0_u64);
            *load = load.saturating_add(piece.load);
        }
        let member = |shard: &Shard| {
            let index = self.snapshot.index_of(&shard.id)?;
            let load = loads.get(&index).copied().unwrap_or(0);
            let capacity = capacity(shard);
            Some(Member {
                index,
                load,
                capacity,
            })
        };
        let shards = self.snapshot.shards().iter();
        let active = shards.filter(|shard| shard.state == ShardState::Active);
        active.filter_map(member).collect()
    }

    /// A shard's id.
    pub(super) fn id(&self, index: ShardIndex) -> Option<&ShardId> {
        self.snapshot.shard(index).map(|shard| &shard.id)
    }
}

/// A shard that has a fair share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) index: ShardIndex,
    /// What it holds.
    pub(super) load: u64,
    /// How large its share is beside the others'.
    pub(super) capacity: u64,
}

/// The part of `total` that `share` of `shares` is.
pub(super) fn part(total: u64, share: u64, shares: u128) -> u64 {
    let part = u128::from(total) * u128::from(share) / shares.max(1);
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// What some vnodes hold together.
pub(super) fn sum<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> u64 {
    let loads = pieces.into_iter().map(|piece| piece.load);
    loads.fold(0, u64::saturating_add)
}

/// How many tokens a range has. From a token to itself is once around the ring, not nothing.
pub(super) fn width(range: TokenRange) -> u64 {
    match range.last.0.wrapping_sub(range.after.0) {
        0 => 1 << 32,
        width => width.into(),
    }
}
