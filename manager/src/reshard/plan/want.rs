//! From what is wanted to the vnodes that move.

use std::collections::BTreeSet;

use topology::{ShardId, Token};

use super::deal::{Donor, Move, Receiver, deal, round};
use super::picture::{Member, Picture, Piece, part, sum};
use super::{Error, Intent, Target, Vnodes};

pub(super) fn moves(picture: &Picture<'_>, intent: &Intent) -> Result<Vec<Move>, Error> {
    match intent {
        Intent::Split { source, targets } => split(picture, source, targets),
        Intent::Merge { sources, target } => merge(picture, sources, target),
        Intent::Move { vnodes, from, to } => some(picture, vnodes, from, to),
        Intent::AddShard { shard } => add(picture, shard),
        Intent::Drain { shard } => drain(picture, shard),
        Intent::Rebalance { by: _ } => rebalance(picture),
    }
}

fn split(picture: &Picture<'_>, source: &ShardId, targets: &[Target]) -> Result<Vec<Move>, Error> {
    let owned = picture.donor(source)?;
    named_once(targets.iter().map(|target| &target.shard), "target")?;
    if let [only] = targets
        && only.shard == *source
    {
        let shard = source.clone();
        return Err(Error::ToItself { shard });
    }
    let total = sum(&owned);
    let shares: u128 = targets.iter().map(|target| u128::from(target.share)).sum();
    let mut receivers = Vec::with_capacity(targets.len());
    let mut kept = 0;
    for target in targets {
        let fair = part(total, target.share, shares);
        if target.shard == *source {
            kept = fair;
        } else {
            let index = picture.receiver(&target.shard)?;
            let lack = i128::from(fair);
            receivers.push(Receiver { index, lack });
        }
    }
    let count = owned.len();
    let pieces = if kept == 0 {
        owned
    } else {
        Donor::new(total - kept, owned).give(total)
    };
    let moves = deal(pieces, &mut receivers);
    for Receiver { index, .. } in &receivers {
        if !moves.iter().any(|each| each.to == *index) {
            let target = picture.id(*index).unwrap_or(source).clone();
            return Err(Error::TooFewVnodes {
                shard: source.clone(),
                count,
                target,
            });
        }
    }
    Ok(moves)
}

fn merge(picture: &Picture<'_>, sources: &[ShardId], target: &ShardId) -> Result<Vec<Move>, Error> {
    named_once(sources, "source")?;
    let to = picture.receiver(target)?;
    if let [only] = sources
        && only == target
    {
        let shard = target.clone();
        return Err(Error::ToItself { shard });
    }
    let mut moves = Vec::new();
    for source in sources.iter().filter(|source| *source != target) {
        let owned = picture.donor(source)?;
        moves.extend(owned.into_iter().map(|piece| Move { piece, to }));
    }
    Ok(moves)
}

fn some(
    picture: &Picture<'_>,
    vnodes: &Vnodes,
    from: &ShardId,
    to: &ShardId,
) -> Result<Vec<Move>, Error> {
    let (owned, to_index) = (picture.donor(from)?, picture.receiver(to)?);
    if from == to {
        let shard = from.clone();
        return Err(Error::ToItself { shard });
    }
    let pieces = match vnodes {
        Vnodes::Tokens(tokens) => by_token(&owned, tokens, from)?,
        Vnodes::Count(count) => spread(&owned, *count, from)?,
    };
    let to = to_index;
    Ok(pieces.into_iter().map(|piece| Move { piece, to }).collect())
}

fn by_token(owned: &[Piece], tokens: &[Token], from: &ShardId) -> Result<Vec<Piece>, Error> {
    let wanted: BTreeSet<Token> = tokens.iter().copied().collect();
    let of = |token: Token| {
        let found = owned.binary_search_by_key(&token, |piece| piece.range.last);
        let piece = found.ok().and_then(|at| owned.get(at).copied());
        piece.ok_or_else(|| Error::NotItsVnode {
            shard: from.clone(),
            token,
        })
    };
    wanted.into_iter().map(of).collect()
}

/// So many of them, evenly over the ring, so that their part of the rows is about their number's.
fn spread(owned: &[Piece], count: u32, from: &ShardId) -> Result<Vec<Piece>, Error> {
    let wanted = usize::try_from(count).unwrap_or(usize::MAX);
    if wanted > owned.len() {
        return Err(Error::TooMany {
            shard: from.clone(),
            owned: owned.len(),
            wanted: count,
        });
    }
    let places = (0..wanted).map(|nth| nth * owned.len() / wanted);
    Ok(places.filter_map(|at| owned.get(at).copied()).collect())
}

