//! Messages are read as the plugin writes them, and nothing that it would not write is believed.

use proptest::prelude::*;

use super::{
    Begin, Commit, LogicalMessage, Message, OldTuple, Origin, ReplicaIdentity, Tuple, Value,
};
use crate::{Reason, Text};

/// A value as a test writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    Null,
    Unchanged,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

fn encode_tuple(kind: u8, cells: &[Cell]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(u16::try_from(cells.len()).unwrap().to_be_bytes());
    for cell in cells {
        let (kind, bytes) = match cell {
            Cell::Null => (b'n', None),
            Cell::Unchanged => (b'u', None),
            Cell::Text(bytes) => (b't', Some(bytes)),
            Cell::Binary(bytes) => (b'b', Some(bytes)),
        };
        out.push(kind);
        if let Some(bytes) = bytes {
            out.extend(i32::try_from(bytes.len()).unwrap().to_be_bytes());
            out.extend(bytes);
        }
    }
    out
}

fn cells(tuple: Tuple<'_>) -> Vec<Cell> {
    let cell = |value| match value {
        Value::Null => Cell::Null,
        Value::Unchanged => Cell::Unchanged,
        Value::Text(bytes) => Cell::Text(bytes.to_vec()),
        Value::Binary(bytes) => Cell::Binary(bytes.to_vec()),
    };
    tuple.values().map(cell).collect()
}

fn any_cells() -> impl Strategy<Value = Vec<Cell>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    let cell = prop_oneof![
        Just(Cell::Null),
        Just(Cell::Unchanged),
        bytes().prop_map(Cell::Text),
        bytes().prop_map(Cell::Binary),
    ];
    prop::collection::vec(cell, 0..6)
}

fn change(tag: u8, relation: u32, tuples: &[(u8, &[Cell])]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(relation.to_be_bytes());
    for (kind, cells) in tuples {
        out.extend(encode_tuple(*kind, cells));
    }
    out
}

fn relation() -> Vec<u8> {
    let mut out = b"R\0\0\x40\x01public\0orders\0d\0\x02".to_vec();
    out.extend(b"\x01id\0\0\0\0\x14\xff\xff\xff\xff");
    out.extend(b"\0note\0\0\0\0\x19\0\0\0\x07");
    out
}

/// One well-formed message of each kind.
fn samples() -> Vec<Vec<u8>> {
    let row = [
        Cell::Text(b"1".to_vec()),
        Cell::Null,
        Cell::Unchanged,
        Cell::Binary(vec![0, 1]),
    ];
    vec![
        [
            b"B".as_slice(),
            &7_u64.to_be_bytes(),
            &(-5_i64).to_be_bytes(),
            &9_u32.to_be_bytes(),
        ]
        .concat(),
        [
            b"C\0".as_slice(),
            &7_u64.to_be_bytes(),
            &8_u64.to_be_bytes(),
            &3_i64.to_be_bytes(),
        ]
        .concat(),
        [b"O".as_slice(), &7_u64.to_be_bytes(), b"vg_a_0_b\0"].concat(),
        relation(),
        b"Y\0\0\x40\x02public\0mood\0".to_vec(),
        change(b'I', 5, &[(b'N', &row)]),
        change(b'U', 5, &[(b'N', &row)]),
        change(b'U', 5, &[(b'K', &row), (b'N', &row)]),
        change(b'U', 5, &[(b'O', &row), (b'N', &row)]),
        change(b'D', 5, &[(b'K', &row)]),
        change(b'D', 5, &[(b'O', &row)]),
        b"T\0\0\0\x02\x03\0\0\0\x05\0\0\0\x06".to_vec(),
        [
            b"M\x01".as_slice(),
            &7_u64.to_be_bytes(),
            b"vg-fence\0\0\0\0\x03a 1",
        ]
        .concat(),
    ]
}

