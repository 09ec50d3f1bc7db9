//! The ring: which shard owns which part of the token space.
//!
//! A vnode is a token and its owner; it owns every token after its predecessor up to and including
//! its own, wrapping at the end. Valid by construction: tokens are unique and sorted.

use crate::hash::hash_bytes;
use crate::snapshot::ShardIndex;
use crate::{ShardId, Token};

#[cfg(test)]
mod tests;

/// How much of the token space the largest of 2 to 1,000 shards with 256 vnodes each may own, as a
/// multiple of its fair share. Nine families of names came to 1.23 to 1.29 (1.27 for `shard-N`);
/// that any shard of a ring goes beyond this bound has a chance below one in ten million.
pub const MAX_LOAD: f64 = 1.5;

/// Why vnodes do not form a ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRing {
    /// Two vnodes claim one token (I1).
    #[error("token {token} belongs to two vnodes")]
    DuplicateToken {
        /// The token in question.
        token: Token,
    },
    /// More vnodes than [`Ring::MAX_VNODES`].
    #[error("{count} vnodes are more than the limit of {limit}", limit = Ring::MAX_VNODES)]
    TooManyVnodes {
        /// How many there are.
        count: usize,
    },
}

/// A token and its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vnode {
    /// The last token of the vnode's range, and its identity.
    pub token: Token,
    /// The shard that owns it.
    pub owner: ShardIndex,
}

/// All vnodes, sorted by token, with an index that makes a lookup two or three memory reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ring {
    vnodes: Vec<Vnode>,
    /// `index[t >> shift]` is the first vnode whose token is at or after `(t >> shift) << shift`.
    index: Vec<u32>,
    shift: u32,
}

impl Default for Ring {
    /// The ring without vnodes.
    fn default() -> Self {
        Self::of_sorted(Vec::new())
    }
}

impl Ring {
    /// Most vnodes in a ring: 4,096 shards of 1,024 vnodes.
    pub const MAX_VNODES: usize = 1 << 22;

    /// Builds a ring from vnodes in any order.
    ///
    /// # Errors
    /// [`InvalidRing`] when two vnodes share a token or there are too many.
    pub fn try_new(mut vnodes: Vec<Vnode>) -> Result<Self, InvalidRing> {
        if vnodes.len() > Self::MAX_VNODES {
            return Err(InvalidRing::TooManyVnodes {
                count: vnodes.len(),
            });
        }
        vnodes.sort_unstable_by_key(|vnode| vnode.token);
        if let Some(pair) = vnodes
            .windows(2)
            .find(|pair| pair[0].token == pair[1].token)
        {
            return Err(InvalidRing::DuplicateToken {
                token: pair[0].token,
            });
        }
        Ok(Self::of_sorted(vnodes))
    }

    fn of_sorted(vnodes: Vec<Vnode>) -> Self {
        // Twice as many buckets as vnodes keeps the scan after the index at half a step.
        let bits = (vnodes.len().max(1) * 2)
            .next_power_of_two()
            .trailing_zeros();
        let shift = 32 - bits;
        let mut index = Vec::with_capacity(1 << bits);
        let mut at = 0_u32;
        let mut rest = vnodes.iter().peekable();
        for bucket in 0..1_u64 << bits {
            let before = |vnode: &&Vnode| u64::from(vnode.token.0) < bucket << shift;
            while rest.next_if(before).is_some() {
                at += 1;
            }
            index.push(at);
        }
        Self {
            vnodes,
            index,
            shift,
        }
    }

    /// The vnode that owns a token; none when the ring is empty.
    #[inline]
    #[must_use]
    pub fn lookup(&self, token: Token) -> Option<Vnode> {
        let start = *self.index.get((token.0 >> self.shift) as usize)? as usize;
        let rest = self.vnodes.get(start..)?;
        let found = rest.iter().find(|vnode| vnode.token >= token);
        found.or_else(|| self.vnodes.first()).copied()
    }

    /// All vnodes in token order.
    #[must_use]
    pub fn vnodes(&self) -> &[Vnode] {
        &self.vnodes
    }

    /// The part of the token space that the vnodes of `owner` cover together, 0.0 to 1.0.
    #[must_use]
    pub fn share(&self, owner: ShardIndex) -> f64 {
        let Some(last) = self.vnodes.last() else {
            return 0.0;
        };
        let mut before = last.token.0;
        let mut covered = 0.0;
        for vnode in &self.vnodes {
            if vnode.owner == owner {
                // From a vnode to itself is once around the ring, not nothing.
                let length = vnode.token.0.wrapping_sub(before).wrapping_sub(1);
                covered += f64::from(length) + 1.0;
            }
            before = vnode.token.0;
        }
        covered / (f64::from(u32::MAX) + 1.0)
    }
}

/// The tokens of a new shard: `count` of them, sorted, derived from its id alone, skipping those
/// that `taken` says are in use. The same id on the same ring always gives the same tokens.
///
/// With 256 each, the largest of 2 to 1,000 shards owns less than [`MAX_LOAD`] times its fair share
/// of the token space. A shard that joins n others takes about 1/(n + 1) of it, evenly from all,
/// and no key moves between the others.
///
/// `count` is for the caller to limit: [`Ring::try_new`] refuses more than [`Ring::MAX_VNODES`] in
/// all, and the time grows with `count`.
pub fn tokens_for(shard: &ShardId, count: u32, taken: impl Fn(Token) -> bool) -> Vec<Token> {
    let mut tokens = std::collections::BTreeSet::new();
    for vnode in 0..count {
        let mut attempt = 0_u32;
        loop {
            let token = hash_bytes(format!("{shard}/{vnode}/{attempt}").as_bytes());
            if !taken(token) && tokens.insert(token) {
                break;
            }
            attempt += 1;
        }
    }
    tokens.into_iter().collect()
}
