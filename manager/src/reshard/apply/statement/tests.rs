//! The text of statements.

use super::{Text, Value, text};
use crate::reshard::apply::catalog::{Column, Differs, Table};
use crate::reshard::apply::chunk::Op;
use crate::reshard::apply::fake;
use crate::reshard::apply::plan::Kind;

fn table() -> Table {
    let column = |name: &str, type_name: &str| Column {
        name: name.to_owned(),
        type_name: type_name.to_owned(),
        type_id: 20,
        is_generated: false,
        is_identity_always: name == "id",
    };
    Table {
        name: fake::moved().name,
        columns: vec![
            column("k", "bigint"),
            column("id", "integer"),
            column("u", "character(3)"),
            column("v", "text"),
        ],
    }
}

fn made(op: Op, set: Option<&[usize]>) -> Text {
    let set = set.map(Into::into);
    let kind = Kind { table: 0, op, set };
    text(&kind, &fake::shape(), &table()).unwrap()
}

#[test]
fn an_insert_names_all_columns() {
    let text = made(Op::Insert, None);
    assert_eq!(
        text.sql,
        "INSERT INTO \"public\".\"t\" (\"k\", \"id\", \"u\", \"v\") OVERRIDING SYSTEM VALUE \
         SELECT v.c0::bigint, v.c1::integer, v.c2::character(3), v.c3::text \
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS v(c0, c1, c2, c3)"
    );
    assert_eq!(text.parameters, [0, 1, 2, 3].map(Value::New));
}

#[test]
fn an_update_sets_what_is_told_but_never_an_identity_that_is_always_generated() {
    let rest = "FROM unnest($1::text[], $2::text[], $3::text[]) AS v(c0, c1, c2) \
                WHERE t.\"k\" = v.c1::bigint AND t.\"id\" = v.c2::integer";
    let text = made(Op::Update, Some(&[1, 3]));
    let sql = format!("UPDATE \"public\".\"t\" AS t SET \"v\" = v.c0::text {rest}");
    assert_eq!(text.sql, sql);
    assert_eq!(
        text.parameters,
        [Value::New(3), Value::Old(0), Value::Old(1)]
    );
    let usual = made(Op::Update, None).sql;
    assert!(
        usual.contains("SET \"u\" = v.c0::character(3), \"v\" = v.c1::text FROM"),
        "{usual}"
    );
    let nothing = made(Op::Update, Some(&[1])).sql;
    assert!(
        nothing.starts_with("SELECT FROM \"public\".\"t\" AS t, unnest("),
        "{nothing}"
    );
}

#[test]
fn a_column_that_the_mirror_lacks_is_named() {
    let mut table = table();
    table.columns.pop();
    let kind = Kind {
        table: 0,
        op: Op::Insert,
        set: None,
    };
    let missing = Differs::Missing("v".to_owned());
    assert_eq!(text(&kind, &fake::shape(), &table), Err(missing.clone()));
    assert_eq!(table.check(&fake::shape()), Err(missing));
}
