//! What is left of a copy, for many ways in which it may have been broken off.

use std::collections::BTreeSet;

use topology::{KeyType, TableName};

use super::*;
use crate::reshard::copy::scan::Format;
use crate::reshard::flow::MovedTable;

fn part(relation: &str, blocks: u64) -> Part {
    Part {
        table: MovedTable {
            name: TableName::try_from_parts("public", "t").unwrap(),
            key_column: "k".to_owned(),
            key_type: KeyType::Bigint,
        },
        relation: relation.to_owned(),
        columns: "k".to_owned(),
        column_count: 1,
        format: Format::Binary,
        blocks,
        rows: blocks,
    }
}

fn workers() -> NonZeroUsize {
    NonZeroUsize::new(2).unwrap()
}

fn entry_of(parts: &[Part], range: &Range) -> Entry {
    Entry {
        relation: parts[range.part].relation.clone(),
        begin: range.begin,
        end: range.end,
        rows: range.blocks,
        bytes: 10 * range.blocks,
    }
}

/// A few numbers that look like chance.
fn is_chosen(number: usize, round: usize) -> bool {
    (number * 7 + round * 13) % 5 < 2
}

#[test]
fn nothing_written_down_leaves_all() {
    let parts = [part("a", 3_000), part("b", 0)];
    for books in [vec![], vec![vec![], vec![]]] {
        let left = left(&parts, workers(), &books);
        assert_eq!(left.ranges, part::ranges(&parts, workers()));
        assert_eq!((left.blocks, left.rows, left.bytes), (0, 0, 0));
    }
}

#[test]
fn a_copy_that_is_broken_off_again_and_again_stores_every_block_on_every_mirror_once() {
    let mut parts = [part("a", 90_000), part("b", 5_000), part("c", 0)];
    let mut books: Vec<Vec<Entry>> = vec![Vec::new(), Vec::new()];
    for round in 0..200 {
        let found = left(&parts, workers(), &books);
        let all: u64 = parts.iter().map(|part| part.blocks).sum();
        let open: u64 = found.ranges.iter().map(|range| range.blocks).sum();
        assert_eq!(found.blocks + open, all, "round {round}");
        if found.ranges.is_empty() {
            break;
        }
        for (number, range) in found.ranges.iter().enumerate() {
            for (mirror, book) in books.iter_mut().enumerate() {
                let entry = entry_of(&parts, range);
                let is_there = book
                    .iter()
                    .any(|old| (&old.relation, old.begin) == (&entry.relation, entry.begin));
                if !is_there && is_chosen(number + mirror, round) {
                    book.push(entry);
                }
            }
        }
        // Clients go on writing: the tables grow, behind what the snapshot sees.
        parts[0].blocks += 100;
    }
    for book in &books {
        for part in &parts {
            let mut next = Some(0);
            let mut of_part: Vec<&Entry> = book
                .iter()
                .filter(|entry| entry.relation == part.relation)
                .collect();
            of_part.sort_by_key(|entry| entry.begin);
            for entry in of_part {
                assert_eq!(Some(entry.begin), next, "a gap, or blocks twice");
                next = entry.end;
            }
            assert_eq!(next, None, "the end of {} is not stored", part.relation);
        }
    }
}

#[test]
fn a_range_that_one_mirror_lacks_keeps_its_bounds() {
    let parts = [part("a", 4_096)];
    let all = part::ranges(&parts, workers());
    assert_eq!(all.len(), 4);
    let everywhere = entry_of(&parts, &all[0]);
    let on_one = entry_of(&parts, &all[2]);
    let books = [vec![everywhere.clone(), on_one.clone()], vec![everywhere]];
    let left = left(&parts, workers(), &books);
    assert_eq!(left.blocks, 1_024);
    assert_eq!((left.rows, left.bytes), (3_072, 30_720));
    let bounds: BTreeSet<(u64, Option<u64>)> = left
        .ranges
        .iter()
        .map(|range| (range.begin, range.end))
        .collect();
    let wanted = [(1_024, Some(2_048)), (2_048, Some(3_072)), (3_072, None)];
    assert_eq!(bounds, BTreeSet::from(wanted));
    let numbers: Vec<usize> = left.ranges.iter().map(|range| range.number).collect();
    assert_eq!(numbers, [0, 1, 2]);
}
