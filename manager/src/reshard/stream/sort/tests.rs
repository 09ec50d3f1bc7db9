//! Which changes come out of a stream, for whom, and when.

use std::cell::RefCell;

use topology::records::TokenRange;
use topology::{Key, ShardId, Token, hash};

use super::{Outlet, Route, Rules, Shapes, Sorter};
use crate::reshard::apply::Error;
use crate::reshard::apply::chunk::{Chunk, Op, Untold};
use crate::reshard::apply::fake::Cell::{Null, Text, Unchanged};
use crate::reshard::apply::fake::{self, begin, change, commit, message, origin, relation, tuple};
use crate::reshard::apply::queue::BATCH_ROWS;
use crate::reshard::flow::Ranges;
use crate::reshard::lsn::Lsn;
use crate::reshard::shape::UniqueColumns;

/// What came out: `lane:ops@end`, a part without an end.
#[derive(Debug, Default)]
struct Seen(RefCell<Vec<String>>);

impl Seen {
    fn say(&self, text: String) {
        self.0.borrow_mut().push(text);
    }

    fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

impl Outlet for Seen {
    fn put(&self, lane: usize, chunk: &mut Chunk) -> Result<(), Untold> {
        let op = |op| match op {
            Op::Insert => 'I',
            Op::Update => 'U',
            Op::Delete => 'D',
        };
        let ops: String = chunk.rows().iter().map(|row| op(row.op)).collect();
        let ops = if ops.len() > 10 {
            format!("{}x", ops.len())
        } else {
            ops
        };
        let end = if chunk.is_complete {
            format!("@{}", chunk.last.end.0)
        } else {
            String::new()
        };
        let fence = chunk
            .fence
            .map_or_else(String::new, |epoch| format!("!{epoch}"));
        self.say(format!("{lane}:{ops}{end}{fence}"));
        chunk.clear();
        Ok(())
    }

    fn drained(&self, lane: usize, epoch: u64) {
        self.say(format!("{lane}!{epoch}"));
    }

    fn advance(&self, to: Lsn) {
        self.say(format!("-{}", to.0));
    }