#[test]
fn each_kind_is_read_as_it_was_written() {
    let samples = samples();
    let read: Vec<Message<'_>> = samples
        .iter()
        .map(|bytes| Message::decode(bytes).unwrap())
        .collect();
    let begin = Begin {
        commit_lsn: 7,
        committed_at: -5,
        xid: 9,
    };
    assert_eq!(read[0], Message::Begin(begin));
    let commit = Commit {
        commit_lsn: 7,
        end_lsn: 8,
        committed_at: 3,
    };
    assert_eq!(read[1], Message::Commit(commit));
    let origin = Origin {
        lsn: 7,
        name: Text::new(b"vg_a_0_b"),
    };
    assert_eq!(read[2], Message::Origin(origin));
    let Message::Relation(relation) = read[3] else {
        panic!("{:?}", read[3]);
    };
    assert_eq!(
        (relation.id, relation.schema),
        (0x4001, Text::new(b"public"))
    );
    assert_eq!(relation.identity, ReplicaIdentity::PrimaryKey);
    let columns: Vec<_> = relation.columns().collect();
    assert_eq!(columns.len(), 2);
    assert!(columns[0].is_identity && !columns[1].is_identity);
    assert_eq!(columns[1].name, "note");
    assert_eq!((columns[1].type_id, columns[1].type_modifier), (25, 7));
    let Message::Update { old, .. } = read[7] else {
        panic!("{:?}", read[7]);
    };
    assert!(matches!(old, Some(OldTuple::Key(_))));
    let Message::Truncate { options, relations } = read[11] else {
        panic!("{:?}", read[11]);
    };
    assert_eq!((options, relations.iter().collect()), (3, vec![5, 6]));
    let message = LogicalMessage {
        transactional: true,
        lsn: 7,
        prefix: Text::new(b"vg-fence"),
        content: b"a 1",
    };
    assert_eq!(read[12], Message::Logical(message));
}

#[test]
fn a_message_that_is_cut_off_or_too_long_is_refused() {
    for bytes in samples() {
        for end in 0..bytes.len() {
            assert!(Message::decode(&bytes[..end]).is_err(), "{bytes:?} {end}");
        }
        let longer = [bytes.as_slice(), b"\0"].concat();
        assert!(Message::decode(&longer).is_err(), "{longer:?}");
    }
}

#[test]
fn what_has_no_meaning_is_named() {
    let reason = |bytes: &[u8]| Message::decode(bytes).unwrap_err().reason;
    assert_eq!(reason(b"S\0\0\0\x01\x01"), Reason::UnknownTag { tag: b'S' });
    let unknown = |field, value| Reason::UnknownValue { field, value };
    assert_eq!(reason(b"C\x01"), unknown("flags", 1));
    assert_eq!(
        reason(b"I\0\0\0\x05X\0\0"),
        unknown("kind of row", i32::from(b'X'))
    );
    assert_eq!(
        reason(b"I\0\0\0\x05N\0\x01x"),
        unknown("kind of value", i32::from(b'x'))
    );
    assert_eq!(
        reason(b"I\0\0\0\x05N\0\x01t\xff\xff\xff\xff"),
        Reason::NegativeLength {
            field: "value",
            length: -1
        }
    );
}

proptest! {
    #[test]
    fn rows_come_back_value_by_value(
        relation in any::<u32>(),
        old in any_cells(),
        new in any_cells(),
        full in any::<bool>(),
    ) {
        let kind = if full { b'O' } else { b'K' };
        let bytes = change(b'U', relation, &[(kind, &old), (b'N', &new)]);
        let Message::Update { relation: found, old: Some(was), new: is } =
            Message::decode(&bytes).unwrap()
        else {
            panic!("{bytes:?}");
        };
        prop_assert_eq!(found, relation);
        prop_assert_eq!(matches!(was, OldTuple::Full(_)), full);
        prop_assert_eq!(cells(was.tuple()), old);
        prop_assert_eq!(is.len(), new.len());
        prop_assert_eq!(cells(is), new);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Message::decode(&bytes) {
            // The views walk their bytes again.
            let _text = format!("{message:?}");
        }
    }

    #[test]
    fn no_damage_makes_it_panic(
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let samples = samples();
        let mut bytes = which.get(&samples).clone();
        *place.get_mut(&mut bytes) = byte;
        if let Ok(message) = Message::decode(&bytes) {
            let _text = format!("{message:?}");
        }
    }
}
