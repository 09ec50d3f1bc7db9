//! What each mirror writes down of a copy: a range, in the transaction that stores its rows. Whoever
//! goes on with a copy reads there what is left of it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::part::{self, Part, Range};
use super::{Attempt, Error, Order, Target, lane};
use crate::reshard::link::{self, Fault, Link};

/// A range whose rows a mirror has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    relation: String,
    begin: u64,
    end: Option<u64>,
    rows: u64,
    bytes: u64,
}

/// What is left of a copy, and what is not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left {
    /// Ranges that a mirror lacks.
    pub(super) ranges: Vec<Range>,
    /// Blocks of those that all mirrors have.
    pub(super) blocks: u64,
    /// Rows that the mirrors have.
    pub(super) rows: u64,
    /// Their bytes, as they travelled.
    pub(super) bytes: u64,
}

/// Makes the book of a mirror ready, and reads what is in it of this copy.
pub(super) async fn open(order: &Order, target: &Target) -> Result<Vec<Entry>, Error> {
    let tag = order.leg.tag();
    let Attempt { id, is_resumed } = &order.attempt;
    // The first of these names is that of releases that wrote down less.
    let make = format!(
        "BEGIN; SELECT vg.enter({}); DROP TABLE IF EXISTS vg.copy_progress; \
         CREATE TABLE IF NOT EXISTS vg.copied (tag text, attempt text, relation text, \
         first bigint, past bigint, rows bigint NOT NULL, bytes bigint NOT NULL, \
         PRIMARY KEY (tag, attempt, relation, first)); \
         DELETE FROM vg.copied WHERE tag = '{tag}' AND NOT ({is_resumed} AND attempt = '{id}'); \
         COMMIT",
        order.term
    );
    let mut link = lane::writer(order, &target.shard).await?;
    link.query("open the book of the copy", &make).await?;
    let question = format!(
        "SELECT relation, first, coalesce(past, -1), rows, bytes FROM vg.copied \
         WHERE tag = '{tag}' AND attempt = '{id}' ORDER BY relation, first"
    );
    let rows = link.query("read the book of the copy", &question).await?;
    let entries = rows.into_iter().map(|row| entry(&link, row));
    entries.collect()
}

fn entry(link: &Link, row: Vec<Option<String>>) -> Result<Entry, Error> {
    let unreadable = || {
        let fault = Fault::Protocol("the book of the copy is not what was written".to_owned());
        Error::from(link.error("read the book of the copy", fault))
    };
    let fields: Vec<String> = row.into_iter().flatten().collect();
    let [relation, begin, end, rows, bytes] =
        <[String; 5]>::try_from(fields).map_err(|_| unreadable())?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| unreadable());
    Ok(Entry {
        begin: number(&begin)?,
        end: if end == "-1" {
            None
        } else {
            Some(number(&end)?)
        },
        rows: number(&rows)?,
        bytes: number(&bytes)?,
        relation,
    })
}

/// What is left, by the books of all mirrors. A range that one of them has keeps its bounds, so
/// that no other range ever meets a part of it.
pub(super) fn left(parts: &[Part], workers: NonZeroUsize, books: &[Vec<Entry>]) -> Left {
    let mut left = Left::default();
    for entry in books.iter().flatten() {
        left.rows += entry.rows;
        left.bytes += entry.bytes;
    }
    for (index, part) in parts.iter().enumerate() {
        let size = part::range_blocks(part.blocks, workers);
        // By first block: the block after the last, and how many mirrors have the range.
        let mut known: BTreeMap<u64, (Option<u64>, usize)> = BTreeMap::new();
        for entry in books.iter().flatten() {
            if entry.relation == part.relation {
                known.entry(entry.begin).or_insert((entry.end, 0)).1 += 1;
            }
        }
        let mut pieces = part::Pieces::new(index, part.blocks, size);
        let mut at = Some(0);
        for (begin, (end, count)) in known {
            if let Some(at) = at.filter(|at| *at < begin) {
                pieces.cut(at, Some(begin));
            }
            let whole = pieces.whole(begin, end);
            if count == books.len() {
                left.blocks += whole.blocks;
            } else {
                pieces.push(whole);
            }
            at = end;
        }
        if let Some(at) = at {
            pieces.cut(at, None);
        }
        left.ranges.extend(pieces.into_ranges());
    }
    left
}

/// Writes down that a range is being stored, in the transaction that does; says whether it was not
/// there yet. Another attempt at it that has not come to its end is waited for.
pub(super) async fn claim(
    link: &mut Link,
    order: &Order,
    (range, part): (Range, &Part),
) -> Result<bool, link::Error> {
    let past = range.end.map_or("NULL".to_owned(), |end| end.to_string());
    let sql = format!(
        "BEGIN; SELECT vg.enter({}); INSERT INTO vg.copied \
         (tag, attempt, relation, first, past, rows, bytes) VALUES ({}, {past}, 0, 0) \
         ON CONFLICT DO NOTHING RETURNING true",
        order.term,
        name(order, range, part)
    );
    let rows = link.query("begin to store copied rows", &sql).await?;
    // A row of vg.enter, and one of the entry.
    Ok(rows.len() >= 2)
}

/// Writes down how much it was, and commits.
pub(super) async fn commit(
    link: &mut Link,
    order: &Order,
    (range, part): (Range, &Part),
    (rows, bytes): (u64, u64),
) -> Result<(), link::Error> {
    let sql = format!(
        "UPDATE vg.copied SET rows = {rows}, bytes = {bytes} \
         WHERE (tag, attempt, relation, first) = ({}); COMMIT",
        name(order, range, part)
    );
    link.query("commit copied rows", &sql).await?;
    Ok(())
}

fn name(order: &Order, range: Range, part: &Part) -> String {
    format!(
        "'{}', '{}', '{}', {}",
        order.leg.tag(),
        order.attempt.id,
        part.relation.replace('\'', "''"),
        range.begin
    )
}

#[cfg(test)]
mod tests;
