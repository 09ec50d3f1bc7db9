//! The binary format: a head, tuples of fields with their lengths, a trailer.

use super::text::corrupt;
use crate::route::Refusal;

/// Its signature, the flags, and the length of what the head has besides.
const HEAD_BYTES: usize = 19;

/// The number of fields that is none.
pub(super) const TRAILER_BYTES: usize = 2;

/// Where the key stands in a tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    At(usize, usize),
    Null,
    Missing,
}

/// What the data begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tuple {
    Incomplete,
    Trailer,
    Row { length: usize, key: Place },
}

/// The length of the head; none when that is not known yet.
pub(super) fn head(data: &[u8]) -> Option<usize> {
    let more: [u8; 4] = data.get(HEAD_BYTES - 4..HEAD_BYTES)?.try_into().ok()?;
    // One that is no length is for the shard to refuse.
    let more = usize::try_from(i32::from_be_bytes(more)).unwrap_or(0);
    Some(HEAD_BYTES + more)
}

/// The first tuple.
pub(super) fn tuple(data: &[u8], key: usize) -> Result<Tuple, Refusal> {
    let Some(count) = data.get(..2).and_then(|it| it.try_into().ok()) else {
        return Ok(Tuple::Incomplete);
    };
    let count = i16::from_be_bytes(count);
    if count == -1 {
        return Ok(Tuple::Trailer);
    }
    let count = usize::try_from(count).map_err(|_| corrupt("row field count is negative"))?;
    let (mut at, mut found) = (2, Place::Missing);
    for place in 0..count {
        let length = data.get(at..at + 4).and_then(|it| it.try_into().ok());
        let Some(length) = length.map(i32::from_be_bytes) else {
            return Ok(Tuple::Incomplete);
        };
        at += 4;
        let from = at;
        match usize::try_from(length) {
            Ok(length) => at += length,
            Err(_) if length == -1 => {}
            Err(_) => return Err(corrupt("invalid field size")),
        }
        if place == key {
            found = match length {
                -1 => Place::Null,
                _ => Place::At(from, at),
            };
        }
        if data.len() < at {
            return Ok(Tuple::Incomplete);
        }
    }
    Ok(Tuple::Row {
        length: at,
        key: found,
    })
}
