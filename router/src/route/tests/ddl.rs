//! Schema changes: where they go and what they must leave alone.

use super::cluster::{planned, refused, table_ref};
use crate::query::{
    Change, Class, Constraint, Ddl, Family, KeyColumnType, Manner, NewColumn, Objection,
};
use crate::route::Plan;

fn ddl(changes: Vec<Change>) -> Class {
    Class::Ddl(Ddl {
        tag: "ALTER TABLE",
        changes,
        objections: Vec::new(),
        manner: Manner::Together,
        temporary: false,
        reads_rows: false,
        views: Vec::new(),
        draws: None,
        objects: Vec::new(),
    })
}

fn create(table: &str, columns: &[(&str, KeyColumnType)], open: bool) -> Change {
    let column = |(name, key_type): &(&str, KeyColumnType)| NewColumn {
        name: (*name).to_owned(),
        key_type: *key_type,
    };
    Change::Create {
        table: table_ref(table),
        columns: columns.iter().map(column).collect(),
        open,
    }
}

const INTEGER: KeyColumnType = KeyColumnType::Family(Family::Integer);
const TEXT: KeyColumnType = KeyColumnType::Family(Family::Text);

#[test]
fn changes_go_to_every_shard_or_to_the_home_of_the_table() {
    let alter = |names: &[&str]| {
        planned(ddl(names
            .iter()
            .map(|name| Change::Alter(table_ref(name)))
            .collect()))
    };
    assert_eq!(alter(&[]), Plan::Everywhere);
    assert_eq!(alter(&["orders", "countries", "unknown"]), Plan::Everywhere);
    assert!(matches!(alter(&["settings", "audit"]), Plan::Home(_)));
    for mixed in [
        ["settings", "orders"],
        ["settings", "jobs"],
        ["settings", "unknown"],
    ] {
        assert!(matches!(alter(&mixed), Plan::Refused(_)), "{mixed:?}");
    }
    for change in [
        Change::Truncate(table_ref("orders")),
        Change::Drop(table_ref("orders")),
    ] {
        assert_eq!(planned(ddl(vec![change])), Plan::Everywhere);
    }
}

#[test]
fn a_registered_table_is_created_with_its_key_column() {
    let good = [
        create("orders", &[("customer_id", INTEGER)], false),
        create("orders", &[], true),
        create("docs", &[("slug", TEXT)], false),
        create("unknown", &[], false),
    ];
    for change in good {
        assert_eq!(planned(ddl(vec![change])), Plan::Everywhere);
    }
    let bad = [
        create("orders", &[("id", INTEGER)], false),
        create("orders", &[("customer_id", TEXT)], false),
        create("orders", &[("customer_id", KeyColumnType::Other)], true),
        create("docs", &[("slug", KeyColumnType::CutText)], false),
    ];
    for change in bad {
        assert_eq!(refused(ddl(vec![change])).sqlstate, "42P16");
    }
}

#[test]
fn key_columns_stay_as_they_are() {
    let change = |table: &str, column: &str| {
        let (table, column) = (table_ref(table), column.to_owned());
        planned(ddl(vec![Change::Column {
            table,
            column,
            verb: "rename",
        }]))
    };
    assert!(matches!(change("orders", "customer_id"), Plan::Refused(_)));
    assert_eq!(change("orders", "total"), Plan::Everywhere);
    assert_eq!(change("unknown", "customer_id"), Plan::Everywhere);
    for table in ["orders", "countries", "settings"] {
        assert!(matches!(
            planned(ddl(vec![Change::Rename(table_ref(table))])),
            Plan::Refused(_)
        ));
    }
}

#[test]
fn uniqueness_is_only_kept_within_a_shard() {
    let unique = |table: &str, columns: &[&str]| {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        let constraint = Constraint {
            kind: "a primary key",
            columns,
        };
        planned(ddl(vec![Change::Unique {
            table: table_ref(table),
            constraint,
        }]))
    };
    assert_eq!(unique("orders", &["customer_id", "id"]), Plan::Everywhere);
    assert!(matches!(unique("orders", &["id"]), Plan::Refused(_)));
    assert!(matches!(unique("orders", &[]), Plan::Refused(_)));
    assert_eq!(unique("countries", &["id"]), Plan::Everywhere);
    assert!(matches!(unique("settings", &["id"]), Plan::Home(_)));
}

#[test]
fn an_objection_may_end_at_the_home_shard() {
    let with = |table: &str, everywhere| {
        let changes = vec![Change::Alter(table_ref(table))];
        let objection = Objection {
            what: "it",
            hint: "do not",
            everywhere,
        };
        planned(Class::Ddl(Ddl {
            tag: "ALTER TABLE",
            changes,
            objections: vec![objection],
            manner: Manner::Together,
            temporary: false,
            reads_rows: false,
            views: Vec::new(),
            draws: None,
            objects: Vec::new(),
        }))
    };
    assert!(matches!(with("orders", false), Plan::Refused(_)));
    assert!(matches!(with("settings", false), Plan::Home(_)));
    assert!(matches!(with("settings", true), Plan::Refused(_)));
}
