//! Which facts pin which tables, on statements built by hand: what the text of a statement comes
//! to is tested by the corpus.

use topology::{Key, KeyType};

use super::cluster::{
    among, column, entry, integer, neighbours, planned, refused, rows, same, scope, select, writing,
};
use crate::query::{
    Class, Data, Fact, Insert, Joined, Merged, NewRows, Output, Outputs, Scope, ScopeId, Value,
    WriteKind,
};
use crate::route::{KeySource, Plan};

fn keys(class: Class) -> Vec<KeySource> {
    match planned(class) {
        Plan::Key { sources, .. } => sources,
        other => panic!("{other:?}"),
    }
}

fn literal(value: i64) -> KeySource {
    KeySource::Literal(Key::Bigint(value))
}

fn needs_hint(class: Class) -> bool {
    matches!(planned(class), Plan::NeedsHint { .. })
}

#[test]
fn every_source_is_kept_even_when_they_contradict() {
    let facts = [
        among("id", &[integer(1)]),
        among("customers.id", &[integer(2)]),
    ];
    let found = keys(select(&[scope(&[entry("customers")], &facts)]));
    assert_eq!(found, [literal(1), literal(2)]);
}

#[test]
fn a_condition_pins_only_the_tables_that_it_restricts() {
    let mut orders = entry("orders");
    orders.nullable = true;
    let tables = [entry("customers"), orders];
    let on = |fact: Fact| Fact {
        restricts: 1..2,
        ..fact
    };
    let join = on(same("customers.id", "orders.customer_id"));
    let by_left = among("customers.id", &[integer(5)]);
    let by_right = on(among("orders.customer_id", &[integer(5)]));
    assert_eq!(
        keys(select(&[scope(&tables, &[join.clone(), by_left])])),
        [literal(5)]
    );
    // The join goes from left to right only: customers without such orders are in the answer.
    assert!(needs_hint(select(&[scope(&tables, &[join, by_right])])));
}

#[test]
fn an_inner_scope_says_nothing_of_the_scope_around_it() {
    let outer = |facts: &[Fact]| scope(&[entry("customers")], facts);
    let facts = [
        same("orders.customer_id", "customers.id"),
        among("customer_id", &[integer(5)]),
    ];
    let inner = Scope {
        parent: Some((ScopeId(0), 0..1)),
        ..scope(&[entry("orders")], &facts)
    };
    assert!(needs_hint(select(&[outer(&[]), inner.clone()])));
    let inner = Scope {
        facts: vec![facts[0].clone()],
        ..inner
    };
    let pinned = outer(&[among("id", &[integer(5)])]);
    assert_eq!(keys(select(&[pinned, inner])), [literal(5)]);
}

#[test]
fn a_name_that_may_belong_to_an_unknown_column_is_not_looked_up_further_out() {
    let inner = Scope {
        parent: Some((ScopeId(0), 0..1)),
        ..scope(
            &[entry("orders"), entry("countries")],
            &[same("customer_id", "id")],
        )
    };
    let outer = scope(&[entry("customers")], &[among("id", &[integer(5)])]);
    assert!(needs_hint(select(&[outer, inner])));
}

fn output(name: &str) -> Outputs {
    let column = column(name);
    Outputs::List(vec![Output::Column {
        name: "k".to_owned(),
        column,
    }])
}

#[test]
fn keys_go_in_and_out_of_sub_selects_by_their_outputs() {
    let inner = Scope {
        outputs: output("customer_id"),
        ..scope(&[entry("orders")], &[])
    };
    let outer = |facts: &[Fact]| scope(&[rows("x", 1), entry("customers")], facts);
    let join = same("x.k", "customers.id");
    let from_outside = outer(&[join.clone(), among("customers.id", &[integer(5)])]);
    assert_eq!(keys(select(&[from_outside, inner.clone()])), [literal(5)]);
    let pinned = Scope {
        facts: vec![among("customer_id", &[integer(5)])],
        ..inner.clone()
    };
    assert_eq!(
        keys(select(&[outer(std::slice::from_ref(&join)), pinned])),
        [literal(5)]
    );
    let closed = Scope {
        outputs: Outputs::Unknown,
        ..inner
    };
    let from_outside = outer(&[join, among("customers.id", &[integer(5)])]);
    assert!(needs_hint(select(&[from_outside, closed])));
}

#[test]
fn a_lateral_output_does_not_pin_the_table_outside() {
    // customers LEFT JOIN LATERAL (SELECT customers.id AS k) x ON x.k = 5
    let inner = Scope {
        parent: Some((ScopeId(0), 0..1)),
        outputs: output("customers.id"),
        ..scope(&[], &[])
    };
    let on = Fact {
        restricts: 1..2,
        ..among("x.k", &[integer(5)])
    };
    let outer = scope(&[entry("customers"), rows("x", 1)], &[on]);
    assert!(needs_hint(select(&[outer, inner])));
}

