//! Every key that is written is read back as what it is, and no other text is taken for one.

use proptest::prelude::*;

use super::{
    AUDIT, HEAD, HOLDS, TABLES, TOPOLOGY, TopologyKey, USERS, audit, audit_inbox, audit_inbox_of,
    group, hold, idempotency, ring, shard, table, user, user_of,
};
use crate::records::Incarnation;
use crate::{GroupName, ShardId, TableName, UserName};

fn name(schema: &str, name: &str) -> TableName {
    TableName::try_from_parts(schema, name).unwrap()
}

proptest! {
    #[test]
    fn a_written_key_is_read_back(
        id in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        group_name in "[a-z0-9_-]{1,63}",
        parts in ("[^\0]{1,15}", "[^\0]{1,15}"),
    ) {
        let id = ShardId::try_new(&id).unwrap();
        let group_name = GroupName::try_new(&group_name).unwrap();
        let table_name = name(&parts.0, &parts.1);
        let keys = [
            (shard(&id), TopologyKey::Shard(id.clone())),
            (ring(&id), TopologyKey::Ring(id.clone())),
            (group(&group_name), TopologyKey::Group(group_name)),
            (table(&table_name), TopologyKey::Table(table_name)),
            (hold(id.as_str()), TopologyKey::Hold(id.as_str().to_owned())),
        ];
        for (text, key) in keys {
            prop_assert!(text.starts_with(TOPOLOGY));
            prop_assert_eq!(TopologyKey::parse(&text), Some(key));
        }
    }

    #[test]
    fn a_users_key_is_read_back_as_that_user(text in "[a-z%/. é]{1,12}", other in "[a-z%/0-9A-F]{0,12}") {
        let name = UserName::try_new(&text).unwrap();
        prop_assert_eq!(user_of(&user(&name)), Some(name));
        let key = format!("{USERS}{other}");
        if let Some(name) = user_of(&key) {
            prop_assert_eq!(user(&name), key);
        }
    }

    #[test]
    fn two_tables_never_share_a_key(
        a in ("[a%/._ ]{1,4}", "[a%/._ ]{1,4}"),
        b in ("[a%/._ ]{1,4}", "[a%/._ ]{1,4}"),
    ) {
        let (a, b) = (name(&a.0, &a.1), name(&b.0, &b.1));
        prop_assert_eq!(table(&a) == table(&b), a == b);
    }

    #[test]
    fn any_text_is_a_key_or_none(
        prefix in prop_oneof![Just(""), Just(TOPOLOGY), Just(TABLES), Just(HOLDS), Just(HEAD)],
        rest in "[a-z%/0-9A-F]{0,12}|\\PC{0,12}",
    ) {
        let text = format!("{prefix}{rest}");
        match TopologyKey::parse(&text) {
            Some(TopologyKey::Head) => prop_assert_eq!(text, HEAD),
            Some(TopologyKey::Shard(id)) => prop_assert_eq!(shard(&id), text),
            Some(TopologyKey::Ring(id)) => prop_assert_eq!(ring(&id), text),
            Some(TopologyKey::Group(name)) => prop_assert_eq!(group(&name), text),
            Some(TopologyKey::Table(name)) => prop_assert_eq!(table(&name), text),
            Some(TopologyKey::Hold(id)) => prop_assert_eq!(hold(&id), text),
            None => {}
        }
    }
}

#[test]
fn the_text_of_keys_does_not_change() {
    let id = ShardId::try_new("shard-1").unwrap();
    let group_name = GroupName::try_new("default").unwrap();
    let keys = [
        (shard(&id), "/sharding/v1/topology/shards/shard-1"),
        (ring(&id), "/sharding/v1/topology/ring/shard-1"),
        (group(&group_name), "/sharding/v1/topology/groups/default"),
        (
            table(&name("public", "Order Lines/é")),
            "/sharding/v1/topology/tables/public/Order%20Lines%2F%C3%A9",
        ),
        (hold("job-7"), "/sharding/v1/topology/holds/job-7"),
        (audit(42), "/sharding/v1/audit/00000000000000000042"),
        (idempotency("a/b c"), "/sharding/v1/idempotency/a%2Fb%20c"),
    ];
    for (written, fixed) in keys {
        assert_eq!(written, fixed);
    }
}

#[test]
fn an_inbox_is_of_one_run_of_a_router_and_no_audit_entry() {
    let key = audit_inbox(Incarnation(0xab));
    assert_eq!(key, "/sharding/v1/audit-inbox/00000000000000ab");
    assert_eq!(audit_inbox_of(&key), Some(Incarnation(0xab)));
    assert_eq!(audit_inbox_of("/sharding/v1/audit-inbox/ab"), None);
    assert!(!key.starts_with(AUDIT));
}

#[test]
fn audit_keys_sort_by_time() {
    let mut keys: Vec<_> = [9, 10, 1, u64::MAX, 99].map(audit).into();
    keys.sort();
    assert_eq!(keys, [1, 9, 10, 99, u64::MAX].map(audit));
}