    fn heartbeat(&self, number: u64, before: Lsn) {
        self.say(format!("hb{number}@{}", before.0));
    }
}

const QUARTER: u32 = 1 << 30;

fn sorter(starts: [u64; 2]) -> Sorter {
    let route = |after: u32, last: u32, start| Route {
        bounds: Ranges::new(vec![TokenRange {
            after: Token(after),
            last: Token(last),
        }])
        .bounds(),
        start: Lsn(start),
    };
    let rules = Rules {
        owner: ShardId::try_new("a").unwrap(),
        tag: "0123456789ab_0".to_owned(),
        own_origins: "vg_0123456789ab_0_".to_owned(),
        tables: vec![fake::moved()],
        unique: vec![UniqueColumns::default()],
    };
    let routes = vec![
        route(u32::MAX, QUARTER, starts[0]),
        route(QUARTER, QUARTER * 2, starts[1]),
    ];
    Sorter::new(rules, Shapes::new(), routes)
}

/// A key of the first lane, of the second, and one that stays.
fn keys() -> [String; 3] {
    [0, 1, 2].map(|part| {
        let is_in = |key: &i64| hash::token_of(&Key::Bigint(*key)).0 / QUARTER == part;
        (0..).find(is_in).unwrap().to_string()
    })
}

const COLUMNS: [(&str, bool); 2] = [("k", true), ("v", false)];

fn feed(sorter: &mut Sorter, messages: &[Vec<u8>]) -> Result<Vec<String>, Error> {
    let seen = Seen::default();
    for message in messages {
        sorter.message(message, &seen)?;
    }
    Ok(seen.take())
}

fn insert(key: &str) -> Vec<u8> {
    change(b'I', &[tuple(b'N', &[Text(key), Null])])
}

#[test]
fn rows_go_to_the_lanes_of_their_keys_with_their_transaction() {
    let [a, b, c] = keys();
    let mut sorter = sorter([0, 0]);
    let seen = feed(
        &mut sorter,
        &[
            begin(10),
            relation(b'd', &COLUMNS),
            insert(&a),
            insert(&b),
            insert(&c),
            change(b'U', &[tuple(b'N', &[Text(&a), Text("x")])]),
            change(b'D', &[tuple(b'K', &[Text(&b), Null])]),
            commit(10, 20),
            begin(30),
            insert(&c),
            commit(30, 40),
        ],
    );
    assert_eq!(seen.unwrap(), ["0:IU@20", "1:ID@20", "-20", "-40"]);
}

#[test]
fn a_row_whose_key_changes_leaves_one_lane_and_comes_to_the_other() {
    let [a, b, c] = keys();
    let update = |old: &str, new: &str, value| {
        let old = tuple(b'K', &[Text(old), Null]);
        change(b'U', &[old, tuple(b'N', &[Text(new), value])])
    };
    let mut sorter = sorter([0, 0]);
    let messages = [
        begin(10),
        relation(b'd', &COLUMNS),
        update(&a, &b, Null),
        update(&b, &c, Null),
        update(&c, &a, Null),
        update(&c, &c, Null),
        update(&a, &a, Unchanged),
        commit(10, 20),
    ];
    assert_eq!(
        feed(&mut sorter, &messages).unwrap(),
        ["0:DIU@20", "1:ID@20", "-20"]
    );
    // What is not told cannot be taken to another shard.
    let lost = feed(&mut sorter, &[begin(30), update(&a, &b, Unchanged)]);
    assert!(
        matches!(
            lost,
            Err(Error::Row {
                source: Untold::OutOfLine(1),
                ..
            })
        ),
        "{lost:?}"
    );
}

#[test]
fn what_the_leg_wrote_itself_and_what_a_mirror_has_is_passed_over() {
    let [a, b, _] = keys();
    let mut sorter = sorter([31, 0]);
    let seen = feed(
        &mut sorter,
        &[
            begin(10),
            origin("vg_0123456789ab_0_b"),
            relation(b'd', &COLUMNS),
            insert(&a),
            commit(10, 20),
            begin(30),
            insert(&a),
            insert(&b),
            message(true, 29, "vg-fence", "0123456789ab_0 7"),
            commit(30, 40),
            begin(50),
            origin("vg_0123456789ab_00_b"),
            insert(&a),
            commit(50, 60),
        ],
    );
    assert_eq!(
        seen.unwrap(),
        ["-20", "0!7", "1:I@40!7", "-40", "0:I@60", "-60"]
    );
}

#[test]
fn messages_count_where_they_stand() {
    let mut sorter = sorter([0, 0]);
    let seen = Seen::default();
    for bytes in [
        message(false, 5, "other", "x"),
        begin(10),
        message(true, 9, "vg-fence", "0123456789ab_0 3"),
        message(true, 9, "vg-fence", "0123456789ab_00 4"),
        message(true, 9, "vg-hb", "0123456789ab_0 12"),
        message(false, 9, "other", "x"),
    ] {
        sorter.message(&bytes, &seen).unwrap();
    }
    // Within a transaction nothing is said of what comes before.
    sorter.keepalive(Lsn(99), &seen);
    sorter.message(&commit(10, 20), &seen).unwrap();
    sorter.keepalive(Lsn(25), &seen);
    assert_eq!(
        seen.take(),
        ["-5", "0:@20!3", "1:@20!3", "-20", "hb12@20", "-25"]
    );
}

#[test]
fn a_large_transaction_comes_in_parts() {
    let [a, _, _] = keys();
    let mut messages = vec![begin(10), relation(b'd', &COLUMNS)];
    messages.extend((0..BATCH_ROWS * 2 + 5).map(|_| insert(&a)));
    messages.push(commit(10, 20));
    let whole = format!("0:{BATCH_ROWS}x");
    let seen = feed(&mut sorter([0, 0]), &messages).unwrap();
    assert_eq!(seen, [whole.as_str(), whole.as_str(), "0:IIIII@20", "-20"]);
    // Its end is told even when nothing is left of it.
    messages.splice(2..BATCH_ROWS + 7, []);
    let seen = feed(&mut sorter([0, 0]), &messages).unwrap();
    assert_eq!(seen, [whole.as_str(), "0:@20", "-20"]);
}

#[test]
fn what_cannot_be_followed_stops_it() {
    let [a, _, _] = keys();
    let fails = |messages: &[Vec<u8>]| feed(&mut sorter([0, 0]), messages).unwrap_err();
    let known = relation(b'd', &COLUMNS);
    let other = relation(b'd', &[("k", true), ("v", false), ("w", false)]);
    let error = fails(&[begin(10), known.clone(), other]);
    assert!(matches!(error, Error::SchemaChanged { .. }), "{error:?}");
    let error = fails(&[
        begin(10),
        known.clone(),
        b"T\0\0\0\x01\0\0\0\0\x01".to_vec(),
    ]);
    assert!(error.to_string().contains("public.t"), "{error:?}");
    let error = fails(&[begin(10), known.clone(), insert("x")]);
    assert!(matches!(error, Error::Key { .. }), "{error:?}");
    let null = change(b'I', &[tuple(b'N', &[Null, Null])]);
    let error = fails(&[begin(10), known.clone(), null]);
    assert!(
        matches!(
            error,
            Error::Row {
                source: Untold::Key,
                ..
            }
        ),
        "{error:?}"
    );
    let error = fails(&[begin(10), relation(b'd', &[("k", false), ("v", true)])]);
    assert!(matches!(error, Error::Unfit { .. }), "{error:?}");
    for messages in [
        vec![insert(&a)],
        vec![begin(1), insert(&a)],
        vec![commit(1, 2)],
    ] {
        let error = fails(&messages);
        assert!(matches!(error, Error::Rules { .. }), "{error:?}");
    }
}
