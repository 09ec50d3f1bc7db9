//! The topology that the tests route on, and builders of analysed statements.

use std::time::SystemTime;

use topology::records::ShardVnodes;
use topology::{
    Endpoint, Epoch, Group, GroupName, Key, KeyType, Parts, Placement, Shard, ShardId, ShardIndex,
    ShardState, Snapshot, Table, TableName, ring,
};

use crate::query::{
    Class, ColumnRef, Data, Entry, Fact, Outputs, Scope, ScopeId, Source, Statement, TableRef,
    Test, Value, Write, WriteKind,
};
use crate::route::{Plan, Refusal, plan};

/// Three shards, `a`, `b` and `c`, and these tables:
///
/// | group | tables and key columns |
/// |---|---|
/// | `default`, bigint | customers(id), orders(customer_id), items(customer_id), app.events(tenant) |
/// | `texts`, text | docs(slug), pages(slug) |
/// | `ids`, uuid | devices(device) |
/// | reference | countries, rates |
/// | on shard `b` | settings, audit |
/// | on shard `c` | jobs |
pub(crate) fn snapshot() -> Snapshot {
    snapshot_with(&[])
}

/// The same, with views of these names and queries in schema `public`.
pub(crate) fn snapshot_with(views: &[(&str, &str)]) -> Snapshot {
    let sharded = [
        ("public", "customers", "default", "id"),
        ("public", "orders", "default", "customer_id"),
        ("public", "items", "default", "customer_id"),
        ("app", "events", "default", "tenant"),
        ("public", "docs", "texts", "slug"),
        ("public", "pages", "texts", "slug"),
        ("public", "devices", "ids", "device"),
    ];
    let mut parts = Parts::default();
    for id in ["a", "b", "c"] {
        let id = ShardId::try_new(id).unwrap();
        let tokens = ring::tokens_for(&id, 64, |_| false);
        parts.put_vnodes(ShardVnodes {
            shard: id.clone(),
            tokens,
        });
        parts.put_shard(shard(id));
    }
    let groups = [
        ("default", KeyType::Bigint),
        ("texts", KeyType::Text),
        ("ids", KeyType::Uuid),
    ];
    for (name, key_type) in groups {
        parts.put_group(Group {
            name: group(name),
            key_type,
        });
    }
    for (schema, name, group_name, column) in sharded {
        let (group, shard_key) = (group(group_name), column.to_owned());
        parts.put_table(table(schema, name, Placement::Sharded { group, shard_key }));
    }
    for name in ["countries", "rates"] {
        parts.put_table(table("public", name, Placement::Reference));
    }
    for (name, home) in [("settings", "b"), ("audit", "b"), ("jobs", "c")] {
        let shard_id = ShardId::try_new(home).unwrap();
        parts.put_table(table("public", name, Placement::Unsharded { shard_id }));
    }
    for (name, query) in views {
        let definition = (*query).to_owned();
        parts.put_table(table("public", name, Placement::View { definition }));
    }
    Snapshot::try_new(Epoch(7), parts).unwrap()
}

fn group(name: &str) -> GroupName {
    GroupName::try_new(name).unwrap()
}

fn table(schema: &str, name: &str, placement: Placement) -> Table {
    Table {
        name: TableName::try_from_parts(schema, name).unwrap(),
        placement,
    }
}

fn shard(id: ShardId) -> Shard {
    Shard {
        name: id.to_string(),
        id,
        primary_endpoint: Endpoint::try_new("postgres://127.0.0.1:5432/app").unwrap(),
        replicas: Vec::new(),
        state: ShardState::Active,
        weight: 1,
        vnode_count: 64,
        version: 1,
        created_at: SystemTime::UNIX_EPOCH,
        updated_at: SystemTime::UNIX_EPOCH,
        lineage: None,
        promotion: None,
    }
}

/// The shard that owns a key.
pub(super) fn owner(key: &Key<'_>) -> ShardIndex {
    snapshot().owner_of(key).unwrap().owner
}

/// Keys of one shard and the first key of another one.
pub(super) fn neighbours() -> ((i64, i64), i64) {
    let first = owner(&Key::Bigint(1));
    let find = |same| {
        (2..)
            .find(|key| (owner(&Key::Bigint(*key)) == first) == same)
            .unwrap()
    };
    ((1, find(true)), find(false))
}

pub(super) fn planned(class: Class) -> Plan {
    let statement = Statement {
        class,
        location: 0..0,
        functions: Vec::new(),
        hints: crate::query::Hints::default(),
    };
    plan(&statement, &snapshot(), &["public"])
}

pub(super) fn refused(class: Class) -> Refusal {
    match planned(class) {
        Plan::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

pub(super) fn table_ref(name: &str) -> TableRef {
    match name.split_once('.') {
        Some((schema, name)) => TableRef {
            schema: Some(schema.to_owned()),
            name: name.to_owned(),
        },
        None => TableRef {
            schema: None,
            name: name.to_owned(),
        },
    }
}

pub(super) fn entry(name: &str) -> Entry {
    Entry {
        name: Some(table_ref(name).name),
        aliased: false,
        renamed: false,
        columns: Vec::new(),
        nullable: false,
        hidden_by: None,
        source: Source::Table(table_ref(name)),
    }
}

pub(super) fn rows(alias: &str, scope: usize) -> Entry {
    let source = Source::Rows(ScopeId(scope));
    Entry {
        name: Some(alias.to_owned()),
        aliased: true,
        source,
        ..entry(alias)
    }
}

/// `table.column` or `column`, seen from everywhere in its scope.
pub(super) fn column(text: &str) -> ColumnRef {
    let (qualifier, name) = match text.split_once('.') {
        Some((table, name)) => (Some(table), name),
        None => (None, text),
    };
    let qualifier = qualifier.map(|name| crate::query::Qualifier {
        schema: None,
        name: name.to_owned(),
    });
    ColumnRef {
        qualifier,
        name: name.to_owned(),
        among: 0..usize::MAX,
    }
}

pub(super) fn integer(value: i64) -> Value {
    Value::Integer(value.to_string())
}

pub(super) fn among(text: &str, values: &[Value]) -> Fact {
    Fact {
        test: Test::Among(column(text), values.to_vec()),
        restricts: 0..usize::MAX,
    }
}

pub(super) fn same(one: &str, other: &str) -> Fact {
    Fact {
        test: Test::Same(column(one), column(other)),
        restricts: 0..usize::MAX,
    }
}

pub(super) fn scope(entries: &[Entry], facts: &[Fact]) -> Scope {
    Scope {
        entries: entries.to_vec(),
        facts: facts.to_vec(),
        outputs: Outputs::Unknown,
        ..Scope::default()
    }
}

pub(super) fn data(scopes: &[Scope]) -> Data {
    Data {
        scopes: scopes.to_vec(),
        ..Data::default()
    }
}

pub(super) fn select(scopes: &[Scope]) -> Class {
    Class::Select(data(scopes))
}

pub(super) fn writing(scopes: &[Scope], kind: WriteKind) -> Data {
    Data {
        writes: vec![Write {
            scope: ScopeId(0),
            kind,
        }],
        ..data(scopes)
    }
}