/// The shard's fair share, from each of those above theirs in proportion to how far they are.
fn add(picture: &Picture<'_>, shard: &ShardId) -> Result<Vec<Move>, Error> {
    let index = picture.receiver(shard)?;
    let members = picture.members();
    let fair = Fair::of(&members);
    let own = members.iter().find(|member| member.index == index);
    let lack = own.map_or(0, |own| fair.share(own).saturating_sub(own.load));
    let others = members.iter().filter(|member| member.index != index);
    let mut donors: Vec<Donor> = others
        .filter_map(|each| fair.donor(picture, each))
        .collect();
    let all = donors.iter().map(|donor| u128::from(donor.surplus())).sum();
    let mut pieces = Vec::new();
    // What one shard could not give to the token, because its vnodes are whole, the next one does.
    let mut owed = 0_u64;
    for donor in &mut donors {
        let quota = part(donor.surplus(), lack, all).saturating_add(owed);
        let given = donor.give(quota);
        owed = quota.saturating_sub(sum(&given));
        pieces.extend(given);
    }
    let lack = i128::from(lack);
    let mut receivers = [Receiver { index, lack }];
    let mut moves = deal(pieces, &mut receivers);
    moves.extend(round(&mut donors, &mut receivers, picture.largest()));
    if moves.is_empty() {
        let shard = shard.clone();
        return Err(Error::HasItsShare { shard });
    }
    Ok(moves)
}

fn drain(picture: &Picture<'_>, shard: &ShardId) -> Result<Vec<Move>, Error> {
    let owned = picture.donor(shard)?;
    let index = picture.index(shard)?;
    let mut members = picture.members();
    members.retain(|member| member.index != index);
    if members.is_empty() {
        let shard = shard.clone();
        return Err(Error::NobodyElse { shard });
    }
    let mut fair = Fair::of(&members);
    fair.total = fair.total.saturating_add(sum(&owned));
    let mut receivers: Vec<_> = members.iter().map(|each| fair.receiver(each)).collect();
    Ok(deal(owned, &mut receivers))
}

fn rebalance(picture: &Picture<'_>) -> Result<Vec<Move>, Error> {
    let members = picture.members();
    let fair = Fair::of(&members);
    let within = picture.largest();
    let is_fair = |member: &Member| fair.share(member).abs_diff(member.load) <= within;
    if members.iter().all(is_fair) {
        return Err(Error::Balanced);
    }
    let mut donors: Vec<_> = members
        .iter()
        .filter_map(|each| fair.donor(picture, each))
        .collect();
    let below = members.iter().filter(|each| each.load <= fair.share(each));
    let mut receivers: Vec<_> = below.map(|each| fair.receiver(each)).collect();
    let given = donors.iter_mut().flat_map(|donor| donor.give(u64::MAX));
    let mut moves = deal(given.collect(), &mut receivers);
    moves.extend(round(&mut donors, &mut receivers, within));
    Ok(moves)
}

/// What is shared, and by how many parts.
struct Fair {
    total: u64,
    capacities: u128,
}

impl Fair {
    fn of(members: &[Member]) -> Self {
        let loads = members.iter().map(|member| member.load);
        let capacities = members.iter().map(|member| u128::from(member.capacity));
        Self {
            total: loads.fold(0, u64::saturating_add),
            capacities: capacities.sum(),
        }
    }

    fn share(&self, member: &Member) -> u64 {
        part(self.total, member.capacity, self.capacities)
    }

    /// A member above its share as one that gives.
    fn donor(&self, picture: &Picture<'_>, member: &Member) -> Option<Donor> {
        let surplus = member.load.checked_sub(self.share(member))?;
        (surplus > 0).then(|| Donor::new(surplus, picture.owned(member.index)))
    }

    fn receiver(&self, member: &Member) -> Receiver {
        Receiver {
            index: member.index,
            lack: i128::from(self.share(member)) - i128::from(member.load),
        }
    }
}

/// At least one, and none twice.
fn named_once<'a>(
    shards: impl IntoIterator<Item = &'a ShardId>,
    what: &'static str,
) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for shard in shards {
        if !seen.insert(shard) {
            let shard = shard.clone();
            return Err(Error::NamedTwice { shard });
        }
    }
    if seen.is_empty() {
        return Err(Error::NothingNamed { what });
    }
    Ok(())
}
