use super::*;
use crate::schema::Object;

fn objects(all: &[(&str, &str, &str, &str)]) -> Objects {
    let object = |&(kind, name, parent, definition): &(&str, &str, &str, &str)| {
        let id = Id {
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        let object = Object {
            parent: Some(parent.to_owned()).filter(|it| !it.is_empty()),
            definition: definition.to_owned(),
            creation: Some(format!("create {kind} {name}")),
        };
        (id, object)
    };
    all.iter().map(object).collect()
}

/// Each action as its statement, or as what keeps it from being run.
fn shown(from: &Objects, to: &Objects) -> Vec<String> {
    let action = |action: Action| {
        let statement = action.statement.unwrap_or_else(|| "nothing".to_owned());
        match action.outcome {
            Outcome::Planned => statement,
            Outcome::Manual(_) => format!("by hand: {statement}"),
            Outcome::Done | Outcome::Failed(_) => "run".to_owned(),
        }
    };
    steps(from, to).into_iter().map(action).collect()
}

#[test]
fn a_missing_table_is_made_with_its_columns_and_then_what_stands_on_it() {
    let from = objects(&[
        ("index", "i", "table t", "x"),
        ("column", "t.a", "table t", "int"),
        ("default", "t.a", "column t.a", "1"),
        ("table", "t", "", "plain"),
    ]);
    assert_eq!(
        shown(&from, &Objects::new()),
        ["create table t", "create default t.a", "create index i"]
    );
}

#[test]
fn a_missing_column_is_made_with_its_default() {
    let from = objects(&[
        ("table", "t", "", "plain"),
        ("column", "t.a", "table t", "int"),
        ("default", "t.a", "column t.a", "1"),
    ]);
    let to = objects(&[("table", "t", "", "plain")]);
    assert_eq!(shown(&from, &to), ["create column t.a"]);
}

#[test]
fn what_differs_or_is_too_much_is_left_to_a_person() {
    let from = objects(&[("column", "t.a", "", "int"), ("view", "v", "", "select 1")]);
    let to = objects(&[
        ("column", "t.a", "", "bigint"),
        ("column", "t.b", "", "int"),
        ("view", "v", "", "select 2"),
        ("table", "u", "", "plain"),
        ("column", "u.a", "table u", "int"),
    ]);
    assert_eq!(
        shown(&from, &to),
        [
            "by hand: DROP TABLE u",
            "by hand: nothing",
            "by hand: ALTER TABLE t DROP COLUMN b",
            "by hand: create view v",
        ]
    );
}

#[test]
fn an_index_that_is_not_valid_is_made_anew() {
    let from = objects(&[("index", "s.i", "", "CREATE INDEX")]);
    let to = objects(&[("index", "s.i", "", "CREATE INDEX INVALID")]);
    assert_eq!(shown(&from, &to), ["DROP INDEX s.i; create index s.i"]);
    assert_eq!(shown(&to, &to), Vec::<String>::new());
}
