//! Stored entries become records, one change at a time, and nothing else gets in.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Applied, InvalidEntry, Parts};
use crate::records::{Group, Head, Hold, ShardVnodes, Table, decode, encode};
use crate::store::{Entry, Event, Revision};
use crate::{Epoch, Term, keys};

/// The golden records under their keys.
fn stored() -> Vec<(String, Bytes)> {
    let shard: crate::Shard = decode("", SHARD).unwrap();
    let vnodes: ShardVnodes = decode("", VNODES).unwrap();
    let group: Group = decode("", GROUP).unwrap();
    let table: Table = decode("", TABLE).unwrap();
    let hold: Hold = decode("", HOLD).unwrap();
    vec![
        (keys::shard(&shard.id), encode(&shard).into()),
        (keys::ring(&vnodes.shard), encode(&vnodes).into()),
        (keys::group(&group.name), encode(&group).into()),
        (keys::table(&table.name), encode(&table).into()),
        (keys::hold(&hold.id), encode(&hold).into()),
    ]
}

const SHARD: &[u8] = include_bytes!("../../testdata/records/shard.v1.json");
const VNODES: &[u8] = include_bytes!("../../testdata/records/vnodes.v1.json");
const GROUP: &[u8] = include_bytes!("../../testdata/records/group.v1.json");
const TABLE: &[u8] = include_bytes!("../../testdata/records/table_sharded.v1.json");
const HOLD: &[u8] = include_bytes!("../../testdata/records/hold.v1.json");

fn put(key: &str, value: impl Into<Bytes>) -> Event {
    Event::Put(Entry {
        key: key.to_owned(),
        value: value.into(),
        create_revision: Revision(1),
        mod_revision: Revision(1),
    })
}

fn full() -> Parts {
    let mut parts = Parts::default();
    for (key, value) in stored() {
        assert_eq!(parts.apply(&put(&key, value)).unwrap(), Applied::Part);
    }
    parts
}

#[test]
fn each_record_is_put_once_and_removed_by_its_key() {
    let mut parts = full();
    let counts = |parts: &Parts| {
        let tables = (parts.groups.len(), parts.tables.len(), parts.holds.len());
        (parts.shards.len(), parts.vnodes.len(), tables)
    };
    assert_eq!(counts(&parts), (1, 1, (1, 1, 1)));
    for (key, value) in stored() {
        parts.apply(&put(&key, value)).unwrap();
    }
    assert_eq!(parts, full());
    for (key, _) in stored() {
        assert!(!parts.is_empty());
        parts.apply(&Event::Delete { key }).unwrap();
    }
    assert!(parts.is_empty());
}

#[test]
fn records_are_found_by_name_and_a_shard_goes_with_its_vnodes() {
    let mut parts = full();
    let shard = parts.shards[0].clone();
    assert_eq!(parts.shard(&shard.id), Some(&shard));
    assert_eq!(parts.vnodes_of(&shard.id), parts.vnodes.first());
    assert_eq!(parts.group(&parts.groups[0].name), parts.groups.first());
    assert_eq!(parts.table(&parts.tables[0].name), parts.tables.first());
    parts.remove_shard(&shard.id);
    assert_eq!(
        (parts.shard(&shard.id), parts.vnodes_of(&shard.id)),
        (None, None)
    );
    parts.put_shard(shard.clone());
    assert_eq!(parts.shard(&shard.id), Some(&shard));
}

#[test]
fn the_head_is_not_a_part() {
    let head = Head {
        epoch: Epoch(3),
        term: Term(2),
    };
    let mut parts = Parts::default();
    let applied = parts.apply(&put(keys::HEAD, encode(&head))).unwrap();
    assert_eq!(applied, Applied::Head(head));
    let removed = Event::Delete {
        key: keys::HEAD.to_owned(),
    };
    assert_eq!(parts.apply(&removed).unwrap(), Applied::HeadRemoved);
    assert!(parts.is_empty());
}

#[test]
fn a_record_under_the_key_of_another_is_refused() {
    let other = [
        "shards/b",
        "ring/b",
        "groups/b",
        "tables/public/b",
        "holds/b",
    ];
    let mut parts = full();
    for (rest, (_, value)) in other.iter().zip(stored()) {
        let key = format!("{}{rest}", keys::TOPOLOGY);
        let refused = parts.apply(&put(&key, value));
        assert!(
            matches!(refused, Err(InvalidEntry::WrongName { .. })),
            "{key}"
        );
    }
    assert_eq!(parts, full());
}

#[test]
fn a_key_of_a_later_release_is_refused() {
    let key = format!("{}plans/p1", keys::TOPOLOGY);
    let mut parts = Parts::default();
    for event in [put(&key, "{}"), Event::Delete { key: key.clone() }] {
        let refused = parts.apply(&event).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("key {key:?} is not known to this release")
        );
    }
}

proptest! {
    #[test]
    fn any_entry_is_a_record_or_changes_nothing(
        key in prop_oneof![
            (0..5_usize).prop_map(|at| stored()[at].0.clone()),
            Just(keys::HEAD.to_owned()),
            "/sharding/v1/topology/[a-z]{1,6}/[a-z%/]{0,6}",
            any::<String>(),
        ],
        value in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            (0..5_usize).prop_map(|at| stored()[at].1.to_vec()),
            "\\{\"v\":1,\"(shard|id|name|epoch)\":[0-9\"a-z]{0,9}\\}".prop_map(String::into_bytes),
        ],
    ) {
        let mut parts = full();
        if parts.apply(&put(&key, value)).is_err() {
            prop_assert_eq!(parts, full());
        }
    }
}
