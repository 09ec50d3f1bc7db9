use std::time::{Duration, SystemTime};

use topology::records::{Group, Shard, ShardState, ShardVnodes, Table, decode};
use topology::store::{Entry, Event, Op, Revision};
use topology::{
    Endpoint, Epoch, GroupName, KeyType, Parts, Placement, ShardId, Snapshot, TableName, Token,
    keys,
};

use super::{Change, Command, NewPlacement, NewShard, Rejection, decide, slug};

const EPOCH: Epoch = Epoch(7);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn id(text: &str) -> ShardId {
    ShardId::try_new(text).unwrap()
}

fn table_name(name: &str) -> TableName {
    TableName::try_from_parts("public", name).unwrap()
}

fn group_name(name: &str) -> GroupName {
    GroupName::try_new(name).unwrap()
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint::try_new(&format!("postgres://db:{port}/app")).unwrap()
}

fn shard(name: &str, port: u16) -> Shard {
    Shard {
        id: id(name),
        name: name.to_owned(),
        primary_endpoint: endpoint(port),
        replicas: vec![endpoint(port + 1_000)],
        state: ShardState::Active,
        weight: 1,
        vnode_count: 2,
        version: 1,
        created_at: now(),
        updated_at: now(),
        lineage: None,
        promotion: None,
    }
}

fn new_shard(name: &str, port: u16) -> NewShard {
    NewShard {
        name: name.to_owned(),
        primary_endpoint: endpoint(port),
        replicas: Vec::new(),
        vnode_count: 4,
        weight: 1,
    }
}

fn vnodes(shard: &str, tokens: &[u32]) -> ShardVnodes {
    ShardVnodes {
        shard: id(shard),
        tokens: tokens.iter().copied().map(Token).collect(),
    }
}

/// `a` and `b` own vnodes, `idle` none and `home` is the home of `settings`; `orders` is sharded.
fn busy() -> Parts {
    let sharded = Placement::Sharded {
        group: group_name("default"),
        shard_key: "id".to_owned(),
    };
    let unsharded = Placement::Unsharded {
        shard_id: id("home"),
    };
    Parts {
        shards: vec![
            shard("a", 1),
            shard("b", 2),
            shard("idle", 3),
            shard("home", 4),
        ],
        vnodes: vec![vnodes("a", &[10, 30]), vnodes("b", &[20])],
        groups: vec![Group {
            name: group_name("default"),
            key_type: KeyType::Bigint,
        }],
        tables: vec![
            Table {
                name: table_name("orders"),
                placement: sharded,
            },
            Table {
                name: table_name("settings"),
                placement: unsharded,
            },
        ],
        holds: Vec::new(),
    }
}

fn snapshot(parts: Parts) -> Snapshot {
    Snapshot::try_new(EPOCH, parts).unwrap()
}

fn decided(parts: Parts, command: &Command) -> Result<Change, Rejection> {
    decide(&snapshot(parts), command, now())
}

/// The topology with the change, which must be a valid one.
fn applied(mut parts: Parts, command: &Command) -> Snapshot {
    let change = decided(parts.clone(), command).unwrap();
    for op in change.ops {
        let event = match op {
            Op::Put { key, value, .. } => Event::Put(Entry {
                key,
                value,
                create_revision: Revision(0),
                mod_revision: Revision(0),
            }),
            Op::Delete { key } => Event::Delete { key },
        };
        parts.apply(&event).unwrap();
    }
    Snapshot::try_new(EPOCH.next(), parts).unwrap()
}

fn create(name: &str, port: u16) -> Command {
    Command::CreateShard(new_shard(name, port))
}

fn sharded(name: &str, group: &str, key_type: Option<KeyType>) -> Command {
    Command::CreateTable {
        name: table_name(name),
        placement: NewPlacement::Sharded {
            group: group_name(group),
            shard_key: "id".to_owned(),
            key_type,
        },
    }
}