fn merged(name: Option<&str>, joined: Joined) -> Merged {
    Merged {
        name: name.map(str::to_owned),
        joined,
        left: 0..1,
        right: 1..2,
    }
}

#[test]
fn a_merged_column_pins_both_sides() {
    for joined in [Joined::Inner, Joined::Left, Joined::Right, Joined::Full] {
        for name in [Some("customer_id"), None] {
            let facts = [among("customer_id", &[integer(5)])];
            let scope = Scope {
                merged: vec![merged(name, joined)],
                ..scope(&[entry("orders"), entry("items")], &facts)
            };
            assert_eq!(keys(select(&[scope])), [literal(5)], "{joined:?} {name:?}");
        }
    }
}

#[test]
fn one_side_of_a_merged_column_pins_the_other_by_the_kind_of_join() {
    let pins_right = |joined| {
        let facts = [Fact {
            restricts: 0..1,
            ..among("orders.customer_id", &[integer(5)])
        }];
        let tables = [entry("orders"), entry("items")];
        let merged = vec![merged(Some("customer_id"), joined)];
        !needs_hint(select(&[Scope {
            merged,
            ..scope(&tables, &facts)
        }]))
    };
    assert!(pins_right(Joined::Inner) && pins_right(Joined::Left));
    assert!(!pins_right(Joined::Right) && !pins_right(Joined::Full));
}

#[test]
fn a_natural_join_with_an_unknown_table_may_take_the_value_from_there() {
    // (orders NATURAL <kind> JOIN countries) JOIN items ON items.customer_id = customer_id
    let pins = |joined| {
        let tables = [entry("orders"), entry("countries"), entry("items")];
        let on_orders = Fact {
            restricts: 0..1,
            ..among("orders.customer_id", &[integer(5)])
        };
        let mut left = same("items.customer_id", "customer_id");
        if let crate::query::Test::Same(_, column) = &mut left.test {
            column.among = 0..2;
        }
        let merged = vec![merged(None, joined)];
        !needs_hint(select(&[Scope {
            merged,
            ..scope(&tables, &[on_orders, left])
        }]))
    };
    assert!(pins(Joined::Inner) && pins(Joined::Left));
    assert!(!pins(Joined::Right) && !pins(Joined::Full));
}

#[test]
fn a_table_whose_columns_are_renamed_is_not_pinned_by_their_names() {
    let mut orders = entry("orders");
    orders.renamed = true;
    assert!(needs_hint(select(&[scope(
        &[orders],
        &[among("customer_id", &[integer(5)])]
    )])));
}

#[test]
fn values_of_another_type_are_no_keys() {
    let by = |column: &str, table: &str, value: Value| {
        planned(select(&[scope(
            &[entry(table)],
            &[among(column, &[value])],
        )]))
    };
    let unusable = [
        by("id", "customers", Value::Other),
        by(
            "id",
            "customers",
            Value::Cast(crate::query::Family::Text, "5".to_owned()),
        ),
        by("slug", "docs", integer(5)),
        by(
            "device",
            "devices",
            Value::Parameter(0, Some(crate::query::Family::Text)),
        ),
    ];
    for plan in unusable {
        assert!(matches!(plan, Plan::NeedsHint { .. }), "{plan:?}");
    }
    let text = |text: &str| Value::Text(text.to_owned());
    let usable = by("id", "customers", text(" 5 "));
    assert!(
        matches!(&usable, Plan::Key { sources, .. } if *sources == [literal(5)]),
        "{usable:?}"
    );
    for (value, sqlstate) in [("abc", "22P02"), ("9223372036854775808", "22003")] {
        let class = select(&[scope(&[entry("customers")], &[among("id", &[text(value)])])]);
        assert_eq!(refused(class).sqlstate, sqlstate);
    }
}

#[test]
fn tables_of_one_key_type_share_the_ring_and_others_do_not() {
    let both = |one: &str, other: &str, facts: &[Fact]| {
        planned(select(&[scope(&[entry(one), entry(other)], facts)]))
    };
    let text = [Value::Text("x".to_owned())];
    let facts = [same("docs.slug", "pages.slug"), among("docs.slug", &text)];
    assert!(matches!(
        both("docs", "pages", &facts),
        Plan::Key {
            key_type: KeyType::Text,
            ..
        }
    ));
    assert!(matches!(both("docs", "orders", &facts), Plan::Refused(_)));
}

fn insert(columns: Option<&[&str]>, rows: NewRows, updates: &[&str]) -> WriteKind {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    WriteKind::Insert(Insert {
        columns: columns.map(own),
        unnamed: None,
        rows,
        updates: own(updates),
    })
}

