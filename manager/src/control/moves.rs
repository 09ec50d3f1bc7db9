//! What a step of a resharding job does to the topology: holds begin and end, vnodes change their
//! owner.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use topology::records::{Hold, Shard, ShardState, ShardVnodes, encode};
use topology::store::Op;
use topology::{Placement, ShardId, Snapshot, TableName, Token, keys};

use super::Rejection;

/// Vnodes that go from one shard to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// Their owner.
    pub from: ShardId,
    /// Who is to own them.
    pub to: ShardId,
    /// The vnodes.
    pub vnodes: Vec<Token>,
}

/// What a record of a job means for the topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: no epoch is made.
    None,
    /// Routers hold what is about to move.
    Hold(Hold),
    /// They no longer do.
    Release {
        /// The hold's id.
        hold: String,
    },
    /// Vnodes change their owner.
    Flip {
        /// Which.
        handovers: Vec<Handover>,
        /// The sharded tables whose rows have moved; there must be no others.
        tables: BTreeSet<TableName>,
        /// The hold that ends with it, if one does.
        release: Option<String>,
    },
    /// A shard is given no more vnodes, or may be given some again.
    State {
        /// The shard.
        shard: ShardId,
        /// What it is from now on.
        state: ShardState,
    },
}

impl Effect {
    /// The writes of it at a time; none for [`Self::None`].
    ///
    /// # Errors
    /// [`Rejection`] when the topology is not what the job believes it to be.
    pub fn ops(&self, snapshot: &Snapshot, now: SystemTime) -> Result<Vec<Op>, Rejection> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::Hold(hold) => Ok(vec![Op::put(keys::hold(&hold.id), encode(hold))]),
            Self::Release { hold } => Ok(vec![Op::delete(keys::hold(hold))]),
            Self::Flip {
                handovers,
                tables,
                release,
            } => {
                same_tables(snapshot, tables)?;
                let mut ops = hand_over(snapshot, handovers)?;
                ops.extend(wake(snapshot, handovers, now));
                ops.extend(release.iter().map(|hold| Op::delete(keys::hold(hold))));
                Ok(ops)
            }
            Self::State { shard, state } => {
                let unknown = || Rejection::UnknownShard { id: shard.clone() };
                let index = snapshot.index_of(shard).ok_or_else(unknown)?;
                let found = snapshot.shard(index).ok_or_else(unknown)?;
                Ok(vec![put_state(found, *state, now)])
            }
        }
    }
}

fn put_state(shard: &Shard, state: ShardState, now: SystemTime) -> Op {
    let shard = Shard {
        state,
        version: shard.version + 1,
        updated_at: now,
        ..shard.clone()
    };
    Op::put(keys::shard(&shard.id), encode(&shard))
}

/// A drained shard that somebody gives vnodes takes part again.
fn wake<'a>(
    snapshot: &'a Snapshot,
    handovers: &'a [Handover],
    now: SystemTime,
) -> impl Iterator<Item = Op> + 'a {
    let shards = snapshot.shards().iter();
    let woken = shards.filter(|shard| {
        shard.state == ShardState::Inactive && handovers.iter().any(|one| one.to == shard.id)
    });
    woken.map(move |shard| put_state(shard, ShardState::Active, now))
}

/// The registered tables whose rows are placed by key.
pub fn sharded_tables(snapshot: &Snapshot) -> BTreeSet<TableName> {
    let of = |table: &topology::Table| match table.placement {
        Placement::Sharded { .. } => Some(table.name.clone()),
        Placement::Reference | Placement::Unsharded { .. } | Placement::View { .. } => None,
    };
    snapshot.tables().filter_map(of).collect()
}

fn same_tables(snapshot: &Snapshot, moved: &BTreeSet<TableName>) -> Result<(), Rejection> {
    let found = sharded_tables(snapshot);
    if found == *moved {
        return Ok(());
    }
    let (moved, found) = (moved.len(), found.len());
    Err(Rejection::TablesDiffer { moved, found })
}

fn hand_over(snapshot: &Snapshot, handovers: &[Handover]) -> Result<Vec<Op>, Rejection> {
    let shards = handovers.iter().flat_map(|one| [&one.from, &one.to]);
    let mut owned: BTreeMap<&ShardId, BTreeSet<Token>> = BTreeMap::new();
    for id in shards {
        let unknown = || Rejection::UnknownShard { id: id.clone() };
        let index = snapshot.index_of(id).ok_or_else(unknown)?;
        let shard = snapshot.shard(index).ok_or_else(unknown)?;
        if shard.promotion.is_some() {
            // What was drained to its primary may not be on the next one.
            return Err(Rejection::Promoting { id: id.clone() });
        }
        let vnodes = snapshot.ring().vnodes().iter();
        let tokens = vnodes.filter(|vnode| vnode.owner == index);
        owned.insert(id, tokens.map(|vnode| vnode.token).collect());
    }
    for Handover { from, to, vnodes } in handovers {
        for &token in vnodes {
            let was_there = owned.get_mut(from).is_some_and(|own| own.remove(&token));
            if !was_there {
                let shard = from.clone();
                return Err(Rejection::VnodeElsewhere { token, shard });
            }
            owned.entry(to).or_default().insert(token);
        }
    }
    let op = |(shard, tokens): (&ShardId, BTreeSet<Token>)| {
        let tokens = tokens.into_iter().collect();
        let shard = shard.clone();
        let key = keys::ring(&shard);
        Op::put(key, encode(&ShardVnodes { shard, tokens }))
    };
    Ok(owned.into_iter().map(op).collect())
}