#[test]
fn a_name_gives_a_slug() {
    let cases = [
        ("shard-1", Some("shard-1")),
        ("Shard 1", Some("shard-1")),
        ("  EU / West__2 ", Some("eu-west-2")),
        ("größe", Some("gr-e")),
        ("---", None),
        ("", None),
        ("語", None),
    ];
    for (name, expected) in cases {
        assert_eq!(slug(name), expected.map(id), "{name}");
    }
    assert_eq!(slug(&"x".repeat(64)), None);
}

#[test]
fn the_first_shards_take_vnodes_and_later_ones_none() {
    let mut parts = Parts::default();
    for (name, port) in [("one", 1), ("two", 2)] {
        let after = applied(parts.clone(), &create(name, port));
        let index = after.index_of(&id(name)).unwrap();
        let owned = after.ring().vnodes().iter().filter(|v| v.owner == index);
        assert_eq!(owned.count(), 4, "{name}");
        let put = decided(parts.clone(), &create(name, port)).unwrap().ops;
        let Op::Put { key, value, .. } = &put[1] else {
            panic!("the second write is the ring's");
        };
        parts.put_shard(shard(name, port));
        parts.put_vnodes(decode(key, value).unwrap());
    }
    let after = applied(busy(), &create("late", 9));
    let late = after.index_of(&id("late")).unwrap();
    assert!(after.ring().vnodes().iter().all(|v| v.owner != late));
}

#[test]
fn a_shard_is_recorded_as_it_was_asked_for() {
    let after = applied(Parts::default(), &create("Shard One", 1));
    let index = after.index_of(&id("shard-one")).unwrap();
    let record = after.shard(index).unwrap();
    assert_eq!(record.name, "Shard One");
    assert_eq!(
        (record.version, record.vnode_count, record.weight),
        (1, 4, 1)
    );
    assert_eq!(
        (record.state, record.created_at),
        (ShardState::Active, now())
    );
    let change = decided(Parts::default(), &create("Shard One", 1)).unwrap();
    assert_eq!(
        (change.action, change.target.as_str()),
        ("create_shard", "shard-one")
    );
    assert_eq!(change.detail["owned_vnodes"], 4);
}

#[test]
fn shards_that_clash_are_refused() {
    let taken = |port: u16, shard: &str| Rejection::EndpointTaken {
        endpoint: endpoint(port),
        shard: id(shard),
    };
    let twice = NewShard {
        replicas: vec![endpoint(9)],
        ..new_shard("x", 9)
    };
    let replica_taken = NewShard {
        replicas: vec![endpoint(2)],
        ..new_shard("x", 9)
    };
    let cases = [
        (new_shard("a", 9), Rejection::ShardExists { id: id("a") }),
        (new_shard("A!", 9), Rejection::ShardExists { id: id("a") }),
        (new_shard("x", 1), taken(1, "a")),
        (new_shard("x", 1_001), taken(1_001, "a")),
        (replica_taken, taken(2, "b")),
        (
            twice,
            Rejection::EndpointTwice {
                endpoint: endpoint(9),
            },
        ),
        (
            new_shard("!", 9),
            Rejection::UnusableName {
                name: "!".to_owned(),
            },
        ),
    ];
    for (new, expected) in cases {
        let refused = decided(busy(), &Command::CreateShard(new.clone()));
        assert_eq!(refused, Err(expected), "{new:?}");
    }
}

#[test]
fn only_a_shard_that_nothing_needs_is_removed() {
    let delete = |shard: &str, checked_at| Command::DeleteShard {
        id: id(shard),
        checked_at,
    };
    let after = applied(busy(), &delete("idle", EPOCH));
    assert_eq!(after.index_of(&id("idle")), None);
    let cases = [
        (
            delete("a", EPOCH),
            Rejection::ShardOwnsVnodes {
                id: id("a"),
                count: 2,
            },
        ),
        (
            delete("home", EPOCH),
            Rejection::ShardIsHome {
                id: id("home"),
                table: table_name("settings"),
            },
        ),
        (delete("x", EPOCH), Rejection::UnknownShard { id: id("x") }),
        (
            delete("idle", Epoch(6)),
            Rejection::CheckedAtOtherEpoch {
                checked_at: Epoch(6),
                found: EPOCH,
            },
        ),
    ];
    for (command, expected) in cases {
        assert_eq!(decided(busy(), &command), Err(expected), "{command:?}");
    }
}

