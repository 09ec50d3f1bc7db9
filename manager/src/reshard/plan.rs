//! Plans: what moves where, from a topology and what an operator wants. Pure.
//!
//! Only whole vnodes change their owner, and none does without need. Shares are balanced by what a
//! vnode holds, which is its part of the token space, or of the measured size of its shard.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;

use platform::Kind as ErrorKind;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use topology::{Epoch, Shard, ShardId, ShardState, Snapshot, Token};

use self::picture::Picture;
use super::flow::Flow;
use crate::error::Code;

mod deal;
pub mod diff;
mod legs;
mod picture;
mod want;

#[cfg(test)]
mod tests;

/// Most vnodes of one plan, so that its job's record stays below half of what etcd takes at once.
pub const MAX_VNODES: usize = 12_288;

/// What kind of change a plan makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One shard's vnodes are divided among others.
    Split,
    /// Several shards' vnodes go to one.
    Merge,
    /// Some vnodes go from one shard to another.
    Move,
    /// A shard takes its fair share from the others.
    AddShard,
    /// A shard gives all it has to the others.
    Drain,
    /// Every shard is brought to its fair share.
    Rebalance,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::Split,
        Self::Merge,
        Self::Move,
        Self::AddShard,
        Self::Drain,
        Self::Rebalance,
    ];

    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Merge => "merge",
            Self::Move => "move",
            Self::AddShard => "add_shard",
            Self::Drain => "drain",
            Self::Rebalance => "rebalance",
        }
    }

    /// The action in the audit log when a job of this kind starts.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Split => "start_split",
            Self::Merge => "start_merge",
            Self::Move => "start_move",
            Self::AddShard => "start_add_shard",
            Self::Drain => "start_drain",
            Self::Rebalance => "start_rebalance",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A shard that is given a part of what is divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The shard.
    pub shard: ShardId,
    /// How large its part is beside the others'.
    pub share: u64,
}

/// Which vnodes move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vnodes {
    /// These.
    Tokens(Vec<Token>),
    /// So many, spread evenly over those of the shard.
    Count(u32),
}

/// What a ring is balanced by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Parts of the token space.
    Weight,
    /// Bytes, of which each of these shards was found to hold so many.
    Size(Vec<(ShardId, u64)>),
}

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Intent {
    /// Divide what a shard owns; it keeps nothing unless it is among the targets.
    Split {
        /// The shard.
        source: ShardId,
        /// Who is given what part of it.
        targets: Vec<Target>,
    },
    /// Give all that some shards own to one, which may be among them.
    Merge {
        /// The shards.
        sources: Vec<ShardId>,
        /// The one.
        target: ShardId,
    },
    /// Give some vnodes of a shard to another.
    Move {
        /// Which.
        vnodes: Vnodes,
        /// The owner.
        from: ShardId,
        /// The owner to be.
        to: ShardId,
    },
    /// Give a shard its fair share, from those that have more than theirs.
    AddShard {
        /// The shard.
        shard: ShardId,
    },
    /// Give all that a shard owns to the others, by what each lacks of its fair share.
    Drain {
        /// The shard.
        shard: ShardId,
    },
    /// Give from shards with more than their fair share to those with less.
    Rebalance {
        /// What is shared fairly.
        by: Balance,
    },
}

impl Intent {
    /// The kind of change.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Split { .. } => Kind::Split,
            Self::Merge { .. } => Kind::Merge,
            Self::Move { .. } => Kind::Move,
            Self::AddShard { .. } => Kind::AddShard,
            Self::Drain { .. } => Kind::Drain,
            Self::Rebalance { .. } => Kind::Rebalance,
        }
    }
}

/// A plan's id: 16 hexadecimal digits of a hash of what moves, and of the ring that it moves in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanId(String);

