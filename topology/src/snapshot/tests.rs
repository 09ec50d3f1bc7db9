//! A snapshot is made from records that fit together, and answers from them alone.

use std::collections::BTreeSet;
use std::time::SystemTime;

use proptest::prelude::*;

use super::{InvalidTopology, Parts, Snapshot};
use crate::hash::token_of;
use crate::records::{
    Endpoint, Group, Hold, Placement, Shard, ShardState, ShardVnodes, Table, TokenRange,
};
use crate::ring::{InvalidRing, tokens_for};
use crate::{Epoch, GroupName, Key, KeyType, ShardId, TableName, Token};

fn id(text: &str) -> ShardId {
    ShardId::try_new(text).unwrap()
}

fn shard(name: &str) -> Shard {
    Shard {
        id: id(name),
        name: name.to_owned(),
        primary_endpoint: Endpoint::try_new("postgres://db/app").unwrap(),
        replicas: Vec::new(),
        state: ShardState::Active,
        weight: 1,
        vnode_count: 8,
        version: 1,
        created_at: SystemTime::UNIX_EPOCH,
        updated_at: SystemTime::UNIX_EPOCH,
        lineage: None,
        promotion: None,
    }
}

fn vnodes(name: &str, tokens: &[u32]) -> ShardVnodes {
    let tokens = tokens.iter().copied().map(Token).collect();
    ShardVnodes {
        shard: id(name),
        tokens,
    }
}

fn default_group() -> GroupName {
    GroupName::try_new("default").unwrap()
}

fn table(placement: Placement) -> Table {
    let name = TableName::try_from_parts("public", "orders").unwrap();
    Table { name, placement }
}

fn hold(id: &str, after: u32, last: u32) -> Hold {
    Hold {
        id: id.to_owned(),
        ranges: vec![TokenRange {
            after: Token(after),
            last: Token(last),
        }],
        deadline_ms: 100,
    }
}

fn parts_of(names: &BTreeSet<String>) -> Parts {
    let mut parts = Parts::default();
    for name in names {
        let tokens = tokens_for(&id(name), 8, |_| false);
        parts.put_vnodes(ShardVnodes {
            shard: id(name),
            tokens,
        });
        parts.put_shard(shard(name));
    }
    parts
}

fn snapshot(parts: Parts) -> Result<Snapshot, InvalidTopology> {
    Snapshot::try_new(Epoch(3), parts)
}

proptest! {
    #[test]
    fn every_key_belongs_to_the_one_shard_whose_record_holds_its_vnode(
        names in proptest::collection::btree_set("[a-z][a-z0-9]{0,6}", 1..12),
        keys in proptest::collection::vec(any::<i64>(), 1..50),
    ) {
        let parts = parts_of(&names);
        let snapshot = snapshot(parts.clone()).unwrap();
        for key in keys.into_iter().map(Key::Bigint) {
            let owner = snapshot.owner_of(&key).unwrap();
            let holders = parts.vnodes.iter().filter(|record| record.tokens.contains(&owner.token));
            let holders: Vec<_> = holders.map(|record| &record.shard).collect();
            prop_assert_eq!(holders, vec![&snapshot.shard(owner.owner).unwrap().id]);
            let nearest = parts.vnodes.iter().flat_map(|record| &record.tokens);
            let distance = |token: Token| token.0.wrapping_sub(token_of(&key).0);
            let nearest = nearest.copied().min_by_key(|&token| distance(token));
            prop_assert_eq!(nearest, Some(owner.token));
        }
    }

    #[test]
    fn the_order_of_records_does_not_matter(
        names in proptest::collection::btree_set("[a-z][a-z0-9]{0,6}", 1..8),
    ) {
        let mut parts = parts_of(&names);
        parts.holds = vec![hold("a", 1, 2), hold("b", 1, 2), hold("c", 3, 4)];
        parts.put_group(Group { name: default_group(), key_type: KeyType::Uuid });
        parts.put_table(table(Placement::Reference));
        let mut reversed = parts.clone();
        reversed.shards.reverse();
        reversed.vnodes.reverse();
        reversed.holds.reverse();
        prop_assert_eq!(snapshot(parts).unwrap(), snapshot(reversed).unwrap());
    }
}

#[test]
fn no_records_are_the_topology_that_a_view_begins_with() {
    let empty = Snapshot::try_new(Epoch(0), Parts::default()).unwrap();
    assert_eq!(empty, Snapshot::default());
    assert_eq!(empty.owner_of(&Key::Bigint(1)), None);
}

#[test]
fn a_shard_is_found_by_id_and_by_index() {
    let names = ["b", "a", "c"].map(str::to_owned);
    let snapshot = snapshot(parts_of(&names.into())).unwrap();
    for name in ["a", "b", "c"] {
        let index = snapshot.index_of(&id(name)).unwrap();
        assert_eq!(snapshot.shard(index).unwrap().id, id(name));
    }
    assert_eq!(snapshot.index_of(&id("d")), None);
    assert_eq!(snapshot.shard(super::ShardIndex(3)), None);
}

#[test]
fn vnodes_of_a_shard_that_does_not_exist_are_refused() {
    let mut parts = Parts::default();
    parts.put_vnodes(vnodes("gone", &[1]));
    let refused = snapshot(parts).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a ring record names shard gone, which does not exist"
    );
}