#[test]
fn a_group_is_made_once() {
    let command = |name: &str| Command::CreateGroup {
        name: group_name(name),
        key_type: KeyType::Uuid,
    };
    let after = applied(busy(), &command("users"));
    assert_eq!(
        after.group(&group_name("users")).unwrap().key_type,
        KeyType::Uuid
    );
    let name = group_name("default");
    assert_eq!(
        decided(busy(), &command("default")),
        Err(Rejection::GroupExists { name })
    );
}

#[test]
fn a_group_is_made_by_its_first_table_and_keeps_its_key_type() {
    let after = applied(busy(), &sharded("users", "by-name", Some(KeyType::Text)));
    assert_eq!(
        after.group(&group_name("by-name")).unwrap().key_type,
        KeyType::Text
    );
    for key_type in [None, Some(KeyType::Bigint)] {
        let after = applied(busy(), &sharded("items", "default", key_type));
        assert!(after.table(&table_name("items")).is_some());
    }
    let unknown = decided(busy(), &sharded("users", "by-name", None));
    let name = group_name("by-name");
    assert_eq!(unknown, Err(Rejection::UnknownGroup { name }));
    let other = decided(busy(), &sharded("users", "default", Some(KeyType::Uuid)));
    let expected = Rejection::KeyTypeDiffers {
        group: group_name("default"),
        present: KeyType::Bigint,
        wanted: KeyType::Uuid,
    };
    assert_eq!(other, Err(expected));
}

#[test]
fn tables_of_each_kind_are_registered() {
    let place = |placement| Command::CreateTable {
        name: table_name("new"),
        placement,
    };
    let unsharded = |shard: &str| NewPlacement::Unsharded {
        shard_id: id(shard),
    };
    let cases = [
        (NewPlacement::Reference, Placement::Reference),
        (
            unsharded("idle"),
            Placement::Unsharded {
                shard_id: id("idle"),
            },
        ),
    ];
    for (asked, expected) in cases {
        let after = applied(busy(), &place(asked));
        assert_eq!(after.table(&table_name("new")).unwrap().placement, expected);
    }
    let refused = decided(busy(), &place(unsharded("x")));
    assert_eq!(refused, Err(Rejection::UnknownShard { id: id("x") }));
}

#[test]
fn tables_that_cannot_be_are_refused() {
    let name = table_name("orders");
    let again = decided(busy(), &sharded("orders", "default", None));
    assert_eq!(again, Err(Rejection::TableExists { name }));
    let empty = decided(
        Parts::default(),
        &sharded("t", "default", Some(KeyType::Text)),
    );
    assert_eq!(empty, Err(Rejection::EmptyRing));
}

#[test]
fn a_table_is_forgotten_at_the_epoch_of_its_check_only() {
    let delete = |name: &str, checked_at| Command::DeleteTable {
        name: table_name(name),
        checked_at,
    };
    let after = applied(busy(), &delete("orders", EPOCH));
    assert_eq!(after.table(&table_name("orders")), None);
    let late = decided(busy(), &delete("orders", Epoch(3)));
    assert!(matches!(late, Err(Rejection::CheckedAtOtherEpoch { .. })));
    let name = table_name("x");
    assert_eq!(
        decided(busy(), &delete("x", EPOCH)),
        Err(Rejection::UnknownTable { name })
    );
}

#[test]
fn no_change_touches_the_head() {
    let commands = [
        create("late", 9),
        sharded("users", "by-name", Some(KeyType::Text)),
        Command::DeleteShard {
            id: id("idle"),
            checked_at: EPOCH,
        },
        Command::DeleteTable {
            name: table_name("orders"),
            checked_at: EPOCH,
        },
    ];
    for command in commands {
        let change = decided(busy(), &command).unwrap();
        assert!(change.ops.iter().all(|op| op.key() != keys::HEAD));
        assert!(
            change
                .ops
                .iter()
                .all(|op| op.key().starts_with(keys::TOPOLOGY))
        );
    }
}