impl PlanId {
    /// Reads an id; none for a text that cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_id = text.len() == 16 && text.bytes().all(is_digit);
        is_id.then(|| Self(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What moves where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The same for the same moves in the same ring, whatever else the topology holds.
    pub id: PlanId,
    /// The kind of change.
    pub kind: Kind,
    /// The epoch that it was made at.
    pub epoch: Epoch,
    /// Flows that are cut over together, in the order in which they should be: each leg has one
    /// source and one flow for each of its targets.
    pub legs: Vec<Vec<Flow>>,
}

impl Plan {
    /// The shard that is to be left empty, if that is the aim.
    #[must_use]
    pub fn drains(&self) -> Option<&ShardId> {
        let is_drain = self.kind == Kind::Drain;
        let source = self.legs.first().and_then(|leg| leg.first());
        source.filter(|_| is_drain).map(|flow| &flow.from)
    }

    /// Makes the plan for what is wanted.
    ///
    /// # Errors
    /// [`Error`] names the shard or the vnode that it fails at.
    pub fn try_new(snapshot: &Snapshot, intent: &Intent) -> Result<Self, Error> {
        let picture = Picture::of(snapshot, intent)?;
        let moves = want::moves(&picture, intent)?;
        if moves.is_empty() {
            return Err(Error::NothingToMove);
        }
        if moves.len() > MAX_VNODES {
            return Err(Error::TooLarge { count: moves.len() });
        }
        let legs = legs::of(&picture, &moves, intent);
        let kind = intent.kind();
        Ok(Self {
            id: id_of(snapshot, kind, &legs),
            kind,
            epoch: snapshot.epoch(),
            legs,
        })
    }

    /// All flows, in order.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.legs.iter().flatten()
    }

    /// The shards that rows leave.
    #[must_use]
    pub fn sources(&self) -> Vec<ShardId> {
        let sources: BTreeSet<_> = self.flows().map(|flow| flow.from.clone()).collect();
        sources.into_iter().collect()
    }

    /// The shards that rows go to.
    #[must_use]
    pub fn targets(&self) -> Vec<ShardId> {
        let targets: BTreeSet<_> = self.flows().map(|flow| flow.to.clone()).collect();
        targets.into_iter().collect()
    }

    /// All of them.
    #[must_use]
    pub fn shards(&self) -> BTreeSet<ShardId> {
        self.sources().into_iter().chain(self.targets()).collect()
    }

    /// How many vnodes change their owner.
    #[must_use]
    pub fn vnode_count(&self) -> usize {
        self.flows().map(|flow| flow.vnodes.len()).sum()
    }

    /// What the audit log says of it.
    #[must_use]
    pub fn detail(&self) -> serde_json::Value {
        let flow = |flow: &Flow| {
            serde_json::json!({
                "from": flow.from, "to": flow.to, "vnodes": flow.vnodes.len(),
            })
        };
        serde_json::json!({
            "plan": self.id,
            "kind": self.kind,
            "legs": self.legs.len(),
            "vnodes": self.vnode_count(),
            "flows": self.flows().map(flow).collect::<Vec<_>>(),
        })
    }
}

fn id_of(snapshot: &Snapshot, kind: Kind, legs: &[Vec<Flow>]) -> PlanId {
    let mut hash = Sha256::new();
    let text = |hash: &mut Sha256, text: &str| {
        hash.update(text.as_bytes());
        hash.update([0]);
    };
    text(&mut hash, kind.as_str());
    for vnode in snapshot.ring().vnodes() {
        hash.update(vnode.token.0.to_be_bytes());
        let owner = snapshot.shard(vnode.owner);
        text(&mut hash, owner.map_or("", |shard| shard.id.as_str()));
    }
    for leg in legs {
        text(&mut hash, "leg");
        for flow in leg {
            text(&mut hash, flow.from.as_str());
            text(&mut hash, flow.to.as_str());
            for token in &flow.vnodes {
                hash.update(token.0.to_be_bytes());
            }
            text(&mut hash, "");
        }
    }
    let mut id = String::with_capacity(16);
    for byte in hash.finalize().iter().take(8) {
        write!(id, "{byte:02x}").expect("a String takes all that is written");
    }
    PlanId(id)
}

/// How large a shard's fair share is beside the others': an initial ring gives it `vnode_count`
/// vnodes, and `weight` multiplies that.
#[must_use]
pub fn capacity(shard: &Shard) -> u64 {
    u64::from(shard.weight) * u64::from(shard.vnode_count)
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such shard.
    #[error("shard {shard} does not exist")]
    UnknownShard {
        /// The shard.
        shard: ShardId,
    },
    /// A shard is to be given vnodes and may not be.
    #[error("shard {shard} is {}: only an active shard is given vnodes", word(*.state))]
    NotActive {
        /// The shard.
        shard: ShardId,
        /// Its state.
        state: ShardState,
    },
    /// A shard is to give vnodes and has none.
    #[error("shard {shard} owns no vnodes")]
    OwnsNothing {
        /// The shard.
        shard: ShardId,
    },
    /// Rows would go from a shard to itself only.
    #[error("shard {shard} is both the source and the only target")]
    ToItself {
        /// The shard.
        shard: ShardId,
    },
    /// One shard is named twice.
    #[error("shard {shard} is named twice")]
    NamedTwice {
        /// The shard.
        shard: ShardId,
    },
    /// Nothing is named that vnodes could come from or go to.
    #[error("no {what} is named")]
    NothingNamed {
        /// Of what.
        what: &'static str,
    },
    /// A vnode that is to move belongs to another shard, or does not exist.
    #[error("shard {shard} owns no vnode {token}, which is {} in decimal", .token.0)]
    NotItsVnode {
        /// The shard.
        shard: ShardId,
        /// The vnode's token.
        token: Token,
    },
    /// There are not enough vnodes to give each shard a part: a vnode is not divided.
    #[error(
        "the {count} vnodes of shard {shard} cannot be divided so that shard {target} gets its \
         part: name fewer targets, or a larger share for it"
    )]
    TooFewVnodes {
        /// The shard that is divided.
        shard: ShardId,
        /// How many it has.
        count: usize,
        /// The shard that would get none.
        target: ShardId,
    },
    /// More are to move than the shard has.
    #[error("shard {shard} owns {owned} vnodes, {wanted} cannot be moved from it")]
    TooMany {
        /// The shard.
        shard: ShardId,
        /// How many it has.
        owned: usize,
        /// How many were asked for.
        wanted: u32,
    },
    /// There is no other active shard.
    #[error("there is no other active shard that could take the vnodes of shard {shard}")]
    NobodyElse {
        /// The shard.
        shard: ShardId,
    },
    /// Each shard's part is within one vnode of its fair share.
    #[error("nothing is to be moved: every shard is within one vnode of its fair share")]
    Balanced,
    /// The shard has its part already.
    #[error("nothing is to be moved: shard {shard} has its fair share already")]
    HasItsShare {
        /// The shard.
        shard: ShardId,
    },
    /// What is wanted is so already.
    #[error("nothing is to be moved")]
    NothingToMove,
    /// No shard owns anything.
    #[error("the ring is empty: the first shards take their vnodes as they are registered")]
    RingEmpty,
    /// More than one record of a job can hold.
    #[error("{count} vnodes are more than one job moves, which is {MAX_VNODES}: ask for less")]
    TooLarge {
        /// How many.
        count: usize,
    },
}

fn word(state: ShardState) -> &'static str {
    match state {
        ShardState::Active => "active",
        ShardState::Draining => "draining",
        ShardState::Inactive => "inactive",
    }
}

impl Error {
    /// What sort of error this is to a client.
    #[must_use]
    pub fn code(&self) -> Code {
        let kind = match self {
            Self::UnknownShard { .. } => ErrorKind::NotFound,
            Self::ToItself { .. }
            | Self::NamedTwice { .. }
            | Self::NothingNamed { .. }
            | Self::NotItsVnode { .. }
            | Self::TooMany { .. } => ErrorKind::Invalid,
            Self::NotActive { .. }
            | Self::OwnsNothing { .. }
            | Self::TooFewVnodes { .. }
            | Self::NobodyElse { .. }
            | Self::Balanced
            | Self::HasItsShare { .. }
            | Self::NothingToMove
            | Self::RingEmpty => ErrorKind::Conflict,
            Self::TooLarge { .. } => ErrorKind::Exhausted,
        };
        Code::Kind(kind)
    }
}