#[test]
fn a_vnode_of_two_shards_is_refused() {
    let mut parts = Parts::default();
    for (name, tokens) in [("a", [1, 2]), ("b", [2, 3])] {
        parts.put_shard(shard(name));
        parts.put_vnodes(vnodes(name, &tokens));
    }
    let token = Token(2);
    let wanted = InvalidTopology::Ring(InvalidRing::DuplicateToken { token });
    assert_eq!(snapshot(parts), Err(wanted));
}

#[test]
fn a_table_of_a_group_that_does_not_exist_is_refused() {
    let sharded = table(Placement::Sharded {
        group: default_group(),
        shard_key: "id".to_owned(),
    });
    let mut parts = Parts::default();
    parts.put_table(sharded.clone());
    let refused = snapshot(parts.clone()).unwrap_err().to_string();
    assert_eq!(
        refused,
        "table public.orders names group default, which does not exist"
    );
    let group = Group {
        name: default_group(),
        key_type: KeyType::Text,
    };
    parts.put_group(group.clone());
    let snapshot = snapshot(parts).unwrap();
    assert_eq!(snapshot.table(&sharded.name), Some(&sharded));
    assert_eq!(snapshot.group(&group.name), Some(&group));
    assert_eq!(
        (snapshot.tables().count(), snapshot.groups().count()),
        (1, 1)
    );
}

#[test]
fn a_table_at_home_on_a_shard_that_does_not_exist_is_refused() {
    let mut parts = Parts::default();
    parts.put_table(table(Placement::Unsharded { shard_id: id("a") }));
    let refused = snapshot(parts.clone()).unwrap_err().to_string();
    assert_eq!(
        refused,
        "table public.orders names shard a, which does not exist"
    );
    parts.put_shard(shard("a"));
    assert!(snapshot(parts).is_ok());
}

#[test]
fn a_hold_covers_its_ranges_and_nothing_else() {
    let parts = Parts {
        holds: vec![hold("b", 10, 20), hold("a", u32::MAX - 1, 1)],
        ..Parts::default()
    };
    let snapshot = snapshot(parts).unwrap();
    let held_by = |token| snapshot.hold_of(Token(token)).map(|hold| hold.id.as_str());
    assert_eq!(
        [10, 11, 20, 21].map(held_by),
        [None, Some("b"), Some("b"), None]
    );
    assert_eq!(
        [u32::MAX - 1, u32::MAX, 0, 1, 2].map(held_by),
        [None, Some("a"), Some("a"), Some("a"), None]
    );
    assert_eq!(snapshot.holds().len(), 2);
}

#[test]
fn further_tables_change_no_route_and_everything_else_may() {
    let parts = || {
        let mut parts = Parts::default();
        for (name, tokens) in [("a", &[10, 30][..]), ("b", &[20])] {
            parts.put_shard(shard(name));
            parts.put_vnodes(vnodes(name, tokens));
        }
        parts.put_table(table(Placement::Reference));
        parts
    };
    let older = Snapshot::try_new(Epoch(1), parts()).unwrap();
    let changed = |change: &dyn Fn(&mut Parts)| {
        let mut parts = parts();
        change(&mut parts);
        Snapshot::try_new(Epoch(2), parts).unwrap()
    };
    let further = Table {
        name: TableName::try_from_parts("public", "further").unwrap(),
        placement: Placement::Reference,
    };
    let more = changed(&|parts| parts.put_table(further.clone()));
    assert!(more.routes_like(&older) && changed(&|_| ()).routes_like(&older));
    assert!(!older.routes_like(&more), "a table is gone");
    let elsewhere = Placement::Unsharded { shard_id: id("b") };
    let others: [&dyn Fn(&mut Parts); 4] = [
        &|parts| parts.put_vnodes(vnodes("a", &[10])),
        &|parts| parts.put_shard(shard("c")),
        &|parts| parts.holds.push(hold("h", 1, 2)),
        &|parts| parts.put_table(table(elsewhere.clone())),
    ];
    for other in others {
        assert!(!changed(other).routes_like(&older));
    }
}

#[test]
fn the_first_table_elsewhere_changes_routes() {
    let with = |placements: &[Placement]| {
        let mut parts = Parts::default();
        for (name, tokens) in [("a", &[10, 30][..]), ("b", &[20])] {
            parts.put_shard(shard(name));
            parts.put_vnodes(vnodes(name, tokens));
        }
        for (number, placement) in placements.iter().enumerate() {
            parts.put_table(Table {
                name: TableName::try_from_parts("public", &format!("t{number}")).unwrap(),
                placement: placement.clone(),
            });
        }
        Snapshot::try_new(Epoch(1), parts).unwrap()
    };
    let on = |name| Placement::Unsharded { shard_id: id(name) };
    let none = with(&[]);
    assert!(none.is_all_on(&id("a")) && none.is_all_on(&id("b")));
    let one = with(&[on("a")]);
    assert!(one.is_all_on(&id("a")) && !one.is_all_on(&id("b")));
    assert!(!one.routes_like(&none) && with(&[on("a"), on("a")]).routes_like(&one));
    for elsewhere in [on("b"), Placement::Reference] {
        let more = with(&[on("a"), elsewhere]);
        assert!(!more.is_all_on(&id("a")) && !more.routes_like(&one));
    }
}
