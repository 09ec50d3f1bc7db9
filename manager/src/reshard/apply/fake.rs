//! Streams as a test writes them.

use std::sync::Arc;

use topology::{KeyType, TableName};
use wire::pgoutput::{Message, OldTuple};

use super::chunk::Chunk;
use crate::reshard::flow::MovedTable;
use crate::reshard::shape::{Shape, UniqueColumns};

/// A value: told, or NULL, or not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    Text(&'a str),
    Null,
    Unchanged,
}

pub(crate) fn tuple(kind: u8, cells: &[Cell<'_>]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(u16::try_from(cells.len()).unwrap().to_be_bytes());
    for cell in cells {
        match cell {
            Cell::Null => out.push(b'n'),
            Cell::Unchanged => out.push(b'u'),
            Cell::Text(text) => {
                out.push(b't');
                out.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                out.extend(text.as_bytes());
            }
        }
    }
    out
}

/// A change of relation 1.
pub(crate) fn change(tag: u8, tuples: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![tag, 0, 0, 0, 1];
    out.extend(tuples.concat());
    out
}

/// Relation 1, `public.t`, with columns of which some are its identity.
pub(crate) fn relation(identity: u8, columns: &[(&str, bool)]) -> Vec<u8> {
    let mut out = b"R\0\0\0\x01public\0t\0".to_vec();
    out.push(identity);
    out.extend(u16::try_from(columns.len()).unwrap().to_be_bytes());
    for (name, is_identity) in columns {
        out.push(u8::from(*is_identity));
        out.extend(name.as_bytes());
        out.extend(b"\0\0\0\0\x14\xff\xff\xff\xff");
    }
    out
}

pub(crate) fn begin(commit: u64) -> Vec<u8> {
    let mut out = b"B".to_vec();
    out.extend(commit.to_be_bytes());
    out.extend([0; 12]);
    out
}

pub(crate) fn commit(commit: u64, end: u64) -> Vec<u8> {
    let mut out = b"C\0".to_vec();
    out.extend(commit.to_be_bytes());
    out.extend(end.to_be_bytes());
    out.extend([0; 8]);
    out
}

pub(crate) fn origin(name: &str) -> Vec<u8> {
    let mut out = vec![b'O', 0, 0, 0, 0, 0, 0, 0, 9];
    out.extend(name.as_bytes());
    out.push(0);
    out
}

pub(crate) fn message(is_transactional: bool, lsn: u64, prefix: &str, content: &str) -> Vec<u8> {
    let mut out = vec![b'M', u8::from(is_transactional)];
    out.extend(lsn.to_be_bytes());
    out.extend(prefix.as_bytes());
    out.push(0);
    out.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
    out.extend(content.as_bytes());
    out
}

/// `public.t` with the bigint key `k`.
pub(crate) fn moved() -> MovedTable {
    MovedTable {
        name: TableName::try_from_parts("public", "t").unwrap(),
        key_column: "k".to_owned(),
        key_type: KeyType::Bigint,
    }
}

/// `t (k, id, u, v)`, its key `(k, id)`, `(k, u)` unique too.
pub(crate) fn shape() -> Arc<Shape> {
    let columns = [("k", true), ("id", true), ("u", false), ("v", false)];
    let bytes = relation(b'd', &columns);
    let Message::Relation(relation) = Message::decode(&bytes).unwrap() else {
        panic!("{bytes:?}");
    };
    let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    let unique = UniqueColumns {
        primary: Some(names(["k", "id"])),
        others: vec![names(["k", "u"])],
    };
    Arc::new(Shape::new(&relation, 0, &moved(), &unique).unwrap())
}

/// What happens to a row of [`shape`]; rows are `k`, `id`, `u`, `v`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Insert([String; 4]),
    Update(Option<[String; 2]>, [String; 4]),
    Delete([String; 2]),
}

pub(crate) fn add(chunk: &mut Chunk, shape: &Arc<Shape>, step: &Step) {
    let row = |row: &[String; 4]| tuple(b'N', &row.each_ref().map(|text| Cell::Text(text)));
    let key = |key: &[String; 2]| {
        let [k, id] = key.each_ref().map(|text| Cell::Text(text));
        tuple(b'K', &[k, id, Cell::Null, Cell::Null])
    };
    let bytes = match step {
        Step::Insert(new) => change(b'I', &[row(new)]),
        Step::Update(Some(old), new) => change(b'U', &[key(old), row(new)]),
        Step::Update(None, new) => change(b'U', &[row(new)]),
        Step::Delete(old) => change(b'D', &[key(old)]),
    };
    match Message::decode(&bytes).unwrap() {
        Message::Insert { new, .. } => chunk.insert(shape, None, new).unwrap(),
        Message::Update { old, new, .. } => {
            let old = old.map(OldTuple::tuple);
            chunk.update(shape, old, new).unwrap();
        }
        Message::Delete { old, .. } => chunk.delete(shape, old.tuple()).unwrap(),
        other => panic!("{other:?}"),
    }
}
