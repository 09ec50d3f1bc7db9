//! From vnodes that move to flows and legs.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use topology::ShardIndex;
use topology::records::TokenRange;

use super::deal::Move;
use super::picture::{Picture, Piece};
use super::{Intent, picture};
use crate::reshard::flow::{Flow, Ranges};

/// One leg a source. Sources that were named come in their order, others with the largest part
/// first: that is where it helps most.
pub(super) fn of(picture: &Picture<'_>, moves: &[Move], intent: &Intent) -> Vec<Vec<Flow>> {
    let mut by_source: BTreeMap<ShardIndex, BTreeMap<ShardIndex, Vec<Piece>>> = BTreeMap::new();
    for Move { piece, to } in moves {
        let targets = by_source.entry(piece.owner).or_default();
        targets.entry(*to).or_default().push(*piece);
    }
    let mut legs: Vec<_> = by_source.into_iter().collect();
    if let Intent::Merge { sources, target: _ } = intent {
        let place = |index: ShardIndex| {
            let id = picture.id(index);
            sources.iter().position(|source| Some(source) == id)
        };
        legs.sort_by_key(|(source, _)| place(*source));
    } else {
        legs.sort_by_key(|(source, targets)| {
            let load = picture::sum(targets.values().flatten());
            (Reverse(load), *source)
        });
    }
    let leg = |(source, targets): (ShardIndex, BTreeMap<ShardIndex, Vec<Piece>>)| {
        let flow = |(target, pieces)| flow(picture, source, target, pieces);
        targets.into_iter().filter_map(flow).collect()
    };
    legs.into_iter().map(leg).collect()
}

fn flow(
    picture: &Picture<'_>,
    from: ShardIndex,
    to: ShardIndex,
    mut pieces: Vec<Piece>,
) -> Option<Flow> {
    pieces.sort_by_key(|piece| piece.at);
    Some(Flow {
        from: picture.id(from)?.clone(),
        to: picture.id(to)?.clone(),
        ranges: Ranges::new(ranges(&pieces)),
        vnodes: pieces.iter().map(|piece| piece.range.last).collect(),
    })
}

/// The ranges of vnodes in token order, those that touch made one.
fn ranges(pieces: &[Piece]) -> Vec<TokenRange> {
    let mut ranges: Vec<TokenRange> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match ranges.last_mut() {
            Some(last) if last.last == piece.range.after => last.last = piece.range.last,
            Some(_) | None => ranges.push(piece.range),
        }
    }
    // The end of the token space touches its beginning.
    if let [first, .., last] = ranges.as_slice()
        && last.last == first.after
    {
        let whole = TokenRange {
            after: last.after,
            last: first.last,
        };
        ranges.pop();
        if let Some(first) = ranges.first_mut() {
            *first = whole;
        }
    }
    ranges
}