#[test]
fn an_insert_shows_the_key_of_every_row() {
    let target = scope(&[entry("orders")], &[]);
    let columns: &[&str] = &["total", "customer_id"];
    let plan = |columns, rows, updates: &[&str]| {
        let kind = insert(columns, rows, updates);
        planned(Class::Insert(writing(std::slice::from_ref(&target), kind)))
    };
    let row = |key: Value| vec![integer(1), key];
    let values = |keys: Vec<Value>| NewRows::Values(keys.into_iter().map(row).collect());
    let two = values(vec![integer(5), Value::Parameter(0, None)]);
    match plan(Some(columns), two.clone(), &[]) {
        Plan::Key {
            sources,
            writes: true,
            inserts: Some(key),
            ..
        } => {
            assert_eq!(sources, [literal(5), KeySource::Parameter(0)]);
            assert_eq!(
                (key.table.as_str(), key.column.as_str()),
                ("orders", "customer_id")
            );
        }
        other => panic!("{other:?}"),
    }
    let state = |plan| match plan {
        Plan::Refused(refusal) => refusal.sqlstate,
        other => panic!("{other:?}"),
    };
    assert_eq!(state(plan(None, two.clone(), &[])), "0A000");
    assert_eq!(state(plan(Some(&["total"]), two.clone(), &[])), "0A000");
    assert_eq!(state(plan(Some(columns), two, &["customer_id"])), "0A000");
    assert_eq!(state(plan(Some(columns), NewRows::Defaults, &[])), "0A000");
    assert_eq!(
        state(plan(Some(columns), values(vec![Value::Null]), &[])),
        "23502"
    );
    for unusable in [Value::Default, Value::Other] {
        assert_eq!(
            state(plan(Some(columns), values(vec![integer(5), unusable]), &[])),
            "0A000"
        );
    }
}

#[test]
fn an_insert_takes_its_key_from_a_pinned_output_that_is_never_null() {
    let target = scope(&[entry("orders")], &[]);
    let plan = |query: Scope| {
        let rows = NewRows::Query(ScopeId(1));
        let kind = insert(Some(&["customer_id"]), rows, &[]);
        planned(Class::Insert(writing(&[target.clone(), query], kind)))
    };
    let query = |tables: &[crate::query::Entry], facts: &[Fact]| Scope {
        outputs: output("customers.id"),
        ..scope(tables, facts)
    };
    let pin = among("customers.id", &[integer(5)]);
    assert!(matches!(
        plan(query(&[entry("customers")], std::slice::from_ref(&pin))),
        Plan::Key { .. }
    ));
    assert!(matches!(
        plan(query(&[entry("customers")], &[])),
        Plan::Refused(_)
    ));
    let mut nullable = entry("customers");
    nullable.nullable = true;
    let on = Fact {
        restricts: 1..2,
        ..pin
    };
    assert!(matches!(
        plan(query(&[entry("countries"), nullable], &[on])),
        Plan::Refused(_)
    ));
}

#[test]
fn tables_of_several_places_do_not_meet() {
    let both = |tables: &[&str]| {
        let entries: Vec<_> = tables.iter().map(|name| entry(name)).collect();
        planned(select(&[scope(
            &entries,
            &[among("customer_id", &[integer(1)])],
        )]))
    };
    assert!(matches!(both(&["countries"]), Plan::Any { writes: false }));
    assert!(matches!(
        both(&["pg_class", "information_schema.tables"]),
        Plan::Catalog
    ));
    assert!(matches!(
        both(&["settings", "audit", "countries"]),
        Plan::Home(_)
    ));
    assert!(matches!(both(&["orders", "countries"]), Plan::Key { .. }));
    assert!(matches!(both(&["settings", "jobs"]), Plan::Refused(_)));
    assert!(matches!(both(&["settings", "orders"]), Plan::Refused(_)));
    assert!(matches!(both(&["unknown"]), Plan::Refused(_)));
    assert!(matches!(both(&["orders", "unknown"]), Plan::Refused(_)));
    assert!(
        matches!(both(&["events"]), Plan::Refused(_)),
        "not in the search path"
    );
    assert!(matches!(both(&["app.events"]), Plan::NeedsHint { .. }));
}

#[test]
fn what_was_not_looked_into_is_not_relied_on() {
    let (_, far) = neighbours();
    let known = scope(&[entry("orders")], &[among("customer_id", &[integer(far)])]);
    let opaque = |scopes: &[Scope]| {
        planned(Class::Select(Data {
            opaque: Some("why"),
            ..super::cluster::data(scopes)
        }))
    };
    match opaque(&[known]) {
        Plan::NeedsHint { sources, .. } => assert_eq!(sources, [literal(far)]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        opaque(&[scope(&[entry("settings")], &[])]),
        Plan::Refused(_)
    ));
    assert!(matches!(opaque(&[]), Plan::Refused(_)));
}
